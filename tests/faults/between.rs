//! `kill -9` of the daemon between two of its steps, each of which is a state that the next daemon must know.
//!
//! Where the moment cannot be met, it is made: the daemon is killed, and what it would have written by then is
//! written here, with its own hands.

use std::path::PathBuf;

use reqwest::Method;
use sandbox_guest::frame::{self, Frame, Kind};
use sandboxctl::{
    api::{Role, Session, StartRequest},
    journal::{Draft, Journal, verify},
    lifecycle::{Phase, Reason},
};
use sqlx::{Connection, SqliteConnection};

use crate::common::{Daemon, Rung, eventually};

/// The daemon's database, while no daemon runs.
async fn database(daemon: &Daemon) -> SqliteConnection {
    let path = daemon.state().join("sandboxctl.db");
    SqliteConnection::connect(&path.display().to_string()).await.expect("the database")
}

pub async fn execute(daemon: &Daemon, sql: &str) {
    let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut database(daemon).await).await;
    assert_eq!(done.expect(sql).rows_affected(), 1, "{sql}");
}

/// What a session's guest has in its spool.
pub fn spooled(daemon: &Daemon, session: &Session) -> Vec<Frame> {
    let spool = daemon.state().join("run").join(session.id.to_string()).join("spool");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(spool).expect("a spool").flatten().map(|e| e.path()).collect();
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).expect("a segment");
        let mut rest = bytes.as_slice();
        while let Ok(Some(frame)) = frame::read(&mut rest) {
            frames.push(frame);
        }
    }
    frames
}

/// Whether a record says that the program has ended.
pub fn exited(frame: &Frame) -> bool {
    frame.head.kind == Kind::Lifecycle && String::from_utf8_lossy(&frame.payload).contains("program_exited")
}

#[tokio::test]
async fn a_stop_keeps_its_reason_when_the_daemon_that_was_asked_dies() {
    let config = "[profiles.demo]\ncredential = \"demo\"\ngrace = \"2s\"";
    let mut daemon = Daemon::start_with(Rung::Local, config).await;
    let session = daemon.shell("trap '' TERM HUP; echo ready; while :; do sleep 0.1; done").await;
    let mut screen = daemon.join(&session, Role::Observer, None).await;
    screen.until_shows("ready").await;
    let path = format!("/api/v1/sessions/{}?note=noon", session.id);
    let asked: Session = daemon.client.json(Method::DELETE, &path, None::<&()>).await.expect("taken");
    assert_ne!(asked.phase, Phase::Ended);
    daemon.when(&session, "it is stopping", |s| s.phase == Phase::Stopping).await;
    daemon.kill();
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Operator { note: Some("noon".to_owned()) }));
}

#[tokio::test]
async fn an_exit_that_was_on_record_is_the_reason_when_its_daemon_dies_before_it_acts() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("read x; echo last words; exit 3").await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("\n").await;
    screen.until_shows("last words").await;
    drop(screen);
    daemon.kill();
    // Whatever the daemon had by then, the guest has kept what was not acknowledged.
    eventually("the program has ended", || async { spooled(&daemon, &session).iter().any(exited) }).await;
    let (journal, recovered) = Journal::open(&daemon.journal(&session), session.id).expect("its journal");
    for frame in spooled(&daemon, &session).iter().filter(|f| f.head.seq > recovered.last_record) {
        let head = frame.head;
        let draft = Draft { time: head.time, origin: head.seq, kind: head.kind, payload: &frame.payload };
        journal.append(draft).expect("appended");
    }
    drop(journal);
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert_eq!((ended.reason, ended.exit_code), (Some(Reason::Exited { code: 3 }), Some(3)));
    assert_eq!(daemon.export(&session).await.output().matches("last words").count(), 1);
}

#[tokio::test]
async fn a_record_that_was_sealed_is_stored_by_the_next_daemon() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("echo said; exit 4").await;
    daemon.ended(&session).await;
    daemon.kill();
    let sql = "UPDATE sessions SET ended_at = NULL, view = json_set(view, '$.phase', 'running', \
               '$.reason', NULL, '$.exit_code', NULL, '$.ended_at', NULL)";
    execute(&daemon, sql).await;
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert_eq!((ended.reason, ended.exit_code), (Some(Reason::Exited { code: 4 }), Some(4)));
    assert!(verify(&daemon.journal(&session)).expect("the chain holds").seal.is_some());
    assert!(daemon.export(&session).await.output().contains("said"));
}

#[tokio::test]
async fn a_session_that_was_only_on_record_begins() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let model = daemon.shell("echo begun; exit 5").await;
    daemon.ended(&model).await;
    daemon.kill();
    let mut session = model.clone();
    session.id = sandboxctl::id::SessionId::new();
    let sql = format!(
        "INSERT INTO sessions (id, email, created_at, volume, spec, view) SELECT '{id}', email, created_at, \
         'sandbox-{id}', spec, json_set(view, '$.id', '{id}', '$.phase', 'requested', '$.reason', NULL, \
         '$.exit_code', NULL, '$.started_at', NULL, '$.ended_at', NULL) FROM sessions",
        id = session.id
    );
    execute(&daemon, &sql).await;
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 5 }), "{}", daemon.log());
    let bundle = daemon.export(&session).await;
    assert_eq!(bundle.output(), "begun\r\n");
    assert_eq!(bundle.json("config/program.json")[0], "sh");
}

/// The key is handed to the guest with the start, and kept nowhere.
#[tokio::test]
async fn a_session_whose_key_went_with_its_daemon_ends_rather_than_begin_without_it() {
    let config = "[profiles.own]\ncredential = \"user\"";
    let mut daemon = Daemon::start_with(Rung::Local, config).await;
    let request = StartRequest {
        profile: Some("own".to_owned()),
        api_key: Some("sk-ant-test-0123456789".to_owned()),
        program: ["sh", "-c", "echo \"with ${ANTHROPIC_API_KEY:-nothing}\"; read x"]
            .map(str::to_owned)
            .to_vec(),
        ..StartRequest::default()
    };
    let mut lost = 0;
    for _ in 0..5 {
        let session = daemon.begin(request.clone()).await;
        daemon.kill();
        daemon.restart().await;
        let seen = daemon
            .when(&session, "it has begun or ended", |s| matches!(s.phase, Phase::Running | Phase::Ended))
            .await;
        let output = daemon.export(&session).await.output();
        assert!(!output.contains("with nothing"), "{output}");
        if seen.phase == Phase::Ended {
            assert_eq!(seen.reason, Some(Reason::KeyLost), "{}", daemon.log());
            assert_eq!(output, "");
            lost += 1;
        }
    }
    assert!(lost > 0, "the daemon was never killed in time");
}

/// What keeps a session from being idle was seen by an earlier daemon, however that one ended.
#[tokio::test]
async fn a_session_that_was_lately_active_is_not_idle_for_the_next_daemon() {
    let config = "[profiles.demo]\ncredential = \"demo\"\nidle = \"6s\"";
    let mut daemon = Daemon::start_with(Rung::Local, config).await;
    let session = daemon.shell("for n in 1 2 3 4 5 6 7 8; do echo \"line $n.\"; sleep 2; done; exit 9").await;
    daemon.join(&session, Role::Observer, None).await.until_shows("line 5.").await;
    daemon.terminate();
    daemon.restart().await;
    let now = daemon.client.session(&session.id.to_string()).await.expect("it is known");
    assert!(now.active_at > now.started_at, "{now:?}");
    daemon.join(&session, Role::Observer, None).await.until_shows("line 7.").await;
    daemon.kill();
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 9 }), "{}", daemon.log());
}
