//! The command line: every verb and every flag, as clap has them.

use std::process::Output;

use clap::{CommandFactory, Parser};
use sandboxctl::cli::args::Cli;

use crate::common::{Daemon, Rung};

/// A verb, its argument's name, a line that gives it a bad value, the exit code, and what is said about it.
type Row = (&'static str, &'static str, &'static [&'static str], i32, &'static [&'static str]);

const NO_SESSION: &[&str] = &["no session 'zzz'", "list --all"];
const ROWS: &[Row] = &[
    ("", "config", &["--config", "/nowhere.toml", "list"], 2, &["/nowhere.toml", "leave --config out"]),
    ("", "config", &["--config", "/", "list"], 2, &["leave --config out"]),
    ("", "url", &["--url", "sandbox", "list"], 2, &["--url", "https://sandbox.example.org"]),
    ("", "url", &["--url", "ftp://x", "list"], 2, &["--url", "https://sandbox.example.org"]),
    ("", "token", &["--url", "http://127.0.0.1:9", "list"], 2, &["--token", "SANDBOXCTL_TOKEN"]),
    (
        "",
        "token",
        &["--url", "http://127.0.0.1:9", "--token", "a\nb", "list"],
        2,
        &["--token", "token rotate"],
    ),
    ("start", "user", &["start", "--user", "Ada"], 2, &["--user", "Ada Lovelace <ada@example.org>"]),
    ("start", "user", &["start", "--user", "Ada <ada>"], 2, &["--user", "ada@example.org"]),
    ("start", "profile", &["start", "--profile", "none"], 4, &["profile", "there are default, demo"]),
    ("start", "image", &["start", "--image", "a b"], 4, &["image", "debian:bookworm-slim"]),
    ("start", "ttl", &["start", "--ttl", "soon"], 2, &["--ttl", "2h"]),
    ("start", "ttl", &["start", "--ttl", "0s"], 2, &["--ttl", "1s or more"]),
    ("start", "ttl", &["start", "--ttl", "9h"], 4, &["ttl", "28800"]),
    ("start", "workspace", &["start", "--workspace", "../x"], 4, &["workspace", "letters"]),
    (
        "start",
        "api_key_file",
        &["start", "--api-key-file", "/nowhere"],
        2,
        &["--api-key-file /nowhere", "name a file"],
    ),
    ("start", "api_key_file", &["start", "--api-key-file", "/"], 2, &["--api-key-file /", "name a file"]),
    ("start", "detach_key", &["start", "--detach-key", "x"], 2, &["--detach-key", "such as ctrl-]"]),
    ("start", "program", &["start", "--", ""], 4, &["program", "give a program"]),
    ("attach", "session", &["attach", "zzz"], 3, NO_SESSION),
    (
        "attach",
        "detach_key",
        &["attach", "0", "--detach-key", "alt-x"],
        2,
        &["--detach-key", "such as ctrl-]"],
    ),
    ("watch", "session", &["watch", "zzz"], 3, NO_SESSION),
    ("watch", "detach_key", &["watch", "0", "--detach-key", ""], 2, &["--detach-key"]),
    ("wait", "session", &["wait", "zzz"], 3, NO_SESSION),
    ("stop", "sessions", &["stop", "zzz"], 3, NO_SESSION),
    ("stop", "sessions", &["stop"], 2, &["<SESSIONS>"]),
    ("stop", "reason", &["stop", "0", "--reason", "a\nb"], 2, &["--reason", "200 characters"]),
    ("rm", "sessions", &["rm", "zzz"], 3, NO_SESSION),
    ("rm", "sessions", &["rm"], 2, &["<SESSIONS>"]),
    ("events", "session", &["events", "zzz"], 3, NO_SESSION),
    ("events", "kind", &["events", "@", "--kind", "none"], 4, &["kind", "there are output"]),
    ("export", "session", &["export", "zzz", "-o", "-"], 3, NO_SESSION),
    ("export", "output", &["export", "@", "-o", "/"], 2, &["--output /", "name a file in it"]),
    (
        "export",
        "output",
        &["export", "@", "-o", "/nowhere/x.tgz"],
        2,
        &["--output /nowhere/x.tgz", "make it"],
    ),
    ("export", "output", &["export", "@", "-o", ""], 2, &["--output"]),
    ("verify", "file", &["verify", "/nowhere.tgz"], 2, &["/nowhere.tgz", "name a bundle"]),
    ("verify", "file", &["verify", "Cargo.toml"], 1, &["Cargo.toml", "no bundle"]),
    ("verify", "key", &["verify", "Cargo.toml", "--key", "abc"], 2, &["--key", "64 hexadecimal digits"]),
    ("replay", "what", &["replay", "zzz"], 3, NO_SESSION),
    ("replay", "what", &["replay", "Cargo.toml"], 2, &["Cargo.toml", "name a bundle"]),
    ("replay", "speed", &["replay", "x", "--speed", "0"], 2, &["--speed", "such as 2 or 0.5"]),
    ("replay", "speed", &["replay", "x", "--speed", "NaN"], 2, &["--speed", "such as 2 or 0.5"]),
    ("replay", "speed", &["replay", "x", "--speed", "fast"], 2, &["--speed", "such as 2 or 0.5"]),
    ("replay", "from", &["replay", "x", "--from", "start"], 2, &["--from", "30m"]),
    ("replay", "idle", &["replay", "x", "--idle=-1s"], 2, &["--idle", "30m"]),
    ("invite", "profile", &["invite", "--profile", "none"], 4, &["profile", "there are default, demo"]),
    ("invite", "uses", &["invite", "--uses", "0"], 2, &["--uses", "1..=10000"]),
    ("invite", "uses", &["invite", "--uses", "many"], 2, &["--uses"]),
    ("invite", "expires", &["invite", "--expires", "soon"], 2, &["--expires", "2h"]),
    ("invite", "expires", &["invite", "--expires", "1ms"], 2, &["--expires", "1s or more"]),
    ("invite", "expires", &["invite", "--expires", "91d"], 4, &["expires", "90 days"]),
    ("drain", "reason", &["drain", "--reason", "a\u{1b}[31m"], 2, &["--reason", "200 characters"]),
    (
        "import",
        "file",
        &["import", "/nowhere.tgz", "--to", "http://127.0.0.1:9"],
        2,
        &["/nowhere.tgz", "name a bundle"],
    ),
    ("import", "to", &["import", "x", "--to", "nonsense"], 2, &["--to", "otlp://127.0.0.1:4317"]),
    (
        "import",
        "headers",
        &["import", "x", "--to", "http://h", "--header", "x"],
        2,
        &["--header", "NAME=VALUE"],
    ),
    (
        "import",
        "signals",
        &["import", "x", "--to", "http://h", "--signals", "x"],
        2,
        &["--signals", "traces"],
    ),
    (
        "import",
        "key",
        &["import", "x", "--to", "http://h", "--key", "abc"],
        2,
        &["--key", "64 hexadecimal digits"],
    ),
    (
        "import",
        "patience",
        &["import", "x", "--to", "http://h", "--patience", "soon"],
        2,
        &["--patience", "30m"],
    ),
    ("report", "by", &["report", "--by", "none"], 2, &["by", "user"]),
    ("report", "since", &["report", "--since", "soon"], 2, &["since", "7d"]),
    ("report", "until", &["report", "--until", "soon"], 2, &["until", "7d"]),
    ("report", "format", &["report", "--format", "x"], 2, &["--format", "csv"]),
    ("report", "output", &["report", "-o", "/nowhere/x"], 2, &["/nowhere/x"]),
    (
        "telemetry enable",
        "endpoint",
        &["telemetry", "enable", "--endpoint", "x"],
        2,
        &["--endpoint", "http://"],
    ),
    ("telemetry enable", "protocol", &["telemetry", "enable", "--protocol", "x"], 2, &["--protocol", "grpc"]),
    (
        "telemetry enable",
        "headers",
        &["telemetry", "enable", "--header", "x"],
        2,
        &["--header", "NAME=VALUE"],
    ),
    ("telemetry enable", "team", &["telemetry", "enable", "--team", ""], 2, &["--team", "characters"]),
    (
        "telemetry enable",
        "attributes",
        &["telemetry", "enable", "--attribute", "x"],
        2,
        &["--attribute", "NAME=VALUE"],
    ),
    (
        "telemetry enable",
        "settings",
        &["telemetry", "enable", "--no-check", "--settings", "/"],
        1,
        &["/", "--settings"],
    ),
    (
        "telemetry enable",
        "headers_helper",
        &["telemetry", "enable", "--headers-helper", "x"],
        2,
        &["--enterprise"],
    ),
    ("telemetry disable", "settings", &["telemetry", "disable", "--settings", "/"], 1, &["/", "--settings"]),
    ("telemetry status", "settings", &["telemetry", "status", "--settings", "/"], 1, &[]),
    ("stack", "dir", &["stack", "--dir", "/nowhere", "logs"], 2, &["/nowhere", "stack up"]),
    ("stack up", "wait", &["stack", "up", "--wait", "soon"], 2, &["--wait", "30m"]),
    ("stack restart", "wait", &["stack", "restart", "--wait", "soon"], 2, &["--wait", "30m"]),
    ("stack logs", "tail", &["stack", "logs", "--tail", "x"], 2, &["--tail"]),
    ("stack restore", "file", &["stack", "restore", "/nowhere.tgz"], 2, &["/nowhere.tgz", "stack backup"]),
    ("stack verify", "collector", &["stack", "verify", "--collector", "x"], 2, &["--collector", "https://"]),
    (
        "stack verify",
        "prometheus",
        &["stack", "verify", "--prometheus", "x"],
        2,
        &["--prometheus", "https://"],
    ),
    ("stack verify", "loki", &["stack", "verify", "--loki", "x"], 2, &["--loki", "https://"]),
    ("stack verify", "jaeger", &["stack", "verify", "--jaeger", "x"], 2, &["--jaeger", "https://"]),
    ("stack verify", "wait", &["stack", "verify", "--wait", "soon"], 2, &["--wait", "30m"]),
    ("completions", "shell", &["completions", "basic"], 2, &["<SHELL>", "bash"]),
    ("print", "what", &["print", "everything"], 2, &["<WHAT>", "openapi"]),
];

