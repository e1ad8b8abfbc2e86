//! The words of invites, and of those who come by one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::spec::Credential;

/// Body of `POST /api/v1/invites`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InviteRequest {
    /// Profile of the sessions it starts.
    pub profile: Option<String>,
    /// How many sessions it may start; 1 where absent.
    #[schema(minimum = 1, maximum = 10000)]
    pub uses: Option<u32>,
    /// Seconds until it expires; a day where absent.
    #[schema(minimum = 1, maximum = 7776000)]
    pub expires_s: Option<u64>,
}

/// An invite. The link is told once, here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// The link to give away.
    pub url: String,
    /// Profile of the sessions it starts.
    pub profile: String,
    /// Sessions it may still start.
    pub uses: u32,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What the join page says before anybody consents: answer of `GET /api/v1/invites/{token}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// Profile.
    pub profile: String,
    /// Whose credential pays.
    pub credential: Credential,
    /// Longest life of the session, in seconds.
    pub ttl_s: u64,
    /// What is recorded, a sentence each.
    pub recorded: Vec<String>,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Body of `POST /api/v1/invites/{token}/join`. The answer is the session, and a cookie that drives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// Name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// That they agree to what is recorded.
    pub consent: bool,
    /// Their own API key, for profiles of credential `user`.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Terminal columns.
    #[serde(default)]
    pub cols: Option<u16>,
    /// Terminal rows.
    #[serde(default)]
    pub rows: Option<u16>,
}
