//! Stories on the third rung: real containers, and the real Claude Code with the demo model.

mod common;

use common::{
    Daemon, Rung,
    bundle::walk,
    stories::{self, ask, names},
};
use sandboxctl::{
    api::{Role, StartRequest},
    lifecycle::Reason,
};

#[tokio::test]
async fn the_real_client_is_recorded_attributed_and_complete() {
    stories::the_real_client_is_recorded_attributed_and_complete(Rung::Docker).await;
}

#[tokio::test]
async fn an_interactive_turn_survives_the_daemon() {
    stories::an_interactive_turn_survives_the_daemon(Rung::Docker).await;
}

/// What its user does to silence or redirect the client does nothing.
#[tokio::test]
async fn a_user_can_neither_switch_telemetry_off_nor_redirect_it() {
    let daemon = Daemon::start(Rung::Docker).await;
    let line = r#"mkdir -p ~/.claude && cat > ~/.claude/settings.json << 'END'
{"disableAllHooks": true, "env": {"CLAUDE_CODE_ENABLE_TELEMETRY": "0", "OTEL_LOGS_EXPORTER": "none",
 "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:9", "OTEL_BLRP_MAX_QUEUE_SIZE": "1"}}
END
export OTEL_METRICS_EXPORTER=none OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:9
export OTEL_RESOURCE_ATTRIBUTES=sandbox.session.id=EVIL,user.email=evil@example.org
echo x > /etc/claude-code/managed-settings.json || echo refused
claude -p 'List the files here'"#;
    let session = daemon.begin(ask(&["bash", "-c", line])).await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.completeness, Some(1.0), "{}", daemon.log());
    let bundle = daemon.export(&session).await;
    assert!(bundle.output().contains("refused"));
    for file in ["traces", "metrics", "logs"] {
        let text = bundle.text(&format!("telemetry/{file}.jsonl"));
        assert!(!text.is_empty(), "{file} arrived");
        assert!(!text.contains("EVIL") && !text.contains("evil@"), "{file} is attributed by its channel");
    }
    assert!(names(&bundle.lines("events.jsonl"), "hook").iter().any(|h| h == "PreToolUse"));
}

#[tokio::test]
async fn a_hook_denies_what_the_policy_forbids() {
    let config = "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.policy]\ndeny_commands = [\"ls\"]";
    let daemon = Daemon::start_with(Rung::Docker, config).await;
    let session = daemon.begin(ask(&["claude", "-p", "List the files here"])).await;
    daemon.ended(&session).await;
    let bundle = daemon.export(&session).await;
    assert!(
        bundle.text("terminal/session.txt").contains("The tool did not run"),
        "{}",
        bundle.text("terminal/session.txt")
    );
    assert_eq!(bundle.json("summary.json")["denials"], 1);
}

/// What the container is allowed: nearly nothing.
#[tokio::test]
async fn a_container_is_hardened() {
    let daemon = Daemon::start(Rung::Docker).await;
    let line = r#"grep -E 'CapEff|CapPrm|NoNewPrivs' /proc/self/status
echo "interfaces: $(ls /sys/class/net | tr '\n' ' ')"
touch /usr/bin/x 2>&1 | tail -c 25; touch /x 2>&1 | tail -c 25
ls /run/sandbox 2>&1 | tail -c 20
sudo -n id 2>&1 | head -c 40; echo
cat /proc/1/environ 2>&1 | tail -c 20
timeout 2 bash -c 'echo > /dev/tcp/1.1.1.1/53' 2>&1 | tail -c 28
kill -9 1 2>&1 | tail -c 30; echo
(ulimit -c; ulimit -n)
cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null
cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
touch /workspace/ok /tmp/ok ~/ok && echo writable
"#;
    let session = daemon.begin(ask(&["bash", "-c", line])).await;
    daemon.ended(&session).await;
    let shown = daemon.export(&session).await.text("terminal/session.txt");
    for expected in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "interfaces: lo \n",
        "Read-only file system",
        "Permission denied",
        "unreachable",
        "not permitted",
        "\n1024\n",
        "\n4294967296\n",
        "writable",
    ] {
        let plain = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain.contains(&wanted), "{wanted:?} in:\n{shown}");
    }
    assert!(!shown.contains("uid=0"), "{shown}");
}

