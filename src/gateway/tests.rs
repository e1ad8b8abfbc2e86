//! The doors of a container, knocked at.

use std::io::Write;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, header},
};
use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message;
use sandbox_guest::wire::REQUEST_HEADER;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::{
    clock,
    journal::{Journal, Kind},
    spec::{Credential, Profile, User},
    summary::Summary,
};

struct Fixture {
    _dir: tempfile::TempDir,
    ctx: Arc<Context>,
}

fn fixture(change: impl FnOnce(&mut Profile)) -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let mut profile = Profile { credential: Credential::Demo, ..Profile::default() };
    change(&mut profile);
    let spec = Spec {
        user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
        team: Some("lab".to_owned()),
        profile_name: "p".to_owned(),
        profile,
        workspace: None,
        own_key: false,
        cols: 80,
        rows: 24,
    };
    let id = SessionId::new();
    let journal = Journal::create(&dir.path().join("j"), id).expect("a journal");
    let recorder = Recorder::new(journal, 0, Summary::default(), clock::now());
    let upstream = Arc::new(model::Upstream::new(&crate::config::Model::default()).expect("an upstream"));
    let ctx = Context::new(id, Arc::new(spec), recorder, upstream, Arc::default(), "key".to_owned())
        .expect("a context");
    Fixture { _dir: dir, ctx: Arc::new(ctx) }
}

impl Fixture {
    async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let answer = router(Arc::clone(&self.ctx)).oneshot(request).await.expect("an answer");
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        (parts.status, parts.headers, body.to_vec())
    }

    fn logs(&self) -> Vec<ExportLogsServiceRequest> {
        let entries = self.ctx.recorder.journal().read(1).only(&[Kind::Logs]);
        entries
            .map(|e| ExportLogsServiceRequest::decode(e.expect("a frame").payload).expect("OTLP"))
            .collect()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn logs(resource: Vec<KeyValue>, record: Vec<KeyValue>) -> ExportLogsServiceRequest {
    let record = LogRecord { attributes: record, ..LogRecord::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes: resource, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    }
}

fn resource(request: &ExportLogsServiceRequest) -> Vec<(String, String)> {
    let attributes = &request.resource_logs[0].resource.as_ref().expect("a resource").attributes;
    attributes
        .iter()
        .map(|a| match a.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Any::StringValue(value)) => (a.key.clone(), value.clone()),
            other => panic!("no text: {other:?}"),
        })
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("gzip")
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_a_client_claims_to_be_is_overwritten() {
    let fixture = fixture(|_| {});
    let forged = logs(
        vec![
            text("sandbox.session.id", "EVIL"),
            text("user.email", "evil@x"),
            text("team", "EVIL"),
            text("Team", "EVIL"),
            text("service.name", "claude-code"),
        ],
        vec![text("sandbox.session.id", "EVIL"), text("event.name", "user_prompt")],
    );
    let (status, headers, body) = fixture.send("/v1/logs", &[PROTOBUF], forged.encode_to_vec()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    assert!(body.is_empty(), "nothing was refused, so nothing is said");
    let kept = fixture.logs();
    let attributes = resource(&kept[0]);
    let all =
        |key: &str| attributes.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    assert_eq!(all("sandbox.session.id"), [fixture.ctx.id.to_string()]);
    assert_eq!(all("user.email"), ["ada@example.org"]);
    assert_eq!(all("team"), ["lab"]);
    assert_eq!(all("service.name"), ["claude-code"]);
    assert!(!format!("{kept:?}").contains("EVIL"));
    assert_eq!(kept[0].resource_logs[0].scope_logs[0].log_records[0].attributes[0].key, "event.name");
}

#[tokio::test]
async fn json_and_gzip_are_taken_as_the_specification_has_them() {
    let fixture = fixture(|_| {});
    let body = br#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{"stringValue":"b"}}]},
        "scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"timeUnixNano":"1544712660300000000","observedTimeUnixNano":1544712660300000000,
        "severityNumber":9,"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","unknownField":{"x":[1]},
        "body":{"stringValue":"claude_code.tool_result"},"attributes":[{"key":"n","value":{"intValue":"7"}},{"key":"d","value":{"doubleValue":0.5}}]}]}]}]}"#;
    let headers = [("content-type", "application/json; charset=utf-8"), ("content-encoding", "gzip")];
    let (status, headers, answer) = fixture.send("/v1/logs", &headers, gzip(body)).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(serde_json::from_slice::<Value>(&answer).expect("JSON"), serde_json::json!({}));
    let kept = fixture.logs();
    let record = &kept[0].resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.time_unix_nano, 1_544_712_660_300_000_000);
    assert_eq!(record.trace_id[..2], [0x5b, 0x8e]);
    assert_eq!(record.attributes[0].value.as_ref().and_then(|v| v.value.clone()), Some(Any::IntValue(7)));
}

