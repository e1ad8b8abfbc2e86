//! OTLP/JSON, written as protobuf while it is read, by the same tables that protobuf is checked against.
//!
//! The rules are those of the OTLP specification: keys in lowerCamelCase, ids in hexadecimal, 64-bit
//! integers as strings or numbers, enumerations as integers (their names are taken too, as the collector
//! does), unknown keys ignored, `null` as absent. The serde derives of opentelemetry-proto are not used
//! here: they refuse `null` and `"NaN"`, and read a metric whose data is malformed as one without data.

use std::{borrow::Cow, fmt};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    schema::{Field, KEY_VALUE, Message, RESOURCE, Type},
    wire::{put_bytes, put_key, put_nested, put_varint},
};

/// The protobuf of an export request in JSON. `limit` bounds its length, in bytes.
pub fn to_protobuf(
    schema: &'static Message,
    json: &[u8],
    limit: usize,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut from = serde_json::Deserializer::from_slice(json);
    Object { schema, out: &mut out, limit }.deserialize(&mut from)?;
    from.end()?;
    Ok(out)
}

struct Object<'a> {
    schema: &'static Message,
    out: &'a mut Vec<u8>,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.schema.named(&key) {
                Some(field) => {
                    map.next_value_seed(Member {
                        field,
                        out: &mut *self.out,
                        limit: self.limit,
                        inside: false,
                    })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The value of a field; `inside` its array, if it is repeated.
struct Member<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
    limit: usize,
    inside: bool,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Member<'_> {
    fn wrong<E: Error>(&self, problem: impl fmt::Display) -> E {
        E::custom(format_args!("field '{}': {problem}", self.field.name))
    }

    fn put_integer<E: Error>(self, n: i128) -> Result<(), E> {
        let range = || self.wrong(format_args!("{n} is out of range"));
        let number = self.field.number;
        if self.field.repeated && !self.inside {
            return Err(self.wrong("an array is expected"));
        }
        match self.field.of {
            Type::Enum(_) => {
                let n = i32::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 0);
                put_varint(self.out, n as i64 as u64);
            }
            Type::U32 => {
                let n = u32::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 0);
                put_varint(self.out, n.into());
            }
            Type::U64 => {
                let n = u64::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 0);
                put_varint(self.out, n);
            }
            Type::I64 => {
                let n = i64::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 0);
                put_varint(self.out, n as u64);
            }
            Type::S32 => {
                let n = i32::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 0);
                put_varint(self.out, u64::from((n << 1 ^ n >> 31) as u32));
            }
            Type::Fixed32 => {
                let n = u32::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 5);
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            Type::Fixed64 => {
                let n = u64::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 1);
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            Type::SFixed64 => {
                let n = i64::try_from(n).map_err(|_| range())?;
                put_key(self.out, number, 1);
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            Type::Double => return self.put_double(n as f64),
            _ => return Err(self.wrong("a number is not expected")),
        }
        self.room()
    }

    fn put_double<E: Error>(self, n: f64) -> Result<(), E> {
        match self.field.of {
            Type::Double if self.field.repeated && !self.inside => Err(self.wrong("an array is expected")),
            Type::Double => {
                put_key(self.out, self.field.number, 1);
                self.out.extend_from_slice(&n.to_le_bytes());
                self.room()
            }
            // The protobuf mapping lets an integer be written as 1.0 or 1e3.
            _ if n.fract() == 0.0 && n.abs() < 1e19 => self.put_integer(n as i128),
            _ => Err(self.wrong(format_args!("{n} is not an integer"))),
        }
    }

    fn room<E: Error>(&self) -> Result<(), E> {
        if self.out.len() > self.limit { Err(self.wrong(TOO_LONG)) } else { Ok(()) }
    }
}

/// What the error of a request that is too long says, somewhere.
pub const TOO_LONG: &str = "the request is too long";

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another value of the field '{}'", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.inside { Err(self.wrong("null in an array")) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        if self.field.repeated && !self.inside {
            return Err(self.wrong("an array is expected"));
        }
        let schema = match self.field.of {
            Type::Message(of) => of,
            Type::Resource => &RESOURCE,
            Type::Attributes | Type::ResourceAttributes => &KEY_VALUE,
            _ => return Err(self.wrong("an object is not expected")),
        };
        self.room()?;
        let limit = self.limit;
        put_nested(self.out, self.field.number, 0, |out| Object { schema, out, limit }.visit_map(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if !self.field.repeated || self.inside {
            return Err(self.wrong("an array is not expected"));
        }
        let Member { field, out, limit, .. } = self;
        while seq.next_element_seed(Member { field, out: &mut *out, limit, inside: true })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.field.of, Type::Bool) {
            return Err(self.wrong("a boolean is not expected"));
        }
        put_key(self.out, self.field.number, 0);
        put_varint(self.out, value.into());
        self.room()
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        self.put_integer(n.into())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        self.put_integer(n.into())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<(), E> {
        self.put_double(n)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.field.repeated && !self.inside {
            return Err(self.wrong("an array is expected"));
        }
        match self.field.of {
            Type::Text => put_bytes(self.out, self.field.number, text.as_bytes()),
            Type::Id => {
                let bytes = hex(text).ok_or_else(|| self.wrong("not hexadecimal"))?;
                put_bytes(self.out, self.field.number, &bytes);
            }
            Type::Bytes => {
                let bytes = base64(text).ok_or_else(|| self.wrong("not base64"))?;
                put_bytes(self.out, self.field.number, &bytes);
            }
            Type::Enum(of) => {
                let n = of(text).or_else(|| text.parse().ok());
                let n = n.ok_or_else(|| self.wrong(format_args!("{text:?} is no value of it")))?;
                return self.put_integer(n.into());
            }
            Type::Double => {
                // Rust's parser knows "NaN", "Infinity" and "-Infinity" as well as numbers.
                let n = text.parse().map_err(|_| self.wrong(format_args!("{text:?} is no number")))?;
                return self.put_double(n);
            }
            Type::Bool | Type::Message(_) | Type::Resource | Type::Attributes | Type::ResourceAttributes => {
                return Err(self.wrong("a string is not expected"));
            }
            _ => {
                let n = text.parse().map_err(|_| self.wrong(format_args!("{text:?} is no integer")))?;
                return self.put_integer(n);
            }
        }
        self.room()
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const EITHER: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, EITHER)
        .decode(text)
        .or_else(|_| GeneralPurpose::new(&URL_SAFE, EITHER).decode(text))
        .ok()
}
