//! A record's attributes: read in whatever type the client sent them, and written.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

/// Attributes of a record, a point or a span.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [KeyValue]);

impl<'a> Attributes<'a> {
    fn value(self, key: &str) -> Option<&'a Value> {
        self.0.iter().find(|a| a.key == key)?.value.as_ref()?.value.as_ref()
    }

    /// Text.
    pub fn text(self, key: &str) -> Option<&'a str> {
        match self.value(key)? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, not below zero.
    pub fn number(self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::IntValue(n) => u64::try_from(*n).ok(),
            Value::DoubleValue(n) if *n >= 0.0 && n.is_finite() => Some(*n as u64),
            Value::StringValue(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// An amount, not below zero.
    pub fn amount(self, key: &str) -> Option<f64> {
        let amount = match self.value(key)? {
            #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
            Value::IntValue(n) => *n as f64,
            Value::DoubleValue(n) => *n,
            Value::StringValue(text) => text.parse().ok()?,
            _ => return None,
        };
        (amount.is_finite() && amount >= 0.0).then_some(amount)
    }

    /// Yes or no.
    pub fn flag(self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::BoolValue(flag) => Some(*flag),
            Value::StringValue(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// A value as one would read it.
pub fn shown(value: Option<&AnyValue>) -> serde_json::Value {
    match value.and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::IntValue(n)) => (*n).into(),
        Some(Value::DoubleValue(n)) => (*n).into(),
        Some(Value::BoolValue(flag)) => (*flag).into(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(|v| shown(Some(v))).collect(),
        Some(Value::KvlistValue(list)) => serde_json::Value::Object(
            list.values.iter().map(|kv| (kv.key.clone(), shown(kv.value.as_ref()))).collect(),
        ),
        Some(Value::BytesValue(bytes)) => crate::inert::inert(&String::from_utf8_lossy(bytes)).into(),
        _ => serde_json::Value::Null,
    }
}

/// An attribute.
pub fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// An attribute that is text.
pub fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

/// An attribute that is a count.
pub fn number(key: &str, value: u64) -> KeyValue {
    pair(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}
