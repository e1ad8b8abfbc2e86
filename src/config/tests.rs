//! Every key with a wrong type and, where it has a range or a form, a value outside. The keys are those of the
//! configuration itself, so that none can be forgotten.

use serde_json::{Value, json};

use std::time::Duration;

use super::*;
use crate::signal::Signal;

/// Keys that take whatever has their type, each with the reason.
const FREE: [&str; 26] = [
    // Paths: whether something is there shows when the daemon starts.
    "guest",
    "tls.cert",
    "tls.key",
    "model.key_file",
    "forward.team.headers_file",
    "forward.team.tls.ca",
    "forward.team.tls.cert",
    "forward.team.tls.key",
    // One of a few words, or a limit that may be anything: the type says it all.
    "engine",
    "forward.team.protocol",
    "forward.team.compression",
    "forward.team.session_labels",
    "forward.team.privacy.prompts",
    "forward.team.privacy.users",
    "forward.team.privacy.tools",
    "profiles.demo.credential",
    "profiles.demo.sudo",
    "profiles.demo.record_input",
    "profiles.demo.telemetry.prompts",
    "profiles.demo.telemetry.tool_details",
    "profiles.demo.telemetry.tool_content",
    "profiles.demo.budget.tokens",
    "mcp_servers.files.env.A",
    "mcp_servers.remote.headers.A",
    // Compiled when the daemon starts: see `daemon/check.rs`.
    "profiles.demo.policy.deny_commands",
    "profiles.demo.egress",
];

