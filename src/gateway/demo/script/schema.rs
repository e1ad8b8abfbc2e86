//! The least that a JSON schema lets pass: for requests that want a structured answer.

use serde_json::{Value, json};

/// How deep a schema is followed; below it there is nothing.
const DEPTH: usize = 16;

/// A value that the schema lets pass, for the schemas that people write: types, constants, choices, objects
/// with required fields, arrays with a least length, and bounds on numbers and texts.
pub(super) fn filled(schema: &Value) -> Value {
    fill(schema, DEPTH)
}

fn fill(schema: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(constant) = schema.get("const").or_else(|| schema.get("default")) {
        return constant.clone();
    }
    for choice in ["enum", "examples"] {
        if let Some(first) = schema.get(choice).and_then(Value::as_array).and_then(|c| c.first()) {
            return first.clone();
        }
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(Value::as_array).and_then(|c| c.first()) {
            return fill(first, depth - 1);
        }
    }
    let least = |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0);
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None if schema.get("properties").is_some() => Some("object"),
        None => None,
    };
    match kind {
        Some("object") => {
            let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            Value::Object(fields.map(|(name, field)| (name.clone(), fill(field, depth - 1))).collect())
        }
        Some("array") => {
            let item = schema.get("items").map_or(Value::Null, |items| fill(items, depth - 1));
            Value::Array(vec![item; usize::try_from(least("minItems").min(100)).unwrap_or(0)])
        }
        Some("boolean") => json!(false),
        Some("null") => Value::Null,
        Some("number" | "integer") => schema.get("minimum").cloned().unwrap_or_else(|| json!(0)),
        _ => {
            let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
            let text: String =
                "demo session".chars().take(usize::try_from(most).unwrap_or(usize::MAX)).collect();
            let missing =
                usize::try_from(least("minLength").min(10_000)).unwrap_or(0).saturating_sub(text.len());
            Value::String(text + &".".repeat(missing))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_passes() {
        let schema = json!({
            "type": "object",
            "properties": {
                "title": { "type": "string", "maxLength": 4 },
                "kind": { "enum": ["bug", "feature"] },
                "count": { "type": "integer", "minimum": 3 },
                "tags": { "type": "array", "minItems": 2, "items": { "type": "string", "minLength": 20 } },
                "note": { "type": ["null", "string"] },
                "either": { "anyOf": [{ "type": "boolean" }, { "type": "string" }] },
            },
            "required": ["title"],
        });
        let tag = "demo session........";
        assert_eq!(
            filled(&schema),
            json!({
                "title": "demo",
                "kind": "bug",
                "count": 3,
                "tags": [tag, tag],
                "note": null,
                "either": false,
            })
        );
    }

    #[test]
    fn an_endless_schema_ends() {
        let mut schema = json!({ "type": "string" });
        for _ in 0..100 {
            schema = json!({ "type": "object", "properties": { "next": schema } });
        }
        assert!(filled(&schema).is_object());
    }
}
