//! A bundle's telemetry, sent once more.

use std::{path::PathBuf, process::Output};

use sandboxctl::api::StartRequest;
use serde_json::Value;

use crate::{
    common::{Daemon, Rung},
    receiver::Receiver,
};

/// A session of three signals, as a bundle in the daemon's folder.
async fn bundle(daemon: &Daemon) -> PathBuf {
    const CLIENT: &str = r#"
import json, urllib.request
def post(signal, body):
    request = urllib.request.Request(f"http://127.0.0.1:4318/v1/{signal}", json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=30).read()
for n in range(3):
    value = {"key": "n", "value": {"intValue": n}}
    post("logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(1700000000000000000 + n), "attributes": [value]}]}]}]})
point = {"startTimeUnixNano": "1600000000000000000", "timeUnixNano": "1700000000000000007", "asDouble": 2.5}
post("metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}}]}]}]})
span = {"traceId": "0123456789abcdef0123456789abcdef", "spanId": "0123456789abcdef", "name": "s", "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": "1700000000000000009"}
post("traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
"#;
    let program = ["python3", "-c", CLIENT].map(str::to_owned).to_vec();
    let session = daemon.begin(StartRequest { program, ..StartRequest::default() }).await;
    daemon.ended(&session).await;
    let path = daemon.dir().join("bundle.tar.gz");
    std::fs::write(&path, daemon.export_bytes(&session).await).expect("written");
    path
}

fn run(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        daemon.cli(&[&["import"], args].concat()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_with_its_times_its_order_and_a_mark_over_either_protocol() {
    let daemon = Daemon::start(Rung::Local).await;
    let bundle = bundle(&daemon).await;
    let bundle = bundle.to_str().expect("UTF-8");
    let receiver = Receiver::start().await;
    let authority = receiver.url.trim_start_matches("http://").to_owned();
    let mut before = None;
    for to in [
        receiver.url.clone(),
        format!("otlp+http://{authority}"),
        format!("otlp://{authority}"),
        format!("grpc://{authority}"),
    ] {
        receiver.forget();
        receiver.refuse(2);
        let (code, said, wrong) =
            run(&daemon, &[bundle, "--to", &to, "--header", "X-Token=secret", "--patience", "30s", "--json"]);
        assert_eq!(code, Some(0), "{to}: {said}{wrong}");
        let sent: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(
            (&sent["requests"], &sent["log_records"], &sent["spans"], &sent["metric_points"]),
            (&5.into(), &3.into(), &1.into(), &1.into()),
            "{to}"
        );
        let order: Vec<_> = receiver.events().iter().map(|e| e["n"].clone()).collect();
        assert_eq!(order, [0, 1, 2], "{to}");
        let (traces, metrics, logs) = receiver.requests();
        let span = &traces[0].resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(
            (span.start_time_unix_nano, span.trace_id[0], span.trace_id[15]),
            (1_700_000_000_000_000_001, 0x01, 0xef)
        );
        assert_eq!(metrics[0].resource_metrics[0].scope_metrics[0].metrics[0].name, "m");
        assert_eq!(
            logs[2].resource_logs[0].scope_logs[0].log_records[0].time_unix_nano,
            1_700_000_000_000_000_002
        );
        for resource in receiver.resources() {
            assert_eq!(resource["sandbox.imported"], true, "{to}");
            assert_eq!(resource["user.email"], "root@localhost", "as it was recorded: {resource}");
        }
        assert!(receiver.heads().iter().all(|head| head["x-token"] == "secret"));
        let all = receiver.requests();
        assert_eq!(before.get_or_insert_with(|| all.clone()), &all, "{to}: sent again it is the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_changed_sends_nothing_unless_one_insists() {
    let daemon = Daemon::start(Rung::Local).await;
    let bundle = bundle(&daemon).await;
    let receiver = Receiver::start().await;
    // The same files, one of them changed, packed anew.
    let script = "cd $(mktemp -d) && tar xzf \"$0\" && sed -i s/1700000000000000002/1700000000000000003/ */telemetry/logs.jsonl && tar czf \"$1\" sandbox-session-*/manifest.json $(find . -type f ! -name manifest.json | sed 's|^./||')";
    let changed = daemon.dir().join("changed.tar.gz");
    let done = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(&bundle)
        .arg(&changed)
        .status()
        .expect("sh");
    assert!(done.success());
    let changed = changed.to_str().expect("UTF-8");
    let (code, _, said) = run(&daemon, &[changed, "--to", &receiver.url]);
    assert!(code == Some(1) && said.contains("logs.jsonl") && said.contains("nothing was sent"), "{said}");
    assert!(receiver.heads().is_empty());
    let (code, said, _) = run(&daemon, &[changed, "--to", &receiver.url, "--no-verify"]);
    assert!(code == Some(0) && said.contains("3 log records"), "{said}");
    let bundle = bundle.to_str().expect("UTF-8");
    let (code, said, wrong) =
        run(&daemon, &[bundle, "--to", "http://ada:secret@127.0.0.1:9", "--patience", "1s"]);
    assert!(!said.contains("secret") && !wrong.contains("secret"), "{said}{wrong}");
    assert!(
        code == Some(1) && said.contains("took 0 requests") && wrong.contains("takes nothing"),
        "{said}{wrong}"
    );
    receiver.forget();
    let (_, said, _) = run(&daemon, &[bundle, "--to", &receiver.url, "--signals", "metrics"]);
    assert!(
        said.contains("took 1 requests with 0 spans, 1 metric points") && receiver.spans() == 0,
        "{said}"
    );
    assert_eq!(run(&daemon, &[bundle, "--to", "collector:4317"]).0, Some(2));
    assert_eq!(run(&daemon, &["/no/such", "--to", &receiver.url]).0, Some(2));
}