/// Values of the right type that make no sense, and a part of what is said about them.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    ("listen", &["\"nowhere\"", "\"127.0.0.1\"", "\"127.0.0.1:70000\""], "127.0.0.1:7070"),
    ("public_url", &["\"\"", "\"sandbox\"", "\"ftp://x\"", "\"https://x/?a\""], "https://"),
    ("state_dir", &["\"\"", "\"state\""], "absolute"),
    ("state_dir", &["\"/234567890123456789012345678901234567890123456789\""], "48 bytes"),
    ("admin_socket", &["\"\"", "\"a.sock\""], "absolute"),
    ("admin_group", &["\"\""], "leave it out"),
    ("max_sessions", &["0", "-1"], "give"),
    ("max_sessions_per_user", &["0", "-1"], "give"),
    ("max_connections", &["0", "-1"], "give"),
    ("default_profile", &["\"\"", "\"none\""], "demo"),
    ("default_profile", &["\"dem\""], "is demo meant?"),
    ("detach_key", &["\"\"", "\"x\"", "\"ctrl-1\""], "such as ctrl-]"),
    ("docker.socket", &["\"\"", "\"tcp://engine:2375\""], "absolute"),
    ("model.url", &["\"\"", "\"api.anthropic.com\"", "\"ftp://x\"", "\"https://x?a=b\""], "https://"),
    ("model.prices.claude.input", &["nan", "-1.0", "inf"], "zero or more"),
    ("model.prices.claude.output", &["nan", "-1.0", "inf"], "zero or more"),
    ("model.prices.claude.cache_read", &["nan", "-1.0", "inf"], "zero or more"),
    ("model.prices.claude.cache_write", &["nan", "-1.0", "inf"], "zero or more"),
    ("model.prices.claude.cache_write_1h", &["nan", "-1.0", "inf"], "zero or more"),
    ("prometheus.url", &["\"\"", "\"localhost:9090\"", "\"http://x?a=b\""], "http://127.0.0.1:9090"),
    ("forward.team.endpoint", &["\"\"", "\"collector:4318\"", "\"unix:///x\""], "http://"),
    ("forward.team.signals", &["[]"], "traces"),
    ("forward.team.headers_helper", &["[\"\"]", "[\"a\\u0000\"]"], "program"),
    ("forward.team.timeout", &["\"\"", "\"soon\"", "\"5\""], "30m"),
    ("forward.team.timeout", &["\"0s\"", "\"11y\"", "\"18446744073709551615s\""], "at most 10 years"),
    ("pushgateway.url", &["\"\"", "\"127.0.0.1:9091\""], "http://127.0.0.1:9091"),
    ("teams.lab", &["[\"\"]", "[\"a\", \" \"]", "[\"[a@b\"]"], "*@lab.example.org"),
    ("mcp_servers.files.type", &["\"pipe\""], "stdio, http or sse"),
    ("mcp_servers.files.type", &["\"http\""], "stdio for a `command`"),
    ("mcp_servers.files.command", &["\"\"", "5"], "program"),
    ("mcp_servers.files.args", &["\"--root\"", "[5]"], "list"),
    ("mcp_servers.remote.type", &["\"stdio\"", "5"], "http"),
    ("mcp_servers.remote.url", &["\"\"", "\"here\""], "http://"),
    ("profiles.demo.image", &["\"\"", "\"a b\"", "\"-\\u0007\""], "debian:bookworm-slim"),
    ("profiles.demo.program", &["[]", "[\"\"]", "[\"a\\u0000\"]"], "program"),
    ("profiles.demo.runtime", &["\"\"", "\"a b\""], "runsc"),
    ("profiles.demo.ttl", &["\"0s\"", "\"999ms\"", "\"11y\""], "1s to 10 years"),
    ("profiles.demo.ttl", &["\"soon\"", "\"-5s\""], "2h"),
    ("profiles.demo.idle", &["\"0s\"", "\"11y\""], "1s to 10 years"),
    ("profiles.demo.warn", &["\"11y\""], "0s to 10 years"),
    ("profiles.demo.grace", &["\"11y\"", "\"18446744073709551615s\""], "0s to 10 years"),
    ("profiles.demo.spares", &["65", "9223372036854775807"], "max_sessions"),
    ("profiles.demo.spares", &["-1"], "whole number"),
    ("profiles.demo.env.NAME", &["\"a\\u0000\""], "NUL"),
    ("profiles.demo.limits.cpus", &["nan", "inf", "0.0", "1e-10", "-1.0", "10001.0"], "0.01 to 10000"),
    ("profiles.demo.limits.memory", &["\"0 B\"", "0", "\"1 MiB\""], "6 MiB"),
    ("profiles.demo.limits.memory", &["\"much\"", "-1", "\"-4 GiB\""], "512 MiB"),
    ("profiles.demo.limits.disk", &["\"0 B\"", "\"much\"", "-1"], "size"),
    ("profiles.demo.limits.tmp", &["\"0 B\"", "\"much\"", "-1"], "size"),
    ("profiles.demo.limits.pids", &["0", "-1"], "1 or more"),
    ("profiles.demo.limits.open_files", &["0"], "1 or more"),
    ("profiles.demo.policy.mode", &["\"\"", "\"bypassPermissions\"", "\"accept\""], "acceptEdits"),
    ("profiles.demo.policy.allow", &["[\"\"]", "[\"Read\", \" \"]"], "empty"),
    ("profiles.demo.policy.ask", &["[\"\"]"], "empty"),
    ("profiles.demo.policy.deny", &["[\"\"]"], "empty"),
    ("profiles.demo.policy.deny_paths", &["[\"\"]"], "empty"),
    ("profiles.demo.budget.usd", &["nan", "-1.0", "inf"], "zero or more"),
];

/// Sections whose names are the operator's, and those of another's form.
const OPEN: [&str; 9] = [
    "forward",
    "teams",
    "profiles",
    "profiles.demo.env",
    "model.prices",
    "mcp_servers",
    "mcp_servers.files.env",
    "mcp_servers.remote.headers",
    "mcp_servers.files.args",
];

