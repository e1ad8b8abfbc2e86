//! `prometheus/` in the bundle, of a server that answers as a Prometheus does.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::Query, http::StatusCode, routing::get};
use serde_json::{Value, json};

use crate::common::{Daemon, Rung};

type Asked = Arc<Mutex<Vec<Value>>>;

async fn prometheus() -> (String, Asked) {
    let asked: Asked = Arc::default();
    let kept = Arc::clone(&asked);
    let answer = move |Query(query): Query<Value>| async move {
        kept.lock().expect("nobody panicked").push(query.clone());
        if query["query"].as_str().is_some_and(|q| q.starts_with("sandboxctl_hooks_total")) {
            let refusal = json!({ "status": "error", "errorType": "execution", "error": "too many samples" });
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(refusal));
        }
        let series = json!({ "metric": { "job": "claude-code" }, "values": [[1, "2.5"]] });
        (
            StatusCode::OK,
            Json(json!({ "status": "success", "data": { "resultType": "matrix", "result": [series] } })),
        )
    };
    let router = Router::new().route("/p/api/v1/query_range", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://name:secret@{}/p/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_has_what_prometheus_knows_of_the_sessions_time() {
    let (url, asked) = prometheus().await;
    let daemon = Daemon::start_with(Rung::Local, &format!("[prometheus]\nurl = \"{url}\"")).await;
    let session = daemon.shell("true").await;
    let ended = daemon.ended(&session).await;
    let bundle = daemon.export(&session).await;
    let cost = bundle.json("prometheus/cost.json");
    assert_eq!(cost["result"][0]["values"][0][1], "2.5");
    let index = bundle.json("prometheus/index.json");
    assert!(!index.to_string().contains("secret"), "{index}");
    let queries = index["queries"].as_array().expect("queries");
    let hooks =
        queries.iter().find(|q| q["query"].as_str().is_some_and(|q| q.contains("hooks"))).expect("one");
    assert_eq!((&hooks["problem"], &hooks["file"]), (&json!("too many samples"), &Value::Null));
    assert!(!bundle.files.contains_key("prometheus/daemon-hooks.json"));
    let asked = asked.lock().expect("nobody panicked");
    assert_eq!(asked.len(), queries.len());
    let number =
        |query: &Value, key: &str| query[key].as_str().and_then(|n| n.parse::<i64>().ok()).expect("a number");
    for query in asked.iter() {
        assert_eq!(number(query, "start"), session.created_at.as_second());
        assert!(number(query, "end") >= ended.ended_at.expect("an end").as_second() + 60);
    }
    assert!(
        asked[0]["query"].as_str().is_some_and(|q| q.contains("user_email=\"root@localhost\"")),
        "{asked:?}"
    );
    assert!(
        bundle.text("summary.md").contains("answered 16 queries, and not 1"),
        "{}",
        bundle.text("summary.md")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_away_is_told_and_fails_nothing() {
    let daemon = Daemon::start_with(Rung::Local, "[prometheus]\nurl = \"http://127.0.0.1:9\"").await;
    let session = daemon.shell("true").await;
    daemon.ended(&session).await;
    let bundle = daemon.export(&session).await;
    let problem = bundle.json("prometheus/index.json")["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("refused"), "{problem}");
    assert!(bundle.text("summary.md").contains("could not be asked"), "{}", bundle.text("summary.md"));
    assert_eq!(bundle.files.keys().filter(|path| path.starts_with("prometheus/")).count(), 1);
}
