//! Reports: exact through restarts, after the record is gone, and for sessions of older daemons.

use std::time::Duration;

use sandboxctl::api::{Report, ReportGroup, Session, StartRequest};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::common::{Daemon, Rung, refusal};

/// Says what a client says: two prompts, a call of each of two models, three tools of which one fails, and counters.
const CLIENT: &str = r#"
import json, sys, time, urllib.request

def attributes(pairs):
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}
    return [{"key": k, "value": {kinds[type(v)]: v}} for k, v in pairs.items()]

def post(signal, body):
    request = urllib.request.Request(f"http://127.0.0.1:4318/v1/{signal}", json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=30).read()

def say(*records):
    records = [{"timeUnixNano": "1", "attributes": attributes(r)} for r in records]
    post("logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})

def count(name, value, **kind):
    point = {"startTimeUnixNano": "1", "timeUnixNano": str(time.time_ns()), "asDouble": value, "attributes": attributes(kind)}
    metric = {"name": "claude_code." + name, "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}}
    post("metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})

for half in range(2):
    say({"event.name": "user_prompt"},
        {"event.name": "api_request", "model": ["opus", "haiku"][half], "input_tokens": 10, "output_tokens": 100 * (half + 1), "cost_usd": 0.25})
    say({"event.name": "tool_result", "tool_name": "Bash", "success": "true"})
    count("lines_of_code.count", 5.0 * (half + 1), type="added")
    count("active_time.total", 30.0 * (half + 1), type="cli")
    print("half", flush=True)
    if half == 0: sys.stdin.readline()
say({"event.name": "tool_result", "tool_name": "Read", "success": "false"})
print("whole", flush=True)
sys.stdin.readline()
"#;

async fn client(daemon: &Daemon) -> Session {
    let program = ["python3", "-c", CLIENT].map(str::to_owned).to_vec();
    daemon.begin(StartRequest { program, ..StartRequest::default() }).await
}

async fn report(daemon: &Daemon, query: &str) -> Report {
    let report: Report = daemon.client.get(&format!("/api/v1/report{query}")).await.expect("a report");
    Report { made_at: jiff::Timestamp::UNIX_EPOCH, ..report }
}

async fn type_line(daemon: &Daemon, session: &Session, until: &str) {
    use sandboxctl::api::Role;
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until("drives", |s| s.role == Some(Role::Driver)).await;
    screen.type_in("\n").await;
    if !until.is_empty() {
        screen.until_shows(until).await;
    }
}

#[tokio::test]
async fn a_report_is_exact_through_kill_9_and_after_the_record_is_gone() {
    let mut daemon = Daemon::start_with(Rung::Local, "[teams]\nops = [\"*@*\"]").await;
    let session = client(&daemon).await;
    assert_eq!(session.team.as_deref(), Some("ops"));
    daemon.when(&session, "half of it is told", |s| s.totals.tools == 1).await;
    let half = report(&daemon, "?by=team").await;
    daemon.kill();
    daemon.restart().await;
    assert_eq!(report(&daemon, "?by=team").await, half, "as before the daemon was killed");
    type_line(&daemon, &session, "whole").await;
    daemon.when(&session, "all of it is told", |s| s.totals.tools == 3).await;
    let alive = report(&daemon, "?by=team").await;
    let group = ReportGroup { team: Some("ops".to_owned()), ..ReportGroup::default() };
    let [row] = &alive.rows[..] else { panic!("one team: {alive:?}") };
    assert_eq!((&row.group, row.sessions), (&group, 1));
    let (work, models, tools) =
        (row.work.expect("work"), row.models.expect("models"), row.tools.expect("tools"));
    assert_eq!((work.turns, work.lines_added, work.active_s), (2, 10, 60));
    assert_eq!((models.calls, models.input_tokens, models.output_tokens, models.cost_usd), (2, 20, 300, 0.5));
    assert_eq!((tools.calls, tools.failures), (3, 1));
    daemon.kill();
    daemon.restart().await;
    type_line(&daemon, &session, "").await;
    daemon.ended(&session).await;
    assert_eq!(report(&daemon, "?by=team").await, alive, "ended");
    let by_model = report(&daemon, "?by=model").await;
    assert_eq!(by_model.rows.len(), 2, "{by_model:?}");

    // As an older daemon would have left it: the journal alone tells.
    daemon.terminate();
    forget_usage(&daemon).await;
    daemon.restart().await;
    assert_eq!(report(&daemon, "?by=team").await, alive, "read from the journal");
    let out = daemon.cli(&["rm", &session.id.to_string()]).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(report(&daemon, "?by=team").await, alive, "the record is gone, the bill is not");
    assert_eq!(report(&daemon, "?by=team&until=2020-01-01").await.total.sessions, 0);

    for (query, field) in [
        ("by=colour", "by"),
        ("by=model,tool", "by"),
        ("since=yesterday", "since"),
        ("until=2026-02-30", "until"),
        ("since=1d&until=2d", "until"),
    ] {
        let refused = daemon.client.get::<Report>(&format!("/api/v1/report?{query}")).await;
        assert_eq!(refusal(refused), ("invalid".to_owned(), Some(field.to_owned())), "{query}");
    }
}

/// A session whose record is removed before anybody asked, of an older daemon.
#[tokio::test]
async fn what_an_older_daemon_did_not_keep_is_kept_before_the_record_goes() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("true").await;
    daemon.ended(&session).await;
    let before = report(&daemon, "").await;
    assert_eq!(before.total.sessions, 1, "one that used nothing counts too");
    daemon.terminate();
    forget_usage(&daemon).await;
    daemon.restart().await;
    daemon.cli(&["rm", &session.id.to_string()]).status().expect("it runs");
    assert_eq!(report(&daemon, "").await, before);
}

/// A disk that fails for a while, or too many open files: no bill is made of a part, and the record stays.
#[tokio::test]
async fn what_cannot_be_read_now_is_not_billed_and_not_removed() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = client(&daemon).await;
    type_line(&daemon, &session, "whole").await;
    type_line(&daemon, &session, "").await;
    daemon.ended(&session).await;
    let before = report(&daemon, "").await;
    daemon.terminate();
    forget_usage(&daemon).await;
    let segment = daemon.state().join(format!("sessions/{}/journal/{:020}.log", session.id, 1));
    let aside = daemon.state().join("aside.log");
    std::fs::rename(&segment, &aside).expect("moved");
    std::fs::create_dir(&segment).expect("a folder, which cannot be read");
    daemon.restart().await;
    let refused = daemon.client.get::<Report>("/api/v1/report").await;
    assert_eq!(refusal(refused).0, "internal");
    let out = daemon.cli(&["rm", &session.id.to_string()]).output().expect("it runs");
    assert!(!out.status.success(), "its use is not known yet");
    std::fs::remove_dir(&segment).expect("removed");
    std::fs::rename(&aside, &segment).expect("moved back");
    assert_eq!(report(&daemon, "").await, before);
    let out = daemon.cli(&["rm", &session.id.to_string()]).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(report(&daemon, "").await, before);
}

#[tokio::test]
async fn the_verb_prints_every_form_and_refuses_what_makes_no_sense() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = client(&daemon).await;
    daemon.when(&session, "half of it is told", |s| s.totals.tools == 1).await;
    let run = |args: &[&str]| {
        let out = daemon.cli(&[&["report"], args].concat()).output().expect("it runs");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (code, table, _) = run(&["--by", "user,model"]);
    assert!(code == Some(0) && table.contains("opus") && table.contains("$0.2500"), "{table}");
    let (_, csv, _) = run(&["--by", "model", "--format", "csv"]);
    assert!(csv.starts_with("model,sessions,cost_usd,") && csv.contains("\r\n\"opus\",1,0.250000,"), "{csv}");
    let (_, json, _) = run(&["--format", "json"]);
    let json: Report = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json.total.sessions, 1);
    let (_, markdown, _) = run(&["--by", "tool", "--format", "markdown"]);
    assert!(markdown.contains("| Bash | 1 | 1 | 0 |"), "{markdown}");
    let page = daemon.dir().join("week.html");
    let (code, nothing, _) = run(&["--format", "html", "-o", page.to_str().expect("UTF-8")]);
    assert_eq!((code, nothing.as_str()), (Some(0), ""));
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("Cost by user") && page.contains("Cost by day"), "{page}");
    for wrong in [["--by", "colour"], ["--since", "never"], ["--by", "model,tool"], ["--format", "pdf"]] {
        let (code, _, said) = run(&wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {said}");
    }
    let (code, _, said) = run(&["--since", "1d", "--until", "2d"]);
    assert!(code == Some(4) && said.contains("before the first"), "{said}");
}

/// Takes what is kept out of the database, as if a daemon that knew nothing of it had written it.
async fn forget_usage(daemon: &Daemon) {
    let options = SqliteConnectOptions::new()
        .filename(daemon.state().join("sandboxctl.db"))
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10));
    let mut database = SqliteConnection::connect_with(&options).await.expect("the database");
    for table in ["DELETE FROM payers", "DELETE FROM usage"] {
        sqlx::query(table).execute(&mut database).await.expect("deleted");
    }
    database.close().await.expect("closed");
}