/// A configuration that has every key, with one profile.
fn whole() -> Value {
    let demo = Profile {
        credential: Credential::Demo,
        runtime: Some("runsc".to_owned()),
        env: BTreeMap::from([("NAME".to_owned(), "value".to_owned())]),
        budget: crate::spec::Budget { usd: Some(1.0), tokens: Some(1) },
        ..Profile::default()
    };
    let price =
        Price { input: 1.0, output: 1.0, cache_read: 1.0, cache_write: 1.0, cache_write_1h: Some(1.0) };
    let forward = Forward {
        endpoint: "http://127.0.0.1:4318".to_owned(),
        protocol: Protocol::Http,
        signals: Signal::ALL.into(),
        session_labels: false,
        compression: Some(Compression::Gzip),
        headers_file: Some("/h".into()),
        headers_helper: vec!["token".to_owned()],
        tls: ForwardTls { ca: Some("/a".into()), cert: Some("/c".into()), key: Some("/k".into()) },
        privacy: Privacy::default(),
        timeout: Duration::from_secs(30),
    };
    let config = Config {
        public_url: Some("https://sandbox.example.org".to_owned()),
        admin_group: Some("adm".to_owned()),
        guest: Some("/g".into()),
        default_profile: "demo".to_owned(),
        tls: Some(Tls { cert: "/c".into(), key: "/k".into() }),
        model: Model {
            key_file: Some("/k".into()),
            prices: BTreeMap::from([("claude".to_owned(), price)]),
            ..Model::default()
        },
        prometheus: Some(Prometheus { url: "http://127.0.0.1:9090".to_owned() }),
        forward: BTreeMap::from([("team".to_owned(), forward)]),
        pushgateway: Some(Pushgateway { url: "http://127.0.0.1:9091".to_owned() }),
        teams: BTreeMap::from([("lab".to_owned(), vec!["*@lab.example.org".to_owned()])]),
        mcp_servers: BTreeMap::from([
            (
                "files".to_owned(),
                json!({ "type": "stdio", "command": "files", "args": ["/"], "env": { "A": "b" } }),
            ),
            ("remote".to_owned(), json!({ "type": "http", "url": "http://x/mcp", "headers": { "A": "b" } })),
        ]),
        profiles: BTreeMap::from([("demo".to_owned(), demo)]),
        ..Config::default()
    };
    serde_json::to_value(config).expect("JSON")
}

/// Every key of a value with what it holds, and every section.
fn walk(prefix: &str, value: &Value, keys: &mut Vec<(String, Value)>, sections: &mut Vec<String>) {
    let Value::Object(fields) = value else {
        assert!(!value.is_null(), "{prefix} is new: let `whole` have it");
        return keys.push((prefix.to_owned(), value.clone()));
    };
    sections.push(prefix.to_owned());
    for (name, field) in fields {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        walk(&path, field, keys, sections);
    }
}

fn keys() -> (Vec<(String, Value)>, Vec<String>) {
    let (mut keys, mut sections) = (Vec::new(), Vec::new());
    walk("", &whole(), &mut keys, &mut sections);
    (keys, sections)
}

/// What is said of the whole configuration with this value at this key.
fn said_of(key: &str, value: &str) -> ConfigError {
    let mut config: toml::Value = toml::Value::try_from(whole()).expect("TOML");
    let value: toml::Table = format!("value = {value}").parse().expect("TOML");
    let mut at = &mut config;
    for name in key.split('.') {
        let section = at.as_table_mut().expect("a section");
        at = section.entry(name).or_insert(toml::Value::Boolean(false));
    }
    *at = value["value"].clone();
    let text = toml::to_string(&config).expect("TOML");
    Config::parse(&text).expect_err(&format!("{key} = {} is taken", value["value"]))
}

#[test]
fn the_defaults_and_nothing_are_the_same() {
    assert_eq!(Config::parse("").expect("it is good"), Config::default());
}

#[test]
fn the_whole_of_it_is_good() {
    let text = toml::to_string(&whole()).expect("TOML");
    Config::parse(&text).expect("nothing is wrong with it");
}

#[test]
fn every_key_refuses_a_value_of_another_type_by_its_name() {
    for (key, held) in keys().0 {
        let wrong: &[&str] = match held {
            Value::Bool(_) => &["\"yes\"", "1", "[]"],
            Value::Number(_) => &["\"x\"", "true", "{ a = 1 }"],
            Value::Array(_) => &["\"x\"", "5", "[5]", "[[]]"],
            _ => &["true", "[\"x\"]", "{ a = 1 }"],
        };
        for value in wrong {
            let error = said_of(&key, value);
            let ConfigError::Value { key: named, problem, .. } = &error else { panic!("{error:?}") };
            // An entry of a list has a number.
            let list = named.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            assert!(list, "{key} = {value}: {error}");
            assert!(problem.contains("give "), "{key} = {value}: {error}");
        }
    }
}

