//! What is sent to the collector, found in each backend under the names that the documents give.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    common::{
        eventually,
        stack::{
            Stack,
            ask::{get, now},
        },
    },
    records::{self, mark, request, send},
};

/// The hour around now.
fn hour() -> (f64, f64) {
    (now() - 3600.0, now() + 60.0)
}

#[tokio::test]
async fn all_parts_are_healthy_together_and_watch_each_other() {
    let stack = Stack::start().await;
    for job in ["prometheus", "collector", "loki", "jaeger", "alertmanager", "pushgateway"] {
        let up = format!("up{{job=\"{job}\"}} == 1");
        eventually(&format!("{job} is scraped"), || async { stack.promql(&up).await.len() == 1 }).await;
    }
    let text = async |url: &str| reqwest::get(url).await.expect("it answers").text().await.expect("text");
    assert!(text(&stack.collector_metrics_url).await.contains("\notelcol_process_memory_rss_bytes"));
    assert!(text(&format!("{}/pipelinez", stack.zpages_url)).await.contains("memory_limiter"));
    let found =
        get(&format!("{}/api/v1/alertmanagers", stack.prometheus_url), &[]).await.expect("they are told");
    assert_eq!(found["data"]["activeAlertmanagers"].as_array().map(Vec::len), Some(1), "{found}");
    let pushed = reqwest::Client::new()
        .put(format!("{}/metrics/job/sandboxctl-push/instance/one", stack.pushgateway_url))
        .body("# TYPE pushed_total counter\npushed_total 3\n")
        .send()
        .await;
    assert!(pushed.expect("the gateway answers").status().is_success());
    let kept = "pushed_total{job=\"sandboxctl-push\",instance=\"one\"}";
    eventually("what is pushed keeps its own job", || async { stack.promql(kept).await.len() == 1 }).await;
}

#[tokio::test]
async fn what_is_sent_is_in_each_backend_under_its_documented_name() {
    let stack = Stack::start().await;
    let mark = mark();
    send(&stack.otlp_url, &records::of(&mark, 0)).await;

    let cost = format!("claude_code_cost_usage_USD_total{{instance=\"{mark}\"}}");
    eventually("the point is in Prometheus", || async { !stack.promql(&cost).await.is_empty() }).await;
    let found = stack.promql(&cost).await;
    assert_eq!((found.len(), found[0].value()), (1, 0.25));
    for (label, value) in [
        ("job", "claude-code"),
        ("team", "core"),
        ("user_email", "ada@example.org"),
        ("sandbox_profile", "demo"),
        ("sandbox_session_id", &mark),
        ("service_version", "2.1.329"),
        ("model", "demo"),
    ] {
        assert_eq!(found[0].label(label), value, "{found:?}");
    }

    let query = format!(
        "{{service_name=\"claude-code\", sandbox_profile=\"demo\", team=\"core\"}} \
         | event_name=\"tool_result\" | success=\"false\" | mark=\"{mark}\""
    );
    let logs = || async { stack.logql(&query, hour().0, hour().1).await };
    eventually("the record is in Loki", || async { logs().await.len() == 1 }).await;
    let record = &logs().await[0];
    assert_eq!(record.line, "claude_code.tool_result");
    assert_eq!((record.label("trace_id"), record.label("sandbox_session_id")), (&*mark, &*mark));
    let labels = get(&format!("{}/loki/api/v1/labels", stack.loki_url), &[]).await.expect("its labels");
    assert_eq!(
        labels["data"],
        json!(["sandbox_profile", "service_name", "team"]),
        "and no other is an index"
    );

    eventually("the span is in Jaeger", || async { stack.trace(&mark).await.is_some() }).await;
    let trace = stack.trace(&mark).await.expect("it is there");
    assert_eq!(trace["spans"][0]["operationName"], "claude_code.interaction");
    let tags = trace["processes"]["p1"]["tags"].to_string();
    assert!(tags.contains("sandbox.session.id") && tags.contains("ada@example.org"), "{tags}");
    assert!(stack.services().await.contains(&"claude-code".to_owned()));
    assert_eq!(stack.traces("claude-code", &[("mark", &mark)]).await.len(), 1);
    assert_eq!(
        stack.traces("claude-code", &[("sandbox.session.id", &mark)]).await.len(),
        1,
        "by its process"
    );

    for file in ["traces", "metrics"] {
        let path = stack.volume("collector").join(format!("files/{file}.json"));
        let has = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&mark));
        eventually(&format!("{file} are in a file"), || async { has() }).await;
    }
    let scraped = reqwest::get(&stack.scraped_url).await.expect("it answers").text().await.expect("text");
    let line =
        scraped.lines().find(|l| l.starts_with("claude_code_cost_usage_USD_total")).expect("for scraping");
    assert!(line.contains("user_email=\"ada@example.org\"") && line.ends_with(" 0.25"), "{line}");
}

