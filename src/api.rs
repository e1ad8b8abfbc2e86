//! The HTTP API's words: what goes over the wire as JSON, for the page, the CLI and scripts alike.
//!
//! Times are RFC 3339 in UTC, sizes are bytes, durations name their unit. The server's document
//! (`/api/openapi.json`) is generated from these types.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    id::SessionId,
    lifecycle::{Phase, Reason},
    spec::{Credential, User},
};

mod forward;
mod invite;
mod report;
mod terminal;

pub use forward::Destination;
pub use invite::{Invitation, Invite, InviteRequest, JoinRequest};
pub use report::{By, Report, ReportGroup, ReportModels, ReportQuery, ReportRow, ReportTools, ReportWork};
pub use terminal::{FromTerminal, Role, TerminalQuery, ToTerminal};

/// Body of `POST /api/v1/sessions`. Everything is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartRequest {
    /// Who it is for; the caller, where absent.
    pub user: Option<User>,
    /// Profile; the configuration's default where absent.
    #[schema(min_length = 1)]
    pub profile: Option<String>,
    /// Image, in place of the profile's.
    #[schema(pattern = "^[A-Za-z0-9._/:@-]{1,255}$")]
    pub image: Option<String>,
    /// Program and arguments, in place of the profile's.
    pub program: Vec<String>,
    /// Time to live in seconds, at most the profile's.
    #[schema(minimum = 1)]
    pub ttl_s: Option<u64>,
    /// Name of a workspace that is kept for this user's next session: letters, digits, `-`, `_`, `.`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub workspace: Option<String>,
    /// Terminal columns at the start.
    #[schema(minimum = 1, maximum = 1000)]
    pub cols: Option<u16>,
    /// Terminal rows at the start.
    #[schema(minimum = 1, maximum = 1000)]
    pub rows: Option<u16>,
    /// The user's own API key, for profiles of credential `user`: handed to the guest and kept nowhere.
    #[schema(pattern = "^[!-~]{1,1024}$")]
    pub api_key: Option<String>,
}

/// A session as everybody sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: SessionId,
    /// Who it is for.
    pub user: User,
    /// Their team, if the configuration gave them one when the session was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Its profile.
    pub profile: String,
    /// Whose credential pays for the model.
    pub credential: Credential,
    /// Its container image.
    pub image: String,
    /// Its program and arguments.
    pub program: Vec<String>,
    /// Its kept workspace, if any.
    pub workspace: Option<String>,
    /// Where it stands in its life.
    pub phase: Phase,
    /// Why it ended, or is ending.
    pub reason: Option<Reason>,
    /// The program's exit code, once it has one.
    pub exit_code: Option<i32>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its program began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// When its time to live is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Last output, input or telemetry.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub active_at: Option<Timestamp>,
    /// Terminal columns.
    pub cols: u16,
    /// Terminal rows.
    pub rows: u16,
    /// The terminal's title, as the program set it, made inert.
    pub title: String,
    /// Who is attached.
    pub viewers: u32,
    /// What the user should know: an end that is near, a disk that fills.
    pub warning: Option<String>,
    /// Bytes in the journal.
    pub recorded_bytes: u64,
    /// What it did and what that cost.
    pub totals: Totals,
    /// Share of what must have been sent that has arrived, 0 to 1; absent before there is any.
    pub completeness: Option<f64>,
}

/// What a session did, counted from its journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Prompts.
    pub turns: u64,
    /// Input tokens, not cached.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the cache.
    pub cache_creation_tokens: u64,
    /// Cost in US dollars, as the client reckons.
    pub cost_usd: f64,
    /// The same, as the gateway saw it.
    pub gateway_cost_usd: f64,
    /// Tools run.
    pub tools: u64,
    /// API errors and failed tools.
    pub errors: u64,
}

impl Totals {
    /// All tokens.
    pub fn tokens(&self) -> u64 {
        let all = [self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_creation_tokens];
        all.into_iter().fold(0, u64::saturating_add)
    }
}

/// Answer of `GET /api/v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionList {
    /// Newest first.
    pub sessions: Vec<Session>,
}

/// Query of `GET /api/v1/sessions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Ended ones too.
    pub all: bool,
}

/// Query of `DELETE /api/v1/sessions/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EndQuery {
    /// Remove the record too; only of a session that has ended.
    pub purge: bool,
    /// A sentence for the record, on why it is stopped.
    #[param(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub note: Option<String>,
}

/// Query of `GET /api/v1/sessions/{id}/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// First sequence number.
    #[param(format = "uint64")]
    pub from: u64,
    /// Stay, and send what comes.
    pub follow: bool,
    /// Only these kinds, comma-separated: `lifecycle,hook,model`.
    #[param(
        pattern = "^(output|input|resize|marker|traces|metrics|logs|hook|mcp|model|egress|lifecycle|transcript|injected)(,(output|input|resize|marker|traces|metrics|logs|hook|mcp|model|egress|lifecycle|transcript|injected))*$"
    )]
    pub kind: Option<String>,
}

/// Query of `GET /api/v1/sessions/{id}/wait`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Seconds after which the session is told as it is then, ended or not; 30 where absent.
    #[param(maximum = 300)]
    pub timeout_s: Option<u16>,
}

/// Query of `GET /api/v1/sessions/{id}/export`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// The workspace too, as `workspace.tar`; only of a session that lives.
    pub workspace: bool,
}

/// Who the daemon takes the caller for: answer of `GET /api/v1/whoami`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// Whether the caller may do everything.
    pub admin: bool,
    /// Who, as records will say it; absent for a caller that nothing is known of.
    pub name: Option<String>,
}

/// A line of a session's timeline.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Sequence number in the journal.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The journal's kind: `lifecycle`, `logs`, `hook`, …
    pub kind: String,
    /// What happened, in short: `program_exited`, `tool_result`, `PreToolUse`, …
    pub name: String,
    /// One readable line.
    pub text: String,
    /// The details, where there are any.
    #[schema(value_type = Option<Object>)]
    pub data: Box<RawValue>,
}

/// For the document: an event of a stream of server-sent ones, as the browser's `EventSource` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerSent {
    /// In a timeline, the sequence number; a stream that is asked for with it goes on from there.
    #[serde(default)]
    pub id: Option<String>,
    /// JSON: an `Event` of a timeline, or a `SessionList`.
    pub data: String,
}

/// Body of `POST /api/v1/login`: the admin token, exchanged for a cookie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The token.
    pub token: String,
}

/// A new admin token: answer of `POST /api/v1/token`, which only the local admin socket takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The token. It is told once, here; the one before it no longer works.
    pub token: String,
}

/// Answer of `GET /api/v1/info`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// Version of the daemon.
    pub version: String,
    /// Its instance.
    pub instance: String,
    /// Where the page is.
    pub url: String,
    /// The key that leaves an attached terminal.
    pub detach_key: String,
    /// Names of the profiles, the default first.
    pub profiles: Vec<String>,
}

/// A check that the daemon made of itself and its surroundings: a line of `GET /api/v1/doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it went.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do, where something is wrong.
    pub remedy: Option<String>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Good.
    Ok,
    /// Works, and could be better.
    Warning,
    /// Does not work.
    Failed,
}

/// Every error's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable code, such as `session_not_found`.
    pub code: String,
    /// A sentence: what failed, on what, and what to do.
    pub message: String,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The request's id, as in the daemon's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
