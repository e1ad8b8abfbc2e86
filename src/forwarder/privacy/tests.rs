#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use opentelemetry_proto::tonic::{
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
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
fn a_tools_failure_is_its_content_wherever_it_stands() {
    let strict = filter(Keep::Keep, Keep::Keep, Keep::Drop);
    let span = |attributes| {
        let status = Some(Status { message: "diary.txt is not open".to_owned(), ..Status::default() });
        let scope = ScopeSpans {
            spans: vec![Span { attributes, status, ..Span::default() }],
            ..ScopeSpans::default()
        };
        let of = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        strict.apply(
            Signal::Traces,
            ExportTraceServiceRequest { resource_spans: vec![of] }.encode_to_vec().into(),
        )
    };
    let execution = vec![text("tool_use_id", "1"), text("error", "no such file: diary.txt")];
    let hook = vec![text("gen_ai.tool.name", "Read"), text("hook.reason", "diary.txt is not open")];
    for attributes in [execution, hook] {
        assert!(!contains(&span(attributes.clone()).unwrap(), "diary"), "{attributes:?}");
    }
    assert!(contains(&span(vec![text("model", "claude")]).unwrap(), "diary"), "it is no tool's");
}

#[test]
fn a_records_body_stays_where_it_is_the_events_name() {
    let strict = filter(Keep::Drop, Keep::Keep, Keep::Keep);
    let left = |body: &str| {
        let body = text("", body).value;
        let attributes = vec![text("event.name", "user_prompt")];
        let record = LogRecord { attributes, body, ..LogRecord::default() };
        let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
        let of = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
        let request = ExportLogsServiceRequest { resource_logs: vec![of] }.encode_to_vec();
        strict.apply(Signal::Logs, request.into()).unwrap()
    };
    assert!(contains(&left("claude_code.user_prompt"), "claude_code.user_prompt"));
    assert!(!contains(&left("my words"), "my words"));
}

#[test]
fn what_cannot_be_read_does_not_leave() {
    assert_eq!(
        filter(Keep::Drop, Keep::Keep, Keep::Keep).apply(Signal::Logs, Bytes::from_static(b"\xff")),
        None
    );
}
