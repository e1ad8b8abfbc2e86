//! The shapes of OTLP as plain tables: what [`super::wire`] checks protobuf against and what [`super::json`]
//! writes protobuf by.
//!
//! Numbers, names and types are those of opentelemetry-proto 1.10. A field that is not here is unknown: both
//! readers leave it out, as OTLP asks of a receiver, so nothing reaches the journal that nobody can judge.
//! The `strindex` fields of profiles are left out for the same reason: they point into a dictionary that
//! traces, metrics and logs do not carry.

use std::mem::size_of;

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{self as common, AnyValue, KeyValue},
    logs::v1::{self as logs, SeverityNumber},
    metrics::v1::{self as metrics, AggregationTemporality},
    resource::v1 as resource,
    trace::v1::{self as trace, span::SpanKind, status::StatusCode},
};

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// Bytes that one takes in memory once decoded, without what it points to.
    pub size: usize,
    /// Its fields.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in JSON.
    pub name: &'static str,
    /// What it holds.
    pub of: Type,
    /// Whether it may stand any number of times; an array in JSON.
    pub repeated: bool,
}

/// What a field holds.
#[derive(Debug)]
pub enum Type {
    /// A message.
    Message(&'static Message),
    /// The resource of a batch: where the session's own attributes are set.
    Resource,
    /// Attributes (`KeyValue`), from which ours are taken out.
    Attributes,
    /// The attributes of a resource itself, from which the user's are taken out too.
    ResourceAttributes,
    /// UTF-8.
    Text,
    /// Bytes that JSON spells in hexadecimal: trace and span ids.
    Id,
    /// Bytes that JSON spells in base64.
    Bytes,
    /// `bool`.
    Bool,
    /// An enumeration, with what its names stand for.
    Enum(fn(&str) -> Option<i32>),
    /// `uint32`.
    U32,
    /// `uint64`.
    U64,
    /// `int64`.
    I64,
    /// `sint32`.
    S32,
    /// `fixed32`.
    Fixed32,
    /// `fixed64`.
    Fixed64,
    /// `sfixed64`.
    SFixed64,
    /// `double`.
    Double,
}

impl Message {
    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// The field with this name in JSON.
    pub fn named(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn one(number: u32, name: &'static str, of: Type) -> Field {
    Field { number, name, of, repeated: false }
}

const fn many(number: u32, name: &'static str, of: Type) -> Field {
    Field { number, name, of, repeated: true }
}

macro_rules! message {
    ($(#[$doc:meta])* $name:ident: $of:ty = $($field:expr),* $(,)?) => {
        $(#[$doc])*
        pub static $name: Message = Message { size: size_of::<$of>(), fields: &[$($field),*] };
    };
}

use Type::{
    Attributes, Bool, Bytes, Double, Enum, Fixed32, Fixed64, I64, Id, Resource, ResourceAttributes, S32,
    SFixed64, Text, U32, U64,
};

message!(
    /// `ExportTraceServiceRequest`.
    TRACES: ExportTraceServiceRequest =
    many(1, "resourceSpans", Type::Message(&RESOURCE_SPANS)),
);
message!(
    /// `ExportMetricsServiceRequest`.
    METRICS: ExportMetricsServiceRequest =
    many(1, "resourceMetrics", Type::Message(&RESOURCE_METRICS)),
);
message!(
    /// `ExportLogsServiceRequest`.
    LOGS: ExportLogsServiceRequest =
    many(1, "resourceLogs", Type::Message(&RESOURCE_LOGS)),
);

message!(
    /// `KeyValue`.
    KEY_VALUE: KeyValue =
    one(1, "key", Text),
    one(2, "value", Type::Message(&ANY_VALUE)),
);
message!(
    /// `AnyValue`: one of its fields.
    ANY_VALUE: AnyValue =
    one(1, "stringValue", Text),
    one(2, "boolValue", Bool),
    one(3, "intValue", I64),
    one(4, "doubleValue", Double),
    one(5, "arrayValue", Type::Message(&ARRAY)),
    one(6, "kvlistValue", Type::Message(&KEY_VALUES)),
    one(7, "bytesValue", Bytes),
);
message!(
    /// `ArrayValue`.
    ARRAY: common::ArrayValue =
    many(1, "values", Type::Message(&ANY_VALUE)),
);
message!(
    /// `KeyValueList`.
    KEY_VALUES: common::KeyValueList =
    many(1, "values", Attributes),
);
message!(
    /// `InstrumentationScope`.
    SCOPE: common::InstrumentationScope =
    one(1, "name", Text),
    one(2, "version", Text),
    many(3, "attributes", Attributes),
    one(4, "droppedAttributesCount", U32),
);
message!(
    /// `EntityRef`.
    ENTITY: common::EntityRef =
    one(1, "schemaUrl", Text),
    one(2, "type", Text),
    many(3, "idKeys", Text),
    many(4, "descriptionKeys", Text),
);
message!(
    /// `Resource`.
    RESOURCE: resource::Resource =
    many(1, "attributes", ResourceAttributes),
    one(2, "droppedAttributesCount", U32),
    many(3, "entityRefs", Type::Message(&ENTITY)),
);

message!(
    /// `ResourceLogs`.
    RESOURCE_LOGS: logs::ResourceLogs =
    one(1, "resource", Resource),
    many(2, "scopeLogs", Type::Message(&SCOPE_LOGS)),
    one(3, "schemaUrl", Text),
);
message!(
    /// `ScopeLogs`.
    SCOPE_LOGS: logs::ScopeLogs =
    one(1, "scope", Type::Message(&SCOPE)),
    many(2, "logRecords", Type::Message(&LOG_RECORD)),
    one(3, "schemaUrl", Text),
);
message!(
    /// `LogRecord`.
    LOG_RECORD: logs::LogRecord =
    one(1, "timeUnixNano", Fixed64),
    one(2, "severityNumber", Enum(severity)),
    one(3, "severityText", Text),
    one(5, "body", Type::Message(&ANY_VALUE)),
    many(6, "attributes", Attributes),
    one(7, "droppedAttributesCount", U32),
    one(8, "flags", Fixed32),
    one(9, "traceId", Id),
    one(10, "spanId", Id),
    one(11, "observedTimeUnixNano", Fixed64),
    one(12, "eventName", Text),
);

message!(
    /// `ResourceSpans`.
    RESOURCE_SPANS: trace::ResourceSpans =
    one(1, "resource", Resource),
    many(2, "scopeSpans", Type::Message(&SCOPE_SPANS)),
    one(3, "schemaUrl", Text),
);
message!(
    /// `ScopeSpans`.
    SCOPE_SPANS: trace::ScopeSpans =
    one(1, "scope", Type::Message(&SCOPE)),
    many(2, "spans", Type::Message(&SPAN)),
    one(3, "schemaUrl", Text),
);
message!(
    /// `Span`.
    SPAN: trace::Span =
    one(1, "traceId", Id),
    one(2, "spanId", Id),
    one(3, "traceState", Text),
    one(4, "parentSpanId", Id),
    one(5, "name", Text),
    one(6, "kind", Enum(span_kind)),
    one(7, "startTimeUnixNano", Fixed64),
    one(8, "endTimeUnixNano", Fixed64),
    many(9, "attributes", Attributes),
    one(10, "droppedAttributesCount", U32),
    many(11, "events", Type::Message(&SPAN_EVENT)),
    one(12, "droppedEventsCount", U32),
    many(13, "links", Type::Message(&SPAN_LINK)),
    one(14, "droppedLinksCount", U32),
    one(15, "status", Type::Message(&SPAN_STATUS)),
    one(16, "flags", Fixed32),
);
message!(
    /// `Span.Event`.
    SPAN_EVENT: trace::span::Event =
    one(1, "timeUnixNano", Fixed64),
    one(2, "name", Text),
    many(3, "attributes", Attributes),
    one(4, "droppedAttributesCount", U32),
);
message!(
    /// `Span.Link`.
    SPAN_LINK: trace::span::Link =
    one(1, "traceId", Id),
    one(2, "spanId", Id),
    one(3, "traceState", Text),
    many(4, "attributes", Attributes),
    one(5, "droppedAttributesCount", U32),
    one(6, "flags", Fixed32),
);
message!(
    /// `Status` of a span.
    SPAN_STATUS: trace::Status =
    one(2, "message", Text),
    one(3, "code", Enum(status_code)),
);

message!(
    /// `ResourceMetrics`.
    RESOURCE_METRICS: metrics::ResourceMetrics =
    one(1, "resource", Resource),
    many(2, "scopeMetrics", Type::Message(&SCOPE_METRICS)),
    one(3, "schemaUrl", Text),
);
message!(
    /// `ScopeMetrics`.
    SCOPE_METRICS: metrics::ScopeMetrics =
    one(1, "scope", Type::Message(&SCOPE)),
    many(2, "metrics", Type::Message(&METRIC)),
    one(3, "schemaUrl", Text),
);
message!(
    /// `Metric`.
    METRIC: metrics::Metric =
    one(1, "name", Text),
    one(2, "description", Text),
    one(3, "unit", Text),
    one(5, "gauge", Type::Message(&GAUGE)),
    one(7, "sum", Type::Message(&SUM)),
    one(9, "histogram", Type::Message(&HISTOGRAM)),
    one(10, "exponentialHistogram", Type::Message(&EXPONENTIAL)),
    one(11, "summary", Type::Message(&SUMMARY)),
    many(12, "metadata", Attributes),
);
message!(
    /// `Gauge`.
    GAUGE: metrics::Gauge =
    many(1, "dataPoints", Type::Message(&NUMBER_POINT)),
);
message!(
    /// `Sum`.
    SUM: metrics::Sum =
    many(1, "dataPoints", Type::Message(&NUMBER_POINT)),
    one(2, "aggregationTemporality", Enum(temporality)),
    one(3, "isMonotonic", Bool),
);
message!(
    /// `Histogram`.
    HISTOGRAM: metrics::Histogram =
    many(1, "dataPoints", Type::Message(&HISTOGRAM_POINT)),
    one(2, "aggregationTemporality", Enum(temporality)),
);
message!(
    /// `ExponentialHistogram`.
    EXPONENTIAL: metrics::ExponentialHistogram =
    many(1, "dataPoints", Type::Message(&EXPONENTIAL_POINT)),
    one(2, "aggregationTemporality", Enum(temporality)),
);
message!(
    /// `Summary`.
    SUMMARY: metrics::Summary =
    many(1, "dataPoints", Type::Message(&SUMMARY_POINT)),
);
message!(
    /// `NumberDataPoint`.
    NUMBER_POINT: metrics::NumberDataPoint =
    one(2, "startTimeUnixNano", Fixed64),
    one(3, "timeUnixNano", Fixed64),
    one(4, "asDouble", Double),
    many(5, "exemplars", Type::Message(&EXEMPLAR)),
    one(6, "asInt", SFixed64),
    many(7, "attributes", Attributes),
    one(8, "flags", U32),
);
message!(
    /// `HistogramDataPoint`.
    HISTOGRAM_POINT: metrics::HistogramDataPoint =
    one(2, "startTimeUnixNano", Fixed64),
    one(3, "timeUnixNano", Fixed64),
    one(4, "count", Fixed64),
    one(5, "sum", Double),
    many(6, "bucketCounts", Fixed64),
    many(7, "explicitBounds", Double),
    many(8, "exemplars", Type::Message(&EXEMPLAR)),
    many(9, "attributes", Attributes),
    one(10, "flags", U32),
    one(11, "min", Double),
    one(12, "max", Double),
);
message!(
    /// `ExponentialHistogramDataPoint`.
    EXPONENTIAL_POINT: metrics::ExponentialHistogramDataPoint =
    many(1, "attributes", Attributes),
    one(2, "startTimeUnixNano", Fixed64),
    one(3, "timeUnixNano", Fixed64),
    one(4, "count", Fixed64),
    one(5, "sum", Double),
    one(6, "scale", S32),
    one(7, "zeroCount", Fixed64),
    one(8, "positive", Type::Message(&BUCKETS)),
    one(9, "negative", Type::Message(&BUCKETS)),
    one(10, "flags", U32),
    many(11, "exemplars", Type::Message(&EXEMPLAR)),
    one(12, "min", Double),
    one(13, "max", Double),
    one(14, "zeroThreshold", Double),
);
message!(
    /// `Buckets` of an exponential histogram.
    BUCKETS: metrics::exponential_histogram_data_point::Buckets =
    one(1, "offset", S32),
    many(2, "bucketCounts", U64),
);
message!(
    /// `SummaryDataPoint`.
    SUMMARY_POINT: metrics::SummaryDataPoint =
    one(2, "startTimeUnixNano", Fixed64),
    one(3, "timeUnixNano", Fixed64),
    one(4, "count", Fixed64),
    one(5, "sum", Double),
    many(6, "quantileValues", Type::Message(&QUANTILE)),
    many(7, "attributes", Attributes),
    one(8, "flags", U32),
);
message!(
    /// `ValueAtQuantile`.
    QUANTILE: metrics::summary_data_point::ValueAtQuantile =
    one(1, "quantile", Double),
    one(2, "value", Double),
);
message!(
    /// `Exemplar`.
    EXEMPLAR: metrics::Exemplar =
    one(2, "timeUnixNano", Fixed64),
    one(3, "asDouble", Double),
    one(4, "spanId", Id),
    one(5, "traceId", Id),
    one(6, "asInt", SFixed64),
    many(7, "filteredAttributes", Attributes),
);

fn severity(name: &str) -> Option<i32> {
    SeverityNumber::from_str_name(name).map(|n| n as i32)
}

fn span_kind(name: &str) -> Option<i32> {
    SpanKind::from_str_name(name).map(|n| n as i32)
}

fn status_code(name: &str) -> Option<i32> {
    StatusCode::from_str_name(name).map(|n| n as i32)
}

fn temporality(name: &str) -> Option<i32> {
    AggregationTemporality::from_str_name(name).map(|n| n as i32)
}
