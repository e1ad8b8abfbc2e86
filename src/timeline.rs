//! The timeline: what stands in the journal, a readable line for each thing that happened.
//!
//! Pure. Terminal output is not in it: that is what the recording is for. Every text is inert.

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, collector::metrics::v1::ExportMetricsServiceRequest,
    collector::trace::v1::ExportTraceServiceRequest, logs::v1::LogRecord,
};
use prost::Message;
use sandbox_guest::wire::{self, FilePiece};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    api::Event,
    clock,
    event::{Egress, HookVerdict, Lifecycle, Mcp, Model},
    inert::inert,
    journal::{Entry, Kind, Seal},
    raw,
    summary::attributes::{Attributes, shown},
};

/// Attributes that every event of Claude Code repeats: they are left out of the timeline.
const REPEATED: [&str; 12] = [
    "session.id",
    "user.id",
    "user.name",
    "user.email",
    "user.account_uuid",
    "organization.id",
    "app.version",
    "app.entrypoint",
    "terminal.type",
    "event.timestamp",
    "anthropic.provider",
    "anthropic.custom_base_url",
];

/// What a frame tells: nothing, one thing, or (a batch of log records) several.
pub fn events(entry: &Entry) -> Vec<Event> {
    match entry.kind {
        Kind::Lifecycle => read::<Lifecycle>(entry, |event| (name_of(&entry.payload), lifecycle(&event))),
        Kind::Hook => read::<HookVerdict>(entry, |hook| (hook.event.clone(), hook_text(&hook))),
        Kind::Mcp => read::<Mcp>(entry, |mcp| {
            let what = method(&mcp.message).unwrap_or_else(|| "answer".to_owned());
            (what, format!("{} {}", mcp.server, mcp.direction.replace('_', " ")))
        }),
        Kind::Model => read::<Model>(entry, |call| ("model_call".to_owned(), call_text(&call))),
        Kind::Egress => read::<Egress>(entry, |egress| {
            let verdict = if egress.allowed { "allowed" } else { "denied" };
            (
                verdict.to_owned(),
                format!("{}:{}{}", egress.host, egress.port, because(egress.reason.as_deref())),
            )
        }),
        Kind::Seal => read::<Seal>(entry, |_| ("sealed".to_owned(), "the record was signed".to_owned())),
        Kind::Logs => logs(entry),
        kind => told(kind, &entry.payload)
            .map(|(name, text, data)| line(entry, entry.time, name, &text, built(&data)))
            .into_iter()
            .collect(),
    }
}

/// What a frame tells that is no JSON of ours: its name, a sentence, the data.
fn told(kind: Kind, payload: &Bytes) -> Option<(&'static str, String, Value)> {
    Some(match kind {
        Kind::Resize => {
            let (cols, rows) = wire::decode_size(payload)?;
            ("resize", format!("{cols}×{rows}"), json!({ "cols": cols, "rows": rows }))
        }
        Kind::Marker => {
            let label = inert(&String::from_utf8_lossy(payload));
            ("marker", label.clone(), json!({ "label": label }))
        }
        Kind::Traces => {
            let request = ExportTraceServiceRequest::decode(payload.clone()).ok()?;
            let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
            let names: Vec<String> = spans.map(|span| inert(&span.name)).collect();
            ("spans", format!("{} spans: {}", names.len(), names.join(", ")), json!({ "names": names }))
        }
        Kind::Metrics => {
            let request = ExportMetricsServiceRequest::decode(payload.clone()).ok()?;
            let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
            let names: Vec<String> = scopes.flat_map(|s| &s.metrics).map(|m| inert(&m.name)).collect();
            ("metrics", format!("{} metrics", names.len()), json!({ "names": names }))
        }
        Kind::Transcript => {
            let (piece, bytes) = wire::split_head::<FilePiece>(payload).ok()?;
            let (path, len) = (inert(&piece.path), bytes.len());
            ("transcript", format!("{path}: {len} bytes"), json!({ "path": path, "bytes": len }))
        }
        Kind::Injected => ("injected", "what the container was told to be".to_owned(), Value::Null),
        // Each has its own way into the timeline.
        Kind::Lifecycle | Kind::Hook | Kind::Mcp | Kind::Model | Kind::Egress | Kind::Logs | Kind::Seal => {
            return None;
        }
        Kind::Output
        | Kind::Input
        | Kind::Segment
        | Kind::Request
        | Kind::Hello
        | Kind::Order
        | Kind::Stalled => return None,
    })
}

fn hook_text(hook: &HookVerdict) -> String {
    let tool = hook.tool.as_deref().unwrap_or_default();
    format!("{tool} {}{}", hook.decision, because(hook.reason.as_deref()))
}