/// A daemon that was cut off hands its days over afterwards, and an import brings older ones: behind what is newer.
#[tokio::test]
async fn what_is_late_by_a_day_or_a_month_is_taken() {
    let stack = Stack::start().await;
    let ages = [0, 7_200, 86_400, 30 * 86_400].map(|ago| (ago, mark()));
    let bodies = ages.each_ref().map(|(ago, mark)| records::of(mark, *ago));
    for body in &bodies {
        send(&stack.otlp_url, body).await;
    }
    for (ago, mark) in &ages {
        let then = now() - *ago as f64;
        let cost = format!("last_over_time(claude_code_cost_usage_USD_total{{instance=\"{mark}\"}}[10m])");
        eventually(&format!("the point of {ago} s ago is in Prometheus"), || async {
            stack.promql_at(&cost, then + 60.0).await.len() == 1
        })
        .await;
        let query = format!("{{service_name=\"claude-code\"}} | mark=\"{mark}\"");
        eventually(&format!("the record of {ago} s ago is in Loki"), || async {
            stack.logql(&query, then - 600.0, then + 600.0).await.len() == 1
        })
        .await;
        eventually(&format!("the span of {ago} s ago is in Jaeger"), || async {
            stack.trace(mark).await.is_some()
        })
        .await;
    }

    // What is sent once more is taken, and there is one of it.
    for body in &bodies {
        send(&stack.otlp_url, body).await;
    }
    let last = mark();
    send(&stack.otlp_url, &records::of(&last, 0)).await;
    let found = async |mark: &str, ago: u64| {
        let then = now() - ago as f64;
        let query = format!("{{service_name=\"claude-code\"}} | mark=\"{mark}\"");
        stack.logql(&query, then - 600.0, then + 600.0).await.len()
    };
    eventually("what was sent last is in Loki", || async { found(&last, 0).await == 1 }).await;
    for (ago, mark) in &ages {
        assert_eq!(found(mark, *ago).await, 1, "of {ago} s ago");
    }
}

/// Prompts, answers and what tools say are attributes of up to 60 KB each.
#[tokio::test]
async fn a_record_of_much_text_is_taken_whole() {
    let stack = Stack::of(&["loki", "collector"]).await;
    let mark = mark();
    let [.., (signal, mut body)] = records::of(&mark, 0);
    let text = "é".repeat(61_440);
    let attributes = &mut body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"];
    for key in ["prompt", "response", "tool_input", "error"] {
        let attribute = json!({"key": key, "value": {"stringValue": text}});
        attributes.as_array_mut().expect("a list").push(attribute);
    }
    send(&stack.otlp_url, &[(signal, body)]).await;
    let query = format!("{{service_name=\"claude-code\"}} | mark=\"{mark}\"");
    let logs = || async { stack.logql(&query, hour().0, hour().1).await };
    eventually("it is in Loki", || async { logs().await.len() == 1 }).await;
    assert_eq!(logs().await[0].label("response").chars().count(), 61_440);
}

#[tokio::test]
async fn with_a_token_who_does_not_show_it_is_refused() {
    let stack = Stack::of_with(&["collector"], &[("STACK_OTLP_TOKEN", "of-the-tests")]).await;
    let [(signal, body), ..] = records::of(&mark(), 0);
    let status = async |token: Option<&str>| {
        let asked: Value = body.clone();
        let request = request(&stack.otlp_url, signal, &asked);
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        request.send().await.expect("the collector answers").status()
    };
    assert_eq!(status(None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(Some("none")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(Some("of-the-tests")).await, StatusCode::OK);
}
