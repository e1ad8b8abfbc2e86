//! Two daemons with state of their own on one engine: neither touches what is the other's.

use reqwest::Method;
use sandboxctl::{
    api::{Role, Session, StartRequest},
    lifecycle::{Phase, Reason},
};

use crate::{
    between::execute,
    common::{Daemon, Rung, eventually},
};

const CONFIG: &str = "[profiles.demo]\ncredential = \"demo\"\nimage = \"debian:bookworm-slim\"\nspares = 1";

/// A session that answers what is typed, with a volume that is kept.
async fn echoing(daemon: &Daemon) -> Session {
    let program = ["sh", "-c", "while read -r x; do [ $x = end ] && exit 7; echo \"got $x\"; done"];
    let request = StartRequest {
        program: program.map(str::to_owned).to_vec(),
        workspace: Some("kept".to_owned()),
        ..StartRequest::default()
    };
    daemon.begin(request).await
}

async fn answers(daemon: &Daemon, session: &Session, word: &str) {
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in(&format!("{word}\n")).await;
    screen.until_shows(&format!("got {word}")).await;
}

/// Its containers and volumes, once its session runs and its spare is warm; each container with when it started.
async fn settled(daemon: &Daemon) -> (Vec<String>, Vec<String>) {
    eventually("a session and a spare run", || async {
        daemon.on_engine().0.len() == 2 && daemon.spares().await == 1
    })
    .await;
    things(daemon)
}

fn things(daemon: &Daemon) -> (Vec<String>, Vec<String>) {
    let (containers, mut volumes) = daemon.on_engine();
    let started = |id: &String| {
        daemon.docker(&["inspect", "-f", "{{.Id}} {{.State.Running}} {{.State.StartedAt}}", id])
    };
    let mut containers: Vec<String> = containers.iter().map(started).collect();
    containers.sort();
    volumes.sort();
    (containers, volumes)
}

#[tokio::test]
async fn two_daemons_on_one_engine_leave_each_others_things_alone() {
    let mut one = Daemon::start_with(Rung::Docker, CONFIG).await;
    let mut other = Daemon::start_with(Rung::Docker, CONFIG).await;
    let (first, second) = (echoing(&one).await, echoing(&other).await);
    answers(&one, &first, "one").await;
    answers(&other, &second, "two").await;
    let (ours, theirs) = (settled(&one).await, settled(&other).await);
    assert!(ours.0.iter().chain(&ours.1).all(|thing| !theirs.0.contains(thing) && !theirs.1.contains(thing)));

    // One dies and forgets its session: what it finds on the engine is nobody's, but for the other's.
    one.kill();
    execute(&one, "DELETE FROM sessions").await;
    one.restart().await;
    let gone = |thing: &String| !things(&one).0.contains(thing);
    eventually("its orphans are removed", || async { ours.0.iter().all(gone) }).await;
    assert_eq!(things(&other), theirs, "a cleanup is of one's own\n{}", one.log());
    answers(&other, &second, "three").await;

    // It ends all that is its.
    let third = echoing(&one).await;
    answers(&one, &third, "four").await;
    let drained = one.cli(&["drain"]).output().expect("it runs");
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    let ended = one.ended(&third).await;
    assert!(matches!(ended.reason, Some(Reason::Operator { .. })), "{:?}", ended.reason);
    assert_eq!(things(&other), theirs, "a drain is of one's own\n{}", one.log());

    // The other dies in its turn: it takes up what it left, and the first one's spare stays.
    eventually("one has its spare", || async { one.on_engine().0.len() == 1 && one.spares().await == 1 })
        .await;
    let spare = things(&one);
    other.kill();
    other.restart().await;
    other.when(&second, "it is taken over", |s| s.phase == Phase::Running).await;
    answers(&other, &second, "five").await;
    assert_eq!(things(&one), spare, "{}", other.log());
    let session = things(&other).0;
    assert!(theirs.0.iter().any(|container| session.contains(container)), "the container is the same");
    let known = one.client.session(&second.id.to_string()).await;
    assert!(known.is_err(), "one does not know of the other's sessions");
    let ended: Session = other
        .client
        .json(Method::DELETE, &format!("/api/v1/sessions/{}", second.id), None::<&()>)
        .await
        .expect("it is taken");
    other.ended(&ended).await;
    for daemon in [&one, &other] {
        let networks = daemon.docker(&["network", "ls", "-q", "--filter", "label=dev.sandboxctl.instance"]);
        assert_eq!(networks, "", "no daemon makes networks");
    }
}
