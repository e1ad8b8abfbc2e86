//! Stories on the second rung: the whole daemon, with sessions as local processes.

mod common;

use std::time::Duration;

use common::{Daemon, Rung, eventually, refusal};
use reqwest::Method;
use sandboxctl::{
    api::{Invite, InviteRequest, Role, Session, StartRequest, ToTerminal},
    lifecycle::{Phase, Reason},
    spec::User,
};

#[tokio::test]
async fn a_session_runs_is_recorded_and_comes_out_as_a_bundle() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("echo hello; id -u; sleep 0.2; exit 3").await;
    let ended = daemon.ended(&session).await;
    assert_eq!((ended.exit_code, ended.reason), (Some(3), Some(Reason::Exited { code: 3 })));
    let first = daemon.export_bytes(&session).await;
    assert_eq!(first, daemon.export_bytes(&session).await, "the same bytes twice");
    let bundle = common::bundle::Bundle::read(&first);
    assert!(bundle.output().contains("hello\r\n1000\r\n"), "{}", bundle.output());
    assert_eq!(bundle.text("terminal/session.txt").trim_end(), "hello\n1000");
    let cast = bundle.text("terminal/session.cast");
    assert!(cast.lines().last().is_some_and(|l| l.ends_with("\"x\",\"3\"]")), "{cast}");
    assert_eq!(bundle.json("config/program.json")[0], "sh");
    assert_eq!(bundle.json("manifest.json")["session"]["id"], session.id.to_string());
    let phases: Vec<String> = bundle
        .lines("events.jsonl")
        .iter()
        .filter(|e| e["name"] == "phase")
        .map(|e| e["data"]["phase"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(phases, ["requested", "starting", "running", "ended"]);
}

#[tokio::test]
async fn a_terminal_takes_what_is_typed_and_its_size() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon
        .shell("while read -r line; do [ $line = end ] && exit; echo \"got $line, $(stty size)\"; done")
        .await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until("drives", |s| s.role == Some(Role::Driver)).await;
    screen.tell(&ToTerminal::Resize { cols: 77, rows: 22 }).await;
    daemon.when(&session, "the size arrives", |s| (s.cols, s.rows) == (77, 22)).await;
    screen.type_in("one\n").await;
    screen.until_shows("got one, 22 77").await;
    // An observer sees the same and cannot type.
    let mut watcher = daemon.join(&session, Role::Observer, None).await;
    watcher.until_shows("got one, 22 77").await;
    watcher.type_in("end\n").await;
    screen.type_in("two\n").await;
    watcher.until_shows("got two").await;
    screen.type_in("end\n").await;
    screen.until("the exit", |s| s.exit.is_some()).await;
    watcher.until("the exit", |s| s.exit.is_some()).await;
    let bundle = daemon.export(&session).await;
    assert!(bundle.text("terminal/session.cast").contains("\"r\",\"77x22\""));
}

#[tokio::test]
async fn who_comes_back_gets_exactly_what_was_missed() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("read x; echo first; read x; echo second; read x").await;
    let mut screen = daemon.join(&session, Role::Driver, None).await;
    screen.until("drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("\n").await;
    screen.until_shows("first").await;
    let after = screen.after;
    drop(screen);
    let mut other = daemon.join(&session, Role::Driver, None).await;
    other.until("drives", |s| s.role == Some(Role::Driver)).await;
    other.type_in("\n").await;
    other.until_shows("second").await;
    let mut back = daemon.join(&session, Role::Observer, Some(after)).await;
    back.until_shows("second").await;
    assert_eq!(back.snapshots, 0, "a small gap needs no snapshot");
    assert!(!back.text().contains("first"), "nothing comes twice: {:?}", back.text());
    other.type_in("\n").await;
    daemon.ended(&session).await;
}

