use std::sync::Mutex;

use axum::{body::to_bytes, extract::Request as AxumRequest, response::sse};
use futures_util::stream;
use tower::ServiceExt;

use super::*;
use crate::{
    clock,
    id::SessionId,
    journal::{Journal, Kind},
    recorder::Recorder,
    spec::{Budget, Profile, Spec, User},
    summary::Summary,
};

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

/// An upstream that notes what it is sent and answers a short stream.
async fn upstream(seen: Seen) -> String {
    let answer = move |request: AxumRequest| {
        seen.lock().expect("a lock").push(request.headers().clone());
        async move {
            let start = r#"{"type":"message_start","message":{"model":"claude-opus-5-5","usage":{"input_tokens":1000000,"output_tokens":1}}}"#;
            let delta = r#"{"type":"message_delta","usage":{"output_tokens":10}}"#;
            let events =
                [start, delta].map(|d| Ok::<_, std::convert::Infallible>(sse::Event::default().data(d)));
            ([("request-id", "req_1")], sse::Sse::new(stream::iter(events)))
        }
    };
    let routes = axum::Router::new().route("/v1/messages", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

struct Fixture {
    _dir: tempfile::TempDir,
    ctx: Arc<Context>,
    seen: Seen,
}

async fn fixture(credential: Credential, budget: Budget) -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    fs::write(&key, "sk-ant-operator\n").expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");
    let seen = Seen::default();
    let model = config::Model {
        url: upstream(Arc::clone(&seen)).await,
        key_file: Some(key),
        ..config::Model::default()
    };
    let spec = Spec {
        user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
        profile_name: "p".to_owned(),
        profile: Profile { credential, budget, ..Profile::default() },
        workspace: None,
        cols: 80,
        rows: 24,
    };
    let id = SessionId::new();
    let journal = Journal::create(&dir.path().join("j"), id).expect("a journal");
    let recorder = Recorder::new(journal, 0, Summary::default(), clock::now());
    let upstream = Arc::new(Upstream::new(&model).expect("an upstream"));
    let ctx =
        Arc::new(Context::new(id, Arc::new(spec), recorder, upstream, Arc::default()).expect("a context"));
    Fixture { _dir: dir, ctx, seen }
}

impl Fixture {
    async fn call(&self) -> (StatusCode, String) {
        let request = AxumRequest::post("/v1/messages?beta=true")
            .header("authorization", "Bearer of-the-client")
            .header("x-api-key", "of-the-client")
            .header("anthropic-beta", "some-beta")
            .body(Body::from(r#"{"model":"claude-opus-5-5","stream":true}"#))
            .expect("a request");
        let answer = router().with_state(Arc::clone(&self.ctx)).oneshot(request).await.expect("an answer");
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    fn journalled(&self) -> Vec<event::Model> {
        let entries = self.ctx.recorder.journal().read(1).only(&[Kind::Model]);
        entries.map(|e| serde_json::from_slice(&e.expect("a frame").payload).expect("JSON")).collect()
    }

    fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock().expect("a lock");
        seen.last()?.get(name).map(|v| v.to_str().expect("text").to_owned())
    }
}

#[tokio::test]
async fn the_operators_key_takes_the_place_of_the_clients() {
    let fixture = fixture(Credential::Gateway, Budget::default()).await;
    let (status, body) = fixture.call().await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("message_start") && body.contains("message_delta"));
    assert_eq!(fixture.header("x-api-key").as_deref(), Some("sk-ant-operator"));
    assert_eq!(fixture.header("authorization"), None);
    assert_eq!(fixture.header("anthropic-beta").as_deref(), Some("some-beta"));
    let calls = fixture.journalled();
    assert_eq!((calls[0].input_tokens, calls[0].output_tokens), (1_000_000, 10));
    assert!((calls[0].cost_usd - 4.0002).abs() < 1e-9, "{}", calls[0].cost_usd);
    assert_eq!(calls[0].request_id.as_deref(), Some("req_1"));
}

#[tokio::test]
async fn a_users_own_credential_passes_untouched() {
    let fixture = fixture(Credential::User, Budget::default()).await;
    assert_eq!(fixture.call().await.0, StatusCode::OK);
    assert_eq!(fixture.header("x-api-key").as_deref(), Some("of-the-client"));
    assert_eq!(fixture.header("authorization").as_deref(), Some("Bearer of-the-client"));
}

#[tokio::test]
async fn a_spent_budget_refuses_in_the_apis_own_shape() {
    let fixture = fixture(Credential::Gateway, Budget { usd: Some(4.0), tokens: None }).await;
    assert_eq!(fixture.call().await.0, StatusCode::OK, "the first call spends it");
    let (status, body) = fixture.call().await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let error: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (error["type"].as_str(), error["error"]["type"].as_str()),
        (Some("error"), Some("permission_error"))
    );
    assert_eq!(fixture.seen.lock().expect("a lock").len(), 1, "the upstream never saw it");
    assert_eq!(fixture.journalled()[1].refused.as_deref(), Some("budget"));
}

#[tokio::test]
async fn the_demo_answers_by_itself() {
    let fixture = fixture(Credential::Demo, Budget::default()).await;
    let (status, body) = fixture.call().await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("event: message_start") && body.contains("scripted demo model"), "{body}");
    assert!(fixture.seen.lock().expect("a lock").is_empty());
    assert_eq!(fixture.journalled()[0].status, 200);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    fs::write(&path, "sk").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
    assert!(read_key(&path).is_err());
}
