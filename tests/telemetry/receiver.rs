//! A collector of the tests' own: takes OTLP over HTTP and over gRPC, keeps everything, refuses when told to.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::KeyValue,
    metrics::v1::{AggregationTemporality, metric::Data},
    resource::v1::Resource,
};
use prost::Message;
use sandboxctl::summary::attributes::shown;
use serde_json::{Map, Value};

/// What came, in its order.
#[derive(Default)]
struct Came {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    heads: Vec<BTreeMap<String, String>>,
    /// How many requests are still to be answered 503.
    refuse: usize,
}

/// The collector.
#[derive(Clone)]
pub struct Receiver {
    /// Where it is.
    pub url: String,
    came: Arc<Mutex<Came>>,
}

impl Receiver {
    /// Starts it, on loopback.
    pub async fn start() -> Receiver {
        let came: Arc<Mutex<Came>> = Arc::default();
        let router = Router::new()
            .route("/v1/{signal}", post(take))
            .route("/{service}/Export", post(take_grpc))
            .with_state(Arc::clone(&came));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { url, came }
    }

    fn lock(&self) -> MutexGuard<'_, Came> {
        self.came.lock().expect("nobody panicked")
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        *self.lock() = Came::default();
    }

    /// Answers the next so many requests with 503.
    pub fn refuse(&self, requests: usize) {
        self.lock().refuse = requests;
    }

    /// Headers of every request that it took.
    pub fn heads(&self) -> Vec<BTreeMap<String, String>> {
        self.lock().heads.clone()
    }

    /// Requests with traces, metrics and logs.
    pub fn requests(
        &self,
    ) -> (Vec<ExportTraceServiceRequest>, Vec<ExportMetricsServiceRequest>, Vec<ExportLogsServiceRequest>)
    {
        let came = self.lock();
        (came.traces.clone(), came.metrics.clone(), came.logs.clone())
    }

    /// Attributes of every log record.
    pub fn events(&self) -> Vec<Value> {
        let came = self.lock();
        let records = came.logs.iter().flat_map(|r| &r.resource_logs).flat_map(|r| &r.scope_logs);
        records.flat_map(|s| &s.log_records).map(|record| attributes(&record.attributes)).collect()
    }

    /// Names of metrics.
    pub fn metrics(&self) -> Vec<String> {
        let came = self.lock();
        let scopes = came.metrics.iter().flat_map(|r| &r.resource_metrics).flat_map(|r| &r.scope_metrics);
        scopes.flat_map(|s| &s.metrics).map(|m| m.name.clone()).collect()
    }

    /// Whether every sum is cumulative.
    pub fn is_cumulative(&self) -> bool {
        let came = self.lock();
        let scopes = came.metrics.iter().flat_map(|r| &r.resource_metrics).flat_map(|r| &r.scope_metrics);
        scopes.flat_map(|s| &s.metrics).all(|m| match &m.data {
            Some(Data::Sum(sum)) => sum.aggregation_temporality == AggregationTemporality::Cumulative as i32,
            _ => true,
        })
    }

    /// How many spans.
    pub fn spans(&self) -> usize {
        let came = self.lock();
        let scopes = came.traces.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.map(|s| s.spans.len()).sum()
    }

    /// Attributes of every resource.
    pub fn resources(&self) -> Vec<Value> {
        let came = self.lock();
        let of = |resource: &Option<Resource>| attributes(&resource.clone().unwrap_or_default().attributes);
        let traces = came.traces.iter().flat_map(|r| &r.resource_spans).map(|r| of(&r.resource));
        let metrics = came.metrics.iter().flat_map(|r| &r.resource_metrics).map(|r| of(&r.resource));
        let logs = came.logs.iter().flat_map(|r| &r.resource_logs).map(|r| of(&r.resource));
        traces.chain(metrics).chain(logs).collect()
    }
}

fn attributes(all: &[KeyValue]) -> Value {
    Value::Object(all.iter().map(|a| (a.key.clone(), shown(a.value.as_ref()))).collect::<Map<_, _>>())
}

async fn take(
    State(came): State<Arc<Mutex<Came>>>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    keep(&came, &signal, &headers, &body)
}

/// A unary call by hand: a byte that says whether it is packed, four of length, the message.
async fn take_grpc(
    State(came): State<Arc<Mutex<Came>>>,
    Path(service): Path<String>,
    mut headers: HeaderMap,
    body: Bytes,
) -> (HeaderMap, Vec<u8>) {
    let signal =
        ["traces", "metrics", "logs"].into_iter().find(|s| service.contains(&s[..4])).expect("a signal");
    if body[0] == 1 {
        headers.insert("content-encoding", "gzip".parse().expect("a value"));
    }
    let taken = keep(&came, signal, &headers, &body[5..]);
    let mut head = HeaderMap::new();
    head.insert("content-type", "application/grpc".parse().expect("a value"));
    // 14 is UNAVAILABLE. Without a body, or with an empty message, the status may stand in the head.
    head.insert("grpc-status", if taken.is_success() { "0" } else { "14" }.parse().expect("a value"));
    (head, if taken.is_success() { vec![0; 5] } else { Vec::new() })
}

fn keep(came: &Mutex<Came>, signal: &str, headers: &HeaderMap, body: &[u8]) -> StatusCode {
    let mut came = came.lock().expect("nobody panicked");
    if came.refuse > 0 {
        came.refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut plain = Vec::new();
    if headers.get("content-encoding").is_some_and(|e| e == "gzip") {
        GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    } else {
        plain.extend_from_slice(body);
    }
    let pairs =
        headers.iter().map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
    came.heads.push(pairs.collect());
    match signal {
        "traces" => came.traces.push(Message::decode(&plain[..]).expect("traces")),
        "metrics" => came.metrics.push(Message::decode(&plain[..]).expect("metrics")),
        "logs" => came.logs.push(Message::decode(&plain[..]).expect("logs")),
        _ => return StatusCode::NOT_FOUND,
    }
    StatusCode::OK
}
