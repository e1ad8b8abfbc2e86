use std::{fs, os::unix::fs::PermissionsExt, sync::Mutex};

use axum::{body::to_bytes, extract::Request as AxumRequest, response::sse};
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::{
    clock, config, event,
    id::SessionId,
    journal::{Journal, Kind},
    recorder::Recorder,
    spec::{Budget, Profile, Spec, User},
    summary::Summary,
};

#[derive(Default)]
struct Seen {
    headers: Mutex<Vec<HeaderMap>>,
    came: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
}

/// An answer that is no stream.
const SLOW: &str =
    r#"{"type":"message","model":"claude-opus-5-5","usage":{"input_tokens":1000000,"output_tokens":7}}"#;

/// An error as the API words it; passed on to the byte.
const OVERLOADED: &str = r#"{ "type":"error", "error":{"type":"overloaded_error","message":"Overloaded"} }"#;

/// An upstream that notes what it is sent and does what the header `test` says: nothing at all, an error, or
/// else a short stream.
async fn upstream(seen: Arc<Seen>) -> String {
    let answer = move |request: AxumRequest| {
        let again = Arc::clone(&seen);
        seen.headers.lock().expect("a lock").push(request.headers().clone());
        seen.came.notify_one();
        async move {
            match request.headers().get("test").map(HeaderValue::as_bytes) {
                Some(b"late") => again.go_on.notified().await,
                Some(b"silence") => std::future::pending().await,
                // An object, of which one half comes once somebody says so.
                Some(b"slow") => {
                    let (first, second) = SLOW.split_at(20);
                    let halves = stream::unfold(Some(first), move |half| {
                        let again = Arc::clone(&again);
                        async move {
                            let half = half?;
                            again.go_on.notified().await;
                            let next = (half == first).then_some(second);
                            Some((Ok::<_, std::convert::Infallible>(half), next))
                        }
                    });
                    return ([("content-type", "application/json")], Body::from_stream(halves))
                        .into_response();
                }
                Some(b"error") => {
                    let status = StatusCode::from_u16(529).expect("a status");
                    return (status, [("retry-after", "7"), ("request-id", "req_2")], OVERLOADED)
                        .into_response();
                }
                _ => {}
            }
            let start = r#"{"type":"message_start","message":{"model":"claude-opus-5-5","usage":{"input_tokens":1000000,"output_tokens":1}}}"#;
            let delta = r#"{"type":"message_delta","usage":{"output_tokens":10}}"#;
            let events =
                [start, delta].map(|d| Ok::<_, std::convert::Infallible>(sse::Event::default().data(d)));
            ([("request-id", "req_1")], sse::Sse::new(stream::iter(events))).into_response()
        }
    };
    let routes = axum::Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

struct Fixture {
    _dir: tempfile::TempDir,
    ctx: Arc<Context>,
    seen: Arc<Seen>,
}

async fn fixture(credential: Credential, budget: Budget) -> Fixture {
    let seen = Arc::<Seen>::default();
    let url = upstream(Arc::clone(&seen)).await;
    fixture_at(credential, budget, "sk-ant-operator", url, seen)
}

fn fixture_at(
    credential: Credential,
    budget: Budget,
    key_text: &str,
    url: String,
    seen: Arc<Seen>,
) -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    fs::write(&key, format!("{key_text}\n")).expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");
    let model = config::Model { url, key_file: Some(key), ..config::Model::default() };
    let spec = Spec {
        user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
        team: None,
        profile_name: "p".to_owned(),
        profile: Profile { credential, budget, ..Profile::default() },
        workspace: None,
        own_key: false,
        cols: 80,
        rows: 24,
    };
    let id = SessionId::new();
    let journal = Journal::create(&dir.path().join("j"), id).expect("a journal");
    let recorder = Recorder::new(journal, 0, Summary::default(), clock::now());
    let upstream = Arc::new(Upstream::new(&model).expect("an upstream"));
    let ctx = Arc::new(
        Context::new(id, Arc::new(spec), recorder, upstream, Arc::default(), String::new())
            .expect("a context"),
    );
    Fixture { _dir: dir, ctx, seen }
}

impl Fixture {
    async fn ask(&self, test: &'static str) -> Response {
        self.ask_at(test, &Arc::new(Doors::new(CancellationToken::new()))).await
    }

