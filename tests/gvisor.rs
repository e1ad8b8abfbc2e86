//! Stories inside gVisor: the same sessions, each with a kernel of its own. They are ignored unless asked for,
//! since the engine needs `runsc` (`./scripts/gvisor`); `./scripts/test` asks where the engine has it.

mod common;

use std::{fmt::Display, process::Command};

use common::{
    Daemon, Rung, eventually, refusal,
    stories::{self, ask},
};
use reqwest::Method;
use sandboxctl::{
    api::{Check, CheckState, Role, Session, StartRequest, ToTerminal},
    lifecycle::Reason,
};

/// One value of what the engine says of a session's container.
fn inspect(session: impl Display, format: &str) -> String {
    let name = format!("sandbox-{session}");
    let out = Command::new("docker").args(["inspect", "-f", format, &name]).output().expect("docker runs");
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn the_real_client_is_recorded_attributed_and_complete() {
    stories::the_real_client_is_recorded_attributed_and_complete(Rung::Gvisor).await;
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn an_interactive_turn_survives_the_daemon() {
    stories::an_interactive_turn_survives_the_daemon(Rung::Gvisor).await;
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn a_spare_becomes_a_session_with_a_kernel_of_its_own() {
    let config = "[profiles.demo]\ncredential = \"demo\"\nspares = 1";
    let daemon = Daemon::start_with(Rung::Gvisor, config).await;
    let warm = || std::fs::read_dir(daemon.dir().join("s/run")).expect("a folder").flatten().next();
    eventually("a spare runs", || async {
        warm()
            .is_some_and(|spare| inspect(spare.file_name().to_string_lossy(), "{{.State.Running}}") == "true")
    })
    .await;
    let spare = warm().expect("one").file_name();
    let session = daemon.shell("uname -r; cat /proc/version; echo warm; read x").await;
    assert_eq!(session.id.to_string(), spare.to_string_lossy(), "its id was drawn before");
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("warm").await;
    assert_eq!(inspect(session.id, "{{.HostConfig.Runtime}}"), "runsc");
    screen.type_in("\n").await;
    assert_eq!(daemon.ended(&session).await.reason, Some(Reason::Exited { code: 0 }));
    assert!(daemon.export(&session).await.output().contains("gvisor"), "its kernel is gVisor's");
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn a_terminal_takes_what_is_typed_its_size_and_its_signals() {
    let daemon = Daemon::start(Rung::Gvisor).await;
    let line = "trap 'echo \"size $(stty size)\"' WINCH; trap 'echo interrupted; exit 4' INT; echo ready; \
                while :; do sleep 0.1; done";
    let session = daemon.begin(ask(&["bash", "-c", line])).await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("ready").await;
    screen.until("drives", |s| s.role == Some(Role::Driver)).await;
    screen.tell(&ToTerminal::Resize { cols: 77, rows: 22 }).await;
    screen.until_shows("size 22 77").await;
    screen.type_in("\x03").await;
    screen.until_shows("interrupted").await;
    assert_eq!(daemon.ended(&session).await.reason, Some(Reason::Exited { code: 4 }));
    assert!(daemon.export(&session).await.text("terminal/session.cast").contains("\"r\",\"77x22\""));
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn running_out_of_memory_is_named() {
    let config = "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.limits]\nmemory = \"256 MiB\"";
    let daemon = Daemon::start_with(Rung::Gvisor, config).await;
    let line = "python3 -c 'x = []\nwhile True: x.append(bytearray(b\"x\" * (1 << 20)))'";
    let alone = daemon.begin(ask(&["bash", "-c", &format!("exec {line}")])).await;
    assert_eq!(daemon.ended(&alone).await.reason, Some(Reason::Oom), "{}", daemon.log());
}

/// A process that cannot be made is an error to whoever tries, not the end of the session.
#[tokio::test]
#[ignore = "needs gVisor"]
async fn processes_and_threads_have_a_limit_that_a_session_lives_through() {
    let config = "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.limits]\npids = 120";
    let daemon = Daemon::start_with(Rung::Gvisor, config).await;
    let line = r#"cat > /tmp/bomb.py << 'END'
import os, sys, threading, time
made = 0
try:
    while made < 2000:
        if sys.argv[1] == "threads":
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        elif os.fork() == 0:
            time.sleep(1000)
        made += 1
except Exception as error:
    print(sys.argv[1], "refused", made < 300, error, flush=True)
os.killpg(0, 9)
END
setsid python3 /tmp/bomb.py threads; setsid python3 /tmp/bomb.py processes; echo lives; echo 9999 > /sys/fs/cgroup/pids/pids.max"#;
    let session = daemon.begin(ask(&["bash", "-c", line])).await;
    daemon.ended(&session).await;
    let shown = daemon.export(&session).await.output();
    for expected in ["threads refused True", "processes refused True", "lives", "Permission denied"] {
        assert!(shown.contains(expected), "{expected:?} in:\n{shown}");
    }
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn tmp_open_files_and_the_disk_are_limited() {
    stories::tmp_open_files_and_the_disk_are_limited(Rung::Gvisor).await;
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn a_stop_and_the_time_to_live_end_even_what_ignores_signals() {
    let config = "[profiles.demo]\ncredential = \"demo\"\ngrace = \"1s\"";
    let daemon = Daemon::start_with(Rung::Gvisor, config).await;
    let line = "trap '' TERM HUP INT; echo ready; while :; do sleep 0.1; done";
    let stopped = daemon.shell(line).await;
    let mut screen = daemon.join(&stopped, Role::Observer, None).await;
    screen.until_shows("ready").await;
    let brief = StartRequest { ttl_s: Some(3), ..ask(&["sh", "-c", line]) };
    let brief = daemon.begin(brief).await;
    let path = format!("/api/v1/sessions/{}?note=maintenance", stopped.id);
    daemon.client.delete(&path).await.expect("taken");
    let note = Some("maintenance".to_owned());
    assert_eq!(daemon.ended(&stopped).await.reason, Some(Reason::Operator { note }));
    assert_eq!(daemon.ended(&brief).await.reason, Some(Reason::Ttl));
    assert_eq!(inspect(brief.id, "{{.State.Status}}"), "", "its container is gone");
}

/// gVisor killed behind our back, as by the engine's limits: the record keeps what was said.
#[tokio::test]
#[ignore = "needs gVisor"]
async fn a_sandbox_that_dies_ends_with_what_it_had_said() {
    let daemon = Daemon::start(Rung::Gvisor).await;
    let session = daemon.shell("echo said; sleep 1000").await;
    let mut screen = daemon.join(&session, Role::Observer, None).await;
    screen.until_shows("said").await;
    let pid: i32 = inspect(session.id, "{{.State.Pid}}").parse().expect("a process");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("killed");
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::DaemonLostContainer));
    assert!(daemon.export(&session).await.output().contains("said"));
}

/// This one needs an engine, and no gVisor.
#[tokio::test]
async fn a_profile_whose_runtime_is_missing_is_refused_with_the_remedy() {
    let config = "[profiles.demo]\ncredential = \"demo\"\nruntime = \"runsc-that-nobody-has\"";
    let daemon = Daemon::start_with(Rung::Docker, config).await;
    let answer: Result<Session, _> =
        daemon.client.json(Method::POST, "/api/v1/sessions", Some(&ask(&["true"]))).await;
    let told = format!("{answer:?}");
    assert_eq!(refusal(answer), ("invalid".to_owned(), Some("profile".to_owned())));
    assert!(told.contains("./scripts/gvisor"), "{told}");
    let checks: Vec<Check> = daemon.client.get("/api/v1/doctor").await.expect("checks");
    let check = checks.iter().find(|c| c.name == "gvisor").expect("a check of gVisor");
    assert_eq!(check.state, CheckState::Failed);
    assert!(check.found.contains("profile demo"), "{check:?}");
    assert!(check.remedy.as_deref().is_some_and(|r| r.contains("./scripts/gvisor")), "{check:?}");
}

#[tokio::test]
#[ignore = "needs gVisor"]
async fn doctor_sees_gvisor_and_a_workspace_comes_along() {
    let daemon = Daemon::start(Rung::Gvisor).await;
    let checks: Vec<Check> = daemon.client.get("/api/v1/doctor").await.expect("checks");
    let check = checks.iter().find(|c| c.name == "gvisor").expect("a check of gVisor");
    assert_ne!(check.state, CheckState::Failed, "{check:?}");
    let session = daemon.shell("echo mine > /workspace/note; echo ready; read x").await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("ready").await;
    let bundle = daemon.export_of(&session, "?workspace=true").await;
    let bundle = common::bundle::Bundle::read(&bundle);
    assert!(bundle.files["workspace.tar"].windows(14).any(|w| w == b"workspace/note"));
    screen.type_in("\n").await;
    daemon.ended(&session).await;
}
