//! The names of things: a session's id, the prefix that a person types for it, and the instance's id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one session for ever: a UUIDv7 (RFC 9562), so that ids sort by creation. Claude Code gets the
/// same one as `--session-id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    /// A new id, made from the clock and chance.
    pub fn new() -> SessionId {
        SessionId(Uuid::now_v7())
    }

    /// When it was made, in µs since the Unix epoch, to the millisecond (RFC 9562, 5.7).
    pub fn made_at(&self) -> u64 {
        u64::try_from(self.0.as_u128() >> 80).unwrap_or(0).saturating_mul(1000)
    }

    /// The id of the session's trace: its own sixteen bytes.
    pub fn trace_id(&self) -> [u8; 16] {
        *self.0.as_bytes()
    }

    /// The id of the span of the session as a whole: what is random in its own.
    pub fn span_id(&self) -> [u8; 8] {
        let [.., a, b, c, d, e, f, g, h] = self.trace_id();
        [a, b, c, d, e, f, g, h]
    }

    /// The header, and the variable, by which a program joins the session's trace (W3C Trace Context).
    pub fn traceparent(&self) -> String {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        format!("00-{}-{}-01", hex(&self.trace_id()), hex(&self.span_id()))
    }

    /// The first thirteen characters: the id's milliseconds, a prefix that is unique in practice and short
    /// enough for a table.
    pub fn short(&self) -> String {
        self.0.to_string()[..13].to_owned()
    }
}

impl Default for SessionId {
    fn default() -> SessionId {
        SessionId::new()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<SessionId, uuid::Error> {
        Uuid::parse_str(text).map(SessionId)
    }
}

/// Names one daemon with its state: what carries another instance's label is never touched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// A new id, from chance.
    pub fn new() -> InstanceId {
        InstanceId(Uuid::new_v4())
    }
}

impl Default for InstanceId {
    fn default() -> InstanceId {
        InstanceId::new()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for InstanceId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<InstanceId, uuid::Error> {
        Uuid::parse_str(text).map(InstanceId)
    }
}
