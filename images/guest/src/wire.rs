//! The messages on the control connection, `control.sock`: the guest dials, the daemon listens.
//!
//! ```text
//!   guest                                   daemon
//!     │  Hello {protocol, started, next}      │     after every connect
//!     │ ────────────────────────────────────▶ │
//!     │                      Order::Start {…} │     once in a container's life
//!     │ ◀──────────────────────────────────── │
//!     │  records n, n+1, … (frames)           │     in order, from the first that is not acknowledged
//!     │ ────────────────────────────────────▶ │
//!     │               Order::Ack {through: n} │     the journal has them on disk
//!     │ ◀──────────────────────────────────── │
//!     │       Input frames, Order::Resize, …  │
//!     │ ◀──────────────────────────────────── │
//! ```
//!
//! A record is a frame of a kind below 64 whose `seq` is the guest's own count, from 1 and without gaps
//! for the life of the container. The guest keeps each record in its spool until it is acknowledged, so a
//! connection may break at any byte: after the next `Hello` the guest sends again everything after the
//! last `Ack`, and the daemon drops by number what it already has.
//!
//! A guest that cannot read what it is sent gives the connection up, waits a little, and says so in its next
//! `Hello`; it is for the daemon to end a session in which that does not stop.

use serde::{Deserialize, Serialize};

use crate::frame::Kind;

/// The version of this protocol. A daemon refuses a guest of another major version.
pub const PROTOCOL: u32 = 1;

/// The guest's first frame on every connection ([`crate::frame::Kind::Hello`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the guest.
    pub protocol: u32,
    /// Version of the guest's crate.
    pub version: String,
    /// Whether `Start` has been carried out: false for a spare, and for a container that has just begun.
    pub started: bool,
    /// Number of the first record that the guest still holds, from 1.
    pub next: u64,
    /// Why the connection before this one was given up, if what came on it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What the daemon tells the guest ([`crate::frame::Kind::Order`]). Typed input is not here: it travels
/// raw, in frames of kind `Input`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Become this session. A second `Start` is ignored.
    Start(Box<Start>),
    /// Every record up to and with this number is on the daemon's disk.
    Ack {
        /// The highest such number.
        through: u64,
    },
    /// Set the terminal's size, and record that in the stream.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Send a signal to the terminal's foreground process group.
    Signal {
        /// Its number, as in `kill -l`.
        signal: i32,
    },
    /// End the program: hang up and terminate now, kill after the grace, then drain and leave.
    Stop {
        /// Milliseconds between asking and killing.
        grace_ms: u64,
    },
    /// The daemon has everything, the `program_exited` record included: leave.
    Leave,
}

/// Everything that turns a generic container into one person's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment of the program.
    pub env: Vec<(String, String)>,
    /// Working directory; made, and owned by the user, if it is not there.
    pub cwd: String,
    /// The user that the program runs as.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// Terminal columns at the start.
    pub cols: u16,
    /// Terminal rows at the start.
    pub rows: u16,
    /// Whether the program may gain privileges (`sudo`); false sets `no_new_privs`.
    pub privileges: bool,
    /// Files that one process may have open; at most what the engine allows already.
    pub open_files: u64,
    /// Processes and threads that the session may have together, where the guest is to see to it: inside
    /// gVisor, whose kernel is the container's own. Elsewhere the engine has set it already.
    #[serde(default)]
    pub pids: Option<i64>,
    /// Files to write before the program starts.
    pub files: Vec<File>,
    /// Directories that the user is to own: the mount points of volumes.
    pub own: Vec<String>,
    /// Directory below which `*.jsonl` files are followed and recorded as transcripts, if any.
    pub transcripts: Option<String>,
    /// Bytes that the directories in `own` may hold together; `None` is no limit.
    pub disk_limit: Option<u64>,
    /// Bytes that the spool may hold while the daemon is away; beyond it the program's terminal waits.
    pub spool_limit: u64,
    /// Where the guest listens inside the container.
    pub listen: Listen,
    /// What the guest says with a request's number, so that nobody else can claim one; see [`REQUEST_HEADER`].
    #[serde(default)]
    pub request_key: String,
}

/// Ports on 127.0.0.1 inside the container, all leading to `gateway.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// OTLP over HTTP: read as requests, spooled while the daemon is away.
    pub otlp_http: u16,
    /// OTLP over gRPC: piped.
    pub otlp_grpc: u16,
    /// The model API and hooks: piped.
    pub gateway: u16,
    /// The egress proxy: piped.
    pub proxy: u16,
}

impl Default for Listen {
    fn default() -> Listen {
        Listen { otlp_http: 4318, otlp_grpc: 4317, gateway: 8080, proxy: 3128 }
    }
}

/// A file to write into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path; missing parent directories are made with the same owner.
    pub path: String,
    /// Its content.
    pub content: String,
    /// Whose it is. The session's user can neither write nor replace root's.
    pub owner: Owner,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
    /// What to do if the file is there already, as in a workspace that was kept.
    pub existing: Existing,
}

/// Owner of an injected file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// uid 0.
    Root,
    /// The session's user.
    User,
}

/// What happens to a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays as it is.
    Keep,
    /// Both are JSON objects: ours is merged over it, key by key, and the rest of it stays.
    Merge,
}

