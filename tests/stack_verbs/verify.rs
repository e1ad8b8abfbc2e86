//! `stack verify`, against a collector and backends that answer by what arrived.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    routing::{get, post},
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::common::{Daemon, Rung};

/// A signal, and a request's body.
type Arrived = (String, Vec<u8>);

/// What arrived, by signal; and the backend that keeps nothing.
#[derive(Clone, Default)]
struct Played {
    arrived: Arc<Mutex<Vec<Arrived>>>,
    forgetful: &'static str,
}

impl Played {
    fn holds(&self, signal: &str, backend: &str, mark: &[u8]) -> bool {
        let arrived = self.arrived.lock().expect("the lock");
        let among = |body: &[u8]| body.windows(mark.len()).any(|window| window == mark);
        self.forgetful != backend && arrived.iter().any(|(of, body)| of == signal && among(body))
    }

    fn result(&self, signal: &str, backend: &str, query: Option<String>) -> Json<Value> {
        let query = query.unwrap_or_default();
        let mark = query.split("verify_mark%3D%22").nth(1).map(|rest| &rest[..32]).expect("a mark");
        let result = if self.holds(signal, backend, mark.as_bytes()) { json!([{}]) } else { json!([]) };
        Json(json!({"status": "success", "data": {"result": result}}))
    }
}

/// Serves the collector and all backends at one address, which comes back.
async fn play(forgetful: &'static str) -> String {
    let state = Played { forgetful, ..Played::default() };
    let router = Router::new()
        .route(
            "/v1/{signal}",
            post(async |State(played): State<Played>, Path(signal): Path<String>, body: Bytes| {
                let mut bytes = Vec::new();
                if std::io::Read::read_to_end(&mut GzDecoder::new(&body[..]), &mut bytes).is_err() {
                    bytes = body.to_vec();
                }
                played.arrived.lock().expect("the lock").push((signal, bytes));
            }),
        )
        .route("/", get(async || "well"))
        .route(
            "/api/v1/query",
            get(async |State(played): State<Played>, RawQuery(query): RawQuery| {
                played.result("metrics", "prometheus", query)
            }),
        )
        .route(
            "/loki/api/v1/query_range",
            get(async |State(played): State<Played>, RawQuery(query): RawQuery| {
                played.result("logs", "loki", query)
            }),
        )
        .route(
            "/api/traces/{mark}",
            get(async |State(played): State<Played>, Path(mark): Path<String>| {
                let id: Vec<u8> = (0..16)
                    .map(|n| u8::from_str_radix(&mark[2 * n..2 * n + 2], 16).expect("hexadecimal"))
                    .collect();
                if played.holds("traces", "jaeger", &id) {
                    (StatusCode::OK, Json(json!({"data": [{}]})))
                } else {
                    (StatusCode::NOT_FOUND, Json(json!({"errors": [{"msg": "trace not found"}]})))
                }
            }),
        )
        .with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

/// The exit code and the report of `verify`, against backends at this address.
async fn verified(daemon: &Daemon, url: &str, wait: &str) -> (Option<i32>, Value) {
    let mut command = daemon.cli(&["stack", "verify", "--json", "--wait", wait]);
    for flag in ["--collector", "--prometheus", "--loki", "--jaeger"] {
        command.args([flag, url]);
    }
    report(command).await
}

async fn report(mut command: Command) -> (Option<i32>, Value) {
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (output.status.code(), report)
}

async fn forwarding(url: &str) -> Daemon {
    Daemon::start_with(Rung::Local, &format!("[forward.stack]\nendpoint = \"{url}\"\n")).await
}

#[tokio::test]
async fn what_arrives_everywhere_is_good_and_leaves_no_session() {
    let url = play("").await;
    let daemon = forwarding(&url).await;
    let (code, report) = verified(&daemon, &url, "60s").await;
    assert_eq!((code, &report["failed"]), (Some(0), &Value::Null), "{report:#}\n{}", daemon.log());
    let hops: Vec<&str> =
        report["hops"].as_array().expect("hops").iter().filter_map(|h| h["name"].as_str()).collect();
    assert_eq!(hops, ["session", "journal", "forwarder", "collector", "prometheus", "loki", "jaeger"]);
    assert_eq!(daemon.client.sessions(true).await.expect("a list").sessions.len(), 0, "it cleared up");
}

#[tokio::test]
async fn the_backend_without_its_signal_is_named() {
    let url = play("loki").await;
    let daemon = forwarding(&url).await;
    let (code, report) = verified(&daemon, &url, "20s").await;
    assert_eq!((code, &report["failed"]), (Some(1), &Value::from("loki")), "{report:#}");
    let hops = report["hops"].as_array().expect("hops");
    let loki = hops.iter().find(|h| h["name"] == "loki").expect("a hop");
    assert!(loki["remedy"].as_str().is_some_and(|r| r.contains("stack logs collector")), "{loki}");
    assert_eq!(
        daemon.client.sessions(true).await.expect("a list").sessions.len(),
        1,
        "it is kept for a look"
    );
}

#[tokio::test]
async fn a_backend_that_nothing_is_sent_to_is_skipped_unless_its_address_is_given() {
    let url = play("jaeger").await;
    let daemon = forwarding(&url).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "STACK_TRACES_TO=[file/traces]\n").expect("written");
    let verify = |wait: &str, flags: &[&str]| {
        let mut command = daemon.cli(&["stack", "verify", "--json", "--wait", wait, "--dir"]);
        command.arg(folder.path());
        for flag in flags {
            command.args([flag, url.as_str()]);
        }
        command
    };
    let (code, skipped) = report(verify("60s", &["--collector", "--prometheus", "--loki"])).await;
    assert_eq!((code, &skipped["failed"]), (Some(0), &Value::Null), "{skipped:#}\n{}", daemon.log());
    let hops = skipped["hops"].as_array().expect("hops");
    let jaeger = hops.iter().find(|h| h["name"] == "jaeger").expect("a hop");
    assert!(jaeger["found"].as_str().is_some_and(|found| found.starts_with("skipped")), "{jaeger}");
    let (code, asked) = report(verify("5s", &["--collector", "--prometheus", "--loki", "--jaeger"])).await;
    assert_eq!((code, &asked["failed"]), (Some(1), &Value::from("jaeger")), "{asked:#}");
}

#[tokio::test]
async fn a_collector_that_is_away_and_a_daemon_that_forwards_nothing_are_told_apart() {
    // Port 9 is nobody's.
    let daemon = forwarding("http://127.0.0.1:9").await;
    let (code, report) = verified(&daemon, "http://127.0.0.1:9", "5s").await;
    assert_eq!((code, &report["failed"]), (Some(1), &Value::from("forwarder")), "{report:#}");
    let found = report["hops"][2]["found"].as_str().unwrap_or_default().to_owned();
    assert!(found.contains("frames wait; its last error"), "{found}");
    drop(daemon);

    let daemon = Daemon::start(Rung::Local).await;
    let (code, report) = verified(&daemon, "http://127.0.0.1:9", "5s").await;
    assert_eq!((code, &report["hops"][0]["name"]), (Some(1), &Value::from("forwarder")), "{report:#}");
    let remedy = report["hops"][0]["remedy"].as_str().unwrap_or_default().to_owned();
    assert!(remedy.contains("[forward.stack]"), "{remedy}");
}