/// Every byte of a known sequence, through kills of the daemon at moments that differ from run to run.
#[tokio::test]
async fn kill_9_of_the_daemon_loses_no_byte_and_stops_no_session() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let lines = 60_000;
    let session = daemon.shell(&format!("seq -f 'line %06g.' {lines}; sleep 1; echo done")).await;
    let viewer = {
        let mut screen = daemon.join(&session, Role::Observer, None).await;
        screen.step().await;
        screen
    };
    drop(viewer);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..60))).await;
        daemon.kill();
        daemon.restart().await;
    }
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{}", daemon.log());
    let bundle = daemon.export(&session).await;
    let expected: String = (1..=lines).map(|n| format!("line {n:06}.\r\n")).collect::<String>() + "done\r\n";
    let output = bundle.output();
    assert!(output == expected, "{} bytes of {}", output.len(), expected.len());
    let adopted = bundle.lines("events.jsonl").iter().filter(|e| e["name"] == "adopted").count();
    assert!(adopted >= 1, "a daemon took the session over");
}

#[tokio::test]
async fn sigterm_leaves_sessions_running_and_the_next_daemon_shows_the_same_screen() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session =
        daemon.shell("printf '\\033[31mred\\033[m and \\033[?2004hpaste'; read x; echo \"then $x\"").await;
    let mut before = daemon.join(&session, Role::Driver, None).await;
    before.until_shows("paste").await;
    drop(before);
    daemon.terminate();
    daemon.restart().await;
    let mut after = daemon.join(&session, Role::Driver, None).await;
    after.until_shows("paste").await;
    assert_eq!(after.snapshots, 1);
    assert!(after.text().contains("\x1b[?2004h"), "modes come back: {:?}", after.text());
    after.until("drives", |s| s.role == Some(Role::Driver)).await;
    after.type_in("on\n").await;
    after.until_shows("then on").await;
    daemon.ended(&session).await;
}

#[tokio::test]
async fn a_stop_ends_with_its_reason_even_what_ignores_signals() {
    let config = "[profiles.demo]\ncredential = \"demo\"\ngrace = \"1s\"";
    let daemon = Daemon::start_with(Rung::Local, config).await;
    let session = daemon.shell("trap '' TERM HUP INT; echo ready; while :; do sleep 0.1; done").await;
    let mut screen = daemon.join(&session, Role::Observer, None).await;
    screen.until_shows("ready").await;
    let path = format!("/api/v1/sessions/{}?note=maintenance", session.id);
    let stopping: Session = daemon.client.json(Method::DELETE, &path, None::<&()>).await.expect("taken");
    assert_ne!(stopping.phase, Phase::Ended);
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::Operator { note: Some("maintenance".to_owned()) }));
}

