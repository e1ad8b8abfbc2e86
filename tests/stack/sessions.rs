//! Sessions of the real client in real containers, with the stack for their collector.

use std::collections::{BTreeMap, BTreeSet};

use sandboxctl::{
    api::{Role, Session},
    lifecycle::Reason,
};
use serde_json::Value;

use crate::common::{
    Daemon, PATIENCE, Rung,
    bundle::{Bundle, attribute_values, walk},
    eventually,
    stack::{Stack, ask::now},
    stories::ask,
};

/// The client's metrics that one turn of the demo model moves, by their names in Prometheus.
const MOVED: [&str; 4] = [
    "claude_code_active_time_seconds_total",
    "claude_code_cost_usage_USD_total",
    "claude_code_session_count_total",
    "claude_code_token_usage_tokens_total",
];

async fn daemon_of(stack: &Stack) -> Daemon {
    let config = format!("[forward.team]\nendpoint = \"{}\"", stack.otlp_url);
    Daemon::start_with(Rung::Docker, &config).await
}

/// What the journal has of the client's spans, by id.
fn spans(bundle: &Bundle) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for line in bundle.lines("telemetry/traces.jsonl") {
        walk(&line, &mut |v| {
            if let Some(id) = v.get("spanId").and_then(Value::as_str).filter(|_| v.get("name").is_some()) {
                ids.insert(id.to_owned());
            }
        });
    }
    ids
}

/// Its events: when, and which.
fn events(bundle: &Bundle) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in bundle.lines("telemetry/logs.jsonl") {
        walk(&line, &mut |v| {
            let Some(body) = v["body"]["stringValue"].as_str() else { return };
            found.push((attribute_values(v, "event.sequence")[0].to_string(), body.to_owned()));
        });
    }
    found
}

/// Everything of the session is in each backend, once; and its spans once in the collector's file.
async fn is_complete(stack: &Stack, daemon: &Daemon, session: &Session) {
    let bundle = daemon.export(session).await;
    let (spans, events) = (spans(&bundle), events(&bundle));
    assert!(spans.len() > 3 && events.len() > 5, "{spans:?} {events:?}");
    let id = session.id.to_string();

    let query =
        format!("{{service_name=\"claude-code\", sandbox_profile=\"demo\"}} | sandbox_session_id=\"{id}\"");
    let in_loki = || async { stack.logql(&query, now() - 3600.0, now() + 60.0).await };
    eventually("every event is in Loki", || async { in_loki().await.len() >= events.len() }).await;
    let mut arrived: Vec<String> = in_loki().await.iter().map(|r| r.line.clone()).collect();
    let mut expected: Vec<String> = events.into_iter().map(|(_, body)| body).collect();
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected, "and once");

    let in_jaeger = || async {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for trace in stack.traces("claude-code", &[("sandbox.session.id", &id)]).await {
            for span in trace["spans"].as_array().into_iter().flatten() {
                *found.entry(span["spanID"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        found
    };
    let has_all = |found: &BTreeMap<String, usize>| spans.iter().all(|s| found.contains_key(s));
    eventually("every span is in Jaeger", || async { has_all(&in_jaeger().await) }).await;
    assert!(in_jaeger().await.values().all(|times| *times == 1), "and once");

    let file = stack.volume("collector").join("files/traces.json");
    let text = std::fs::read_to_string(file).expect("the collector's file");
    for span in &spans {
        assert_eq!(text.matches(&format!("\"spanId\":\"{span}\"")).count(), 1, "{span} was sent once");
    }

    for name in MOVED {
        let query = format!("sum by (job) ({name})");
        eventually(&format!("{name} is in Prometheus"), || async { !stack.promql(&query).await.is_empty() })
            .await;
        assert_eq!(stack.promql(&query).await[0].label("job"), "claude-code");
    }
    let totals = daemon.client.session(&id).await.expect("the session").totals;
    let counted = [("input", totals.input_tokens), ("output", totals.output_tokens)];
    for (kind, expected) in counted {
        let query = format!("sum(claude_code_token_usage_tokens_total{{type=\"{kind}\"}}) == {expected}");
        eventually(&query, || async { stack.promql(&query).await.len() == 1 }).await;
    }
}

#[tokio::test]
async fn a_session_is_in_each_backend_once() {
    let stack = Stack::start().await;
    let daemon = daemon_of(&stack).await;
    let session = daemon.begin(ask(&["claude", "-p", "List the files here"])).await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
    is_complete(&stack, &daemon, &session).await;
}

#[tokio::test]
async fn a_collector_that_was_stopped_for_the_middle_third_of_a_run_has_all_of_it_afterwards() {
    let mut stack = Stack::start().await;
    let daemon = daemon_of(&stack).await;
    let turns = "for i in 1 2 3; do claude -p 'List the files here'; echo \"turn $i is over\"; read -r; done";
    let session = daemon.begin(ask(&["bash", "-c", turns])).await;
    let mut screen = daemon.join(&session, Role::Driver, Some(0)).await;
    screen.until_shows("turn 1 is over").await;
    stack.part("collector").stop();
    screen.type_in("\n").await;
    screen.until_shows("turn 2 is over").await;
    stack.up("collector").await;
    screen.type_in("\n").await;
    screen.until_shows("turn 3 is over").await;
    screen.type_in("\n").await;
    let ended = daemon.when_in(PATIENCE, &session, "it has ended", |s| s.reason.is_some()).await;
    assert_eq!(ended.completeness, Some(1.0), "{}", daemon.log());
    is_complete(&stack, &daemon, &session).await;
}
