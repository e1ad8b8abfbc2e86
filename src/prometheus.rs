//! A Prometheus, asked what it knows of a session's time: for the bundle.
//!
//! It is somebody else's: it may be away, slow, or say no. Whatever it does is told and fails nothing; all queries
//! together have [`PATIENCE`], and the first that finds nobody there is the last.

use std::{net::SocketAddr, time::Duration};

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::time::{Instant, timeout_at};

use crate::{
    cause::of_request,
    id::{InstanceId, SessionId},
    inert::{endpoint, inert},
};

/// For all queries together.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest answer that is kept.
const ANSWER: usize = 32 << 20; // bytes
/// Most points of a series that Prometheus answers.
const POINTS: u64 = 11_000;
/// Shortest step: metrics come no faster.
const STEP: u64 = 15; // seconds
/// How long after a session's end its last numbers come.
const AFTER: u64 = 60; // seconds

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The session.
    pub session: SessionId,
    /// Its user's address.
    pub email: &'a str,
    /// Its profile.
    pub profile: &'a str,
    /// The daemon, as it calls itself.
    pub instance: InstanceId,
    /// The daemon, as it is called where its metrics are fetched.
    pub listen: SocketAddr,
    /// The session's start, seconds since the Unix epoch.
    pub from: u64,
    /// Its end, or now.
    pub to: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Files for the bundle.
    pub files: Vec<(String, Value)>,
    /// One line for people.
    pub summary: String,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Query {
    /// What the answer's file is called, without its end.
    name: &'static str,
    promql: String,
}

