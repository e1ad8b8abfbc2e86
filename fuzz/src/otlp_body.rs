//! The body of an OTLP request, protobuf or JSON, when it is anything at all.
//!
//! - What is taken decodes as the message that it claims to be.
//! - Every resource has the session's attributes once, and nothing else anywhere has a key of ours.
//! - Stamping again changes nothing.
//! - JSON becomes protobuf that is taken, unless it is nested too deeply or has too many parts.
//! - It can be counted, twice over, and told of.
//!
//! The first byte says which signal and which encoding.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message;
use sandboxctl::{
    gateway::otlp::{
        json,
        schema::{self, Message as Schema},
        stamp::{MAX_DEPTH, Stamp},
        wire::WireError,
    },
    id::SessionId,
    journal::{Entry, Kind},
    spec::{Profile, Spec, User},
    timeline,
};
use serde::Serialize;
use serde_json::Value;

/// The longest protobuf that JSON may become, in bytes.
const LIMIT: usize = 1 << 20;

/// See the top of the file.
pub fn otlp_body(data: &[u8]) {
    let Some((&labels, body)) = data.split_first() else { return };
    match labels % 3 {
        0 => request::<ExportTraceServiceRequest>(Kind::Traces, &schema::TRACES, labels & 4 != 0, body),
        1 => request::<ExportMetricsServiceRequest>(Kind::Metrics, &schema::METRICS, labels & 4 != 0, body),
        _ => request::<ExportLogsServiceRequest>(Kind::Logs, &schema::LOGS, labels & 4 != 0, body),
    }
}

fn request<T: Message + Default + Serialize>(
    kind: Kind,
    schema: &'static Schema,
    is_json: bool,
    body: &[u8],
) {
    let stamp = stamp();
    let stamped = if is_json {
        let Ok(protobuf) = json::to_protobuf(schema, body, LIMIT) else { return };
        let stamped = stamp.apply(schema, &protobuf);
        let refused = stamped.as_ref().err();
        assert!(matches!(refused, None | Some(WireError::Depth | WireError::Large)), "{refused:?}");
        stamped
    } else {
        stamp.apply(schema, body)
    };
    let Ok(stamped) = stamped else { return };
    let decoded = T::decode(&stamped[..]).expect("what is taken decodes");
    look(&serde_json::to_value(&decoded).expect("JSON"), false, MAX_DEPTH * 4);
    assert_eq!(stamp.apply(schema, &stamped).as_ref(), Ok(&stamped), "stamping again changes nothing");
    let entry = Entry { seq: 1, time: 1, origin: 0, kind, payload: stamped.into() };
    let mut summary = sandboxctl::summary::Summary::default();
    summary.apply(&entry);
    summary.apply(&entry);
    summary.totals().tokens();
    timeline::events(&entry);
}

fn stamp() -> Stamp {
    let user = User { name: "Ada Lovelace".to_owned(), email: "ada@example.org".to_owned() };
    let profile_name = "default".to_owned();
    let spec = Spec {
        user,
        team: Some("lab".to_owned()),
        profile_name,
        profile: Profile::default(),
        workspace: None,
        cols: 80,
        rows: 24,
        own_key: false,
    };
    let id = "01990000-0000-7000-8000-000000000000".parse::<SessionId>().expect("an id");
    Stamp::new(id, &spec)
}

/// Looks through a decoded request for keys that only we may set; `resource`: this is a resource.
fn look(value: &Value, resource: bool, depth: usize) {
    assert!(depth > 0, "nested more deeply than allowed");
    match value {
        Value::Array(items) => items.iter().for_each(|item| look(item, false, depth - 1)),
        Value::Object(fields) => {
            if resource {
                the_resource_is_ours(fields.get("attributes"));
            }
            if let Some(Value::String(key)) = fields.get("key") {
                assert!(!is_ours(key), "{key:?} is ours to set");
            }
            for (name, value) in fields {
                if name == "scopeSpans" || name == "scopeLogs" || name == "scopeMetrics" {
                    assert!(
                        fields.get("resource").is_some_and(Value::is_object),
                        "a batch without a resource"
                    );
                }
                if resource && name == "attributes" {
                    // Ours have been looked at; what others hold may hold more.
                    let others = value.as_array().into_iter().flatten();
                    others.filter(|a| !is_ours(key(a))).for_each(|a| look(a, false, depth - 2));
                } else {
                    look(value, name == "resource", depth - 1);
                }
            }
        }
        _ => {}
    }
}

fn the_resource_is_ours(attributes: Option<&Value>) {
    let all = attributes.and_then(Value::as_array).expect("attributes");
    for (ours, value) in [
        ("sandbox.session.id", "01990000-0000-7000-8000-000000000000"),
        ("sandbox.user", "Ada Lovelace <ada@example.org>"),
        ("sandbox.profile", "default"),
        ("user.name", "Ada Lovelace"),
        ("user.email", "ada@example.org"),
        ("team", "lab"),
    ] {
        let found: Vec<&Value> = all.iter().filter(|a| folded(key(a)) == folded(ours)).collect();
        assert_eq!(found.len(), 1, "{ours} once");
        assert_eq!((key(found[0]), found[0]["value"]["stringValue"].as_str()), (ours, Some(value)));
    }
    assert_eq!(all.iter().filter(|a| is_ours(key(a))).count(), 3, "no other key of ours");
}

fn key(attribute: &Value) -> &str {
    attribute["key"].as_str().unwrap_or_default()
}

