//! The documents say what is so: configuration, dependencies and verbs, held against the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use clap::CommandFactory;
use sandboxctl::{
    cli::args::Cli,
    config::{Compression, Config, Forward, ForwardTls, Privacy, Prometheus, Protocol, Pushgateway, Tls},
    signal::Signal,
    spec::Profile,
};
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every key of a value, with dots.
fn keys(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                keys(&format!("{prefix}{name}."), field, found);
            }
        }
        _ => drop(found.insert(prefix.trim_end_matches('.').to_owned())),
    }
}

/// What stands in backquotes in the first column of a page's tables; `a.b`, `.c` is `a.b`, `a.c`.
fn documented(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for row in page.lines().filter(|l| l.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let mut first = String::new();
        for name in cell.split('`').skip(1).step_by(2) {
            let whole = match (name.strip_prefix('.'), first.rsplit_once('.')) {
                (Some(rest), Some((parent, _))) => format!("{parent}.{rest}"),
                _ => name.to_owned(),
            };
            first.clone_from(&whole);
            found.insert(whole);
        }
    }
    found
}

#[test]
fn every_key_of_the_configuration_is_documented_and_the_other_way_round() {
    let forward = Forward {
        endpoint: String::new(),
        protocol: Protocol::Http,
        signals: [Signal::Logs].into(),
        session_labels: false,
        compression: Some(Compression::Gzip),
        headers_file: Some("h".into()),
        headers_helper: vec!["h".to_owned()],
        tls: ForwardTls { ca: Some("a".into()), cert: Some("c".into()), key: Some("k".into()) },
        privacy: Privacy::default(),
        timeout: std::time::Duration::from_secs(1),
    };
    let config = Config {
        public_url: Some(String::new()),
        admin_group: Some(String::new()),
        guest: Some("g".into()),
        tls: Some(Tls { cert: "c".into(), key: "k".into() }),
        forward: BTreeMap::from([("NAME".to_owned(), forward)]),
        pushgateway: Some(Pushgateway { url: String::new() }),
        prometheus: Some(Prometheus { url: String::new() }),
        teams: BTreeMap::from([("NAME".to_owned(), Vec::new())]),
        ..Config::default()
    };
    let mut value = serde_json::to_value(&config).expect("JSON");
    let prices = value["model"]["prices"].as_object_mut().expect("prices");
    let price = prices.values().next().cloned().expect("a price");
    prices.clear();
    prices.insert("PREFIX".to_owned(), price);
    value["model"]["key_file"] = "k".into();
    let fields = value.as_object_mut().expect("an object");
    fields.remove("profiles");
    fields.remove("mcp_servers");
    let mut expected = BTreeSet::new();
    keys("", &value, &mut expected);
    let mut profile = serde_json::to_value(Profile::default()).expect("JSON");
    profile["env"] = serde_json::json!({ "NAME": "x" });
    keys("", &profile, &mut expected);
    assert_eq!(documented(&read("docs/configuration.md")), expected);
}

#[test]
fn every_dependency_has_its_reason_and_no_reason_is_left_over() {
    let mut expected = BTreeSet::new();
    for (path, sections) in [
        ("Cargo.toml", ["dependencies", "dev-dependencies"]),
        ("images/guest/Cargo.toml", ["dependencies", "dev-dependencies"]),
    ] {
        let manifest: toml::Table = read(path).parse().expect("TOML");
        for section in sections {
            expected.extend(manifest[section].as_table().expect("a table").keys().cloned());
        }
    }
    expected.remove("sandbox-guest");
    let package: Value = serde_json::from_str(&read("web/package.json")).expect("JSON");
    for section in ["dependencies", "devDependencies"] {
        expected.extend(package[section].as_object().expect("an object").keys().cloned());
    }
    let page = read("docs/dependencies.md");
    let words: BTreeSet<&str> =
        page.split(|c: char| !(c.is_ascii_alphanumeric() || "-_@/".contains(c))).collect();
    let missing: Vec<&String> = expected.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/dependencies.md does not say what {missing:?} are for");
    let first_cells = page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("|---"));
    let listed = first_cells.flat_map(|l| l.split('|').nth(1).unwrap_or_default().split(',').map(str::trim));
    let left: Vec<&str> =
        listed.filter(|name| !matches!(*name, "crate" | "package") && !expected.contains(*name)).collect();
    assert!(left.is_empty(), "docs/dependencies.md speaks of {left:?}, which nothing uses");
}

#[test]
fn the_readme_names_every_verb_and_every_help_has_an_example() {
    let readme = read("README.md");
    for verb in Cli::command().get_subcommands().filter(|v| !v.is_hide_set()) {
        let name = verb.get_name();
        assert!(readme.contains(&format!("`{name}")), "README.md does not name `{name}`");
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let nested = verb.get_subcommands().all(|v| v.get_after_help().is_some()) && verb.has_subcommands();
        assert!(nested || help.contains("sandboxctl"), "`{name} --help` shows no example");
    }
}

/// A setting that no file reads has its default for ever, whatever `.env` says.
#[test]
fn every_setting_of_the_stack_that_the_code_names_is_read_by_compose() {
    let compose = read("compose/compose.yaml");
    let setting = regex::Regex::new(r"\b(STACK(_[A-Z]+)+|GRAFANA_ADMIN_PASSWORD)\b").expect("an expression");
    let mut folders = vec!["src/cli/stack".to_owned()];
    let mut named = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).expect("a folder");
        for entry in entries.flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else {
                named.extend(setting.find_iter(&read(&path)).map(|found| found.as_str().to_owned()));
            }
        }
    }
    assert!(named.contains("STACK_BIND") && named.contains("STACK_PORT_COLLECTOR_HTTP"), "{named:?}");
    let unknown: Vec<&String> =
        named.iter().filter(|name| !compose.contains(&format!("${{{name}:"))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
