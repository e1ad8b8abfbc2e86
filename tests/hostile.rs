//! A hostile session: what somebody with all of Python and no scruples can do from inside, which is nothing to
//! anybody else. Every story is told in a container and inside gVisor, where the engine has it; the attacker's
//! programs are in `tests/hostile/`.

mod common;

use std::time::Duration;

use common::{
    Daemon, Rung,
    bundle::attribute_values,
    refusal,
    stories::{ask, names},
};
use reqwest::Method;
use sandboxctl::{
    api::{Role, Session, StartRequest},
    lifecycle::{Phase, Reason},
    spec::User,
};

const REACH: &str = include_str!("hostile/reach.py");
const FORGE: &str = include_str!("hostile/forge.py");
const FLOOD: &str = include_str!("hostile/flood.py");

/// What a flood of output or connections may cost the daemon: less than any one of the sequences is long.
const FLOOD_COST: u64 = 40 << 10; // KiB
/// What bodies may cost it: four at a time, each in its inflated length and as what it says.
const BODIES_COST: u64 = 384 << 10; // KiB
/// What streams may cost it: of each of 256 connections eight heads, and what fits its window.
const STREAMS_COST: u64 = 160 << 10; // KiB
/// How long a flood may last on a slow machine, with a daemon that was not optimised.
const FLOOD_TIME: Duration = Duration::from_secs(400);

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
    what_a_session_says_of_itself_is_words_wherever_it_is_shown
    endless_output_takes_no_memory
    endless_bodies_take_no_memory
    json_takes_no_more_memory_than_it_is_long
    heads_and_bodies_of_streams_take_no_memory
    ten_thousand_connections_to_each_port_are_the_business_of_who_makes_them
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
            assert!(of("team").is_empty(), "nobody gave one: {resource}");
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

/// Titles, names, prompts and programs with sequences and markup in them: wherever they are listed, logged or
/// summarised they tell a terminal nothing, nor a page.
async fn what_a_session_says_of_itself_is_words_wherever_it_is_shown(rung: Rung) {
    const EVIL: &str = "\x1b]0;pwned\x07\u{9b}31m\u{202e}<script>alert(1)</script>|[x](javascript:1)\r\x7f";
    let daemon = Daemon::start(rung).await;
    let user = User { name: format!("A{EVIL}"), email: "a@b".to_owned() };
    let refused: Result<Session, _> = daemon
        .client
        .json(Method::POST, "/api/v1/sessions", Some(&StartRequest { user: Some(user), ..ask(&["true"]) }))
        .await;
    assert_eq!(refusal(refused), ("invalid".to_owned(), Some("user.name".to_owned())));
    let name = "<script>alert(1)</script>|[x](javascript:1)";
    let user = User { name: name.to_owned(), email: "a@b".to_owned() };
    let line = format!(
        "printf '\\033]2;{EVIL}\\033\\\\'; printf '\\033]0;<script>t\\007'; claude -p '{EVIL}'; exit 3 # {EVIL}"
    );
    let request = StartRequest { user: Some(user), ..ask(&["bash", "-c", &line]) };
    let session = daemon.begin(request).await;
    daemon.ended(&session).await;
    let id = session.id.to_string();
    let mut shown = vec![("the log".to_owned(), daemon.log())];
    for verb in [
        &["list", "--all"][..],
        &["list", "--all", "--json"],
        &["events", &id],
        &["events", &id, "--json"],
        &["wait", &id, "--json"],
    ] {
        let out = daemon.cli(verb).output().expect("it runs");
        let text = String::from_utf8(out.stdout).expect("text") + &String::from_utf8_lossy(&out.stderr);
        assert!(text.lines().count() > 1, "{verb:?}: {text}");
        shown.push((verb.join(" "), text));
    }
    let bundle = daemon.export(&session).await;
    let words = |path: &&String| !path.starts_with("terminal/") && !path.starts_with("transcript/");
    shown.extend(bundle.files.keys().filter(words).map(|path| (path.clone(), bundle.text(path))));
    assert!(shown.iter().any(|(_, text)| text.contains("alert(1)")), "it was said");
    let instructs = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    let markup = |text: &str| text.replace("\\<", "").contains("<script") || text.contains(" [x](");
    let bad = |(place, text): &(String, String)| {
        let found: String = text.chars().filter(|c| instructs(*c)).collect();
        let page = place.ends_with(".md") && markup(text);
        (page || !found.is_empty()).then(|| format!("{place}: {found:?}"))
    };
    assert_eq!(shown.iter().filter_map(bad).collect::<Vec<_>>(), Vec::<String>::new());
}

