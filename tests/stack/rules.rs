//! Rules and alerts: each has a test that fires it and one that does not, and an alert tells what to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use crate::common::stack::{compose, part::binary};

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(compose().join("prometheus").join(folder)).expect("a folder").flatten();
    entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect()
}

fn text(folder: &str) -> String {
    files(folder).iter().map(|path| fs::read_to_string(path).expect("it can be read") + "\n").collect()
}

/// Values of a key that stands on a line of its own or within braces.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
    lines.filter_map(|line| Some(line.split_once(key)?.1.split([',', '}']).next()?.trim())).collect()
}

#[test]
fn promtool_runs_every_test_of_the_rules() {
    let out = Command::new(binary("promtool")).args(["test", "rules"]).args(files("tests")).output();
    let out = out.expect("promtool runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
    let out = Command::new(binary("promtool"))
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .args(files("rules"))
        .output();
    assert!(out.expect("promtool runs").status.success());
}

#[test]
fn each_alert_fires_in_a_test_and_is_silent_in_another() {
    let (rules, tests) = (text("rules"), text("tests"));
    let alerts: BTreeSet<&str> = values(&rules, "- alert: ").into_iter().collect();
    let mut seen: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    let mut lines = tests.lines().peekable();
    while let Some(line) = lines.next() {
        for alert in values(line, "alertname: ") {
            let expected =
                if line.contains("exp_alerts") { line } else { lines.peek().copied().unwrap_or_default() };
            let (fires, silent) = seen.entry(alert).or_default();
            if expected.contains("exp_alerts: []") { *silent = true } else { *fires = true }
        }
    }
    assert!(alerts.len() >= 12);
    for alert in &alerts {
        assert_eq!(seen.get(alert), Some(&(true, true)), "{alert} is tested firing, and silent");
    }
    let records: BTreeSet<&str> = values(&rules, "- record: ").into_iter().collect();
    let tested = values(&tests, "- expr: ").join("\n");
    for record in records {
        assert!(tested.contains(record), "{record} is not tested");
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_leads_to_its_remedy() {
    let rules = text("rules");
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md"))
        .expect("a page");
    let anchors: BTreeSet<String> = page.lines().filter_map(|l| l.strip_prefix("## ")).map(anchor).collect();
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or_default();
        let severity = values(alert, "severity: ");
        assert!(["warning", "critical"].contains(&severity[0]), "{name}");
        for key in ["summary: ", "description: ", "runbook_url: "] {
            assert_eq!(values(alert, key).len(), 1, "{name} has one {key}");
        }
        let (file, at) = values(alert, "runbook_url: ")[0].split_once('#').expect("a place on the page");
        assert!(file == "docs/troubleshooting.md" && anchors.contains(at), "{name}: there is no #{at}");
        assert!(page.contains(&format!("`{name}`")), "docs/troubleshooting.md does not name {name}");
    }
}

/// The anchor that a heading has on a rendered page.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