fn call_text(call: &Model) -> String {
    let Model { model, status, duration_ms, input_tokens, output_tokens, cost_usd, refused, .. } = call;
    match refused {
        Some(why) => format!("{model} refused: {why}"),
        None => {
            format!(
                "{model} {status} in {duration_ms} ms: {input_tokens} in, {output_tokens} out, ${cost_usd:.4}"
            )
        }
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// An event that is JSON in the journal, and is passed on as it stands there.
fn read<T: serde::de::DeserializeOwned>(
    entry: &Entry,
    tell: impl FnOnce(T) -> (String, String),
) -> Vec<Event> {
    // Its own fields stand around what the session sent.
    const DEPTH: usize = raw::MAX_DEPTH + 4;
    let said = serde_json::from_slice(&entry.payload).ok();
    let data = serde_json::from_slice(&entry.payload).ok().and_then(|data| raw::compact(data, DEPTH));
    let event = said.zip(data).map(|(event, data)| {
        let (name, text) = tell(event);
        line(entry, entry.time, &name, &text, data)
    });
    event.into_iter().collect()
}

/// The method of a JSON-RPC message that has one.
fn method(message: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Call {
        method: Option<String>,
    }
    serde_json::from_str::<Call>(message.get()).ok().filter(|_| raw::is_object(message))?.method
}

/// A line for each record of a batch.
fn logs(entry: &Entry) -> Vec<Event> {
    let Ok(request) = ExportLogsServiceRequest::decode(entry.payload.clone()) else { return Vec::new() };
    let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
    scopes.flat_map(|s| &s.log_records).map(|record| log(entry, record)).collect()
}

fn log(entry: &Entry, record: &LogRecord) -> Event {
    let said = Attributes(&record.attributes);
    let name = said.text("event.name").unwrap_or("log");
    let data: Map<String, Value> = record
        .attributes
        .iter()
        .filter(|a| !REPEATED.contains(&a.key.as_str()))
        .map(|a| (a.key.clone(), shown(a.value.as_ref())))
        .collect();
    let time = match record.time_unix_nano {
        0 => entry.time,
        nanos => nanos / 1000,
    };
    line(entry, time, name, &log_text(name, said), built(&Value::Object(data)))
}

fn log_text(name: &str, said: Attributes<'_>) -> String {
    let text = |key| said.text(key).unwrap_or_default();
    let number = |key| said.number(key).unwrap_or(0);
    match name {
        "user_prompt" => format!("“{}”", said.text("prompt").unwrap_or("<not recorded>")),
        "assistant_response" => format!("“{}”", said.text("response").unwrap_or("<not recorded>")),
        "api_request" => format!(
            "{} in {} ms: {} in, {} out, ${:.4}",
            text("model"),
            number("duration_ms"),
            number("input_tokens"),
            number("output_tokens"),
            said.amount("cost_usd").unwrap_or(0.0)
        ),
        "api_error" => format!("{} {}", text("model"), text("error")),
        "tool_result" => {
            let outcome = if said.flag("success") == Some(false) { "failed" } else { "ok" };
            format!("{} {outcome}, {} ms", text("tool_name"), number("duration_ms"))
        }
        "tool_decision" => format!("{} {} ({})", text("tool_name"), text("decision"), text("source")),
        "hook_execution_complete" => format!("{} {} ms", text("hook_event"), number("total_duration_ms")),
        "mcp_server_connection" => format!("{} {}", text("server_name"), text("status")),
        _ => String::new(),
    }
}

fn lifecycle(event: &Lifecycle) -> String {
    match event {
        Lifecycle::Phase { phase, reason: None } => phase.name().to_owned(),
        Lifecycle::Phase { phase, reason: Some(reason) } => format!("{}: {}", phase.name(), reason.phrase()),
        Lifecycle::ProgramStarted { pid } => format!("process {pid}"),
        Lifecycle::ProgramFailed { error } => error.clone(),
        Lifecycle::ProgramExited { code, signal: None, .. } => format!("exit code {code}"),
        Lifecycle::ProgramExited { signal: Some(signal), .. } => format!("ended by signal {signal}"),
        Lifecycle::DiskUsage { used, limit } => format!("{used} of {limit} bytes"),
        Lifecycle::Adopted { version } => format!("by daemon {version}"),
        Lifecycle::Joined { who, driver } => format!("{who}, to {}", if *driver { "drive" } else { "watch" }),
        Lifecycle::Left { who } => who.clone(),
        Lifecycle::Warned { reason, in_ms } => format!("ends in {} s: {}", in_ms / 1000, reason.phrase()),
        Lifecycle::Repaired { cut_bytes } => format!("{cut_bytes} bytes of a torn tail were cut"),
        Lifecycle::OrderUnread { error } | Lifecycle::SpoolDamaged { error } => error.clone(),
        Lifecycle::RecordsLost { from, through } => format!("records {from} to {through} of the guest"),
        Lifecycle::FramesLost { from, through } => {
            format!("frames {from} to {through} of the record had been on the disk")
        }
        Lifecycle::Unrecorded { events } => format!("{events} events, while the disk took nothing"),
        Lifecycle::RequestRefused { path, bytes, error } => format!("{path}, {bytes} bytes: {error}"),
    }
}

fn name_of(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }
    serde_json::from_slice(payload).map_or_else(|_| "lifecycle".to_owned(), |named: Named| named.event)
}

/// What was made here, as JSON: it can always be written.
fn built(data: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn line(entry: &Entry, time: u64, name: &str, text: &str, data: Box<RawValue>) -> Event {
    Event {
        seq: entry.seq,
        time: clock::timestamp(time),
        kind: entry.kind.name().to_owned(),
        name: inert(name),
        text: inert(text),
        data,
    }
}