/// The most memory that the daemon ever had, in KiB.
fn peak(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.pid());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Somebody else's turn with the real client, whole, while the flood is on.
async fn somebody_works(daemon: &Daemon) {
    let session = daemon.begin(ask(&["claude", "-p", "List the files here"])).await;
    let ended = daemon.when_in(FLOOD_TIME, &session, "their turn ends", |s| s.phase == Phase::Ended).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
    // An exporter that waits too long sends again, so there may be more.
    assert!(ended.totals.turns > 0, "{ended:?}\n{}", daemon.log());
    // The client gives what it has not sent yet four seconds when it exits. With gVisor's system calls, beside a
    // flood and other floods' tests, that can be too little; the figure then says so.
    let whole = ended.completeness == Some(1.0);
    let told = ended.completeness.is_some() && daemon.rung == Rung::Gvisor;
    assert!(whole || told, "{ended:?}\n{}", daemon.log());
}

async fn flood(daemon: &Daemon, arguments: &[&str]) -> Session {
    let program = ["python3", "-c", FLOOD];
    daemon.begin(ask(&program.iter().chain(arguments).copied().collect::<Vec<_>>())).await
}

async fn flooded(daemon: &Daemon, session: &Session) {
    let ended = daemon.when_in(FLOOD_TIME, session, "the flood ends", |s| s.phase == Phase::Ended).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
}

/// A line without an end, and every kind of sequence without an end.
async fn endless_output_takes_no_memory(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    somebody_works(&daemon).await;
    let before = peak(&daemon);
    let one = flood(&daemon, &["output", "osc", "200", "dcs", "64", "apc", "64"]).await;
    let two = flood(
        &daemon,
        &["output", "hyperlink", "64", "csi", "64", "line", "8", "wide", "2", "synchronised", "8"],
    )
    .await;
    somebody_works(&daemon).await;
    flooded(&daemon, &one).await;
    flooded(&daemon, &two).await;
    let cost = peak(&daemon) - before;
    assert!(cost < FLOOD_COST, "{cost} KiB for half a gigabyte of output");
    let seen = daemon.client.session(&one.id.to_string()).await.expect("a session");
    assert!(seen.recorded_bytes > 300 << 20, "all of it is on record: {}", seen.recorded_bytes);
    assert!(seen.title.chars().count() <= 513, "{}", seen.title.len());
}

/// Ten gigabytes to every door that takes a body, announced and in chunks; and such as inflate to that.
async fn endless_bodies_take_no_memory(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    somebody_works(&daemon).await;
    let before = peak(&daemon);
    let session = flood(&daemon, &["bodies"]).await;
    somebody_works(&daemon).await;
    flooded(&daemon, &session).await;
    let (cost, shown) = (peak(&daemon) - before, daemon.export(&session).await.text("terminal/session.txt"));
    assert!(shown.contains("held 60") && shown.contains(": b'HTTP/1.1 413"), "{shown}");
    assert!(!shown.contains("timed out"), "every body is refused, none is waited for: {shown}");
    assert!(cost < BODIES_COST, "{cost} KiB\n{shown}");
}

/// Eight MiB that a tree would make a gigabyte of, and eight that go down four million levels: through each door
/// that takes JSON, and out again in the timeline and the bundle.
async fn json_takes_no_more_memory_than_it_is_long(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    somebody_works(&daemon).await;
    let before = peak(&daemon);
    let session = flood(&daemon, &["json"]).await;
    somebody_works(&daemon).await;
    flooded(&daemon, &session).await;
    let bundle = daemon.export(&session).await;
    let shown = bundle.text("terminal/session.txt");
    assert!(shown.matches("HTTP/1.1 200").count() >= 8, "what is only long is taken: {shown}");
    assert!(shown.matches("HTTP/1.1 400").count() >= 12, "what is deep is not: {shown}");
    assert!(bundle.text("events.jsonl").len() > 48 << 20, "all of it is told");
    let cost = peak(&daemon) - before;
    assert!(cost < BODIES_COST, "{cost} KiB\n{shown}");
}

async fn heads_and_bodies_of_streams_take_no_memory(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    somebody_works(&daemon).await;
    let before = peak(&daemon);
    let session = flood(&daemon, &["streams"]).await;
    somebody_works(&daemon).await;
    flooded(&daemon, &session).await;
    let cost = peak(&daemon) - before;
    assert!(cost < STREAMS_COST, "{cost} KiB");
}

async fn ten_thousand_connections_to_each_port_are_the_business_of_who_makes_them(rung: Rung) {
    let daemon = Daemon::start(rung).await;
    somebody_works(&daemon).await;
    let before = peak(&daemon);
    let session = flood(&daemon, &["connections"]).await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until_shows("holds").await;
    somebody_works(&daemon).await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs").count();
    assert!(open < 700, "{open} files are open for one session");
    let cost = peak(&daemon) - before;
    assert!(cost < FLOOD_COST, "{cost} KiB");
    daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await.expect("stopped");
    assert_eq!(daemon.ended(&session).await.reason, Some(Reason::Operator { note: None }));
}
