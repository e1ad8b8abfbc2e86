//! Stamping: whose telemetry it is, said by the channel that it came in on and never by the client.
//!
//! What holds of a stamped request, whatever the client sent:
//!
//! - Every resource carries [`Stamp`]'s attributes, once each: `sandbox.session.id`, `sandbox.user`,
//!   `sandbox.profile`, `user.name`, `user.email`, and `team` where the user has one. A batch without a resource
//!   gets one.
//! - No other attribute anywhere (resources, scopes, spans, events, links, records, points, exemplars,
//!   metric metadata, values nested in lists) has a key of ours: one that begins with `sandbox` and a
//!   separator, in any spelling that backends fold together (`Sandbox.`, `sandbox_`, `.sandbox-`). Claude
//!   Code copies resource attributes onto every point and record; those copies go too, since the resource
//!   says the same with authority.
//! - On resources, and only there, the same goes for `user.name`, `user.email` and `team`.
//! - The result decodes as the export request it claims to be: types, UTF-8 and depth are checked, unknown
//!   fields are left out.
//!
//! A request is rewritten in one pass over its bytes, and never built in memory: hostile protobuf can ask
//! for a hundred bytes of memory with two of its own, and the honest kind is rewritten at about the speed of
//! copying it.

use crate::{id::SessionId, spec::Spec};

use super::{
    schema::{Field, KEY_VALUE, Message, RESOURCE, Type},
    wire::{Fields, Raw, Value, WireError, put_bytes, put_nested, varint},
};

/// Deepest nesting of messages in a request; prost reads up to 100.
pub const MAX_DEPTH: usize = 64;

/// Bytes that a request may take in the memory of who decodes it.
pub const MAX_DECODED: usize = 256 << 20;

/// A session's own attributes, encoded as the fields of a resource.
#[derive(Clone, Debug)]
pub struct Stamp {
    attributes: Vec<u8>,
}

impl Stamp {
    /// The stamp of the session `id`.
    pub fn new(id: SessionId, spec: &Spec) -> Stamp {
        let mut attributes = Vec::new();
        let (id, user) = (id.to_string(), spec.user.to_string());
        let team = spec.team.as_deref().map(|team| ("team", team));
        let of_all = [
            ("sandbox.session.id", id.as_str()),
            ("sandbox.user", &user),
            ("sandbox.profile", &spec.profile_name),
            ("user.name", &spec.user.name),
            ("user.email", &spec.user.email),
        ];
        for (key, value) in of_all.into_iter().chain(team) {
            let (mut any, mut pair) = (Vec::new(), Vec::new());
            put_bytes(&mut any, 1, value.as_bytes());
            put_bytes(&mut pair, 1, key.as_bytes());
            put_bytes(&mut pair, 2, &any);
            put_bytes(&mut attributes, 1, &pair);
        }
        Stamp { attributes }
    }

    /// The request, stamped. `request` is protobuf of the type `schema`.
    pub fn apply(&self, schema: &'static Message, request: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(request.len() + 2 * self.attributes.len());
        Walk { stamp: self, decoded: 0 }.message(schema, request, &mut out, MAX_DEPTH)?;
        Ok(out)
    }
}

struct Walk<'a> {
    stamp: &'a Stamp,
    decoded: usize,
}

