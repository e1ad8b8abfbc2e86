//! A disk that is full, or takes no writes: whoever is new is refused, whoever runs waits, and when it is well
//! again everything goes on. These mount file systems, so they want root.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::statvfs::statvfs;
use reqwest::Method;
use sandboxctl::{
    api::{Role, Session, StartRequest},
    client::ClientError,
    journal::verify,
    lifecycle::{Phase, Reason},
};
use tempfile::TempDir;

use crate::{
    common::{Daemon, Rung, Setup, eventually},
    programs::Program,
    watchers::{Manner, screen_of, watch},
};

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().expect("it runs");
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A disk of a test's own.
struct Disk {
    at: TempDir,
    device: Option<String>,
}

impl Disk {
    /// In memory: writes fail when it is full.
    fn memory() -> Disk {
        let disk = Disk { at: Disk::folder(), device: None };
        run("mount", &["-t", "tmpfs", "-o", "size=160m", "tmpfs", &disk.at()]);
        disk
    }

    /// A real file system, in a file.
    fn ext4() -> Disk {
        let mut disk = Disk { at: Disk::folder(), device: None };
        let image = format!("{}.img", disk.at());
        run("truncate", &["-s", "512M", &image]);
        run("mkfs.ext4", &["-q", &image]);
        let device = run("losetup", &["--find", "--show", &image]);
        // The loop keeps it.
        fs::remove_file(&image).expect("removed");
        disk.device = Some(device.clone());
        run("mount", &[&device, &disk.at()]);
        disk
    }

    fn folder() -> TempDir {
        tempfile::Builder::new().prefix("dsk").tempdir().expect("a folder")
    }

    fn at(&self) -> String {
        self.at.path().display().to_string()
    }

    fn state(&self) -> PathBuf {
        self.at.path().join("s")
    }

    /// Leaves so many bytes.
    fn fill(&self, leave: u64) {
        let stat = statvfs(self.at.path()).expect("it is mounted");
        let free = stat.blocks_available() * stat.fragment_size();
        let ballast = File::create(self.at.path().join("ballast")).expect("a file");
        let more = i64::try_from(free - leave).expect("fits");
        nix::fcntl::fallocate(&ballast, nix::fcntl::FallocateFlags::empty(), 0, more).expect("there is room");
    }

    fn empty(&self) {
        fs::remove_file(self.at.path().join("ballast")).expect("removed");
    }

    async fn daemon(&self) -> Daemon {
        let state = self.state();
        let config = "[profiles.demo]\ncredential = \"demo\"\ngrace = \"1s\"";
        Daemon::start_up(Setup { rung: Rung::Local, config, state: Some(&state), ..Setup::default() }).await
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.at.path()).status().ok();
        if let Some(device) = &self.device {
            Command::new("losetup").args(["--detach", device]).status().ok();
        }
    }
}

