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
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::post,
};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::KeyValue,
    metrics::v1::{AggregationTemporality, metric::Data},
    resource::v1::Resource,
};
use prost::Message;
use sandboxctl::summary::attributes::shown;
use serde_json::{Map, Value};
use tonic::{Request, Response, Status, codec::CompressionEncoding::Gzip, service::Routes};

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
        let receiver = Receiver { url: String::new(), came: Arc::clone(&came) };
        let grpc = Routes::new(TraceServiceServer::new(receiver.clone()).accept_compressed(Gzip))
            .add_service(MetricsServiceServer::new(receiver.clone()).accept_compressed(Gzip))
            .add_service(LogsServiceServer::new(receiver).accept_compressed(Gzip));
        let http = Router::new().route("/v1/{signal}", post(take)).with_state(Arc::clone(&came));
        let router = grpc.into_axum_router().merge(http);
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
    let mut came = came.lock().expect("nobody panicked");
    if let Err(status) = came.take_head(headers.clone()) {
        return status;
    }
    let mut plain = Vec::new();
    if headers.get("content-encoding").is_some_and(|e| e == "gzip") {
        GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip");
    } else {
        plain.extend_from_slice(&body);
    }
    match signal.as_str() {
        "traces" => came.traces.push(Message::decode(&plain[..]).expect("traces")),
        "metrics" => came.metrics.push(Message::decode(&plain[..]).expect("metrics")),
        "logs" => came.logs.push(Message::decode(&plain[..]).expect("logs")),
        _ => return StatusCode::NOT_FOUND,
    }
    StatusCode::OK
}

/// One of OTLP's three services over gRPC.
macro_rules! service {
    ($service:ident, $request:ident, $response:ident, $to:ident) => {
        #[async_trait::async_trait]
        impl $service for Receiver {
            async fn export(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let mut came = self.lock();
                came.take_head(request.metadata().clone().into_headers())
                    .map_err(|_| Status::unavailable("another time"))?;
                came.$to.push(request.into_inner());
                Ok(Response::new($response::default()))
            }
        }
    };
}

service!(TraceService, ExportTraceServiceRequest, ExportTraceServiceResponse, traces);
service!(MetricsService, ExportMetricsServiceRequest, ExportMetricsServiceResponse, metrics);
service!(LogsService, ExportLogsServiceRequest, ExportLogsServiceResponse, logs);

impl Came {
    /// Takes a request's headers, unless it is to be refused.
    fn take_head(&mut self, headers: HeaderMap) -> Result<(), StatusCode> {
        if self.refuse > 0 {
            self.refuse -= 1;
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.heads.push(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect());
        Ok(())
    }
}
