//! The engine stops, dies, and comes back, under sessions that run.

use reqwest::Method;
use sandboxctl::{
    api::{Role, Session, StartRequest},
    lifecycle::{Phase, Reason},
};

use crate::{
    common::{Daemon, Rung, Setup, eventually, refusal},
    dockerd::{Dockerd, IMAGE},
    programs::Program,
};

fn config() -> String {
    format!("[profiles.demo]\ncredential = \"demo\"\nimage = \"{IMAGE}\"")
}

async fn daemon_on(engine: &Dockerd) -> Daemon {
    let socket = engine.socket();
    let setup = Setup { rung: Rung::Docker, config: &config(), docker: Some(&socket), ..Setup::default() };
    Daemon::start_up(setup).await
}

async fn writing(daemon: &Daemon) -> Session {
    let request = StartRequest { program: Program::Lines.argv(), ..StartRequest::default() };
    let session = daemon.begin(request).await;
    daemon.join(&session, Role::Observer, None).await.until_shows("the lazy dog").await;
    session
}

async fn is_gone(daemon: &Daemon) {
    eventually("nothing is left on the engine", || async {
        let (containers, volumes) = daemon.on_engine();
        let mut folders = std::fs::read_dir(daemon.state().join("run")).expect("a folder");
        containers.is_empty() && volumes.is_empty() && folders.next().is_none()
    })
    .await;
}

/// It takes what is typed, and ends in order.
async fn end(daemon: &Daemon, session: &Session) {
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("\n").await;
    let ended = daemon.ended(session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
    Program::Lines.check(&daemon.journal(session), true).assert_whole();
}

#[tokio::test]
async fn an_engine_that_is_stopped_ends_its_sessions_by_name_and_serves_again_when_it_is_back() {
    let mut engine = Dockerd::start(&[]);
    let daemon = daemon_on(&engine).await;
    let session = writing(&daemon).await;
    engine.stop();
    let ended = daemon.ended(&session).await;
    assert!(matches!(ended.reason, Some(Reason::Engine { .. })), "{:?}\n{}", ended.reason, daemon.log());
    Program::Lines.check(&daemon.journal(&session), false).assert_whole();
    let request = StartRequest::default();
    let refused: Result<Session, _> =
        daemon.client.json(Method::POST, "/api/v1/sessions", Some(&request)).await;
    assert_eq!(refusal(refused).0, "engine_failed");
    engine.up();
    is_gone(&daemon).await;
    end(&daemon, &writing(&daemon).await).await;
}

#[tokio::test]
async fn an_engine_that_is_killed_takes_no_session_with_it_and_one_that_restores_them_ends_none() {
    let mut engine = Dockerd::start(&["--live-restore"]);
    let mut daemon = daemon_on(&engine).await;
    let (first, second) = (writing(&daemon).await, writing(&daemon).await);
    engine.kill();
    // A session with a live guest needs no engine, nor does the next daemon to take it over.
    daemon.kill();
    daemon.restart().await;
    let now = daemon.when(&first, "it goes on", |s| s.phase == Phase::Running).await;
    assert_eq!(now.reason, None);
    end(&daemon, &first).await;
    engine.up();
    let now = daemon.client.session(&second.id.to_string()).await.expect("it is known");
    assert_eq!(now.phase, Phase::Running);
    engine.stop();
    engine.up();
    end(&daemon, &second).await;
    is_gone(&daemon).await;
}

#[tokio::test]
async fn spares_that_an_engine_lost_are_replaced() {
    let mut engine = Dockerd::start(&[]);
    let socket = engine.socket();
    let config = config() + "\nspares = 1";
    let setup = Setup { rung: Rung::Docker, config: &config, docker: Some(&socket), ..Setup::default() };
    let daemon = Daemon::start_up(setup).await;
    let running = || daemon.docker(&["ps", "-q"]);
    eventually("a spare is warm", || async { !running().is_empty() }).await;
    let before = running();
    engine.stop();
    engine.up();
    eventually("another is warm", || async { !running().is_empty() && running() != before }).await;
    end(&daemon, &writing(&daemon).await).await;
}