impl Walk<'_> {
    fn message(
        &mut self,
        schema: &'static Message,
        bytes: &[u8],
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), WireError> {
        self.weigh(schema.size)?;
        let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
        let mut stamped = false;
        for raw in Fields::new(bytes) {
            let raw = raw?;
            let Some(field) = schema.field(raw.number) else { continue };
            match field.of {
                Type::Message(of) => self.nested(of, field, raw, out, depth)?,
                Type::Resource => {
                    // A second resource of the same batch is merged into the first by whoever decodes it.
                    self.resource(content(field, raw)?, !stamped, out, depth)?;
                    stamped = true;
                }
                Type::Attributes => {
                    if !is_ours(key(content(field, raw)?)?) {
                        self.nested(&KEY_VALUE, field, raw, out, depth)?;
                    }
                }
                Type::ResourceAttributes => {
                    let key = key(content(field, raw)?)?;
                    if !is_ours(key) && !is_user(key) {
                        self.nested(&KEY_VALUE, field, raw, out, depth)?;
                    }
                }
                _ => {
                    self.weigh(check(field, raw)?)?;
                    out.extend_from_slice(raw.whole);
                }
            }
        }
        if !stamped && schema.fields.iter().any(|field| matches!(field.of, Type::Resource)) {
            self.resource(&[], true, out, depth)?;
        }
        Ok(())
    }

    fn nested(
        &mut self,
        of: &'static Message,
        field: &'static Field,
        raw: Raw<'_>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), WireError> {
        let bytes = content(field, raw)?;
        put_nested(out, field.number, bytes.len(), |out| self.message(of, bytes, out, depth))
    }

    fn resource(
        &mut self,
        bytes: &[u8],
        stamp: bool,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), WireError> {
        const NUMBER: u32 = 1; // in ResourceSpans, ResourceMetrics and ResourceLogs alike
        let ours = self.stamp.attributes.as_slice();
        put_nested(out, NUMBER, bytes.len() + ours.len(), |out| {
            self.message(&RESOURCE, bytes, out, depth)?;
            if stamp {
                out.extend_from_slice(ours);
            }
            Ok(())
        })
    }

    fn weigh(&mut self, bytes: usize) -> Result<(), WireError> {
        self.decoded += bytes;
        if self.decoded > MAX_DECODED { Err(WireError::Large) } else { Ok(()) }
    }
}

fn content<'a>(field: &'static Field, raw: Raw<'a>) -> Result<&'a [u8], WireError> {
    if let Value::Bytes(bytes) = raw.value { Ok(bytes) } else { Err(WireError::Type(field.name)) }
}

/// The key of a `KeyValue`: the last, if a client wrote several, since that is the one a decoder keeps.
fn key(pair: &[u8]) -> Result<&[u8], WireError> {
    let mut key = &[][..];
    for raw in Fields::new(pair) {
        if let Raw { number: 1, value: Value::Bytes(bytes), .. } = raw? {
            key = bytes;
        }
    }
    Ok(key)
}

/// Checks a field that holds no message; returns the memory it takes, beside its place in the message.
fn check(field: &'static Field, raw: Raw<'_>) -> Result<usize, WireError> {
    use Type::{Bool, Bytes, Double, Enum, Fixed32, Fixed64, I64, Id, S32, SFixed64, Text, U32, U64};
    match (&field.of, raw.value) {
        (Text, Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(_) if field.repeated => Ok(bytes.len() + size_of::<String>()),
            Ok(_) => Ok(bytes.len()),
            Err(_) => Err(WireError::Text(field.name)),
        },
        (Id | Bytes, Value::Bytes(bytes)) => Ok(bytes.len()),
        (Bool | Enum(_) | U32 | U64 | I64 | S32, Value::Varint(_)) => Ok(size_of::<u64>()),
        (Fixed64 | SFixed64 | Double, Value::Eight) => Ok(size_of::<u64>()),
        (Fixed32, Value::Four) => Ok(0),
        (Fixed64 | Double, Value::Bytes(packed)) if field.repeated && packed.len() % 8 == 0 => {
            Ok(packed.len())
        }
        (U64, Value::Bytes(mut packed)) if field.repeated => {
            let most = packed.len() * size_of::<u64>();
            while !packed.is_empty() {
                varint(&mut packed)?;
            }
            Ok(most)
        }
        _ => Err(WireError::Type(field.name)),
    }
}

/// Whether a key is one of the session's own, in any spelling that backends fold together.
fn is_ours(key: &[u8]) -> bool {
    const OURS: &[u8] = b"sandbox";
    let start = key.iter().position(u8::is_ascii_alphanumeric).unwrap_or(key.len());
    let key = &key[start..];
    key.len() >= OURS.len()
        && key[..OURS.len()].eq_ignore_ascii_case(OURS)
        && key.get(OURS.len()).is_none_or(|b| !b.is_ascii_alphanumeric())
}

/// Whether a resource attribute names the user or their team, in any spelling that backends fold together.
fn is_user(key: &[u8]) -> bool {
    ["user_name", "user_email", "team"].iter().any(|ours| {
        ours.len() == key.len()
            && ours.bytes().zip(key).all(|(a, b)| match a {
                b'_' => !b.is_ascii_alphanumeric(),
                _ => a == b.to_ascii_lowercase(),
            })
    })
}
