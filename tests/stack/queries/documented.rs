//! What docs/metrics.md says that there is, held against what there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::common::stack::{
    Stack,
    ask::{get, now},
};

/// What needs more than a session of the demo model can do, by event and field: `event` alone for all of an event.
const UNSEEN: [(&str, &str); 20] = [
    ("api_error", "the demo model always answers"),
    ("api_retries_exhausted", "the same"),
    ("api_refusal", "the same"),
    ("api_request_body", "no profile asks for bodies"),
    ("api_response_body", "the same"),
    ("permission_mode_changed", "nobody pressed shift+tab"),
    ("auth", "the demo needs no sign-in"),
    ("hook_plugin_metrics", "no plugin of the official marketplace"),
    ("plugin_installed", "nobody installed one"),
    ("skill_activated", "no skill is there"),
    ("at_mention", "nobody named a file"),
    ("feedback_survey", "nobody was asked"),
    ("safety_event", "auto mode is off"),
    ("internal_error", "switched off"),
    ("system_prompt", "detailed tracing is off"),
    ("tool", "the same"),
    ("retention_sweep", "runs where an old session is found"),
    ("api_request.client_request_id", "the gateway's client sends none to a demo"),
    ("hook_registered.hook_matcher", "our hooks have none"),
    ("api_request.skill_name", "no skill is there"),
];

/// What is documented.
pub struct Documented {
    /// Prometheus' names, recorded series among them.
    pub metrics: BTreeSet<String>,
    /// Fields in Loki by event; those that all have are under "".
    pub fields: BTreeMap<String, BTreeSet<String>>,
    /// Every word in backquotes.
    pub words: BTreeSet<String>,
}

impl Documented {
    /// Reads the page.
    pub fn read() -> Documented {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("it is there");
        let page = page.split("\n## Questions to Prometheus").next().unwrap_or_default();
        let (mut metrics, mut words) = (BTreeSet::new(), BTreeSet::new());
        let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut part = "";
        for line in page.lines() {
            part = line.strip_prefix("## ").unwrap_or(part);
            words.extend(quoted(line));
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match part {
                "The client's metrics" if cells.len() > 4 => metrics.extend(quoted(cells[3])),
                "The daemon's metrics" | "Recorded series" | "The stack's own" if cells.len() > 2 => {
                    metrics.extend(quoted(cells[1]));
                }
                "The client's events" if cells.len() > 3 => {
                    for event in quoted(cells[1]) {
                        fields.entry(event).or_default().extend(quoted(cells[3]));
                    }
                }
                "The client's events" if cells.len() == 1 => {
                    fields.entry(String::new()).or_default().extend(quoted(line));
                }
                _ => {}
            }
        }
        Documented { metrics, fields, words }
    }

    /// Whether some event has this field.
    pub fn field(&self, name: &str) -> bool {
        const LABELS: [&str; 3] = ["service_name", "sandbox_profile", "team"];
        LABELS.contains(&name) || self.fields.values().any(|fields| fields.contains(name))
    }

    /// What is documented and is not, and what is and is not documented.
    pub async fn against(&self, stack: &Stack) -> Vec<String> {
        let mut wrong = Vec::new();
        let url = format!("{}/api/v1/label/__name__/values", stack.prometheus_url);
        let names = get(&url, &[]).await.expect("names");
        let names: BTreeSet<&str> =
            names["data"].as_array().into_iter().flatten().filter_map(|n| n.as_str()).collect();
        let missing = self
            .metrics
            .iter()
            .filter(|m| !names.contains(m.as_str()) && super::nothing::metric(m).is_none());
        wrong.extend(missing.map(|m| format!("docs/metrics.md: Prometheus has no {m}")));
        let ours = names.iter().filter(|n| n.starts_with("claude_code_") || n.starts_with("sandboxctl_"));
        let silent = ours.filter(|n| !self.metrics.contains(**n));
        wrong.extend(silent.map(|n| format!("docs/metrics.md says nothing of {n}")));
        wrong.extend(self.events(&seen(stack).await));
        wrong
    }

    fn events(&self, seen: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let mut wrong = Vec::new();
        let excused = |event: &str, field: &str| {
            let whole = format!("{event}.{field}");
            let last = format!("*.{field}");
            let said = |name: &str| UNSEEN.iter().chain(&super::nothing::FIELDS).any(|(n, _)| *n == name);
            said(event) || said(&whole) || said(&last)
        };
        let all: BTreeSet<&str> = seen.values().flatten().map(String::as_str).collect();
        for (event, fields) in &self.fields {
            let of = seen.get(event);
            if of.is_none() && !event.is_empty() && !excused(event, "") {
                wrong.push(format!("docs/metrics.md: no session sent {event}"));
            }
            let there = |field: &str| of.map_or(all.contains(field), |seen| seen.contains(field));
            let missing = fields.iter().filter(|f| !f.is_empty() && !there(f) && !excused(event, f));
            let missing = missing.filter(|f| !event.is_empty() || f.contains('_') && !self.words_only(f));
            wrong.extend(missing.map(|f| format!("docs/metrics.md: {event} has no {f}")));
        }
        for (event, fields) in seen {
            let Some(said) = self.fields.get(event) else {
                wrong.push(format!("docs/metrics.md says nothing of the event {event}"));
                continue;
            };
            let common = &self.fields[""];
            let silent = fields
                .iter()
                .filter(|f| !said.contains(*f) && !common.contains(*f) && !OURS.contains(&f.as_str()));
            wrong.extend(silent.map(|f| format!("docs/metrics.md: {event} has {f} too")));
        }
        wrong
    }

    /// Words of the paragraph about all events that are no fields.
    fn words_only(&self, word: &str) -> bool {
        ["tool_details", "claude-code", "telemetry.prompts", "telemetry.tool_details"].contains(&word)
    }
}

/// What Loki and the way there add to every record.
const OURS: [&str; 11] = [
    "service_name",
    "sandbox_profile",
    "team",
    "scope_name",
    "scope_version",
    "observed_timestamp",
    "trace_id",
    "span_id",
    "flags",
    "severity_number",
    "detected_level",
];

/// The fields that records have, by event.
async fn seen(stack: &Stack) -> BTreeMap<String, BTreeSet<String>> {
    let records = stack.logql(r#"{service_name="claude-code"}"#, now() - super::RANGE, now()).await;
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in records {
        seen.entry(record.label("event_name").to_owned()).or_default().extend(record.labels.into_keys());
    }
    seen
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}
