//! The words of reports: who used what, added up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /api/v1/report`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// What to add up by, comma-separated; by user where absent. Models and tools do not go together.
    #[param(
        pattern = "^(user|team|model|tool|profile|day|week|month)(,(user|team|model|tool|profile|day|week|month))*$"
    )]
    pub by: Option<String>,
    /// First day, UTC: a date, or so many days or weeks ago; from the beginning where absent.
    #[param(pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,4}[dw])$")]
    pub since: Option<String>,
    /// Last day, the same; today where absent.
    #[param(pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,4}[dw])$")]
    pub until: Option<String>,
}

/// What is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The user's e-mail address.
    User,
    /// Their team when the session was asked for.
    Team,
    /// The model.
    Model,
    /// The tool.
    Tool,
    /// The profile.
    Profile,
    /// The day, UTC.
    Day,
    /// The week, from Monday.
    Week,
    /// The month.
    Month,
}

/// Answer of `GET /api/v1/report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// What is added up by, in this order.
    pub by: Vec<By>,
    /// First day, UTC; absent for the beginning.
    #[schema(value_type = Option<String>, format = Date)]
    pub since: Option<jiff::civil::Date>,
    /// Last day, UTC.
    #[schema(value_type = String, format = Date)]
    pub until: jiff::civil::Date,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// A line for each group: earlier ones first, then the dearer ones.
    pub rows: Vec<ReportRow>,
    /// All of them together.
    pub total: ReportRow,
}

/// A line of a report. Of work, models and tools it has what can be told of its group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportRow {
    /// Whose.
    pub group: ReportGroup,
    /// Sessions that had a part in it.
    pub sessions: u64,
    /// What was done; not by model or tool.
    pub work: Option<ReportWork>,
    /// What models used; not by tool.
    pub models: Option<ReportModels>,
    /// What tools did; not by model.
    pub tools: Option<ReportTools>,
}

/// A group: what is asked by, and has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ReportGroup {
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Team; absent for those who have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Day, as 2026-08-31.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Week, by its Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub week: Option<String>,
    /// Month, as 2026-08.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
}

/// What was done, as the client says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportWork {
    /// Prompts.
    pub turns: u64,
    /// Lines added.
    pub lines_added: u64,
    /// Lines removed.
    pub lines_removed: u64,
    /// Commits.
    pub commits: u64,
    /// Pull requests.
    pub pull_requests: u64,
    /// Seconds at work, the user's and the client's together.
    pub active_s: u64,
}

/// What models used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportModels {
    /// Calls, as the client says.
    pub calls: u64,
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
    /// Calls, as the gateway saw.
    pub gateway_calls: u64,
    /// Cost in US dollars, as the gateway saw.
    pub gateway_cost_usd: f64,
}

/// What tools did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportTools {
    /// Uses.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Milliseconds, added up.
    pub duration_ms: u64,
}
