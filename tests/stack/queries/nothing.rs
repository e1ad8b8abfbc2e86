//! What is rightly empty, each with its reason. An excuse that no query needs any more is an error.

use super::gather::Query;

/// The beginning of a query's place, and why it finds nothing in the test's sessions.
pub const EXCUSES: &[(&str, &str)] = &[
    ("rules: ClaudeCostHigh", "an alert: nobody spent that much"),
    ("rules: ClaudeCostOfOnePersonHigh", "an alert: nobody spent that much"),
    ("rules: SandboxBudgetNearEnd", "an alert: the profile has no budget"),
    ("rules: SandboxSessionDark", "an alert: every session sends"),
    ("rules: SandboxIncomplete", "an alert: every session is complete"),
    ("rules: SandboxTelemetryRefused", "an alert: the disk has space"),
    ("rules: SandboxHookDenialsSpike", "an alert: one denial is no spike"),
    ("rules: SandboxStartsFail", "an alert: all starts went well"),
    ("rules: SandboxDaemonAbsent", "an alert: the daemon is there"),
    ("rules: SandboxForwardLag", "an alert: nothing lags"),
    ("rules: SandboxForwardRejected", "an alert: the collector takes everything"),
    ("rules: CollectorQueueFilling", "an alert: every backend is there"),
    ("rules: CollectorLosesData", "an alert: every backend takes everything"),
    ("rules: SandboxDiskLow", "an alert: the disk has space"),
    ("rules: SandboxDiskFillsSoon", "an alert: the disk has space"),
    ("guard.json: Model calls refused (A)", "the gateway refused none"),
    ("guard.json: Changes of mode, and safety events (A)", "nobody changed the mode, and auto mode is off"),
    ("health.json: Alerts (A)", "none has fired for as long as it has to"),
    ("health.json: Rules that fail (A)", "none fails"),
    ("health.json: Failed (", "nothing failed"),
    ("health.json: Disk lasts (A)", "the disk need not shrink in a minute"),
    ("health.json: Rejected lines (A)", "Loki took every line"),
    ("tools.json: Calls (B)", "the MCP tool never failed"),
    ("tools.json: Calls given up (A)", "the demo model always answers"),
    ("tools.json: Waits for a person (A)", "nobody kept a tool waiting"),
    ("docs/metrics.md: Who is above the daily limit", "nobody is"),
    ("docs/metrics.md: Which alerts fire?", "none has fired for as long as it has to"),
    ("docs/metrics.md: Which calls of the model failed for good?", "the demo model always answers"),
    ("docs/metrics.md: Where did a person keep a tool waiting?", "nobody did"),
    ("docs/metrics.md: When is the disk", "not within a week"),
    ("docs/troubleshooting.md: - **See:** `sandboxctl stack logs collector`", "Loki took every line"),
];

/// Fields of events that no session here has: `event.field`, or `*.field` wherever it stands.
pub const FIELDS: [(&str, &str); 10] = [
    ("api_request.marketplace_name", "no plugin was used"),
    ("api_request.plugin_name", "no plugin was used"),
    ("compaction.error", "it went well"),
    ("mcp_server_connection.plugin_id_hash", "no plugin brought a server"),
    ("mcp_server_connection.plugin_name", "no plugin brought a server"),
    ("tool_result.decision_type", "left out by this release of the client"),
    ("tool_result.decision_source", "left out by this release of the client"),
    ("tool_result.vcs_ref_head_name", "only of commits that the client made by itself"),
    ("tool_result.vcs_ref_head_revision", "the same"),
    ("tool_result.vcs_ref_head_type", "the same"),
];

/// Metrics that are not there before something goes wrong.
const METRICS: &[(&str, &str)] = &[
    ("loki_discarded_samples_total", "Loki took every line"),
    ("otelcol_exporter_enqueue_failed_log_records_total", "no queue was full"),
    ("otelcol_exporter_enqueue_failed_metric_points_total", "no queue was full"),
    ("otelcol_exporter_enqueue_failed_spans_total", "no queue was full"),
    ("otelcol_exporter_send_failed_log_records_total", "nothing was given up"),
    ("otelcol_exporter_send_failed_metric_points_total", "nothing was given up"),
    ("otelcol_exporter_send_failed_spans_total", "nothing was given up"),
];

/// Why a query may find nothing.
pub fn reason(query: &Query) -> Option<&'static (&'static str, &'static str)> {
    EXCUSES.iter().find(|(place, _)| query.place.starts_with(place))
}

/// Why a metric may not be there.
pub fn metric(name: &str) -> Option<&'static str> {
    METRICS.iter().find(|(metric, _)| *metric == name).map(|(_, why)| *why)
}
