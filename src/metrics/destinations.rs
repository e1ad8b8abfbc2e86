//! How destinations of telemetry are, as metrics. Their names are the operator's.

use super::{Family, Sample};
use crate::api::Destination;

/// Families of the destinations, a sample for each.
pub(super) fn families(all: &[Destination]) -> Vec<Family> {
    if all.is_empty() {
        return Vec::new();
    }
    let sent = all.iter().flat_map(|to| {
        [("traces", to.sent_traces), ("metrics", to.sent_metrics), ("logs", to.sent_logs)]
            .map(|(signal, count)| Sample::new(&[("destination", &to.name), ("signal", signal)], count))
    });
    let each = |look: fn(&Destination) -> u64| -> Vec<Sample> {
        all.iter().map(|to| Sample::new(&[("destination", &to.name)], look(to))).collect()
    };
    vec![
        Family::counter(
            "sandboxctl_forward_sent_requests_total",
            "OTLP requests that a destination took.",
            sent.collect(),
        ),
        Family::counter(
            "sandboxctl_forward_refused_requests_total",
            "OTLP requests refused for good.",
            each(|to| to.refused),
        ),
        Family::counter(
            "sandboxctl_forward_rejected_records_total",
            "Records turned away.",
            each(|to| to.rejected_records),
        ),
        Family::counter(
            "sandboxctl_forward_retries_total",
            "Tries that had to be made again.",
            each(|to| to.retries),
        ),
        Family::gauge(
            "sandboxctl_forward_waiting_frames",
            "Frames of journals that wait.",
            each(|to| to.waiting_frames),
        ),
        Family::gauge(
            "sandboxctl_forward_last_sent_timestamp_seconds",
            "When it last took something, in Unix time; 0 if it never has.",
            each(|to| to.last_sent_at.map_or(0, unix)),
        ),
        Family::gauge(
            "sandboxctl_forward_last_error_timestamp_seconds",
            "When something last went wrong, in Unix time; 0 if nothing has.",
            each(|to| to.last_error_at.map_or(0, unix)),
        ),
        Family::gauge(
            "sandboxctl_forward_lag_seconds",
            "Age of the oldest request that waits.",
            each(|to| to.lag_s),
        ),
    ]
}

fn unix(time: jiff::Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or(0)
}