/// What is asked; `docs/bundle-format.md` lists it.
fn queries(about: &About<'_>) -> Vec<Query> {
    const CLIENT: [(&str, &str); 8] = [
        ("cost", "claude_code_cost_usage_USD_total"),
        ("tokens", "claude_code_token_usage_tokens_total"),
        ("sessions", "claude_code_session_count_total"),
        ("active", "claude_code_active_time_seconds_total"),
        ("lines", "claude_code_lines_of_code_count_total"),
        ("commits", "claude_code_commit_count_total"),
        ("pull-requests", "claude_code_pull_request_count_total"),
        ("edits", "claude_code_code_edit_tool_decision_total"),
    ];
    const DAEMON: [(&str, &str); 8] = [
        ("daemon-sessions", "sandboxctl_sessions"),
        ("daemon-completeness", "sandboxctl_completeness_ratio"),
        ("daemon-records", "sandboxctl_otlp_records_total"),
        ("daemon-hooks", "sandboxctl_hooks_total"),
        ("daemon-egress", "sandboxctl_egress_total"),
        ("daemon-cost", "sandboxctl_model_cost_usd_total"),
        ("daemon-budget", "sandboxctl_budget_used_ratio"),
        ("daemon-memory", "process_resident_memory_bytes"),
    ];
    let theirs = format!("user_email={},sandbox_profile={}", quoted(about.email), quoted(about.profile));
    let listen = about.listen.to_string().replace('.', "\\.").replace('[', "\\[").replace(']', "\\]");
    let ours = format!("instance=~{}", quoted(&format!("{}|{listen}", about.instance)));
    let of = |filter: &str| {
        let filter = filter.to_owned();
        move |(name, metric): (&'static str, &str)| Query { name, promql: format!("{metric}{{{filter}}}") }
    };
    let session = format!("{{__name__=~\"claude_code_.+\",sandbox_session_id=\"{}\"}}", about.session);
    let mut all: Vec<Query> = CLIENT.into_iter().map(of(&theirs)).collect();
    all.push(Query { name: "session", promql: session });
    all.extend(DAEMON.into_iter().map(of(&ours)));
    all
}

/// A string of PromQL.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// Start, end and step, in seconds.
fn span(from: u64, to: u64) -> (u64, u64, u64) {
    let end = to.max(from) + AFTER;
    (from, end, STEP.max((end - from).div_ceil(POINTS - 1)))
}

/// Asks.
pub async fn ask(url: &str, about: &About<'_>) -> Answers {
    let (start, end, step) = span(about.from, about.to);
    let until = Instant::now() + PATIENCE;
    let mut asked = Vec::new();
    let mut files = Vec::new();
    let mut away = None;
    let door = Door::new(url);
    for Query { name, promql } in queries(about) {
        let answer = match (&away, &door) {
            (Some(why), _) => Err(Problem::Away(String::clone(why))),
            (None, Err(problem)) => Err(Problem::Away(problem.clone())),
            (None, Ok(door)) => timeout_at(until, door.range(&promql, start, end, step))
                .await
                .unwrap_or_else(|_| Err(Problem::Away("it does not answer in time".to_owned()))),
        };
        let mut entry = json!({ "query": promql });
        match answer {
            Ok(Range { result, series, warnings }) => {
                let file = format!("{name}.json");
                entry["file"] = file.as_str().into();
                entry["series"] = series.into();
                if !warnings.is_empty() {
                    entry["warnings"] = warnings.into();
                }
                let content =
                    json!({ "query": promql, "start": start, "end": end, "step": step, "result": result });
                files.push((file, content));
            }
            Err(Problem::Query(why)) => entry["problem"] = why.into(),
            Err(Problem::Away(why)) => {
                entry["problem"] = why.as_str().into();
                away = Some(why);
            }
        }
        asked.push(entry);
    }
    let failed = asked.len() - files.len();
    let summary = match &away {
        Some(why) => format!("could not be asked: {why}"),
        None if failed > 0 => {
            format!("answered {} queries, and not {failed}: see prometheus/index.json", files.len())
        }
        None => format!("answered {} queries", files.len()),
    };
    let url = endpoint(url);
    let index =
        json!({ "url": url, "start": start, "end": end, "step": step, "problem": away, "queries": asked });
    files.push(("index.json".to_owned(), index));
    Answers { files, summary }
}

/// Why a query has no answer.
enum Problem {
    /// It cannot be answered; others may.
    Query(String),
    /// Nobody is there.
    Away(String),
}

/// What a range query is answered.
struct Range {
    result: Value,
    series: usize,
    warnings: Vec<String>,
}

struct Door {
    client: reqwest::Client,
    url: Url,
}

/// An answer of its API.
#[derive(Deserialize)]
struct Answer<'a> {
    status: String,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

impl Door {
    fn new(url: &str) -> Result<Door, String> {
        let client =
            reqwest::Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none());
        let base = format!("{}/", url.trim_end_matches('/'));
        Ok(Door {
            client: client.build().map_err(|e| e.to_string())?,
            url: Url::parse(&base).map_err(|e| e.to_string())?,
        })
    }

    async fn range(&self, promql: &str, start: u64, end: u64, step: u64) -> Result<Range, Problem> {
        let mut url = self.url.join("api/v1/query_range").map_err(|e| Problem::Away(e.to_string()))?;
        url.query_pairs_mut()
            .append_pair("query", promql)
            .append_pair("start", &start.to_string())
            .append_pair("end", &end.to_string())
            .append_pair("step", &step.to_string());
        let mut answer =
            self.client.get(url).send().await.map_err(|error| Problem::Away(of_request(&error)))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| Problem::Away(of_request(&error)))? {
            if body.len() + piece.len() > ANSWER {
                return Err(Problem::Query(format!("its answer is longer than {} MiB", ANSWER >> 20)));
            }
            body.extend_from_slice(&piece);
        }
        let parsed: Result<Answer<'_>, _> = serde_json::from_slice(&body);
        match parsed {
            Ok(Answer { status, data: Some(data), warnings, .. }) if status == "success" => {
                let result: Value =
                    serde_json::from_str(data.result.get()).map_err(|e| Problem::Query(e.to_string()))?;
                let series = result.as_array().map_or(0, Vec::len);
                Ok(Range { result, series, warnings: warnings.iter().map(|w| inert(w)).collect() })
            }
            Ok(Answer { error: Some(error), .. }) => Err(Problem::Query(inert(&error))),
            _ => Err(Problem::Away(format!("it is no Prometheus, or says no: {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_keeps_every_series_within_what_is_answered() {
        for length in [0, 1, 3600, 15 * POINTS, 15 * POINTS + 1, 8 * 24 * 3600, 10 * 365 * 24 * 3600] {
            let (start, end, step) = span(1000, 1000 + length);
            assert!((end - start) / step < POINTS && step >= STEP, "{length}: {step}");
        }
        assert_eq!(span(1000, 990), (1000, 1060, 15), "a clock that was set back");
    }

    #[test]
    fn names_of_people_are_no_part_of_the_language() {
        let about = About {
            session: SessionId::new(),
            email: "a\"} or vector(1) #\\@x",
            profile: "demo",
            instance: InstanceId::new(),
            listen: ([127, 0, 0, 1], 7070).into(),
            from: 0,
            to: 1,
        };
        let all = queries(&about);
        assert_eq!(
            all[0].promql,
            "claude_code_cost_usage_USD_total{user_email=\"a\\\"} or vector(1) #\\\\@x\",sandbox_profile=\"demo\"}"
        );
        let memory = all.last().expect("the daemon's");
        assert!(memory.promql.contains("|127\\\\.0\\\\.0\\\\.1:7070\""), "{}", memory.promql);
        let mut names: Vec<_> = all.iter().map(|query| query.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        let page = include_str!("../docs/bundle-format.md");
        for name in names {
            assert!(page.contains(&format!("`{name}.json`")), "{name} is documented");
        }
    }
}