/// What a record of kind `Lifecycle` from the guest says, JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum GuestEvent {
    /// The program runs.
    ProgramStarted {
        /// Its process id inside the container.
        pid: u32,
    },
    /// The program could not be started; the session ends.
    ProgramFailed {
        /// What failed, on what, and what to do.
        error: String,
    },
    /// The user's directories hold so much that the limit is near (from 90 %) or passed (from 100 %).
    /// Said once for each of the two.
    DiskUsage {
        /// Bytes used.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The program has ended and every byte it wrote is in the stream before this record. The last record.
    ProgramExited {
        /// Exit code; 128 + signal when a signal ended it, as shells count.
        code: i32,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// Whether the kernel counts an out-of-memory kill in this container (`memory.events`, or
        /// `memory.oom_control` on cgroup v1).
        #[serde(default)]
        oom: bool,
        /// Whether the guest was told to end by a signal, as an engine does that stops the container, and
        /// not by [`Order::Stop`].
        #[serde(default)]
        terminated: bool,
    },
}

/// A request to 127.0.0.1:4318 that the guest answered itself while the daemon was away
/// ([`crate::frame::Kind::Request`]): JSON, a newline, then the body as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledRequest {
    /// The request's number, as in the header [`REQUEST_HEADER`] of requests that were passed on.
    pub request: u64,
    /// Path, such as `/v1/logs`.
    pub path: String,
    /// `Content-Type`, if given.
    pub content_type: Option<String>,
    /// `Content-Encoding`, if given.
    pub content_encoding: Option<String>,
}

/// Header that carries the guest's number of a request on 4318, a space, and [`Start::request_key`]. The
/// journal keeps the number as the frame's origin, so that a request whose answer was lost, and which was
/// spooled therefore, counts once. Without the key it is no number: the other ports lead to the same gateway,
/// and a session's user who could claim the numbers to come could silence their own client.
pub const REQUEST_HEADER: &str = "x-sandbox-request";

/// Head of a record of kind `Transcript`: JSON, a newline, then the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePiece {
    /// Path relative to [`Start::transcripts`].
    pub path: String,
    /// Where in the file these bytes stand. Less than what came before means the file was rewritten.
    pub offset: u64,
}

/// The most that a record of output holds; a guest sends no more than its buffer.
pub const MAX_OUTPUT: usize = 1 << 20; // bytes

/// The most that a record of the session's life holds.
pub const MAX_LIFECYCLE: usize = 256 << 10; // bytes

/// Why a frame is no record of a guest.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// It is of a kind that only the daemon writes, or that is never recorded.
    #[error("the guest sent a {} frame, which is not its to record", .0.name())]
    Kind(Kind),
    /// It is longer than any of its kind, or shorter.
    #[error("the guest sent a {} record of {} bytes, which none has", .0.name(), .1)]
    Length(Kind, usize),
    /// It does not hold what its kind says.
    #[error("the guest sent a {} record that makes no sense: {}", .0.name(), .1)]
    Payload(Kind, serde_json::Error),
}

/// Whether this is something that a guest records. Telemetry is not: it comes as requests, which are stamped.
/// The daemon asks before it believes; in a session that may become root, the guest may be anybody.
pub fn check_record(kind: Kind, payload: &[u8]) -> Result<(), NoRecord> {
    let read = match kind {
        Kind::Output if payload.len() > MAX_OUTPUT => return Err(NoRecord::Length(kind, payload.len())),
        Kind::Lifecycle if payload.len() > MAX_LIFECYCLE => {
            return Err(NoRecord::Length(kind, payload.len()));
        }
        Kind::Resize if decode_size(payload).is_none() => return Err(NoRecord::Length(kind, payload.len())),
        Kind::Output | Kind::Resize => Ok(()),
        Kind::Lifecycle => serde_json::from_slice::<GuestEvent>(payload).map(drop),
        Kind::Transcript => split_head::<FilePiece>(payload).map(drop),
        Kind::Request => split_head::<SpooledRequest>(payload).map(drop),
        other => return Err(NoRecord::Kind(other)),
    };
    read.map_err(|error| NoRecord::Payload(kind, error))
}

/// Joins a JSON head and raw bytes: the payload of `Request` and `Transcript` records.
pub fn join_head<T: Serialize>(head: &T, body: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut payload = serde_json::to_vec(head)?;
    payload.push(b'\n');
    payload.extend_from_slice(body);
    Ok(payload)
}

/// Takes apart what [`join_head`] joined.
pub fn split_head<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> serde_json::Result<(T, &'a [u8])> {
    let end = payload.iter().position(|b| *b == b'\n').unwrap_or(payload.len());
    let head = serde_json::from_slice(&payload[..end])?;
    Ok((head, payload.get(end + 1..).unwrap_or_default()))
}

/// Encodes a size as the payload of a `Resize` record.
pub fn encode_size(cols: u16, rows: u16) -> [u8; 4] {
    let (c, r) = (cols.to_le_bytes(), rows.to_le_bytes());
    [c[0], c[1], r[0], r[1]]
}

/// Decodes the payload of a `Resize` record: columns and rows.
pub fn decode_size(payload: &[u8]) -> Option<(u16, u16)> {
    let [c0, c1, r0, r1] = payload.try_into().ok()?;
    Some((u16::from_le_bytes([c0, c1]), u16::from_le_bytes([r0, r1])))
}
