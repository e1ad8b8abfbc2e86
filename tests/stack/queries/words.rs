//! What a query names: metrics and labels by Prometheus' own parser, fields and tags by reading.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    documented::Documented,
    gather::{Kind, Query, search},
    label_values,
};
use crate::common::stack::{Stack, ask::get};

/// What a query names that is not documented, or that no series or span has.
pub async fn unknown(
    stack: &Stack,
    query: &Query,
    text: &str,
    documented: &Documented,
) -> impl Iterator<Item = String> + use<> {
    let found = match query.kind {
        Kind::Promql { .. } => promql(stack, text, documented).await,
        Kind::Values => {
            let metric = label_values(text).map_or(text, |(metric, _)| metric);
            let known = documented.metrics.contains(metric);
            if known { Vec::new() } else { vec![format!("{metric} is not documented")] }
        }
        Kind::Logql { .. } => {
            let strange = fields(text).into_iter().filter(|field| !documented.field(field));
            strange.map(|field| format!("no event has {field}")).collect()
        }
        Kind::Jaeger => {
            let tags = search(text).unwrap_or_default().tags.into_iter().map(|(key, _)| key);
            let strange = tags.filter(|key| !documented.words.contains(key));
            strange.map(|key| format!("no span has {key}")).collect()
        }
    };
    found.into_iter()
}

async fn promql(stack: &Stack, text: &str, documented: &Documented) -> Vec<String> {
    let api = |path: &str| format!("{}/api/v1/{path}", stack.prometheus_url);
    let tree = match get(&api("parse_query"), &[("query", text)]).await {
        Ok(tree) => tree["data"].clone(),
        Err(refused) => return vec![refused],
    };
    let (mut metrics, mut labels, mut made) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    walk(&tree, &mut |node| {
        if node["type"] == "vectorSelector" {
            metrics.extend(node["name"].as_str().filter(|n| !n.is_empty()).map(str::to_owned));
            let matchers = node["matchers"].as_array().into_iter().flatten();
            labels.extend(matchers.filter_map(|m| m["name"].as_str().map(str::to_owned)));
        }
        let matching = &node["matching"];
        for list in [&node["grouping"], &matching["labels"], &matching["include"]] {
            labels
                .extend(list.as_array().into_iter().flatten().filter_map(|l| l.as_str().map(str::to_owned)));
        }
        if node["func"]["name"] == "label_replace" {
            made.extend(node["args"][1]["val"].as_str().map(str::to_owned));
        }
    });
    let mut wrong = Vec::new();
    for metric in &metrics {
        if !documented.metrics.contains(metric) {
            wrong.push(format!("{metric} is not documented"));
        }
        let there = get(&api("labels"), &[("match[]", metric.as_str())]).await;
        let there = there.map(|a| a["data"].clone()).unwrap_or_default();
        made.extend(there.as_array().into_iter().flatten().filter_map(|l| l.as_str().map(str::to_owned)));
    }
    let strange =
        labels.iter().filter(|l| !made.contains(*l) && !documented.words.contains(*l) && *l != "__name__");
    wrong.extend(strange.map(|label| format!("no series has the label {label}")));
    wrong
}

fn walk(node: &Value, look: &mut impl FnMut(&Value)) {
    look(node);
    match node {
        Value::Array(items) => items.iter().for_each(|v| walk(v, look)),
        Value::Object(fields) => fields.values().for_each(|v| walk(v, look)),
        _ => {}
    }
}

/// The fields that a LogQL query reads, less those that it makes itself.
fn fields(text: &str) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("(?P<") {
        made.extend(text[at + 4..].split_once('>').map(|(name, _)| name.to_owned()));
    }
    for (at, _) in text.match_indices("label_format ") {
        made.extend(text[at + 13..].split_once('=').map(|(name, _)| name.to_owned()));
    }
    let (plain, quoted) = apart(text);
    for template in &quoted {
        for piece in template.split("{{").skip(1).filter_map(|p| p.split("}}").next()) {
            let words = piece.split([' ', '(', ')']).filter_map(|w| w.strip_prefix('.'));
            found.extend(words.map(str::to_owned));
        }
    }
    // `name=`, `name!=`, `name=~`, `name>`: what stands before a comparison.
    for (at, _) in plain.match_indices(['=', '!', '<', '>']) {
        found.extend(word_before(&plain[..at]));
    }
    for (at, _) in plain.match_indices("unwrap ") {
        found.extend(plain[at + 7..].split([' ', ')', '[', '|']).next().map(str::to_owned));
    }
    for (at, _) in plain.match_indices("by (") {
        let names = plain[at + 4..].split(')').next().unwrap_or_default();
        found.extend(names.split(',').map(|n| n.trim().to_owned()));
    }
    found.retain(|name| !name.is_empty() && !made.contains(name));
    found
}

fn word_before(text: &str) -> Option<String> {
    let text = text.trim_end();
    let start = text.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
    let word = &text[start..];
    word.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| word.to_owned())
}

/// A query without what stands in quotes, and that.
fn apart(text: &str) -> (String, Vec<String>) {
    let (mut plain, mut quoted, mut within) = (String::new(), Vec::new(), None);
    for c in text.chars() {
        match (within, c) {
            (None, '"' | '`') => {
                within = Some(c);
                quoted.push(String::new());
            }
            (Some(quote), _) if c == quote => within = None,
            (Some(_), _) => quoted.last_mut().expect("it was begun").push(c),
            (None, _) => plain.push(c),
        }
    }
    (plain, quoted)
}

#[test]
fn a_query_of_loki_names_its_fields() {
    let text = r#"sum by (tool_name, server) (count_over_time({service_name="a"} | event_name="b" | success!="c=d"
        | label_format seen=`{{.when | trunc 3}}` | line_format `{{if eq .tool "x"}}` | regexp `(?P<server>x)` | unwrap size [1d]))"#;
    let expected = ["event_name", "service_name", "size", "success", "tool", "tool_name", "when"];
    assert_eq!(fields(text), expected.map(str::to_owned).into());
}