/// Asks a session's gateway, as something inside would; the whole answer.
fn ask_gateway(daemon: &Daemon, session: &Session, path: &str, body: &str) -> String {
    let socket = daemon.state().join("run").join(session.id.to_string()).join("gateway.sock");
    let mut stream = UnixStream::connect(socket).expect("the gateway listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("asked");
    stream.write_all(body.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.to_lowercase()
}

async fn start(daemon: &Daemon, program: Program) -> Session {
    daemon.begin(StartRequest { program: program.argv(), ..StartRequest::default() }).await
}

/// New sessions are refused with this code, and with a time to come again.
async fn assert_refused(daemon: &Daemon, code: &str) {
    let request = StartRequest::default();
    let refused = daemon.client.json::<Session>(Method::POST, "/api/v1/sessions", Some(&request)).await;
    match refused {
        Err(ClientError::Refused(problem)) => {
            assert_eq!(problem.code, code, "{}", problem.message);
            assert!(problem.message.contains("try again"), "{}", problem.message);
        }
        other => panic!("it was not refused: {other:?}"),
    }
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/api/v1/sessions", daemon.url);
    let answer = http.post(url).bearer_auth(&daemon.token).json(&request).send().await.expect("an answer");
    assert_eq!(answer.status(), 507);
    assert_eq!(answer.headers()["retry-after"], "5");
}

fn length(journal: &Path) -> u64 {
    fs::read_dir(journal).expect("a journal").flatten().map(|e| e.metadata().expect("a file").len()).sum()
}

/// Everything that writes has come to wait.
async fn everybody_waits(daemon: &Daemon, session: &Session) {
    daemon
        .when(session, "its terminal waits", |s| {
            s.warning.as_ref().is_some_and(|w| w.starts_with("recording waits: "))
        })
        .await;
    let before = length(&daemon.journal(session));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(length(&daemon.journal(session)), before, "nothing is written, nothing is truncated");
}

/// Telemetry is to come again later, hooks are denied.
fn assert_gateway_refuses(daemon: &Daemon, session: &Session) {
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
    let answer = ask_gateway(daemon, session, "/v1/logs", logs);
    assert!(answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: 15\r\n"), "{answer}");
    let hook = r#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"ls"}}"#;
    // The page that the journal's file ends in may have room for some more frames that are so short.
    let mut answers = (0..64).map(|_| ask_gateway(daemon, session, "/hooks", hook));
    let answer = answers.find(|answer| !answer.contains(r#""decision":"allow""#)).unwrap_or_default();
    assert!(answer.contains(r#""decision":"deny""#), "{answer}");
    let call = r#"{"model":"claude-demo","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
    let answer = ask_gateway(daemon, session, "/v1/messages", call);
    assert!(answer.starts_with("http/1.1 529"), "what could not be recorded is not done: {answer}");
}

async fn end_in_order(daemon: &Daemon, session: &Session, program: Program) {
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("\n").await;
    let ended = daemon.ended(session).await;
    assert_eq!((ended.reason, ended.warning), (Some(Reason::Exited { code: 0 }), None));
    program.check(&daemon.journal(session), true).assert_whole();
    assert!(verify(&daemon.journal(session)).expect("the chain holds").seal.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_new_are_refused_and_the_running_wait_and_then_everything_goes_on() {
    let disk = Disk::memory();
    let mut daemon = disk.daemon().await;
    let lines = start(&daemon, Program::Lines).await;
    let telemetry = start(&daemon, Program::Telemetry).await;
    let stopped = daemon.shell("echo said; read x").await;
    let watcher = watch(daemon.client.clone(), &lines, Manner::Attentive);
    daemon.join(&stopped, Role::Observer, None).await.until_shows("said").await;
    daemon.join(&telemetry, Role::Observer, None).await.until_shows("took").await;

    disk.fill(2 << 20);
    assert_refused(&daemon, "disk_full").await;
    everybody_waits(&daemon, &lines).await;
    assert_gateway_refuses(&daemon, &telemetry);
    let doctor = daemon.cli(&["doctor", "--json", "--no-session"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("free some space"), "{doctor:?}");

    // A stop is taken; the end waits until it can be recorded.
    daemon.client.delete(&format!("/api/v1/sessions/{}", stopped.id)).await.expect("taken");
    daemon.when(&stopped, "its end waits", |s| s.warning.as_ref().is_some_and(|w| w.contains("waits"))).await;

    // Nor does another daemon lose anything, or fail to start.
    daemon.kill();
    daemon.restart().await;
    everybody_waits(&daemon, &lines).await;
    assert_refused(&daemon, "disk_full").await;

    disk.empty();
    let ended = daemon.ended(&stopped).await;
    assert_eq!(ended.reason, Some(Reason::Operator { note: None }), "{}", daemon.log());
    assert!(verify(&daemon.journal(&stopped)).expect("the chain holds").seal.is_some());
    assert_eq!(daemon.export(&stopped).await.output(), "said\r\n");
    daemon.when(&lines, "it goes on", |s| s.warning.is_none() && s.phase == Phase::Running).await;
    end_in_order(&daemon, &telemetry, Program::Telemetry).await;
    end_in_order(&daemon, &lines, Program::Lines).await;
    let seen = watcher.await.expect("the watcher has no complaint");
    assert_eq!(seen.screen.lines(), screen_of(&daemon.journal(&lines), &lines).lines());
    let again = daemon.shell("echo again").await;
    assert_eq!(daemon.ended(&again).await.reason, Some(Reason::Exited { code: 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_takes_no_writes_is_waited_for_too() {
    let disk = Disk::ext4();
    let daemon = disk.daemon().await;
    let lines = start(&daemon, Program::Lines).await;
    daemon.join(&lines, Role::Observer, None).await.until_shows("the lazy dog").await;
    let state = disk.state().display().to_string();
    // Files that are open may not be written to either. (It has something to say about sockets.)
    let writable = |sign: &str| {
        Command::new("chattr").args(["-R", "-f", sign]).arg(&state).status().expect("chattr runs");
    };
    writable("+i");
    everybody_waits(&daemon, &lines).await;
    assert_gateway_refuses(&daemon, &lines);
    assert_refused(&daemon, "disk_read_only").await;
    writable("-i");
    daemon.when(&lines, "it goes on", |s| s.warning.is_none()).await;
    end_in_order(&daemon, &lines, Program::Lines).await;
}

#[tokio::test]
async fn a_daemon_on_a_read_only_disk_says_so_and_is_not_started_again_in_vain() {
    let disk = Disk::ext4();
    let mut daemon = disk.daemon().await;
    let session = daemon.shell("echo said").await;
    daemon.ended(&session).await;
    daemon.terminate();
    run("mount", &["-o", "remount,ro", &disk.at()]);
    let refused = daemon.cli(&["serve"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(6), "{said}");
    for part in ["cannot write to the state folder", &disk.at(), "Read-only file system", "make it writable"]
    {
        assert!(said.contains(part), "{part} in: {said}");
    }
    let unit = include_str!("../../scripts/sandboxctl.service");
    assert!(unit.contains("RestartPreventExitStatus=2 6\n"), "the service is not started in vain");
    run("mount", &["-o", "remount,rw", &disk.at()]);
    daemon.restart().await;
    assert!(daemon.export(&session).await.output().contains("said"));
    eventually("it is as before", || async { daemon.client.sessions(true).await.is_ok() }).await;
}
