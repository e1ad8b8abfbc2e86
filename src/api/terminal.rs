//! The terminal's words: its query, and what goes over its WebSocket.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::lifecycle::Reason;

/// Query of `GET /api/v1/sessions/{id}/terminal`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct TerminalQuery {
    /// `driver` or `observer`; a caller who may only watch is an observer whatever they ask.
    pub role: Option<Role>,
    /// Sequence number of the last frame the caller has; it gets what followed, or a snapshot.
    #[param(format = "uint64")]
    pub after: Option<u64>,
}

/// What somebody at a terminal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Types, and owns the size.
    Driver,
    /// Watches.
    Observer,
}

/// JSON (text) messages of the terminal's WebSocket, server to client. Binary messages are terminal
/// output: the frame's sequence number (`u64`, big-endian), then the bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FromTerminal {
    /// The next binary message is a snapshot: clear everything, take this size, write it.
    Snapshot {
        /// The sequence number that the snapshot stands for.
        seq: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// The terminal changed its size at this point of the stream.
    Resize {
        /// Sequence number.
        seq: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// What the caller may do, on joining and whenever it changes.
    Role {
        /// The role.
        role: Role,
    },
    /// What the caller should know: an end that is near. Absent when it no longer is.
    Notice {
        /// A sentence.
        text: Option<String>,
    },
    /// The session has ended; nothing follows.
    Exit {
        /// The program's exit code, if it had one.
        code: Option<i32>,
        /// Why it ended.
        reason: Reason,
    },
}

/// JSON (text) messages of the terminal's WebSocket, client to server. Binary messages are typed bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum ToTerminal {
    /// The caller's terminal has this size; only the driver's counts.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Take or give back the driving.
    Role {
        /// The role wanted.
        role: Role,
    },
    /// Everything up to here is on the caller's screen. The server keeps at most 256 KiB unacknowledged.
    Ack {
        /// Sequence number.
        seq: u64,
    },
}