/// What only a stack can refuse: told in `tests/stack_verbs.rs`.
const ELSEWHERE: [(&str, &str); 6] = [
    ("stack up", "parts"),
    ("stack restart", "parts"),
    ("stack logs", "part"),
    ("stack backup", "file"),
    ("stack verify", "profile"),
    ("stack verify", "destination"),
];

fn run(daemon: &Daemon, args: &[&str], session: &str) -> (Option<i32>, String) {
    let args: Vec<&str> = args.iter().map(|arg| if *arg == "@" { session } else { arg }).collect();
    // The daemon's configuration, unless the line names one.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sandboxctl"));
    if !args.contains(&"--config") {
        command.arg("--config").arg(daemon.config());
    }
    let out: Output = command
        .args(&args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("SANDBOXCTL_URL")
        .env_remove("SANDBOXCTL_TOKEN")
        .output()
        .expect("it runs");
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Every verb with each of its arguments; those of all verbs under no name.
fn arguments() -> Vec<(String, clap::Arg)> {
    let cli = Cli::command();
    let of = |verb: &str, command: &clap::Command| -> Vec<(String, clap::Arg)> {
        let own = command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
        own.map(|arg| (verb.to_owned(), arg.clone())).collect()
    };
    let mut all = of("", &cli);
    for verb in cli.get_subcommands() {
        all.extend(of(verb.get_name(), verb));
        for inner in verb.get_subcommands() {
            all.extend(of(&format!("{} {}", verb.get_name(), inner.get_name()), inner));
        }
    }
    all
}

#[tokio::test]
async fn every_flag_and_argument_is_refused_by_its_name_with_what_is_allowed() {
    let daemon = Daemon::start(Rung::Local).await;
    let one = daemon.shell("true").await;
    let two = daemon.shell("true").await;
    daemon.ended(&one).await;
    daemon.ended(&two).await;
    let id = one.id.to_string();
    let mut wrong = Vec::new();
    for (_, _, line, code, said) in ROWS {
        let (got, err) = run(&daemon, line, &id);
        if got != Some(*code) || !said.iter().all(|part| err.contains(part)) {
            wrong.push(format!("{line:?}: {code} and {said:?} were expected, not {got:?} and {err}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A prefix that two have, and what no id holds.
    let both = run(&daemon, &["wait", &id[..3]], &id);
    assert!(
        both.0 == Some(4) && both.1.contains("begins the ids of 2 sessions; give more of it"),
        "{both:?}"
    );
    for none in ["", " ", "../..", "a/b", "\u{1b}[31m", "é", "00000000-0000-0000-0000-000000000000"] {
        let (code, err) = run(&daemon, &["wait", none], &id);
        assert_eq!(code, Some(3), "{none:?}: {err}");
        assert!(err.contains("list --all") && !err.contains('\u{1b}'), "{none:?}: {err}");
    }
    let left = std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("a folder").flatten();
    assert!(
        !left.map(|e| e.path()).any(|p| p.extension().is_some_and(|e| e == "partial")),
        "nothing half made"
    );
    let started = daemon.client.sessions(true).await.expect("a list").sessions.len();
    assert_eq!(started, 2, "nothing was started");
}

#[test]
fn no_flag_and_no_argument_is_without_a_row() {
    let arguments = arguments();
    let mut forgotten = Vec::new();
    for (verb, argument) in &arguments {
        let id = argument.get_id().as_str();
        if !argument.get_action().takes_values() {
            continue;
        }
        let named = (verb.as_str(), id);
        let known = ELSEWHERE.contains(&named) || ROWS.iter().any(|row| (row.0, row.1) == named);
        if !known {
            forgotten.push(format!("`{verb}` with a bad {id}"));
        }
    }
    assert!(forgotten.is_empty(), "no row says what becomes of {forgotten:#?}");
    for (verb, id, ..) in ROWS {
        let there = arguments.iter().any(|(v, argument)| v == verb && argument.get_id().as_str() == *id);
        assert!(there, "`{verb}` has no {id}");
    }
}

#[test]
fn a_switch_takes_no_value_and_a_flag_that_is_not_there_is_named() {
    let refused = |line: &[&str]| {
        let line_of = std::iter::once("sandboxctl").chain(line.iter().copied());
        let error = Cli::try_parse_from(line_of).expect_err("it is refused");
        assert_eq!(error.exit_code(), 2, "{line:?}");
        error.to_string()
    };
    for (verb, argument) in arguments() {
        let Some(long) = argument.get_long().filter(|_| !argument.get_action().takes_values()) else {
            continue;
        };
        let flag = format!("--{long}=x");
        let line: Vec<&str> = verb.split(' ').chain([flag.as_str()]).collect();
        assert!(refused(&line).contains(&format!("--{long}")), "{line:?}");
    }
    for verb in Cli::command().get_subcommands() {
        assert!(refused(&[verb.get_name(), "--nonsense"]).contains("--nonsense"), "{}", verb.get_name());
    }
    assert!(refused(&["strat"]).contains("start"), "a slip is answered with what was meant");
}

#[tokio::test]
async fn without_a_daemon_every_verb_says_how_to_start_one() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let config = dir.path().join("config.toml");
    let socket = dir.path().join("a.sock");
    std::fs::write(&config, format!("admin_socket = \"{}\"", socket.display())).expect("written");
    let config = config.display().to_string();
    let ours = ["serve", "verify", "import", "telemetry", "stack", "completions", "print"];
    for verb in Cli::command().get_subcommands().filter(|verb| !ours.contains(&verb.get_name())) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sandboxctl"));
        command.args(["--config", &config, verb.get_name()]);
        command.env_remove("SANDBOXCTL_URL").env_remove("SANDBOXCTL_TOKEN");
        if verb.has_subcommands() {
            command.arg(verb.get_subcommands().next().expect("one").get_name());
        }
        command.args(verb.get_positionals().filter(|a| a.is_required_set()).map(|_| "0"));
        let out = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        let code = if verb.get_name() == "doctor" { 1 } else { 5 };
        assert_eq!(out.status.code(), Some(code), "{}: {said}", verb.get_name());
        assert!(said.contains("sandboxctl serve"), "{}: {said}", verb.get_name());
        assert!(said.contains(&socket.display().to_string()), "{}: {said}", verb.get_name());
    }
}
