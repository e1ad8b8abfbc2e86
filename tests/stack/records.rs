//! Plain OTLP as a sender of no particular kind makes it: one record of each signal under a mark.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{RequestBuilder, StatusCode};
use sandboxctl::id::SessionId;
use serde_json::{Value, json};

/// A mark that no other test has: 32 hexadecimal digits, which is a trace's id too.
pub fn mark() -> String {
    SessionId::new().to_string().replace('-', "")
}

/// A span, a point and a log record of now, or of some seconds ago.
pub fn of(mark: &str, ago: u64) -> [(&'static str, Value); 3] {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let then = now - u128::from(ago) * 1_000_000_000;
    let (began, ended) = ((then - 1_000_000).to_string(), then.to_string());
    let resource = json!({"attributes": [
        text("service.name", "claude-code"), text("service.version", "2.1.329"),
        text("service.instance.id", mark), text("sandbox.profile", "demo"), text("team", "core"),
        text("user.email", "ada@example.org"), text("user.name", "Ada"), text("sandbox.session.id", mark),
    ]});
    let span = json!({
        "traceId": mark, "spanId": &mark[16..], "name": "claude_code.interaction", "kind": 1,
        "startTimeUnixNano": began, "endTimeUnixNano": ended, "attributes": [text("mark", mark)],
    });
    let point = json!({
        "startTimeUnixNano": began, "timeUnixNano": ended, "asDouble": 0.25,
        "attributes": [text("model", "demo")],
    });
    let metric = json!({
        "name": "claude_code.cost.usage", "unit": "USD",
        "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]},
    });
    let log = json!({
        "timeUnixNano": ended, "body": {"stringValue": "claude_code.tool_result"}, "traceId": mark,
        "attributes": [text("event.name", "tool_result"), text("mark", mark), text("success", "false")],
    });
    [
        ("traces", json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]})),
        (
            "metrics",
            json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}),
        ),
        ("logs", json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [log]}]}]})),
    ]
}

/// Sends them; each has to be taken.
pub async fn send(url: &str, records: &[(&'static str, Value)]) {
    for (signal, body) in records {
        let answer = request(url, signal, body).send().await.expect("the collector answers");
        let status = answer.status();
        assert_eq!(status, StatusCode::OK, "{signal}: {}", answer.text().await.unwrap_or_default());
    }
}

/// One request, to be sent.
pub fn request(url: &str, signal: &str, body: &Value) -> RequestBuilder {
    reqwest::Client::new()
        .post(format!("{url}/v1/{signal}"))
        .header("content-type", "application/json")
        .body(body.to_string())
}
