#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use opentelemetry_proto::tonic::{
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum},
    trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event},
};

use super::*;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn filter(prompts: Keep, users: Keep, tools: Keep) -> Filter {
    Filter::new(&Privacy { prompts, users, tools }, "secret")
}

fn logs(attributes: Vec<KeyValue>) -> Bytes {
    let record = LogRecord { attributes, ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = Some(Resource { attributes: vec![text("user.email", "a@b.c")], ..Resource::default() });
    let of = ResourceLogs { resource, scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![of] }.encode_to_vec().into()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn nothing_is_touched_where_everything_is_kept() {
    let request = Bytes::from_static(b"no protobuf at all");
    let kept = filter(Keep::Keep, Keep::Keep, Keep::Keep).apply(Signal::Logs, request.clone());
    assert_eq!(kept, Some(request));
}

#[test]
fn what_is_dropped_is_gone_and_the_rest_is_there() {
    let request = logs(vec![text("prompt", "my words"), text("tool_input", "rm"), text("model", "claude")]);
    let left = filter(Keep::Drop, Keep::Drop, Keep::Keep).apply(Signal::Logs, request).unwrap();
    assert_eq!(
        ["my words", "prompt", "a@b.c", "rm", "claude"].map(|text| contains(&left, text)),
        [false, false, false, true, true]
    );
}

#[test]
fn an_error_is_a_tools_where_there_is_a_tool() {
    let strict = filter(Keep::Keep, Keep::Keep, Keep::Drop);
    let tool = logs(vec![text("tool_name", "Bash"), text("error", "no such file: diary.txt")]);
    assert!(!contains(&strict.apply(Signal::Logs, tool).unwrap(), "diary"));
    let model = logs(vec![text("model", "claude"), text("error", "overloaded")]);
    assert!(contains(&strict.apply(Signal::Logs, model).unwrap(), "overloaded"));
}

#[test]
fn what_is_hashed_can_be_joined_and_not_read() {
    let request = || logs(vec![text("prompt", "my words")]);
    let first = filter(Keep::Hash, Keep::Hash, Keep::Keep);
    let sent = first.apply(Signal::Logs, request()).unwrap();
    assert_eq!(sent, first.apply(Signal::Logs, request()).unwrap());
    assert!(!contains(&sent, "my words") && !contains(&sent, "a@b.c"));
    assert!(contains(&sent, "prompt") && contains(&sent, "user.email"));
    let other = Filter::new(&first.privacy, "another daemon's");
    assert_ne!(sent, other.apply(Signal::Logs, request()).unwrap());
}

#[test]
fn spans_their_events_and_points_are_looked_at_too() {
    let event =
        Event { name: TOOL_EVENT.to_owned(), attributes: vec![text("anything", "said")], ..Event::default() };
    let span =
        Span { attributes: vec![text("user_prompt", "my words")], events: vec![event], ..Span::default() };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    let of = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let traces = ExportTraceServiceRequest { resource_spans: vec![of] }.encode_to_vec();
    let strict = filter(Keep::Drop, Keep::Drop, Keep::Drop);
    let left = strict.apply(Signal::Traces, traces.into()).unwrap();
    assert!(!contains(&left, "my words") && !contains(&left, "said"));
    let point = NumberDataPoint { attributes: vec![text("user.id", "u1")], ..NumberDataPoint::default() };
    let data = Some(Data::Sum(Sum { data_points: vec![point], ..Sum::default() }));
    let metric = Metric { name: "m".to_owned(), data, ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let of = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let metrics = ExportMetricsServiceRequest { resource_metrics: vec![of] }.encode_to_vec();
    assert!(!contains(&strict.apply(Signal::Metrics, metrics.into()).unwrap(), "u1"));
}

#[test]
fn what_cannot_be_read_does_not_leave() {
    assert_eq!(
        filter(Keep::Drop, Keep::Keep, Keep::Keep).apply(Signal::Logs, Bytes::from_static(b"\xff")),
        None
    );
}
