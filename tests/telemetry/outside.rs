//! Claude Code outside a sandbox: its own settings changed and changed back, and honoured by the real client.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::receiver::Receiver;

const SETTINGS: &str = "{\n\t\"model\": \"opus\",\n\t\"env\": { \"OTEL_LOG_USER_PROMPTS\": \"1\", \"FOO\": \"bar\" },\n\t\"n\": 1.50\n}";

struct Home(TempDir);

impl Home {
    fn new(settings: Option<&str>) -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        if let Some(text) = settings {
            fs::create_dir(home.0.path().join(".claude")).expect("a folder");
            fs::write(home.settings(), text).expect("written");
            fs::set_permissions(home.settings(), fs::Permissions::from_mode(0o640)).expect("a mode");
        }
        home
    }

    fn settings(&self) -> std::path::PathBuf {
        self.0.path().join(".claude/settings.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.settings()).expect("settings")
    }

    fn env(&self) -> Value {
        serde_json::from_str::<Value>(&self.text()).expect("JSON")["env"].clone()
    }

    /// Names beside the settings.
    fn files(&self) -> Vec<String> {
        let dir = fs::read_dir(self.0.path().join(".claude")).expect("a folder");
        let mut names: Vec<String> =
            dir.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandboxctl"));
        command.arg("telemetry").args(args).current_dir(self.0.path());
        command.env_clear().env("HOME", self.0.path());
        let out = command.output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    }

    fn good(&self, args: &[&str]) -> String {
        let (code, said, wrong) = self.run(args);
        assert_eq!(code, Some(0), "{args:?}: {said}{wrong}");
        said
    }
}

#[test]
fn settings_are_merged_and_come_back_to_the_byte() {
    let home = Home::new(Some(SETTINGS));
    let enable = [
        "enable",
        "--no-check",
        "--endpoint",
        "http://c.example:4318/",
        "--header",
        "Authorization=Bearer a b",
        "--team",
        "R&D",
    ];
    home.good(&enable);
    let env = home.env();
    assert_eq!(env["FOO"], "bar");
    assert_eq!(env["OTEL_LOG_USER_PROMPTS"], "0", "nobody asked for prompts");
    assert_eq!(env["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://c.example:4318");
    assert_eq!(env["OTEL_EXPORTER_OTLP_HEADERS"], "Authorization=Bearer a b");
    assert_eq!(env["OTEL_RESOURCE_ATTRIBUTES"], "team=R%26D");
    assert!(
        home.text().starts_with("{\n\t\"model\": \"opus\",\n\t\"env\": {")
            && home.text().ends_with("\"n\": 1.50\n}")
    );
    let mode = |name: &str| {
        fs::metadata(home.settings().with_file_name(name)).expect(name).permissions().mode() & 0o777
    };
    let files = home.files();
    assert_eq!(files.len(), 3, "the file, what was there, and a note: {files:?}");
    assert_eq!((mode(&files[0]), mode(&files[1]), mode("settings.json.sandboxctl")), (0o640, 0o640, 0o600));
    assert_eq!(fs::read_to_string(home.settings().with_file_name(&files[1])).expect("a backup"), SETTINGS);

    let before = home.text();
    assert!(home.good(&enable).contains("nothing to do"));
    assert_eq!((home.text(), home.files()), (before, files.clone()), "twice is once");

    home.good(&["enable", "--no-check", "--protocol", "grpc", "--prompts"]);
    let env = home.env();
    assert_eq!(env["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://127.0.0.1:4317");
    assert_eq!(
        (&env["OTEL_EXPORTER_OTLP_HEADERS"], &env["OTEL_LOG_USER_PROMPTS"]),
        (&Value::Null, &Value::from("1"))
    );
    assert_eq!(home.files(), files, "what was there before is still the same");

    home.good(&["disable"]);
    assert_eq!(home.text(), SETTINGS);
    assert_eq!(home.files().len(), 2, "the backup stays");
    assert!(home.good(&["disable"]).contains("nothing to do"));
}

#[test]
fn what_was_there_is_merged_taken_over_and_put_back() {
    let settings = r#"{
  "env": {
    "OTEL_RESOURCE_ATTRIBUTES": "site=lab,team=old",
    "OTEL_EXPORTER_OTLP_HEADERS": "X-Scope-OrgID=1",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://elsewhere.example/v1/traces"
  }
}
"#;
    let home = Home::new(Some(settings));
    let enable = ["enable", "--no-check", "--endpoint", "http://ada:secret@c.example:4318", "--team", "new"];
    let (code, said, wrong) = home.run(&[&enable[..], &["--header", "Authorization=Bearer a"]].concat());
    assert!(code == Some(0) && said.contains("http://c.example:4318") && !said.contains("secret"), "{said}");
    assert!(wrong.contains("chmod 600"), "others can read the token: {wrong}");
    let env = home.env();
    assert_eq!(env["OTEL_RESOURCE_ATTRIBUTES"], "site=lab,team=new");
    assert_eq!(env["OTEL_EXPORTER_OTLP_HEADERS"], "X-Scope-OrgID=1,Authorization=Bearer a");
    assert_eq!(env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], "http://ada:secret@c.example:4318/v1/traces");
    let said = home.good(&["status", "--no-check"]);
    assert!(said.contains("http://c.example:4318/v1/traces") && !said.contains("secret"), "{said}");
    home.good(&enable);
    assert_eq!(home.env()["OTEL_EXPORTER_OTLP_HEADERS"], "X-Scope-OrgID=1", "a run anew begins anew");
    home.good(&["disable"]);
    assert_eq!(home.text(), settings);
}

