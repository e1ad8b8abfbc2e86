//! Deaths below the daemon: the program's, the guest's, the container's. Each has its name, leaves its record, and
//! leaves nothing else.

use std::process::Command;

use sandboxctl::{
    api::{Role, Session, StartRequest},
    journal::verify,
    lifecycle::Reason,
};

use crate::{
    between::{exited, spooled},
    common::{Daemon, Rung, eventually},
    programs::Program,
};

fn container(session: &Session) -> String {
    format!("sandbox-{}", session.id)
}

/// Process 1 of its container, as the host numbers it.
fn guest(daemon: &Daemon, session: &Session) -> String {
    let pid = daemon.docker(&["inspect", "-f", "{{.State.Pid}}", &container(session)]);
    assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 1), "{pid}");
    pid
}

/// A session that writes numbered lines, and has written some.
async fn writing(daemon: &Daemon) -> Session {
    let request = StartRequest { program: Program::Lines.argv(), ..StartRequest::default() };
    let session = daemon.begin(request).await;
    let mut screen = daemon.join(&session, Role::Observer, None).await;
    screen.until_shows("the lazy dog").await;
    session
}

/// It has ended for this reason, its record is whole as far as it goes, and nothing of it is left.
async fn assert_ended(daemon: &Daemon, session: &Session, reason: &dyn Fn(&Reason) -> bool) {
    let ended = daemon.ended(session).await;
    assert!(ended.reason.as_ref().is_some_and(reason), "{:?}\n{}", ended.reason, daemon.log());
    let journal = daemon.journal(session);
    assert!(verify(&journal).expect("the chain holds").seal.is_some());
    let tally = Program::Lines.check(&journal, false);
    tally.assert_whole();
    let exported = daemon.export(session).await;
    assert_eq!(exported.output().len() as u64, tally.bytes);
    eventually("nothing is left", || async {
        let folder = daemon.state().join("run").join(session.id.to_string());
        let (containers, volumes) = daemon.on_engine();
        let own = format!("sandbox-{}", session.id);
        let named = daemon.docker(&["ps", "-a", "--format", "{{.Names}}"]);
        !folder.exists()
            && !named.contains(&own)
            && !volumes.iter().any(|volume| volume.starts_with(&own))
            && containers.len() <= 1
    })
    .await;
}

fn lost(reason: &Reason) -> bool {
    *reason == Reason::DaemonLostContainer
}

fn by_the_engine(reason: &Reason) -> bool {
    matches!(reason, Reason::Engine { error } if error.contains("stopped the container"))
}

#[tokio::test]
async fn each_death_has_its_name_and_leaves_a_record_and_nothing_else() {
    let daemon = Daemon::start(Rung::Docker).await;

    let program = daemon.shell("echo said; kill -9 $$").await;
    let ended = daemon.ended(&program).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 137 }), "the program");
    assert_eq!(daemon.export(&program).await.output(), "said\r\n");

    let session = writing(&daemon).await;
    let killed = Command::new("kill").args(["-KILL", &guest(&daemon, &session)]).status();
    assert!(killed.is_ok_and(|s| s.success()), "the guest");
    assert_ended(&daemon, &session, &lost).await;

    let session = writing(&daemon).await;
    daemon.docker(&["kill", "-s", "KILL", &container(&session)]);
    assert_ended(&daemon, &session, &lost).await;

    let session = writing(&daemon).await;
    daemon.docker(&["rm", "-f", &container(&session)]);
    assert_ended(&daemon, &session, &lost).await;

    let session = writing(&daemon).await;
    daemon.docker(&["stop", &container(&session)]);
    assert_ended(&daemon, &session, &by_the_engine).await;
}

#[tokio::test]
async fn each_death_has_its_name_when_no_daemon_saw_it() {
    let mut daemon = Daemon::start(Rung::Docker).await;
    let (killed, removed, stopped) = (writing(&daemon).await, writing(&daemon).await, writing(&daemon).await);
    daemon.kill();
    daemon.docker(&["kill", "-s", "KILL", &container(&killed)]);
    daemon.docker(&["rm", "-f", &container(&removed)]);
    daemon.docker(&["stop", &container(&stopped)]);
    daemon.restart().await;
    assert_ended(&daemon, &killed, &lost).await;
    assert_ended(&daemon, &removed, &lost).await;
    assert_ended(&daemon, &stopped, &by_the_engine).await;
}

/// A container may be frozen for as long as somebody likes; that is no death.
#[tokio::test]
async fn a_container_that_is_paused_goes_on_when_it_is_let_go() {
    let mut daemon = Daemon::start(Rung::Docker).await;
    let session = writing(&daemon).await;
    daemon.docker(&["pause", &container(&session)]);
    daemon.kill();
    daemon.restart().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let now = daemon.client.session(&session.id.to_string()).await.expect("it is known");
    assert_eq!(now.reason, None);
    daemon.docker(&["unpause", &container(&session)]);
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("\n").await;
    assert_eq!(daemon.ended(&session).await.reason, Some(Reason::Exited { code: 0 }));
    Program::Lines.check(&daemon.journal(&session), true).assert_whole();
}

#[tokio::test]
async fn memory_that_runs_out_is_named_whoever_is_killed_for_it() {
    let config = "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.limits]\nmemory = \"64 MiB\"";
    let mut daemon = Daemon::start_with(Rung::Docker, config).await;
    let eat = "python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'";
    let ask = |line: String| StartRequest {
        program: vec!["bash".to_owned(), "-c".to_owned(), line],
        ..StartRequest::default()
    };
    let itself = daemon.begin(ask(format!("exec {eat}"))).await;
    assert_eq!(daemon.ended(&itself).await.reason, Some(Reason::Oom), "{}", daemon.log());
    // A child is killed, and the program lives and says so.
    let child = daemon.begin(ask(format!("{eat}; echo \"child: $?\"; exit 6"))).await;
    assert_eq!(daemon.ended(&child).await.reason, Some(Reason::Exited { code: 6 }));
    assert!(daemon.export(&child).await.output().contains("child: 137"));
    // Nobody sees it.
    let unseen = daemon.begin(ask(format!("echo ready; sleep 1; exec {eat}"))).await;
    daemon.join(&unseen, Role::Observer, None).await.until_shows("ready").await;
    daemon.kill();
    eventually("its memory has run out", || async { spooled(&daemon, &unseen).iter().any(exited) }).await;
    daemon.restart().await;
    assert_eq!(daemon.ended(&unseen).await.reason, Some(Reason::Oom), "{}", daemon.log());
}