    async fn ask_at(&self, test: &'static str, doors: &Arc<Doors>) -> Response {
        let request = AxumRequest::post("/v1/messages?beta=true")
            .header("authorization", "Bearer of-the-client")
            .header("x-api-key", "of-the-client")
            .header("anthropic-beta", "some-beta")
            .header("connection", "keep-alive, x-of-this-hop")
            .header("x-of-this-hop", "1")
            .header("accept-encoding", "gzip, br")
            .header("test", test)
            .body(Body::from(r#"{"model":"claude-opus-5-5","stream":true}"#))
            .expect("a request");
        let router = crate::gateway::assemble(Arc::clone(&self.ctx), Arc::clone(doors));
        router.oneshot(request).await.expect("an answer")
    }

    async fn call(&self) -> (StatusCode, String) {
        let answer = self.ask("").await;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Whatever request, by the session's whole router.
    async fn send(&self, method: &str, path: &str) -> StatusCode {
        let body = Body::from(r#"{"model":"claude-opus-5-5","stream":true}"#);
        let request = AxumRequest::builder().method(method).uri(path).body(body).expect("a request");
        let answer = crate::gateway::router(Arc::clone(&self.ctx)).oneshot(request).await.expect("an answer");
        let status = answer.status();
        to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        status
    }

    fn reached(&self) -> usize {
        self.seen.headers.lock().expect("a lock").len()
    }

    fn journalled(&self) -> Vec<event::Model> {
        let entries = self.ctx.recorder.journal().read(1).only(&[Kind::Model]);
        entries.map(|e| serde_json::from_slice(&e.expect("a frame").payload).expect("JSON")).collect()
    }

    fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.headers.lock().expect("a lock");
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
    assert_eq!(fixture.header("x-of-this-hop"), None);
    assert_eq!(fixture.header("accept-encoding").as_deref(), Some("identity"), "usage can be read");
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
    assert_eq!(fixture.reached(), 1, "the upstream never saw it");
    assert_eq!(fixture.journalled()[1].refused.as_deref(), Some("budget"));
}

#[tokio::test]
async fn the_demo_answers_by_itself() {
    let fixture = fixture(Credential::Demo, Budget::default()).await;
    let (status, body) = fixture.call().await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("event: message_start") && body.contains("scripted demo model"), "{body}");
    assert_eq!(fixture.reached(), 0);
    assert_eq!(fixture.journalled()[0].status, 200);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    fs::write(&path, "sk").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
    let refused = upstream::read_key(&path).map(|_| ()).expect_err("others can read it").to_string();
    assert!(refused.contains("mode is 640") && refused.contains("chmod 600"), "{refused}");
}

/// An HTTP client's library resolves `..`; what the router took for one path must not become another.
#[tokio::test]
async fn no_path_leads_around_the_count() {
    for credential in [Credential::Gateway, Credential::User] {
        let fixture = fixture(credential, Budget::default()).await;
        for path in [
            "/v1/messages/x/../../messages",
            "/v1/messages/x/%2e%2E/../messages",
            "/v1/messages/count_tokens/..",
            "/v1/models/../../v1/organizations/api_keys",
            "/v1/messages/x\\..\\..\\messages",
            "/v1/messages/./count_tokens",
        ] {
            let Ok(uri) = path.parse::<axum::http::Uri>() else { continue };
            assert!(fixture.send("POST", &uri.to_string()).await.is_client_error(), "{path}");
        }
        assert_eq!(fixture.reached(), 0, "nothing of it reached the upstream");
    }
}

#[tokio::test]
async fn the_operators_key_opens_the_model_and_nothing_else() {
    let fixture = fixture(Credential::Gateway, Budget::default()).await;
    for (method, path) in [
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches"),
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file_1/content"),
        ("DELETE", "/v1/models/x"),
        ("GET", "/v1/messages"),
        ("PUT", "/v1/messages"),
    ] {
        assert_eq!(fixture.send(method, path).await, StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert_eq!(fixture.reached(), 0);
    for (method, path) in [("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models?limit=1000")] {
        assert_eq!(fixture.send(method, path).await, StatusCode::OK, "{method} {path}");
    }
}

#[tokio::test]
async fn a_token_of_an_account_goes_as_a_bearer() {
    let seen = Arc::<Seen>::default();
    let url = upstream(Arc::clone(&seen)).await;
    let fixture = fixture_at(Credential::Gateway, Budget::default(), "sk-ant-oat01-x", url, seen);
    assert_eq!(fixture.call().await.0, StatusCode::OK);
    assert_eq!(fixture.header("authorization").as_deref(), Some("Bearer sk-ant-oat01-x"));
    assert_eq!(fixture.header("x-api-key"), None);
    let seen = fixture.seen.headers.lock().expect("a lock");
    let betas: Vec<_> = seen[0].get_all("anthropic-beta").iter().collect();
    assert_eq!(betas, ["some-beta", "oauth-2025-04-20"]);
}

#[tokio::test]
async fn an_error_of_the_api_passes_to_the_byte() {
    let fixture = fixture(Credential::Gateway, Budget::default()).await;
    let answer = fixture.ask("error").await;
    assert_eq!(answer.status().as_u16(), 529);
    assert_eq!(answer.headers().get("retry-after").map(HeaderValue::as_bytes), Some(&b"7"[..]));
    assert_eq!(answer.headers().get("request-id").map(HeaderValue::as_bytes), Some(&b"req_2"[..]));
    let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
    assert_eq!(body, OVERLOADED);
    let call = fixture.journalled().remove(0);
    assert_eq!((call.status, call.refused, call.request_id.as_deref()), (529, None, Some("req_2")));
}

#[tokio::test]
async fn who_hangs_up_pays_for_the_call() {
    let fixture = fixture(Credential::Gateway, Budget::default()).await;
    let told = async |calls: usize| {
        while fixture.journalled().len() < calls {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let last = fixture.journalled().pop().expect("a call");
        (last.status, last.input_tokens, last.refused)
    };
    // With an answer that is never read; it is a stream, and begins with what its input costs.
    drop(fixture.ask("").await);
    assert_eq!(told(1).await, (200, 1_000_000, None));
    // While an object comes, and before there is any answer at all.
    let answer = fixture.ask("slow").await;
    drop(answer);
    fixture.seen.go_on.notify_one();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.seen.go_on.notify_one();
    assert_eq!(told(2).await, (200, 1_000_000, None));
}

#[tokio::test]
async fn who_hangs_up_first_is_on_record() {
    let fixture = fixture(Credential::Gateway, Budget::default()).await;
    let cancel = CancellationToken::new();
    let doors = Arc::new(Doors::new(cancel.clone()));
    tokio::select! {
        _ = fixture.ask_at("late", &doors) => panic!("it does not answer yet"),
        () = fixture.seen.came.notified() => {}
    }
    fixture.seen.go_on.notify_one();
    while fixture.journalled().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fixture.journalled()[0].input_tokens, 1_000_000, "the upstream had the call");
    // The session ends before the upstream says anything.
    tokio::select! {
        _ = fixture.ask_at("silence", &doors) => panic!("the upstream never answers"),
        () = fixture.seen.came.notified() => {}
    }
    assert_eq!(fixture.journalled().len(), 1);
    cancel.cancel();
    doors.calls.join().await;
    assert_eq!(fixture.journalled()[1].status, 0);
}

#[tokio::test]
async fn an_upstream_that_is_away_is_an_error_in_the_apis_shape() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let fixture = fixture_at(Credential::Gateway, Budget::default(), "sk", url, Arc::default());
    let (status, body) = fixture.call().await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let error: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(error["error"]["type"], "api_error");
    assert_eq!(fixture.journalled()[0].refused.as_deref(), Some("upstream"));
}

#[test]
fn a_model_without_a_price_counts_as_the_dearest() {
    let upstream = Upstream::new(&config::Model::default()).expect("an upstream");
    let cost = |model: &str| {
        let call = event::Model { model: model.to_owned(), output_tokens: 1_000_000, ..Default::default() };
        upstream.cost(&call)
    };
    assert_eq!((cost("claude-haiku-9"), cost("some-model")), (5.0, 25.0));
    let written = event::Model {
        model: "claude-haiku-9".to_owned(),
        cache_creation_tokens: 3_000_000,
        cache_creation_1h_tokens: 2_000_000,
        ..Default::default()
    };
    assert!((upstream.cost(&written) - (1.25 + 2.0 * 2.0)).abs() < 1e-9, "an hour costs more");
}
