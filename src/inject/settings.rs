//! Claude Code's managed settings: telemetry that its user cannot switch off, hooks that ask us, the MCP
//! servers that there are, and what may be done without asking.

use std::collections::BTreeMap;

use sandbox_guest::wire::Listen;
use serde_json::{Map, Value, json};

use crate::{engine::GUEST, id::SessionId, spec::Spec};

/// Hooks that can refuse, and must answer.
const DECIDED: [&str; 2] = ["PreToolUse", "UserPromptSubmit"];
/// Hooks that only tell.
const OBSERVED: [&str; 14] = [
    "PostToolUse",
    "PostToolUseFailure",
    "PermissionRequest",
    "PermissionDenied",
    "Notification",
    "Stop",
    "StopFailure",
    "SubagentStart",
    "SubagentStop",
    "PreCompact",
    "PostCompact",
    "ConfigChange",
    "SessionStart",
    "SessionEnd",
];
/// Every hook that a session's client asks or tells.
pub fn hooked() -> impl Iterator<Item = &'static str> {
    DECIDED.into_iter().chain(OBSERVED)
}

/// How long the client waits for a hook. Past it the client lets a tool run, so the guest answers (and
/// denies) well before.
const HOOK_TIMEOUT: u64 = 30; // seconds

/// Whether an environment variable is telemetry's: no image and no profile sets one of these.
pub fn is_telemetry(name: &str) -> bool {
    const FAMILIES: [&str; 3] = ["OTEL_", "CLAUDE_CODE_OTEL_", "BETA_TRACING_"];
    const OTHERS: [&str; 6] = [
        "CLAUDE_CODE_ENABLE_TELEMETRY",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA",
        "ENABLE_ENHANCED_TELEMETRY_BETA",
        "ENABLE_BETA_TRACING_DETAILED",
        // It keeps the client from running the hook of a session's start.
        "CLAUDE_CODE_SIMPLE",
        "CLAUDE_CODE_PROPAGATE_TRACEPARENT",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family)) || OTHERS.contains(&name)
}

/// How the client exports, wherever it runs: all signals, metrics so that a lost export is made good by the next, and
/// soon enough for somebody who watches.
pub(super) const EXPORT: [(&str, &str); 11] = [
    ("CLAUDE_CODE_ENABLE_TELEMETRY", "1"),
    ("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA", "1"),
    ("OTEL_METRICS_EXPORTER", "otlp"),
    ("OTEL_LOGS_EXPORTER", "otlp"),
    ("OTEL_TRACES_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "10000"),
    ("OTEL_LOGS_EXPORT_INTERVAL", "1000"),
    ("OTEL_TRACES_EXPORT_INTERVAL", "1000"),
];

/// The telemetry environment. Every name that could switch, redirect or thin it out is set here, because a
/// managed value wins over the user's.
pub(super) fn telemetry(spec: &Spec, id: SessionId) -> BTreeMap<String, String> {
    let on = |yes: bool| if yes { "1" } else { "0" };
    let said = &spec.profile.telemetry;
    let endpoint = format!("http://127.0.0.1:{}", Listen::default().otlp_http);
    let resource = [
        ("sandbox.session.id", id.to_string()),
        ("user.name", spec.user.name.clone()),
        ("user.email", spec.user.email.clone()),
    ]
    .map(|(key, value)| format!("{key}={}", percent(&value)))
    .join(",");
    let fixed = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "8192"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "512"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "60000"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "1000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8192"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "60000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1000"),
        // The client's own bounds on text are below these; smaller ones would cut records to nothing.
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "128"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "128"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "128"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "128"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "65536"),
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "65536"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "65536"),
        ("CLAUDE_CODE_OTEL_CONTENT_MAX_LENGTH", "61440"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_SERVICE_NAME", "claude-code"),
        ("OTEL_METRICS_INCLUDE_SESSION_ID", "true"),
        ("OTEL_METRICS_INCLUDE_VERSION", "true"),
        ("OTEL_METRICS_INCLUDE_RESOURCE_ATTRIBUTES", "true"),
        ("OTEL_RESOURCE_ATTRIBUTES", resource.as_str()),
        ("OTEL_LOG_USER_PROMPTS", on(said.prompts)),
        ("OTEL_LOG_ASSISTANT_RESPONSES", on(said.prompts)),
        ("OTEL_LOG_TOOL_DETAILS", on(said.tool_details)),
        ("OTEL_LOG_TOOL_CONTENT", on(said.tool_content)),
        ("OTEL_LOG_MANAGED_SETTINGS", "1"),
        // Longer than the guest waits for a daemon that does not answer, before it answers itself.
        ("CLAUDE_CODE_OTEL_SHUTDOWN_TIMEOUT_MS", "10000"),
        ("CLAUDE_CODE_OTEL_FLUSH_TIMEOUT_MS", "10000"),
        ("CLAUDE_CODE_PROPAGATE_TRACEPARENT", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_UPDATES", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
    ];
    EXPORT.iter().chain(&fixed).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `managed-settings.json`.
pub(super) fn managed(spec: &Spec, id: SessionId) -> Value {
    let policy = &spec.profile.policy;
    json!({
        "env": telemetry(spec, id),
        "cleanupPeriodDays": 365,
        "allowManagedHooksOnly": true,
        "allowManagedMcpServersOnly": true,
        "permissions": {
            "defaultMode": policy.mode,
            // Its check of actions is a service that does not answer behind a gateway.
            "disableAutoMode": "disable",
            "disableBypassPermissionsMode": "disable",
            "allow": policy.allow,
            "ask": policy.ask,
            "deny": policy.deny,
        },
        "hooks": hooks(),
    })
}

fn hooks() -> Value {
    let hook = |command: String| json!([{ "hooks": [{ "type": "command", "command": command, "timeout": HOOK_TIMEOUT }] }]);
    let mut hooks = Map::new();
    for event in DECIDED {
        hooks.insert(event.to_owned(), hook(format!("{GUEST} hook")));
    }
    for event in OBSERVED {
        hooks.insert(event.to_owned(), hook(format!("{GUEST} hook --observe")));
    }
    Value::Object(hooks)
}

/// `managed-mcp.json`: only these servers load. A stdio server runs behind the guest's tap, which records
/// what is said.
pub(super) fn mcp(servers: &BTreeMap<String, Value>) -> Value {
    let servers: Map<String, Value> =
        servers.iter().map(|(name, server)| (name.clone(), tapped(name, server))).collect();
    json!({ "mcpServers": servers })
}

fn tapped(name: &str, server: &Value) -> Value {
    let Some(command) = server.get("command").and_then(Value::as_str) else { return server.clone() };
    let mut args = vec![json!("tap"), json!("--name"), json!(name), json!("--"), json!(command)];
    args.extend(server.get("args").and_then(Value::as_array).cloned().unwrap_or_default());
    let mut tapped = server.clone();
    tapped["command"] = json!(GUEST);
    tapped["args"] = json!(args);
    tapped
}

/// Percent-encodes a value of `OTEL_RESOURCE_ATTRIBUTES` (W3C Baggage, as the OpenTelemetry resource SDK
/// specification has it).
pub(super) fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
