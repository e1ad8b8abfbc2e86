//! Every query of the dashboards, the rules and the documents, asked of the real Prometheus, Loki and Jaeger.
//!
//! ```text
//!   sessions of the real client ──▶ daemon ──▶ collector ──▶ Prometheus, Loki, Jaeger
//!                                                                  ▲
//!   dashboards/*.json, rules (by Prometheus' own API), docs/*.md ──┘ each returns data, or says why not
//! ```
//!
//! A query that asks for a metric, a label or a field that nothing has would return nothing, and would not be
//! noticed; so all that queries name has to stand in docs/metrics.md, and all that stands there has to be so.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::stack::{
    Stack,
    ask::{get, now},
};

#[path = "queries/documented.rs"]
mod documented;
#[path = "queries/gather.rs"]
pub mod gather;
#[path = "queries/nothing.rs"]
mod nothing;
#[path = "queries/real.rs"]
mod real;
#[path = "queries/words.rs"]
mod words;

use documented::Documented;
use gather::{Kind, Query};
use real::Real;

/// How many seconds a range is that a dashboard shows.
const RANGE: f64 = 3600.0;

#[tokio::test]
async fn every_query_returns_data_or_says_why_not() {
    let stack = Stack::of(&["prometheus", "loki", "jaeger", "collector"]).await;
    let real = Real::fill(&stack).await;
    let queries = gather::all(&stack).await;
    assert!(queries.iter().filter(|q| q.place.starts_with("docs/")).count() > 80, "the documents were read");
    let documented = Documented::read();
    let mut wrong = documented.against(&stack).await;
    let mut used = BTreeSet::new();
    for query in &queries {
        let text = real.filled(&query.text);
        wrong
            .extend(words::unknown(&stack, query, &text, &documented).await.map(|w| format!("{query}: {w}")));
        let excuse = nothing::reason(query);
        used.extend(excuse.map(|e| e.0));
        match (answer(&stack, query, &text).await, excuse) {
            (Err(refused), _) => wrong.push(format!("{query}: {refused}\n    {text}")),
            (Ok(0), None) => wrong.push(format!("{query}: nothing\n    {text}")),
            _ => {}
        }
    }
    wrong.extend(numbers(&stack, &real).await);
    let left = nothing::EXCUSES.iter().filter(|e| !used.contains(e.0));
    wrong.extend(left.map(|e| format!("no query is {:?} any more", e.0)));
    assert!(wrong.is_empty(), "{} of {} queries:\n{}", wrong.len(), queries.len(), wrong.join("\n"));
}

/// Whether the totals that dashboards show are what the sessions' own summaries say, to the unit.
async fn numbers(stack: &Stack, real: &Real) -> Vec<String> {
    let mut wrong = Vec::new();
    for (query, expected) in real.numbers() {
        let found = stack.promql(&query).await.first().map_or(f64::NAN, |series| series.value());
        if (found - expected).abs() > 1e-6 || found.is_nan() {
            wrong.push(format!("{query}: {found}, and the sessions' summaries say {expected}"));
        }
    }
    wrong
}

/// How many series, records or traces a query finds; a number that is none counts for nothing.
async fn answer(stack: &Stack, query: &Query, text: &str) -> Result<usize, String> {
    let (to, from) = (now(), now() - RANGE);
    let (start, end) = (from.to_string(), to.to_string());
    let prometheus = |path: &str| format!("{}/api/v1/{path}", stack.prometheus_url);
    let loki = |path: &str| format!("{}/loki/api/v1/{path}", stack.loki_url);
    let ranged = [("query", text), ("start", &start), ("end", &end), ("step", "15")];
    let found = match query.kind {
        Kind::Promql { instant: true } => get(&prometheus("query"), &ranged[..1]).await?,
        Kind::Promql { instant: false } => get(&prometheus("query_range"), &ranged).await?,
        Kind::Logql { instant: true } => get(&loki("query"), &ranged[..1]).await?,
        Kind::Logql { instant: false } => get(&loki("query_range"), &ranged).await?,
        Kind::Values => {
            let (metric, label) = label_values(text).ok_or("not of the form label_values(metric, label)")?;
            let asked = [("match[]", metric), ("start", &start), ("end", &end)];
            let values = get(&prometheus(&format!("label/{label}/values")), &asked).await?;
            return Ok(values["data"].as_array().map_or(0, Vec::len));
        }
        Kind::Jaeger => return traces(stack, text).await,
    };
    if found["data"]["resultType"] == "scalar" {
        return Ok(1);
    }
    let found = found["data"]["result"].as_array().cloned().unwrap_or_default();
    Ok(found.iter().filter(|series| has_value(series)).count())
}

fn has_value(series: &Value) -> bool {
    let many = series["values"].as_array().into_iter().flatten().chain(series.get("value"));
    let mut texts = many.filter_map(|v| v[1].as_str());
    texts.any(|text| text != "NaN")
}

/// `label_values(metric, label)`, as Grafana has it for variables.
fn label_values(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("label_values(")?.strip_suffix(')')?.split_once(", ")
}

/// A search for traces, written as its parameters, or one trace by its id.
async fn traces(stack: &Stack, text: &str) -> Result<usize, String> {
    let api = format!("{}/api/traces", stack.jaeger_url);
    let Some(asked) = gather::search(text) else {
        let found = get(&format!("{api}/{text}"), &[]).await?;
        return Ok(found["data"].as_array().map_or(0, Vec::len));
    };
    let tags: serde_json::Map<_, _> = asked.tags.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    let tags = Value::from(tags).to_string();
    let mut all = vec![("service", asked.service.as_str()), ("lookback", "2h"), ("limit", "200")];
    all.extend(asked.operation.as_deref().map(|o| ("operation", o)));
    all.extend(asked.min_duration.as_deref().map(|d| ("minDuration", d)));
    if !asked.tags.is_empty() {
        all.push(("tags", &tags));
    }
    let found = get(&api, &all).await?;
    Ok(found["data"].as_array().map_or(0, Vec::len))
}
