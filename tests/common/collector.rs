//! A collector that takes OTLP/HTTP, can be told to be away, and keeps what it was sent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
    trace::v1::Span,
};
use prost::Message;
use tokio::task::JoinHandle;

/// Attributes as text.
pub type Labels = BTreeMap<String, String>;

/// It listens until it is dropped.
pub struct Collector {
    /// Where.
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    away: AtomicBool,
    unbearable: Mutex<Option<String>>,
    taken: Mutex<Taken>,
}

/// What it was sent.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Spans, each with its resource.
    pub spans: Vec<(Labels, Span)>,
    /// Log records' attributes, each with its resource.
    pub logs: Vec<(Labels, Labels)>,
    /// Points of counters and gauges, in the order in which they came.
    pub points: Vec<Point>,
}

/// A point of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The metric's name.
    pub name: String,
    /// Its resource.
    pub resource: Labels,
    /// Its own attributes.
    pub labels: Labels,
    /// When, in ns.
    pub time: u64,
    /// How much.
    pub value: f64,
}

impl Taken {
    /// The last value of each series of a metric.
    pub fn last(&self, name: &str) -> Vec<Point> {
        let mut last: Vec<Point> = Vec::new();
        for point in self.points.iter().filter(|p| p.name == name) {
            last.retain(|p| (&p.resource, &p.labels) != (&point.resource, &point.labels));
            last.push(point.clone());
        }
        last
    }

    /// Their sum.
    pub fn sum(&self, name: &str) -> f64 {
        self.last(name).iter().map(|p| p.value).sum()
    }
}

impl Collector {
    /// One that listens, `away` or not.
    pub async fn start(away: bool) -> Collector {
        let shared = Arc::new(Shared { away: AtomicBool::new(away), ..Shared::default() });
        let routes = Router::new().route("/v1/{signal}", post(take)).with_state(Arc::clone(&shared));
        let routes = routes.layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Collector { url, shared, server }
    }

    /// From now on it is away, or is not.
    pub fn away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    /// From now on it answers with an error of its own to whatever holds this text.
    pub fn cannot_bear(&self, text: &str) {
        *self.shared.unbearable.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    /// What it has by now.
    pub fn taken(&self) -> Taken {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if shared.away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body = match headers.get("content-encoding") {
        None => body,
        Some(_) => {
            let mut plain = Vec::new();
            let read = std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain);
            read.expect("gzip");
            plain.into()
        }
    };
    let unbearable = shared.unbearable.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if unbearable.is_some_and(|text| body.windows(text.len()).any(|window| window == text.as_bytes())) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let mut taken = shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
    match signal.as_str() {
        "traces" => {
            for of in ExportTraceServiceRequest::decode(body).expect("traces").resource_spans {
                let resource = labels(&of.resource.unwrap_or_default().attributes);
                let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.spans.extend(spans.map(|span| (resource.clone(), span)));
            }
        }
        "logs" => {
            for of in ExportLogsServiceRequest::decode(body).expect("logs").resource_logs {
                let resource = labels(&of.resource.unwrap_or_default().attributes);
                let records = of.scope_logs.iter().flat_map(|scope| &scope.log_records);
                taken.logs.extend(records.map(|record| (resource.clone(), labels(&record.attributes))));
            }
        }
        "metrics" => {
            for of in ExportMetricsServiceRequest::decode(body).expect("metrics").resource_metrics {
                let resource = labels(&of.resource.unwrap_or_default().attributes);
                for metric in of.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                    let points = match metric.data {
                        Some(Data::Sum(sum)) => sum.data_points,
                        Some(Data::Gauge(gauge)) => gauge.data_points,
                        _ => continue,
                    };
                    taken.points.extend(points.into_iter().map(|point| Point {
                        name: metric.name.clone(),
                        resource: resource.clone(),
                        labels: labels(&point.attributes),
                        time: point.time_unix_nano,
                        value: match point.value.expect("a value") {
                            number_data_point::Value::AsDouble(value) => value,
                            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                            number_data_point::Value::AsInt(value) => value as f64,
                        },
                    }));
                }
            }
        }
        other => panic!("no signal: {other}"),
    }
    StatusCode::OK
}

/// Attributes as text; of anything but text and numbers their debug form.
pub fn labels(attributes: &[KeyValue]) -> Labels {
    let shown = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(n) => n.to_string(),
        Value::DoubleValue(n) => n.to_string(),
        Value::BoolValue(b) => b.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .filter_map(|a| Some((a.key.clone(), shown(a.value.as_ref()?.value.as_ref()?))))
        .collect()
}