/// A key as a backend may spell it: lower case, one sign for all that separates.
fn folded(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

fn is_ours(key: &str) -> bool {
    let key = folded(key);
    let key = key.trim_start_matches('_');
    key == "sandbox" || key.starts_with("sandbox_")
}

/// Requests of the three signals with something in every place, in both encodings.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (labels, protobuf) in (0u8..).zip(requests()) {
        seeds.push([vec![labels], protobuf].concat());
    }
    for (labels, json) in [(6u8, to_json(&traces())), (4, to_json(&metrics())), (5, to_json(&logs()))] {
        seeds.push([vec![labels], json].concat());
    }
    seeds.push([vec![2u8], immense().encode_to_vec()].concat());
    seeds
}

/// Events whose numbers no sum can hold.
fn immense() -> ExportLogsServiceRequest {
    let mut request = logs();
    let numbers = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "cost_usd"];
    let number = || AnyValue { value: Some(any_value::Value::DoubleValue(1e30)) };
    let mut attributes = vec![pair("event.name", text("api_request")), pair("event.sequence", number())];
    attributes.extend(numbers.map(|name| pair(name, number())));
    let record = LogRecord { attributes, ..LogRecord::default() };
    request.resource_logs[0].scope_logs[0].log_records = vec![record.clone(), record];
    request
}

/// The same as protobuf: traces, metrics, logs.
pub fn requests() -> [Vec<u8>; 3] {
    [traces().encode_to_vec(), metrics().encode_to_vec(), logs().encode_to_vec()]
}

fn to_json(request: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(request).expect("JSON")
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Attributes of every sort, some of them forged.
fn attributes() -> Vec<KeyValue> {
    let inner = KeyValueList { values: vec![pair("Sandbox_user", text("forged")), pair("a", text("b"))] };
    let list = ArrayValue {
        values: vec![
            AnyValue { value: Some(any_value::Value::KvlistValue(inner)) },
            AnyValue { value: Some(any_value::Value::BytesValue(vec![1, 2])) },
            AnyValue { value: Some(any_value::Value::IntValue(-3)) },
        ],
    };
    vec![
        pair("sandbox.session.id", text("forged")),
        pair("user.name", text("forged")),
        pair("event.name", text("tool_result")),
        pair("count", AnyValue { value: Some(any_value::Value::DoubleValue(0.5)) }),
        pair("ok", AnyValue { value: Some(any_value::Value::BoolValue(true)) }),
        pair("list", AnyValue { value: Some(any_value::Value::ArrayValue(list)) }),
    ]
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: attributes(), dropped_attributes_count: 1, entity_refs: vec![] })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "com.anthropic.claude_code".to_owned(),
        version: "2".to_owned(),
        attributes: attributes(),
        dropped_attributes_count: 0,
    })
}

fn traces() -> ExportTraceServiceRequest {
    let link = span::Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        attributes: attributes(),
        ..Default::default()
    };
    let event = span::Event {
        time_unix_nano: 5,
        name: "e".to_owned(),
        attributes: attributes(),
        ..Default::default()
    };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "llm_request".to_owned(),
        kind: 3,
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: attributes(),
        events: vec![event],
        links: vec![link],
        status: Some(Status { message: "m".to_owned(), code: 2 }),
        flags: 1,
        ..Default::default()
    };
    let spans = ScopeSpans { scope: scope(), spans: vec![span], schema_url: "s".to_owned() };
    let bare = ResourceSpans { resource: None, scope_spans: vec![], schema_url: String::new() };
    let batch = ResourceSpans { resource: resource(), scope_spans: vec![spans], schema_url: "u".to_owned() };
    ExportTraceServiceRequest { resource_spans: vec![batch, bare] }
}

fn logs() -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(text("claude_code.tool_result")),
        attributes: attributes(),
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        event_name: "n".to_owned(),
        ..Default::default()
    };
    let records = ScopeLogs { scope: scope(), log_records: vec![record], schema_url: String::new() };
    let batch = ResourceLogs { resource: resource(), scope_logs: vec![records], schema_url: String::new() };
    ExportLogsServiceRequest { resource_logs: vec![batch] }
}

fn metrics() -> ExportMetricsServiceRequest {
    let exemplar = Exemplar { filtered_attributes: attributes(), time_unix_nano: 1, ..Default::default() };
    let number = NumberDataPoint {
        attributes: attributes(),
        time_unix_nano: 2,
        exemplars: vec![exemplar],
        value: Some(number_data_point::Value::AsInt(-4)),
        ..Default::default()
    };
    let histogram = HistogramDataPoint {
        attributes: attributes(),
        count: 3,
        sum: Some(f64::NAN),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        ..Default::default()
    };
    let buckets = Some(Buckets { offset: -1, bucket_counts: vec![1, 300] });
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes(),
        scale: -2,
        positive: buckets.clone(),
        negative: buckets,
        ..Default::default()
    };
    let summary = SummaryDataPoint {
        attributes: attributes(),
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }],
        ..Default::default()
    };
    let data = [
        Data::Gauge(Gauge { data_points: vec![number.clone()] }),
        Data::Sum(Sum { data_points: vec![number], aggregation_temporality: 1, is_monotonic: true }),
        Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 2 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            aggregation_temporality: 1,
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    let metrics = data.into_iter().map(|data| Metric {
        name: "claude_code.token.usage".to_owned(),
        unit: "tokens".to_owned(),
        metadata: attributes(),
        data: Some(data),
        ..Default::default()
    });
    let scope_metrics =
        ScopeMetrics { scope: scope(), metrics: metrics.collect(), schema_url: String::new() };
    let batch = ResourceMetrics {
        resource: resource(),
        scope_metrics: vec![scope_metrics],
        schema_url: String::new(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![batch] }
}
