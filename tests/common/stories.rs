//! Stories that are told of several rungs, each the same.

use sandboxctl::{
    api::{Role, StartRequest},
    lifecycle::Reason,
    spec::User,
};
use serde_json::Value;

use super::{Daemon, Rung, bundle::attribute_values};

/// Asks for a program.
pub fn ask(program: &[&str]) -> StartRequest {
    StartRequest { program: program.iter().map(|a| (*a).to_owned()).collect(), ..StartRequest::default() }
}

/// Names of a timeline's events of one kind.
pub fn names(lines: &[Value], kind: &str) -> Vec<String> {
    let named = lines.iter().filter(|e| e["kind"] == kind);
    named.map(|e| e["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The main job. It also fails when a new release of the client drifts from what we inject and fold.
pub async fn the_real_client_is_recorded_attributed_and_complete(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    let ada = User { name: "Ada Lovelace".to_owned(), email: "ada@example.org".to_owned() };
    let request = StartRequest { user: Some(ada), ..ask(&["claude", "-p", "List the files here"]) };
    let session = daemon.begin(request).await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
    assert_eq!((ended.totals.turns, ended.totals.tools, ended.totals.errors), (1, 1, 0));
    assert_eq!(ended.completeness, Some(1.0));
    assert!((ended.totals.cost_usd - ended.totals.gateway_cost_usd).abs() < 1e-4, "{:?}", ended.totals);
    let bundle = daemon.export(&session).await;
    assert!(bundle.text("terminal/session.txt").contains("scripted demo model"));
    for (file, resources) in
        [("traces", "resourceSpans"), ("metrics", "resourceMetrics"), ("logs", "resourceLogs")]
    {
        let lines = bundle.lines(&format!("telemetry/{file}.jsonl"));
        assert!(!lines.is_empty(), "{file} arrived");
        for resource in lines.iter().flat_map(|l| l[resources].as_array().expect("resources")) {
            let of = |key| attribute_values(&resource["resource"], key);
            assert_eq!(of("sandbox.session.id")[0]["stringValue"], session.id.to_string(), "{file}");
            assert_eq!(of("user.email")[0]["stringValue"], "ada@example.org", "{file}");
            assert_eq!(of("user.name")[0]["stringValue"], "Ada Lovelace", "{file}");
        }
    }
    let events = bundle.lines("events.jsonl");
    let hooks = names(&events, "hook");
    for hook in ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop", "SessionEnd"] {
        assert!(hooks.iter().any(|h| h == hook), "{hook} was heard: {hooks:?}");
    }
    let logs = names(&events, "logs");
    for event in ["managed_settings_resolved", "user_prompt", "api_request", "tool_decision", "tool_result"] {
        assert!(logs.iter().any(|l| l == event), "{event} was sent: {logs:?}");
    }
    let transcript = format!("transcript/workspace/{}.jsonl", session.id);
    assert!(bundle.text(&transcript).contains("List the files here"));
    let summary = bundle.json("summary.json");
    assert_eq!(summary["claude_sessions"][0], session.id.to_string());
}

/// Somebody types, approves a tool, reads the answer and leaves; the daemon is killed in between.
pub async fn an_interactive_turn_survives_the_daemon(rung: Rung) {
    let mut daemon = Daemon::start(rung).await;
    let session = daemon.begin(ask(&["claude"])).await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("shortcuts").await;
    screen.type_in("Write a file").await;
    screen.until_shows("Write a file").await;
    screen.type_in("\r").await;
    screen.until_shows("Do you want to create").await;
    daemon.kill();
    daemon.restart().await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("Do you want to create").await;
    screen.type_in("\r").await;
    screen.until_shows("created successfully").await;
    screen.type_in("/exit\r").await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }));
    assert_eq!((ended.totals.tools, ended.completeness), (1, Some(1.0)), "{}", daemon.log());
}

/// `/tmp`, open files of a process, and the disk hold what the profile says, and no more.
pub async fn tmp_open_files_and_the_disk_are_limited(rung: Rung) {
    let config = "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.limits]\ntmp = \"16 MiB\"\nopen_files = 64\n\
                  disk = \"24 MiB\"";
    let daemon = Daemon::start_with(rung, config).await;
    let script = r#"
import os, resource
def fill(path, most):
    written = 0
    try:
        with open(path, "wb", 0) as file:
            while written < most << 20:
                written += file.write(b"x" * (1 << 20))
    except OSError as error:
        print("full:", error.strerror, flush=True)
    return written >> 20
tmp = fill("/tmp/file", 40)
print("tmp", 8 <= tmp <= 16, flush=True)
opened = []
try:
    while len(opened) < 1000:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print("open:", error.strerror, 32 < len(opened) < 64, flush=True)
for file in opened:
    os.close(file)
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
    print("raised", flush=True)
except (ValueError, OSError):
    print("not raised", flush=True)
print("workspace", fill("/workspace/file", 64), flush=True)
input()
"#;
    let session = daemon.begin(ask(&["python3", "-c", script])).await;
    assert_eq!(daemon.ended(&session).await.reason, Some(Reason::Disk), "{}", daemon.log());
    let shown = daemon.export(&session).await.output();
    for expected in ["full: No space left", "tmp True", "open: Too many open files True", "not raised"] {
        assert!(shown.contains(expected), "{expected:?} in:\n{shown}");
    }
}
