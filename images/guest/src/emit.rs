//! `sandbox-guest emit MARK`: one span, one point of a metric and one log record, all with the mark.
//!
//! `sandboxctl stack verify` runs it as a session's program and then looks for the mark in each backend. It goes the
//! way that Claude Code's telemetry goes, OTLP over HTTP to the session's door on 127.0.0.1:4318, so what arrives
//! shows that the way is whole. The mark is 32 hexadecimal digits: it is the trace's id too.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sandbox_guest::complain;
use serde_json::{Value, json};

use crate::http;

/// The session's door for telemetry.
const PORT: u16 = 4318;

/// For each step on the wire.
const STEP: Duration = Duration::from_secs(10);

/// How long the span says that it took, in ns.
const SPAN: u128 = 1_000_000;

/// The verb.
pub fn run(mark: &str) -> ExitCode {
    if mark.len() != 32 || !mark.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        complain!("sandbox-guest emit: '{mark}' is no mark; give 32 digits of 0-9 and a-f");
        return ExitCode::from(2);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    for (path, request) in requests(mark, now) {
        let sent = http::post(PORT, path, "application/json", request.to_string().as_bytes(), STEP);
        let problem = match sent {
            Ok(answer) if answer.status == 200 => {
                println!("{path} taken");
                continue;
            }
            Ok(answer) => format!(
                "refused with status {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body).escape_debug()
            ),
            Err(error) => error.to_string(),
        };
        complain!("http://127.0.0.1:{PORT}{path}: {problem}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The request for each path, in OTLP's JSON; `now` in ns since the epoch.
fn requests(mark: &str, now: u128) -> [(&'static str, Value); 3] {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let marked = [attribute("verify.mark", mark)];
    let resource = json!({"attributes": [attribute("service.name", "sandboxctl-verify"), marked[0]]});
    let scope = json!({"name": "sandboxctl.stack.verify", "version": env!("CARGO_PKG_VERSION")});
    let (began, ended) = ((now - SPAN.min(now)).to_string(), now.to_string());
    let span = json!({
        "traceId": mark,
        "spanId": &mark[..16],
        "name": "stack.verify",
        "kind": 1,
        "startTimeUnixNano": began,
        "endTimeUnixNano": ended,
        "attributes": marked,
    });
    let metric = json!({
        "name": "stack.verify",
        "description": "Marked points of `sandboxctl stack verify`",
        "sum": {
            "aggregationTemporality": 2,
            "isMonotonic": true,
            "dataPoints": [{
                "startTimeUnixNano": began,
                "timeUnixNano": ended,
                "asDouble": 1.0,
                "attributes": marked,
            }],
        },
    });
    let log = json!({
        "timeUnixNano": ended,
        "observedTimeUnixNano": ended,
        "severityNumber": 9,
        "severityText": "INFO",
        "body": {"stringValue": "stack.verify"},
        "attributes": marked,
    });
    [
        (
            "/v1/traces",
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [span]}]}]}),
        ),
        (
            "/v1/metrics",
            json!({"resourceMetrics": [{
                "resource": resource, "scopeMetrics": [{"scope": scope, "metrics": [metric]}],
            }]}),
        ),
        (
            "/v1/logs",
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [log]}]}]}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_the_mark_and_the_trace_is_named_by_it() {
        let mark = "0123456789abcdef0123456789abcdef";
        let [traces, metrics, logs] = requests(mark, 1_790_000_000_000_000_000).map(|(_, request)| request);
        let span = &traces["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], mark);
        assert_eq!(span["spanId"], "0123456789abcdef");
        assert_eq!(span["startTimeUnixNano"], "1789999999999000000");
        let point = &metrics["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"]["dataPoints"][0];
        let record = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        for marked in [span, point, record] {
            assert_eq!(marked["attributes"][0]["key"], "verify.mark");
            assert_eq!(marked["attributes"][0]["value"]["stringValue"], mark);
        }
        for (request, key) in
            [(&traces, "resourceSpans"), (&metrics, "resourceMetrics"), (&logs, "resourceLogs")]
        {
            let attributes = &request[key][0]["resource"]["attributes"];
            assert_eq!(attributes[0]["value"]["stringValue"], "sandboxctl-verify");
            assert_eq!(attributes[1]["value"]["stringValue"], mark);
        }
    }
}
