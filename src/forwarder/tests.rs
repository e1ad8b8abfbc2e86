#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tls;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    logs::v1::ResourceLogs,
};
use prost::Message;
use tokio::net::TcpListener;

use super::door::{Door, Outcome};
use crate::{
    config::{Compression, Forward, ForwardTls, Privacy, Protocol},
    signal::Signal,
};

fn forward(endpoint: String, protocol: Protocol) -> Forward {
    Forward {
        endpoint,
        protocol,
        signals: Signal::ALL.into(),
        session_labels: false,
        compression: Some(Compression::Gzip),
        headers_file: None,
        headers_helper: Vec::new(),
        tls: ForwardTls::default(),
        privacy: Privacy::default(),
        timeout: Duration::from_secs(10),
    }
}

/// A collector that answers as it is told and notes what it was asked.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<Response>,
    asked: Vec<(String, HeaderMap, Bytes)>,
}

impl Collector {
    fn answer(&self, answer: impl IntoResponse) {
        self.0.lock().unwrap().answers.push_back(answer.into_response());
    }

    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

async fn take(State(collector): State<Collector>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut script = collector.0.lock().unwrap();
    script.asked.push((uri.path().to_owned(), headers, body));
    script.answers.pop_front().unwrap_or_default()
}

fn request() -> Bytes {
    Bytes::from_static(b"a request")
}

fn taken() -> Outcome {
    Outcome::Sent { rejected: 0, why: String::new() }
}

#[tokio::test]
async fn over_http_what_is_about_the_request_is_refused_and_all_else_waits() {
    let collector = Collector::default();
    let address = collector.serve().await;
    let door = Door::new("t", &forward(format!("http://{address}/otlp/"), Protocol::Http)).unwrap();
    assert_eq!(door.send(Signal::Traces, request()).await, taken());
    for status in [400, 413, 422] {
        collector.answer((StatusCode::from_u16(status).unwrap(), "bad \u{1b}[31mbatch"));
        let Outcome::Refused(why) = door.send(Signal::Logs, request()).await else { panic!("{status}") };
        assert!(why.contains("batch") && !why.contains('\u{1b}'), "{why}");
    }
    for status in [301, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
        collector.answer(StatusCode::from_u16(status).unwrap());
        let outcome = door.send(Signal::Metrics, request()).await;
        assert!(
            matches!(&outcome, Outcome::Later(why, None) if why.contains(&status.to_string())),
            "{outcome:?}"
        );
    }
    collector.answer((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")]));
    let Outcome::Later(_, after) = door.send(Signal::Logs, request()).await else { panic!("it was busy") };
    assert_eq!(after, Some(Duration::from_secs(7)));
    // `partial_success { rejected_…: 3, error_message: "late" }`
    collector.answer(b"\x0a\x08\x08\x03\x12\x04late".to_vec());
    assert_eq!(
        door.send(Signal::Logs, request()).await,
        Outcome::Sent { rejected: 3, why: "late".to_owned() }
    );
    let script = collector.0.lock().unwrap();
    let (path, headers, body) = &script.asked[0];
    assert_eq!(
        (path.as_str(), &headers["content-type"]),
        ("/otlp/v1/traces", &"application/x-protobuf".parse().unwrap())
    );
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
    assert_eq!(plain, request());
}

#[tokio::test]
async fn who_is_away_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let door = Door::new("t", &forward(format!("http://{address}"), protocol)).unwrap();
        let outcome = door.send(Signal::Logs, request()).await;
        assert!(matches!(&outcome, Outcome::Later(why, None) if why.contains("refused")), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_helper_is_asked_again_when_the_token_is_not_known() {
    let collector = Collector::default();
    let address = collector.serve().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("n");
    let script = format!("echo x >> {0}; echo \"Authorization: Bearer $(wc -l < {0})\"", file.display());
    let helper = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let config = Forward { headers_helper: helper, ..forward(format!("http://{address}"), Protocol::Http) };
    let door = Door::new("t", &config).unwrap();
    collector.answer(StatusCode::UNAUTHORIZED);
    assert!(matches!(door.send(Signal::Logs, request()).await, Outcome::Later(..)));
    assert_eq!(door.send(Signal::Logs, request()).await, taken());
    let script = collector.0.lock().unwrap();
    assert_eq!(script.asked[1].1["authorization"], "Bearer 1", "soon, and not with each try");
}

#[tokio::test]
async fn over_grpc_the_bytes_arrive_as_they_are() {
    let collector = Collector::default();
    let address = collector.serve().await;
    let door = Door::new("t", &forward(format!("http://{address}"), Protocol::Grpc)).unwrap();
    let status =
        |code: tonic::Code, message: &str| tonic::Status::new(code, message).into_http::<axum::body::Body>();
    for (code, message, refused) in [
        (tonic::Code::InvalidArgument, "no sense", true),
        (tonic::Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)", true),
        (tonic::Code::ResourceExhausted, "full", false),
        (tonic::Code::Unavailable, "away", false),
        (tonic::Code::Unauthenticated, "who?", false),
        (tonic::Code::Unimplemented, "no such service", false),
    ] {
        collector.answer(status(code, message));
        match door.send(Signal::Traces, request()).await {
            Outcome::Refused(why) if refused => assert!(why.contains(message), "{why}"),
            Outcome::Later(why, None) if !refused => assert!(why.contains(message), "{why}"),
            other => panic!("{code:?}: {other:?}"),
        }
    }
    let script = collector.0.lock().unwrap();
    let (path, _, body) = &script.asked[0];
    assert_eq!(path, Signal::Traces.service());
    // Length-prefixed message (gRPC over HTTP/2): compressed, and how long.
    assert_eq!(body[0], 1);
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[5..]), &mut plain).unwrap();
    assert_eq!(plain, request());
}

/// The collector's service as it is generated from the protocol's own files.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<Export>>>);

/// The header `X-Team`, and the request.
type Export = (Option<String>, ExportLogsServiceRequest);

#[tonic::async_trait]
impl LogsService for Logs {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        let team = request.metadata().get("x-team").and_then(|value| value.to_str().ok().map(str::to_owned));
        self.0.lock().unwrap().push((team, request.into_inner()));
        let partial = ExportLogsPartialSuccess { rejected_log_records: 2, error_message: "old".to_owned() };
        Ok(tonic::Response::new(ExportLogsServiceResponse { partial_success: Some(partial) }))
    }
}

#[tokio::test]
async fn a_generated_service_takes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let logs = Logs::default();
    let server =
        LogsServiceServer::new(logs.clone()).accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headers");
    std::fs::write(&file, "X-Team: blue\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = Forward { headers_file: Some(file), ..forward(format!("http://{address}"), Protocol::Grpc) };
    let door = Door::new("t", &config).unwrap();
    let sent = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs::default()] };
    let outcome = door.send(Signal::Logs, sent.encode_to_vec().into()).await;
    assert_eq!(outcome, Outcome::Sent { rejected: 2, why: "old".to_owned() });
    assert_eq!(*logs.0.lock().unwrap(), [(Some("blue".to_owned()), sent)]);
}