#[tokio::test]
async fn a_container_that_is_killed_behind_our_back_ends_with_what_it_had_said() {
    let daemon = Daemon::start(Rung::Docker).await;
    let session = daemon.shell("echo said; sleep 1000").await;
    let mut screen = daemon.join(&session, Role::Observer, None).await;
    screen.until_shows("said").await;
    let name = format!("sandbox-{}", session.id);
    let removed =
        std::process::Command::new("docker").args(["rm", "-f", &name]).output().expect("docker runs");
    assert!(removed.status.success());
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::DaemonLostContainer));
    assert!(daemon.export(&session).await.output().contains("said"));
}

#[tokio::test]
async fn running_out_of_memory_is_named() {
    let config = "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.limits]\nmemory = \"128 MiB\"";
    let daemon = Daemon::start_with(Rung::Docker, config).await;
    let line = "python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'";
    let session = daemon.begin(ask(&["bash", "-c", &format!("exec {line}")])).await;
    assert_eq!(daemon.ended(&session).await.reason, Some(Reason::Oom), "{}", daemon.log());
}

#[tokio::test]
async fn tmp_open_files_and_the_disk_are_limited() {
    stories::tmp_open_files_and_the_disk_are_limited(Rung::Docker).await;
}

#[tokio::test]
async fn any_image_of_the_users_works() {
    let daemon = Daemon::start(Rung::Docker).await;
    let request =
        StartRequest { image: Some("debian:bookworm-slim".to_owned()), ..ask(&["sh", "-c", "id -u; pwd"]) };
    let session = daemon.begin(request).await;
    daemon.ended(&session).await;
    assert_eq!(daemon.export(&session).await.text("terminal/session.txt").trim_end(), "1000\n/workspace");
    let missing = StartRequest { image: Some("no/such-image:here".to_owned()), ..StartRequest::default() };
    let refused: Result<sandboxctl::api::Session, _> =
        daemon.client.json(reqwest::Method::POST, "/api/v1/sessions", Some(&missing)).await;
    assert_eq!(common::refusal(refused), ("invalid".to_owned(), Some("image".to_owned())));
}

#[tokio::test]
async fn a_workspace_comes_along_when_it_is_asked_for() {
    let daemon = Daemon::start(Rung::Docker).await;
    let session = daemon.shell("echo mine > /workspace/note; echo ready; read x").await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("ready").await;
    let bundle = daemon.export_of(&session, "?workspace=true").await;
    let bundle = common::bundle::Bundle::read(&bundle);
    let mut workspace = tar::Archive::new(bundle.files["workspace.tar"].as_slice());
    let paths = workspace
        .entries()
        .expect("a tar")
        .map(|e| e.expect("an entry").path().expect("a path").into_owned());
    assert!(paths.into_iter().any(|p| p.ends_with("workspace/note")));
    assert!(!daemon.export(&session).await.files.contains_key("workspace.tar"), "only when it is asked for");
    screen.type_in("\n").await;
    daemon.ended(&session).await;
}

#[tokio::test]
async fn secrets_are_masked_in_the_bundle() {
    let daemon = Daemon::start(Rung::Docker).await;
    let key = format!("sk-ant-api03-{}", "Z9".repeat(40));
    let session = daemon.shell(&format!("echo before {key} after")).await;
    daemon.ended(&session).await;
    let bundle = daemon.export(&session).await;
    for (path, content) in &bundle.files {
        assert!(!String::from_utf8_lossy(content).contains("Z9Z9Z9Z9"), "{path} holds the key");
    }
    assert!(bundle.output().contains("before [REDACTED"), "{}", bundle.output());
    let mut objects = 0;
    walk(&bundle.json("manifest.json"), &mut |_| objects += 1);
    assert!(objects > 10);
}