#[tokio::test]
async fn time_ends_sessions_with_a_warning_first() {
    let config = "[profiles.demo]\ncredential = \"demo\"\nidle = \"2s\"\nwarn = \"1s\"\ngrace = \"1s\"";
    let daemon = Daemon::start_with(Rung::Local, config).await;
    let idle = daemon.shell("sleep 60").await;
    let brief = StartRequest {
        program: ["sh", "-c", "while :; do echo busy; sleep 0.2; done"].map(str::to_owned).to_vec(),
        ttl_s: Some(3),
        ..StartRequest::default()
    };
    let brief = daemon.begin(brief).await;
    daemon.when(&idle, "it is warned", |s| s.warning.is_some()).await;
    assert_eq!(daemon.ended(&idle).await.reason, Some(Reason::Idle));
    assert_eq!(daemon.ended(&brief).await.reason, Some(Reason::Ttl));
    let events = daemon.export(&idle).await.lines("events.jsonl");
    assert!(events.iter().any(|e| e["name"] == "warned"));
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_with_a_sentence() {
    let daemon = Daemon::start(Rung::Local).await;
    let program = vec!["no-such-program".to_owned()];
    let session = daemon.begin(StartRequest { program, ..StartRequest::default() }).await;
    match daemon.ended(&session).await.reason {
        Some(Reason::ProgramFailed { error }) => assert!(error.contains("no-such-program"), "{error}"),
        other => panic!("another reason: {other:?}"),
    }
}

#[tokio::test]
async fn a_kept_workspace_comes_back_to_its_user_alone() {
    let daemon = Daemon::start(Rung::Local).await;
    let ask = |line: &str, email: &str| StartRequest {
        program: ["sh", "-c", line].map(str::to_owned).to_vec(),
        workspace: Some("thesis".to_owned()),
        user: Some(User { name: "U".to_owned(), email: email.to_owned() }),
        ..StartRequest::default()
    };
    let first = daemon.begin(ask("echo kept > /workspace/note; read x", "ada@example.org")).await;
    daemon.when(&first, "it runs", |s| s.phase == Phase::Running).await;
    let second: Result<Session, _> =
        daemon.client.json(Method::POST, "/api/v1/sessions", Some(&ask("true", "ada@example.org"))).await;
    assert_eq!(refusal(second), ("invalid".to_owned(), Some("workspace".to_owned())));
    daemon.client.delete(&format!("/api/v1/sessions/{}", first.id)).await.expect("stopped");
    daemon.ended(&first).await;
    let again = daemon.begin(ask("cat /workspace/note", "ada@example.org")).await;
    let other = daemon.begin(ask("cat /workspace/note || echo nothing", "bob@example.org")).await;
    daemon.ended(&again).await;
    daemon.ended(&other).await;
    assert!(daemon.export(&again).await.output().contains("kept"));
    assert!(daemon.export(&other).await.output().contains("nothing"));
}

#[tokio::test]
async fn a_spare_becomes_a_session() {
    let daemon = Daemon::start_with(Rung::Local, "[profiles.demo]\ncredential = \"demo\"\nspares = 1").await;
    eventually("a spare is warm", || async { daemon.spares().await == 1 }).await;
    let warm =
        std::fs::read_dir(daemon.dir().join("s/run")).expect("a folder").flatten().next().expect("one");
    let session = daemon.shell("echo from a spare").await;
    assert_eq!(session.id.to_string(), warm.file_name().to_string_lossy(), "its id was drawn before");
    daemon.ended(&session).await;
    assert!(daemon.export(&session).await.output().contains("from a spare"));
    eventually("another takes its place", || async { daemon.spares().await == 1 }).await;
}

#[tokio::test]
async fn an_invite_starts_as_many_sessions_as_it_says() {
    let daemon = Daemon::start(Rung::Local).await;
    let request = InviteRequest { uses: Some(1), ..InviteRequest::default() };
    let invite: Invite =
        daemon.client.json(Method::POST, "/api/v1/invites", Some(&request)).await.expect("an invite");
    let token = invite.url.rsplit('/').next().expect("a token").to_owned();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let join = |body: serde_json::Value| {
        let url = format!("{}/api/v1/invites/{token}/join", daemon.url);
        http.post(url).header("origin", daemon.url.clone()).json(&body).send()
    };
    let ada =
        |consent: bool| serde_json::json!({ "name": "Ada", "email": "ada@example.org", "consent": consent });
    let refused = join(ada(false)).await.expect("an answer");
    assert_eq!(refused.status(), 400, "no consent, no session");
    let joined = join(ada(true)).await.expect("an answer");
    assert_eq!(joined.status(), 201);
    let cookie = joined.headers()["set-cookie"].to_str().expect("text").to_owned();
    let session: Session = joined.json().await.expect("a session");
    assert_eq!(join(ada(true)).await.expect("an answer").status(), 404, "it is used up");
    // The seat sees its own session and nothing else.
    let seat = cookie.split(';').next().expect("a cookie").to_owned();
    let see = |path: String| http.get(format!("{}{path}", daemon.url)).header("cookie", seat.clone()).send();
    assert_eq!(see(format!("/api/v1/sessions/{}", session.id)).await.expect("an answer").status(), 200);
    assert_eq!(see("/api/v1/sessions".to_owned()).await.expect("an answer").status(), 403);
    assert_eq!(
        see(format!("/api/v1/sessions/{}/export", session.id)).await.expect("an answer").status(),
        403
    );
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let daemon = Daemon::start(Rung::Local).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let call = |method: Method, path: &str, body: &str| {
        let request = http.request(method, format!("{}{path}", daemon.url)).bearer_auth(&daemon.token);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        async move {
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            let problem: serde_json::Value = answer.json().await.unwrap_or_default();
            (
                status,
                problem["code"].as_str().unwrap_or_default().to_owned(),
                problem["field"].as_str().map(str::to_owned),
            )
        }
    };
    let sessions = "/api/v1/sessions";
    for (body, field) in [
        (r#"{"ttl_s":"soon"}"#, "ttl_s"),
        (r#"{"tll_s":1}"#, "tll_s"),
        (r#"{"profile":"none"}"#, "profile"),
        (r#"{"cols":0}"#, "cols"),
        (r#"{"user":{"name":"\u001b[31m","email":"a@b"}}"#, "user.name"),
        (r#"{"workspace":"../../etc"}"#, "workspace"),
    ] {
        let (status, code, named) = call(Method::POST, sessions, body).await;
        assert_eq!((status, code.as_str(), named.as_deref()), (400, "invalid", Some(field)), "{body}");
    }
    assert_eq!(call(Method::GET, "/api/v1/sessions/00000000", "").await.0, 404);
    assert_eq!(call(Method::GET, "/api/v1/nothing", "").await.1, "no_route");
    assert_eq!(call(Method::PUT, sessions, "").await.1, "no_method");
    assert_eq!(call(Method::GET, "/api/v1/sessions?al=1", "").await.0, 400);
    assert_eq!(
        call(Method::POST, sessions, &format!("{{\"image\":\"{}\"}}", "x".repeat(70_000))).await.0,
        413
    );
    let anonymous = http.get(format!("{}{sessions}", daemon.url)).send().await.expect("an answer");
    assert_eq!(anonymous.status(), 401);
    let wrong = http
        .get(format!("{}{sessions}", daemon.url))
        .bearer_auth("sbx_wrong")
        .send()
        .await
        .expect("an answer");
    assert_eq!(wrong.status(), 401);
    let foreign = http.get(format!("{}{sessions}", daemon.url)).header("host", "evil.example").send().await;
    assert_eq!(foreign.expect("an answer").status(), 421);
    let rotated: Result<serde_json::Value, _> = http
        .post(format!("{}/api/v1/token", daemon.url))
        .bearer_auth(&daemon.token)
        .send()
        .await
        .expect("an answer")
        .json()
        .await;
    assert_eq!(rotated.expect("JSON")["code"], "admin_socket_only");
}

#[tokio::test]
async fn what_ended_can_be_purged_and_what_lives_cannot() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("read x").await;
    let purge = format!("/api/v1/sessions/{}?purge=true", session.id);
    daemon.when(&session, "it runs", |s| s.phase == Phase::Running).await;
    assert_eq!(refusal(daemon.client.delete(&purge).await).0, "session_alive");
    daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await.expect("stopped");
    daemon.ended(&session).await;
    let journal = daemon.dir().join("s/sessions").join(session.id.to_string());
    assert!(journal.is_dir());
    eventually("it can be purged", || async { daemon.client.delete(&purge).await.is_ok() }).await;
    assert!(!journal.exists());
    assert_eq!(refusal(daemon.client.session(&session.id.to_string()).await).0, "session_not_found");
}

#[tokio::test]
async fn escapes_in_a_title_are_inert_in_listings() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("printf '\\033]2;<b>bold\\033\\\\'; read x").await;
    let seen = daemon.when(&session, "it has a title", |s| !s.title.is_empty()).await;
    assert!(!seen.title.chars().any(char::is_control), "{:?}", seen.title);
}