#[tokio::test]
async fn the_same_request_counts_once() {
    let fixture = fixture(|_| {});
    let body = logs(vec![], vec![text("event.name", "user_prompt")]).encode_to_vec();
    for _ in 0..2 {
        let (status, ..) =
            fixture.send("/v1/logs", &[PROTOBUF, (REQUEST_HEADER, "41 key")], body.clone()).await;
        assert_eq!(status, StatusCode::OK);
    }
    let spooled = SpooledRequest {
        request: 41,
        path: "/v1/logs".to_owned(),
        content_type: Some(PROTOBUF.1.to_owned()),
        content_encoding: None,
    };
    ingest(&fixture.ctx, &spooled, body.clone().into()).await.expect("taken");
    assert_eq!(fixture.logs().len(), 1);
    ingest(&fixture.ctx, &SpooledRequest { request: 42, ..spooled }, body.into()).await.expect("taken");
    assert_eq!(fixture.logs().len(), 2);
    assert_eq!(fixture.ctx.recorder.with_summary(|s| s.turns), 2);
}

#[tokio::test]
async fn a_number_without_the_guests_key_is_none() {
    let fixture = fixture(|_| {});
    let body = logs(vec![], vec![text("event.name", "user_prompt")]).encode_to_vec();
    for claimed in ["41", "41 ", "41 kez", "41 key key", "key 41"] {
        fixture.send("/v1/logs", &[PROTOBUF, (REQUEST_HEADER, claimed)], body.clone()).await;
    }
    fixture.send("/v1/logs", &[PROTOBUF, (REQUEST_HEADER, "41 key")], body).await;
    assert_eq!(fixture.logs().len(), 6, "each counts");
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_the_right_status() {
    let fixture = fixture(|_| {});
    let good = logs(vec![], vec![]).encode_to_vec();
    let bomb = gzip(&vec![0; otlp::INFLATED_LIMIT + 1]);
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, u16);
    let cases: [Case<'_>; 7] = [
        (&[("content-type", "text/plain")], good.clone(), 415),
        (&[PROTOBUF, ("content-encoding", "br")], good.clone(), 415),
        (&[PROTOBUF], b"\xff\xff\xff".to_vec(), 400),
        (&[JSON], b"{\"resourceLogs\":7}".to_vec(), 400),
        (&[PROTOBUF, ("content-encoding", "gzip")], good, 400),
        (&[PROTOBUF, ("content-encoding", "gzip")], bomb, 413),
        (&[PROTOBUF], vec![0; otlp::BODY_LIMIT + 1], 413),
    ];
    for (n, (headers, body, expected)) in cases.into_iter().enumerate() {
        let (status, ..) = fixture.send("/v1/logs", headers, body).await;
        assert_eq!(status.as_u16(), expected, "case {n}");
    }
    assert_eq!(fixture.send("/v1/nothing", &[PROTOBUF], vec![]).await.0, StatusCode::NOT_FOUND);
    assert!(fixture.logs().is_empty());
}

