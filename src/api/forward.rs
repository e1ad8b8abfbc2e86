//! The words of destinations that telemetry is forwarded to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::Protocol;

/// A destination and how it is, since this daemon started: an item of `GET /api/v1/destinations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Destination {
    /// Its name in the configuration.
    pub name: String,
    /// Its address, without a name and password.
    pub endpoint: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Requests with spans that it took.
    pub sent_traces: u64,
    /// Requests with metrics that it took.
    pub sent_metrics: u64,
    /// Requests with log records that it took.
    pub sent_logs: u64,
    /// Requests that it refused for good.
    pub refused: u64,
    /// Records that it turned away from requests that it took.
    pub rejected_records: u64,
    /// Tries that have to be made again.
    pub retries: u64,
    /// Frames of journals that wait for it, those that are no telemetry included.
    pub waiting_frames: u64,
    /// Age of the oldest request that waits, in seconds.
    pub lag_s: u64,
    /// When it last took something.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_sent_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// And when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_error_at: Option<Timestamp>,
}