#[test]
fn every_key_refuses_a_value_outside_its_range_or_form() {
    for (key, values, remedy) in OUTSIDE {
        for value in *values {
            let error = said_of(key, value);
            let ConfigError::Value { key: named, problem, .. } = &error else { panic!("{error:?}") };
            assert_eq!(named, key, "{value}: {error}");
            assert!(problem.contains(remedy), "{key} = {value}: {error}");
        }
    }
    let (keys, _) = keys();
    let known = |key: &str| FREE.contains(&key) || OUTSIDE.iter().any(|(row, ..)| *row == key);
    let forgotten: Vec<&String> = keys.iter().map(|(key, _)| key).filter(|key| !known(key)).collect();
    assert!(forgotten.is_empty(), "no row says what these refuse: {forgotten:?}");
    let there = |key: &str| keys.iter().any(|(known, _)| known == key);
    let gone: Vec<&str> =
        FREE.into_iter().chain(OUTSIDE.iter().map(|row| row.0)).filter(|k| !there(k)).collect();
    assert!(gone.is_empty(), "there are no such keys: {gone:?}");
}

#[test]
fn an_unknown_key_is_refused_at_every_level_and_the_one_that_was_meant_is_named() {
    let (keys, sections) = keys();
    for section in sections.iter().filter(|section| !OPEN.contains(&section.as_str())) {
        let at = |name: &str| if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let foreign = section.starts_with("mcp_servers.");
        if !foreign {
            let error = said_of(&at("nonsense"), "1");
            let ConfigError::Unknown { key, remedy, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*key, at("nonsense"));
            assert!(remedy.starts_with("there are "), "{error}");
        }
        let names = keys.iter().filter_map(|(key, _)| {
            let rest = if section.is_empty() { key } else { key.strip_prefix(section)?.strip_prefix('.')? };
            (!rest.contains('.')).then_some(rest)
        });
        for name in names {
            let error = said_of(&at(&format!("{name}s")), "1");
            let ConfigError::Unknown { key, remedy, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*key, at(&format!("{name}s")));
            assert_eq!(*remedy, format!("is {name} meant?"), "{error}");
        }
    }
}

#[test]
fn a_section_that_is_none_is_refused_by_its_name() {
    for section in keys().1.iter().filter(|section| !section.is_empty()) {
        let error = said_of(section, "5");
        let ConfigError::Value { key, problem, .. } = &error else { panic!("{error:?}") };
        assert_eq!(key, section);
        assert!(problem.contains("section"), "{error}");
    }
}

#[test]
fn names_that_are_the_operators_have_a_form() {
    for (text, key) in [
        ("[profiles.\"a b\"]", "profiles.a b"),
        ("[profiles.\"\"]", "profiles."),
        ("[profiles.\"\\u001b[31m\"]", "profiles.\u{1b}[31m"),
        ("[profiles.demo.env]\n\"A=B\" = \"x\"", "profiles.demo.env.A=B"),
        ("[profiles.demo.env]\n\"\" = \"x\"", "profiles.demo.env."),
        ("[mcp_servers.\"a/b\"]\ncommand = \"x\"", "mcp_servers.a/b"),
        ("[mcp_servers.a]", "mcp_servers.a"),
        ("[mcp_servers.a]\ncommand = \"x\"\nurl = \"http://x\"", "mcp_servers.a"),
        ("[tls]\ncert = \"/c\"", "tls.key"),
        ("[forward.a]\ntimeout = \"1s\"", "forward.a.endpoint"),
        ("[forward.\"a b\"]\nendpoint = \"http://x\"", "forward.a b"),
        ("[forward.a]\nendpoint = \"http://x\"\ntls.cert = \"/c\"", "forward.a.tls.key"),
        ("[model.prices.x]\ninput = 1", "model.prices.x.output"),
        ("[profiles.x]\ncredential = \"gateway\"", "model.key_file"),
    ] {
        let error = Config::parse(text).expect_err(text);
        let ConfigError::Value { key: named, problem, .. } = &error else { panic!("{error:?}") };
        assert_eq!(named, key, "{error}");
        assert!(["name", "give"].iter().any(|verb| problem.contains(verb)), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn a_password_that_is_a_number_is_not_repeated() {
    for key in ["profiles.demo.env.PASSWORD", "mcp_servers.files.env.PASSWORD"] {
        let said = said_of(key, "271828").to_string();
        assert!(said.contains(key) && !said.contains("271828"), "{said}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    for text in ["a = [", "listen = 1\nlisten = 2", "[profiles", "\u{0}"] {
        let error = Config::parse(text).expect_err(text);
        let ConfigError::Text { problem, .. } = &error else { panic!("{error:?}") };
        assert!(problem.contains("at line"), "{error}");
    }
}