#[tokio::test]
async fn grpc_is_taken_on_the_same_socket() {
    let fixture = fixture(|_| {});
    let path = fixture._dir.path().join("g.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let cancel = CancellationToken::new();
    let server = tokio::spawn(serve(listener, Arc::clone(&fixture.ctx), cancel.clone()));
    let stream = tokio::net::UnixStream::connect(&path).await.expect("connected");
    let (sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("HTTP/2");
    tokio::spawn(connection);
    let http =
        tower::service_fn(move |request: Request<tonic::body::Body>| sender.clone().send_request(request));
    let origin = "http://localhost".parse().expect("an address");
    let mut client = LogsServiceClient::with_origin(http, origin);
    let forged = logs(vec![text("sandbox.user", "EVIL")], vec![]);
    client.export(forged).await.expect("taken");
    assert!(!format!("{:?}", fixture.logs()).contains("EVIL"));
    assert_eq!(fixture.logs().len(), 1);
    cancel.cancel();
    server.await.expect("joined");
}

#[tokio::test]
async fn hooks_are_judged_and_recorded() {
    let fixture = fixture(|p| p.policy.deny_commands = vec!["git push".to_owned()]);
    let ask = |command: &str| {
        serde_json::json!({ "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "t",
            "cwd": "/workspace", "tool_input": { "command": command } })
        .to_string()
        .into_bytes()
    };
    let decision = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).expect("JSON")["decision"].clone();
    let (_, _, allowed) = fixture.send("/hooks", &[JSON], ask("git status")).await;
    assert_eq!(decision(allowed), "allow");
    let (_, _, denied) = fixture.send("/hooks", &[JSON], ask("cd x && git -C y push --force")).await;
    assert_eq!(decision(denied), "deny");
    let (_, _, nonsense) = fixture.send("/hooks", &[JSON], b"{".to_vec()).await;
    assert_eq!(decision(nonsense), "deny", "what cannot be read is denied");
    let deep = format!(r#"{{"hook_event_name":"Stop","x":{}{}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    let twice = r#"{"hook_event_name":"PreToolUse","tool_input":{},"tool_input":{"command":"git push"}}"#;
    for body in [deep.as_str(), twice, "[\"Stop\"]"] {
        let (status, _, answer) = fixture.send("/hooks", &[JSON], body.into()).await;
        assert_eq!((status.as_u16(), decision(answer)), (400, "deny".into()), "{body:.80}");
    }
    assert_eq!(fixture.ctx.recorder.with_summary(|s| (s.hooks >= 2, s.denials >= 1)), (true, true));
}

#[tokio::test]
async fn what_a_hook_or_a_server_says_is_one_line_in_the_timeline() {
    let fixture = fixture(|_| {});
    let hook =
        "{\r\n \"hook_event_name\": \"Stop\",\r\n \"tool_name\": 7, \"odd\": [{\"\": 1e2}, \" \\ud800\"]\n}";
    let mcp = "{\"server\":\"s\",\"direction\":\"to_server\",\"extra\":1,\"message\":{ \"id\":1,\r\"method\":\"ping\"}}";
    assert_eq!(fixture.send("/hooks", &[JSON], hook.into()).await.0, StatusCode::OK);
    assert_eq!(fixture.send("/mcp", &[JSON], mcp.into()).await.0, StatusCode::OK);
    let deep =
        format!(r#"{{"server":"s","direction":"d","message":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(fixture.send("/mcp", &[JSON], deep.into()).await.0, StatusCode::BAD_REQUEST);
    let entries = fixture.ctx.recorder.journal().read(1).only(&[Kind::Hook, Kind::Mcp]);
    let events: Vec<_> = entries.flat_map(|e| crate::timeline::events(&e.expect("a frame"))).collect();
    let told: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.text.as_str(), e.data.get())).collect();
    let hook = r#"{"event":"Stop","decision":"allow","input":{"hook_event_name":"Stop","tool_name":7,"odd":[{"":1e2}," \ud800"]}}"#;
    let mcp = r#"{"server":"s","direction":"to_server","message":{"id":1,"method":"ping"}}"#;
    assert_eq!(told, [("Stop", " allow", hook), ("ping", "s to server", mcp)]);
}

#[tokio::test]
async fn the_proxy_lets_out_what_is_listed_and_nothing_private() {
    let fixture = fixture(|p| p.egress = vec!["localhost:1".to_owned()]);
    for target in ["example.org:443", "169.254.169.254:80", "localhost:1"] {
        let request = Request::connect(target).body(Body::empty()).expect("a request");
        let answer = router(Arc::clone(&fixture.ctx)).oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{target}");
    }
    assert_eq!(fixture.ctx.recorder.with_summary(|s| (s.egress_allowed, s.egress_denied)), (0, 3));
}
