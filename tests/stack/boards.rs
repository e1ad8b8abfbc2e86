//! The dashboards as files: what the generator makes, in Grafana's own schema, laid out so that all can be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::{
    common::stack::{compose, part::binary},
    queries::gather::{dashboards, panels},
};

#[test]
fn the_dashboards_are_what_is_described() {
    let out = Command::new("python3").arg(compose().join("grafana/make")).arg("--check").output();
    let out = out.expect("python3 runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Read strictly with the types that Grafana's foundation SDK generates.
#[test]
fn the_dashboards_have_grafanas_schema() {
    let files = dashboards().into_keys().map(|name| compose().join("grafana/dashboards").join(name));
    let out = Command::new(binary("dashboards")).args(files).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    // And what is not in it is found.
    let dir = tempfile::tempdir().expect("a folder");
    let text =
        std::fs::read_to_string(compose().join("grafana/dashboards/sessions.json")).expect("it is there");
    for (is, was) in [
        ("\"noValu\"", "\"noValue\""),
        ("\"graphMod\"", "\"graphMode\""),
        ("\"lineWidht\"", "\"lineWidth\""),
        ("\"legendFormat\": 3", "\"legendFormat\": \"__auto\""),
        ("\"type\": \"graph\"", "\"type\": \"bargauge\""),
        ("\"tagz\": \"sandbox", "\"tags\": \"sandbox"),
    ] {
        let file = dir.path().join("wrong.json");
        assert!(text.contains(was), "{was}");
        std::fs::write(&file, text.replace(was, is)).expect("it is written");
        let out = Command::new(binary("dashboards")).arg(&file).output().expect("it runs");
        assert!(!out.status.success(), "{is} is no error");
    }
}

#[test]
fn panels_do_not_overlap_and_are_named_once() {
    for (name, board) in dashboards() {
        let (mut taken, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for panel in panels(&board) {
            let title = panel["title"].as_str().expect("a title");
            assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().expect("an id")), "{name}: {title}");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
            assert!(at("x") + at("w") <= 24 && at("w") > 0 && at("h") > 0, "{name}: {title} is on the board");
            for (x, y) in
                (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
            {
                let other = taken.insert((x, y), title);
                assert_eq!(other, None, "{name}: {title} lies on another");
            }
        }
        let lines: BTreeSet<u64> = taken.keys().map(|(_, y)| *y).collect();
        assert_eq!(
            lines.len() as u64,
            lines.last().expect("panels") + 1,
            "{name} has no gap from top to bottom"
        );
    }
}

/// A panel says what it shows, in which unit, and what it means when there is nothing.
#[test]
fn panels_explain_themselves() {
    let mut uids = BTreeSet::new();
    for (name, board) in dashboards() {
        assert!(uids.insert(board["uid"].as_str().expect("a uid").to_owned()), "{name}");
        let declared: BTreeSet<&str> = board["templating"]["list"]
            .as_array()
            .expect("variables")
            .iter()
            .map(|v| v["name"].as_str().expect("a name"))
            .collect();
        for panel in panels(&board).into_iter().filter(|p| p["type"] != "row") {
            let place = format!("{name}: {}", panel["title"]);
            assert!(
                panel["description"].as_str().is_some_and(|d| d.ends_with('.')),
                "{place} has a description"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(
                !defaults["unit"].is_null() && defaults["noValue"].as_str().is_some_and(|t| !t.is_empty()),
                "{place}"
            );
            let (targets, uid) = (panel["targets"].as_array().expect("queries"), &panel["datasource"]["uid"]);
            assert!(!targets.is_empty(), "{place}");
            let mixed = targets.iter().any(|t| t["datasource"]["uid"] != *uid);
            assert!(!mixed || *uid == "-- Mixed --", "{place}");
            for used in variables(panel) {
                assert!(used.starts_with("__") || declared.contains(used.as_str()), "{place} uses ${used}");
            }
            assert!(!panel.to_string().contains("| json"), "{place}: the line is only a name");
        }
    }
}

/// The variables in a panel's queries and links.
fn variables(panel: &Value) -> BTreeSet<String> {
    let text = panel.to_string();
    let uses = text.match_indices('$').map(|(at, _)| text[at + 1..].trim_start_matches('{'));
    let names = uses
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>());
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')).collect()
}

/// `anchored` is not in Prometheus' language before it is told.
#[test]
fn prometheus_is_told_the_words_that_the_queries_use() {
    let text = std::fs::read_to_string(compose().join("compose.yaml")).expect("it is there");
    assert!(text.contains("--enable-feature=promql-extended-range-selectors"));
}
