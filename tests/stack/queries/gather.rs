//! Where queries stand: dashboards, rules, documents.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde_json::Value;

use crate::common::stack::{Stack, ask::get, compose};

/// What a query is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of Prometheus.
    Promql {
        /// At the range's end, not over it.
        instant: bool,
    },
    /// Of Loki.
    Logql {
        /// At the range's end, not over it.
        instant: bool,
    },
    /// Of Prometheus: values of a label, for a variable.
    Values,
    /// Of Jaeger.
    Jaeger,
}

/// A query and where it stands.
#[derive(Clone, Debug)]
pub struct Query {
    /// The file, and the panel, rule or question.
    pub place: String,
    /// What it is asked in.
    pub kind: Kind,
    /// As it stands there, with Grafana's variables.
    pub text: String,
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// All of them.
pub async fn all(stack: &Stack) -> Vec<Query> {
    let mut found = Vec::new();
    for (name, board) in dashboards() {
        of_dashboard(&name, &board, &mut found);
    }
    of_rules(stack, &mut found).await;
    for name in ["docs/metrics.md", "docs/troubleshooting.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        of_document(name, &fs::read_to_string(path).expect("it is there"), &mut found);
    }
    found
}

/// The dashboards by their file's name.
pub fn dashboards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(compose().join("grafana/dashboards")).expect("a folder").flatten();
    let read = files.map(|file| {
        let text = fs::read_to_string(file.path()).expect("it can be read");
        let board = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.path().display()));
        (file.file_name().to_string_lossy().into_owned(), board)
    });
    read.collect()
}

/// A dashboard's panels, those of folded rows too.
pub fn panels(board: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for panel in board["panels"].as_array().into_iter().flatten() {
        found.push(panel);
        found.extend(panels(panel));
    }
    found
}

fn of_dashboard(name: &str, board: &Value, found: &mut Vec<Query>) {
    for panel in panels(board) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
            let (kind, text) = match target["datasource"]["uid"].as_str() {
                Some("prometheus") => (Kind::Promql { instant: target["instant"] == true }, text("expr")),
                Some("loki") => (Kind::Logql { instant: target["queryType"] == "instant" }, text("expr")),
                _ if target["queryType"] == "search" => {
                    let keys = ["service", "operation", "tags", "minDuration"];
                    let said = keys.iter().filter(|k| !target[**k].is_null());
                    (Kind::Jaeger, said.map(|k| format!("{k}={}\n", text(k))).collect())
                }
                _ => (Kind::Jaeger, text("query")),
            };
            let title = panel["title"].as_str().unwrap_or_default();
            let place = format!("{name}: {title} ({})", target["refId"].as_str().unwrap_or_default());
            found.push(Query { place, kind, text });
        }
    }
    for variable in board["templating"]["list"].as_array().into_iter().flatten() {
        if let Some(text) = variable["definition"].as_str() {
            let place = format!("{name}: variable {}", variable["name"]);
            found.push(Query { place, kind: Kind::Values, text: text.to_owned() });
        }
    }
}

/// As Prometheus has read them.
async fn of_rules(stack: &Stack, found: &mut Vec<Query>) {
    let rules = get(&format!("{}/api/v1/rules", stack.prometheus_url), &[]).await.expect("the rules");
    for group in rules["data"]["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            let text = rule["query"].as_str().expect("a query").to_owned();
            let place = format!("rules: {}", rule["name"].as_str().expect("a name"));
            assert_eq!(rule["lastError"], Value::Null, "{place}");
            found.push(Query { place, kind: Kind::Promql { instant: true }, text });
        }
    }
}

/// Its fenced blocks; each belongs to the paragraph before it.
fn of_document(name: &str, text: &str, found: &mut Vec<Query>) {
    let (mut kind, mut block, mut question) = (None, String::new(), String::new());
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), kind) {
            (Some("promql"), _) => kind = Some(Kind::Promql { instant: true }),
            (Some("logql"), _) => kind = Some(Kind::Logql { instant: false }),
            (Some("jaeger"), _) => kind = Some(Kind::Jaeger),
            (Some(_), Some(of)) => {
                let text = std::mem::take(&mut block);
                found.push(Query { place: format!("{name}: {question}"), kind: of, text });
                kind = None;
            }
            (None, Some(_)) => block += &format!("{}\n", line.trim()),
            (None, None) if !line.trim().is_empty() => question = line.trim().to_owned(),
            _ => {}
        }
    }
}

/// A search for traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// Whose spans.
    pub service: String,
    /// Of which name.
    pub operation: Option<String>,
    /// Tags of a span or its process.
    pub tags: Vec<(String, String)>,
    /// At least this long.
    pub min_duration: Option<String>,
}

/// Reads a search: `key=value`, a line each. Nothing where the text is a trace's id.
pub fn search(text: &str) -> Option<Search> {
    let mut search = Search::default();
    for line in text.lines().filter(|l| !l.is_empty()) {
        let (key, value) = line.split_once('=')?;
        match key {
            "service" => search.service = value.to_owned(),
            "operation" => search.operation = Some(value.to_owned()),
            "minDuration" => search.min_duration = Some(value.to_owned()),
            "tags" => {
                let pairs = value.split(' ').filter_map(|pair| pair.split_once('='));
                search.tags = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            }
            _ => return None,
        }
    }
    Some(search)
}