#[test]
fn what_its_owner_changed_meanwhile_stays_and_a_file_that_was_not_there_goes() {
    let home = Home::new(Some(SETTINGS));
    home.good(&["enable", "--no-check", "--tool-details"]);
    let theirs =
        home.text().replace("\"OTEL_LOG_TOOL_DETAILS\": \"1\"", "\"OTEL_LOG_TOOL_DETAILS\": \"mine\"");
    fs::write(home.settings(), theirs.replace("\"opus\"", "\"haiku\"")).expect("written");
    home.good(&["disable"]);
    let env = "{ \"OTEL_LOG_USER_PROMPTS\": \"1\", \"FOO\": \"bar\", \"OTEL_LOG_TOOL_DETAILS\": \"mine\" }";
    assert_eq!(
        home.text(),
        SETTINGS
            .replace("opus", "haiku")
            .replace("{ \"OTEL_LOG_USER_PROMPTS\": \"1\", \"FOO\": \"bar\" }", env)
    );

    let home = Home::new(None);
    home.good(&["enable", "--no-check"]);
    assert_eq!(fs::metadata(home.settings()).expect("a file").permissions().mode() & 0o777, 0o600);
    home.good(&["disable"]);
    assert_eq!(home.files(), Vec::<String>::new());
}

#[test]
fn what_is_no_json_is_left_as_it_is_and_a_link_stays_one() {
    let home = Home::new(Some("{ // mine\n}"));
    let (code, _, said) = home.run(&["enable", "--no-check"]);
    assert!(
        code == Some(1)
            && said.contains("settings.json")
            && said.contains("no JSON")
            && said.contains("line 1"),
        "{said}"
    );
    assert_eq!((home.text().as_str(), home.files().len()), ("{ // mine\n}", 1));

    let home = Home::new(Some(SETTINGS));
    let dotfiles = home.0.path().join("dotfiles.json");
    fs::rename(home.settings(), &dotfiles).expect("moved");
    std::os::unix::fs::symlink(&dotfiles, home.settings()).expect("a link");
    home.good(&["enable", "--no-check"]);
    assert!(fs::symlink_metadata(home.settings()).expect("a link").is_symlink());
    assert!(fs::read_to_string(&dotfiles).expect("a file").contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    home.good(&["disable"]);
    assert_eq!(fs::read_to_string(&dotfiles).expect("a file"), SETTINGS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_is_set_and_whether_it_is_taken() {
    let receiver = Receiver::start().await;
    let home = Home::new(None);
    let (code, said, _) = home.run(&["status"]);
    assert!(code == Some(1) && said.contains("telemetry is off"), "{said}");
    let said = home.good(&["enable", "--endpoint", &receiver.url, "--header", "X-Token=secret"]);
    assert!(said.contains("traces, metrics and logs are taken there"), "{said}");
    let said = home.good(&["status", "--json"]);
    let status: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&status["enabled"], &status["by_us"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(status["variables"]["OTEL_EXPORTER_OTLP_HEADERS"]["value"], "X-Token=…");
    assert!(!said.contains("secret"));
    assert_eq!(status["checks"].as_array().map(Vec::len), Some(3));
    assert!(receiver.heads().iter().all(|h| h["x-token"] == "secret"), "the check brings the headers");
    // A project's own settings are stronger than the user's, and a broken file is told.
    fs::write(
        home.0.path().join(".claude/settings.local.json"),
        "{\"env\":{\"OTEL_EXPORTER_OTLP_ENDPOINT\":\"http://127.0.0.1:9\"}}",
    )
    .expect("written");
    let (code, said, _) = home.run(&["status"]);
    assert!(code == Some(1) && said.contains("settings.local.json") && said.contains("refused"), "{said}");
    let (code, _, said) = home.run(&["enable", "--endpoint", "http://127.0.0.1:9"]);
    assert!(code == Some(0) && said.contains("warning") && said.contains("traces"), "{said}");
}

/// Each signal goes where its own variables say, and only what is taken, or was not to be tried, is good.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_follows_each_signal() {
    let receiver = Receiver::start().await;
    let home = Home::new(None);
    home.good(&["enable", "--endpoint", &receiver.url]);
    let status = |env: Value, more: Value, args: &[&str]| {
        let mut settings = more;
        settings["env"] = env;
        fs::write(home.0.path().join(".claude/settings.local.json"), settings.to_string()).expect("written");
        let (code, said, _) = home.run(&[&["status", "--json"], args].concat());
        let status: Value = serde_json::from_str(&said).expect("JSON");
        let of = |n: usize| (status["checks"][n]["taken"].as_bool(), status["checks"][n]["said"].to_string());
        (code, [of(0), of(1), of(2)])
    };
    let nothing = || serde_json::json!({});
    let here = format!("{}/v1/traces", receiver.url);
    let (code, [traces, ..]) =
        status(serde_json::json!({ "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": here }), nothing(), &[]);
    assert_eq!((code, traces.0), (Some(0), Some(true)), "{traces:?}");
    let away = serde_json::json!({ "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces" });
    let (code, [traces, metrics, _]) = status(away, nothing(), &[]);
    assert_eq!((code, traces.0, metrics.0), (Some(1), Some(false), Some(true)), "{traces:?}");
    for off in [
        serde_json::json!({ "OTEL_LOGS_EXPORTER": "none" }),
        serde_json::json!({ "OTEL_EXPORTER_OTLP_ENDPOINT": "" }),
        serde_json::json!({ "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "otlp" }),
    ] {
        for args in [&[][..], &["--no-check"]] {
            let (code, [_, _, logs]) = status(off.clone(), nothing(), args);
            assert_eq!((code, logs.0), (Some(1), Some(false)), "{off}: {logs:?}");
            assert!(logs.1.contains("not exported"), "{logs:?}");
        }
    }
    let (code, [traces, ..]) = status(nothing(), nothing(), &["--no-check"]);
    assert_eq!((code, traces), (Some(0), (None, "\"not checked\"".to_owned())));
    let helper = serde_json::json!({ "otelHeadersHelper": "/opt/token" });
    let (code, [traces, ..]) = status(nothing(), helper, &[]);
    assert_eq!((code, traces.0), (Some(0), None), "{traces:?}");
    assert!(traces.1.contains("a helper makes the headers"), "{traces:?}");
}

#[test]
fn a_fleet_gets_settings_and_nothing_is_written() {
    let home = Home::new(None);
    let said = home.good(&[
        "enable",
        "--enterprise",
        "--endpoint",
        "https://c.example",
        "--headers-helper",
        "/opt/token",
        "--attribute",
        "site=lab 1",
    ]);
    let managed: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(managed["otelHeadersHelper"], "/opt/token");
    assert_eq!(managed["env"]["OTEL_RESOURCE_ATTRIBUTES"], "site=lab%201");
    assert!(!home.0.path().join(".claude").exists());
    for wrong in [
        &["enable", "--headers-helper", "/x"][..],
        &["enable", "--header", "no value"],
        &["enable", "--header", "A=b,c"],
        &["enable", "--endpoint", "collector:4318"],
        &["enable", "--enterprise", "--settings", "x"],
        &["enable", "--enterprise", "--protocol", "grpc", "--headers-helper", "/x"],
    ] {
        assert_eq!(home.run(wrong).0, Some(2), "{wrong:?}");
    }
    let (code, said, wrong) = home.run(&["enable", "--enterprise", "--header", "Authorization=Bearer a"]);
    assert!(code == Some(0) && said.contains("Bearer a") && wrong.contains("everybody"), "{wrong}");
}

/// A model's answer, as the API streams it.
const ANSWER: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-test","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Done as asked."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// The real client in a container that is no sandbox of ours, with the settings that `enable` wrote in its home.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_client_honours_what_was_written() {
    let receiver = Receiver::start().await;
    let model = model().await;
    let home = Home::new(Some(SETTINGS));
    home.good(&[
        "enable",
        "--endpoint",
        &receiver.url,
        "--header",
        "X-Token=secret token",
        "--team",
        "R&D",
        "--prompts",
    ]);
    receiver.forget();
    let path = home.0.path();
    for path in [path.to_owned(), path.join(".claude"), home.settings()] {
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).expect("it is given away");
    }
    let out = Command::new("docker")
        .args(["run", "--rm", "--network", "host", "--user", "1000:1000", "--workdir", "/tmp"])
        .args(["--volume", &format!("{}:/h", path.display()), "--env", "HOME=/h"])
        .args(["--env", &format!("ANTHROPIC_BASE_URL={model}"), "--env", "ANTHROPIC_AUTH_TOKEN=none"])
        .args(["--env", "DISABLE_AUTOUPDATER=1", "--env", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"])
        .args([
            "sandboxctl/claude-code:latest",
            "claude",
            "-p",
            "Say that it is done",
            "--model",
            "claude-test",
        ])
        .output()
        .expect("docker runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("Done as asked."), "{said}");
    let events = receiver.events();
    for (event, key, value) in
        [("user_prompt", "prompt", "Say that it is done"), ("api_request", "model", "claude-test")]
    {
        let found = events.iter().find(|event_| event_["event.name"] == event);
        assert_eq!(found.map(|e| e[key].as_str()), Some(Some(value)), "{events:?}");
    }
    let metrics = receiver.metrics();
    assert!(metrics.iter().any(|m| m == "claude_code.token.usage"), "{metrics:?}");
    assert!(receiver.spans() > 0, "spans");
    assert!(
        receiver.resources().iter().all(|r| r["team"] == "R&D" && r["service.name"] == "claude-code"),
        "{:?}",
        receiver.resources()
    );
    assert!(receiver.heads().iter().all(|h| h["x-token"] == "secret token"));
    assert!(receiver.is_cumulative(), "what is lost is made good by the next");
    assert!(Path::new(&home.settings()).exists());
}

async fn model() -> String {
    use axum::{Router, http::header, routing::post};
    let answer = || async { ([(header::CONTENT_TYPE, "text/event-stream")], ANSWER) };
    let router = Router::new().route("/v1/messages", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
