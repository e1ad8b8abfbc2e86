//! A hostile session: what somebody with all of Python and no scruples can do from inside, which is nothing to
//! anybody else. Every story is told in a container and inside gVisor, where the engine has it; the attacker's
//! programs are in `tests/hostile/`.

mod common;

use common::{
    Daemon, Rung,
    bundle::attribute_values,
    stories::{ask, names},
};
use sandboxctl::{
    api::{Role, Session},
    lifecycle::Reason,
};

const REACH: &str = include_str!("hostile/reach.py");
const FORGE: &str = include_str!("hostile/forge.py");

/// Each story, in a container and inside gVisor.
macro_rules! stories {
    ($($story:ident)*) => {
        mod in_a_container {
            $(#[tokio::test] async fn $story() { super::$story(super::Rung::Docker).await })*
        }
        mod inside_gvisor {
            $(#[tokio::test] #[ignore = "needs gVisor"] async fn $story() { super::$story(super::Rung::Gvisor).await })*
        }
    };
}

stories! {
    nothing_outside_can_be_reached
    who_becomes_root_reaches_no_further_than_their_own_session
    nobody_speaks_for_another_session_nor_silences_their_own
}

/// What an attacker's program printed.
async fn printed(daemon: &Daemon, program: &[&str], how: &[&str]) -> String {
    let dir = daemon.dir().join("s");
    let host = [dir.join("sessions"), dir.join("run"), dir].map(|d| d.display().to_string());
    let port = daemon.url.rsplit(':').next().unwrap_or_default();
    let folders = host.iter().map(String::as_str);
    let argv: Vec<&str> = how.iter().chain(program).copied().chain(folders).chain([port]).collect();
    let session = daemon.begin(ask(&argv)).await;
    daemon.ended(&session).await;
    daemon.export(&session).await.text("terminal/session.txt")
}

fn reached(shown: &str) -> Vec<&str> {
    assert!(shown.contains("tried everything"), "{shown}");
    let lines = shown.lines().filter_map(|line| line.split_once(": REACHED"));
    lines.map(|(name, _)| name).collect()
}

async fn nothing_outside_can_be_reached(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    let shown = printed(&daemon, &["python3", "-c", REACH], &[]).await;
    assert_eq!(reached(&shown), Vec::<&str>::new(), "{shown}");
}

/// A profile with `sudo` gives its users their container, the guest's folder included. What they can do with it
/// is to spoil their own record, or end.
async fn who_becomes_root_reaches_no_further_than_their_own_session(rung: Rung) {
    const OWN: [&str; 7] = [
        "folder",
        "folder as own root",
        "gateway",
        "settings",
        "settings gone",
        "become root",
        "guest killed",
    ];
    let daemon = Daemon::start_with(rung, "[profiles.demo]\ncredential = \"demo\"\nsudo = true").await;
    let other = daemon.shell("echo here; read x; echo \"still $x\"").await;
    let shown = printed(&daemon, &["python3", "-c", REACH], &["sudo", "-n"]).await;
    let foreign: Vec<&str> = reached(&shown).into_iter().filter(|name| !OWN.contains(name)).collect();
    assert_eq!(foreign, Vec::<&str>::new(), "{shown}");
    // What the daemon finds in the guest's folder at the end is whatever root has put there.
    let other_spool = daemon.dir().join("s/run").join(other.id.to_string()).join("spool");
    let traps = format!(
        "cd /run/sandbox && rm -rf spool && mkdir spool && mkfifo spool/0 && ln -s /etc/passwd spool/1 \
         && ln -s {} spool/2 && ln -s /dev/zero spool/3 && kill -9 -1",
        other_spool.display()
    );
    let trapped = daemon.begin(ask(&["sudo", "-n", "sh", "-c", &traps])).await;
    daemon.ended(&trapped).await;
    let linked = "cd /run/sandbox && rm -rf spool && ln -s ";
    let linked = format!("{linked}{} spool && kill -9 -1", other_spool.display());
    let linked = daemon.begin(ask(&["sudo", "-n", "sh", "-c", &linked])).await;
    daemon.ended(&linked).await;
    assert!(!daemon.export(&linked).await.output().contains("here"), "another's spool is not theirs");
    goes_on(&daemon, &other, "still").await;
}

/// A session in which something is read and answered.
async fn goes_on(daemon: &Daemon, session: &Session, answer: &str) {
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until("drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("undisturbed\n").await;
    screen.until_shows(&format!("{answer} undisturbed")).await;
    assert_eq!(daemon.ended(session).await.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
}

async fn nobody_speaks_for_another_session_nor_silences_their_own(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    let victim = daemon.shell("read x; echo \"still $x\"").await;
    let session = daemon.begin(ask(&["python3", "-c", FORGE, &victim.id.to_string()])).await;
    daemon.ended(&session).await;
    goes_on(&daemon, &victim, "still").await;
    let bundle = daemon.export(&session).await;
    let printed = bundle.text("terminal/session.txt");
    let logs = bundle.text("telemetry/logs.jsonl");
    for came in ["json", "gzip", "protobuf", "grpc", "elsewhere"] {
        assert!(logs.contains(&format!("\"forged-{came}\"")), "{came} is on record: {printed}");
    }
    for number in 0..5 {
        assert!(logs.contains(&format!("\"after-{number}\"")), "numbers silence nobody: {printed}");
    }
    for line in bundle.lines("telemetry/logs.jsonl") {
        for resource in line["resourceLogs"].as_array().expect("resources") {
            let of = |key| attribute_values(&resource["resource"], key);
            assert_eq!(of("sandbox.session.id").len(), 1, "{resource}");
            assert_eq!(of("sandbox.session.id")[0]["stringValue"], session.id.to_string(), "{resource}");
            assert_eq!(of("user.email")[0]["stringValue"], session.user.email, "{resource}");
        }
    }
    for claim in ["evil@example.org", "Sandbox_Session_Id", ".sandbox-profile", &victim.id.to_string()] {
        assert!(!logs.contains(claim), "{claim} is in\n{logs}");
    }
    assert!(names(&bundle.lines("events.jsonl"), "hook").iter().any(|h| h == "Stop"), "{printed}");
    for (path, content) in daemon.export(&victim).await.files {
        assert!(!String::from_utf8_lossy(&content).contains("forged-"), "{path} of the other session");
    }
}
