//! What can stand in a journal beside terminal bytes and OTLP: the JSON payloads of the other kinds.
//!
//! These are records, not commands: each says what happened, in the past tense, and is written once.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::lifecycle::{Phase, Reason};

/// A step of the session's life ([`Kind::Lifecycle`](sandbox_guest::frame::Kind)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Lifecycle {
    /// The session entered a phase. The first record of every journal says `requested`.
    Phase {
        /// The phase.
        phase: Phase,
        /// Why, where it is an end.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// The guest runs the program.
    ProgramStarted {
        /// Process id inside the container.
        pid: u32,
    },
    /// The guest could not run the program.
    ProgramFailed {
        /// What failed.
        error: String,
    },
    /// The program has ended, and all it wrote stands before this record.
    ProgramExited {
        /// Exit code; 128 + signal where a signal ended it.
        code: i32,
        /// That signal.
        signal: Option<i32>,
        /// Whether the container's memory has run out at least once.
        #[serde(default)]
        oom: bool,
        /// Whether the guest was told to end by a signal, as an engine does that stops the container.
        #[serde(default)]
        terminated: bool,
    },
    /// The user's directories come near their limit, or pass it.
    DiskUsage {
        /// Bytes used.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A daemon found the session running and took it over.
    Adopted {
        /// Version of the daemon.
        version: String,
    },
    /// Somebody joined the terminal.
    Joined {
        /// Who, as far as is known.
        who: String,
        /// Whether they may type.
        driver: bool,
    },
    /// They left.
    Left {
        /// Who.
        who: String,
    },
    /// The end by time is near, and the user has been told.
    Warned {
        /// What will end it.
        reason: Reason,
        /// Milliseconds until then.
        in_ms: u64,
    },
    /// Opening the journal after a crash cut a torn tail off.
    Repaired {
        /// Bytes cut.
        cut_bytes: u64,
    },
    /// Frames of this record are gone that had been on the disk: others stand under their numbers now.
    FramesLost {
        /// Number of the first.
        from: u64,
        /// Number of the last.
        through: u64,
    },
    /// The guest could not read what the daemon sent it.
    OrderUnread {
        /// What is wrong with it.
        error: String,
    },
    /// Records of the guest are gone: its spool was damaged before the daemon had them.
    RecordsLost {
        /// Number of the first.
        from: u64,
        /// Number of the last.
        through: u64,
    },
    /// What the guest left in its spool cannot all be read.
    SpoolDamaged {
        /// What is wrong with it.
        error: String,
    },
    /// More happened while the journal took nothing than could be remembered.
    Unrecorded {
        /// How many events.
        events: u64,
    },
    /// A request that the guest had answered for the daemon turned out to be unreadable, and is not kept.
    RequestRefused {
        /// Where it was sent.
        path: String,
        /// Its length.
        bytes: u64,
        /// What is wrong with it.
        error: String,
    },
}

/// A question of a hook and its answer ([`Kind::Hook`](sandbox_guest::frame::Kind)).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hook {
    /// Claude Code's name of the event, such as `PreToolUse`.
    pub event: String,
    /// The tool, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Claude Code's id of the tool's use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_use_id: Option<String>,
    /// `allow`, `deny` or `observe`.
    pub decision: String,
    /// Why it was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What Claude Code sent, whole.
    pub input: Box<RawValue>,
}

/// Of a [`Hook`], what is counted and told: whose input may be long, and is passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct HookVerdict {
    /// As there.
    pub event: String,
    /// As there.
    pub tool: Option<String>,
    /// As there.
    #[serde(default)]
    pub tool_use_id: Option<String>,
    /// As there.
    pub decision: String,
    /// As there.
    pub reason: Option<String>,
}

/// A message between Claude Code and a stdio MCP server ([`Kind::Mcp`](sandbox_guest::frame::Kind)).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mcp {
    /// The server's name in the configuration.
    pub server: String,
    /// `to_server` or `to_client`.
    pub direction: String,
    /// The JSON-RPC message; a string where it was none.
    pub message: Box<RawValue>,
}

/// A call of the model API ([`Kind::Model`](sandbox_guest::frame::Kind)).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The model asked for.
    pub model: String,
    /// The API's request id, if it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// HTTP status of the answer; 0 where the client hung up before there was one.
    pub status: u16,
    /// From the request's arrival to the answer's last byte.
    pub duration_ms: u64,
    /// Input tokens that were not cached.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the cache.
    pub cache_creation_tokens: u64,
    /// Of these, those for an hour, which cost more.
    #[serde(default)]
    pub cache_creation_1h_tokens: u64,
    /// Their price by the configuration's list.
    pub cost_usd: f64,
    /// Claude Code's session id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claude_session_id: Option<String>,
    /// The span of the client's that the call belongs to, as its `traceparent` names it (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Why the gateway itself refused the call: `budget`, `credential`, `upstream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// An attempt to reach the network ([`Kind::Egress`](sandbox_guest::frame::Kind)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Egress {
    /// Host as the session named it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether it was let through.
    pub allowed: bool,
    /// Why not, or what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes the session sent; known at the end of the connection.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Bytes it got.
    #[serde(default)]
    pub received_bytes: u64,
}
