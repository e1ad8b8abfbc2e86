//! Questions to the stack's backends, by their own APIs.

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::Value;

use super::Stack;

/// A series of Prometheus with its values by time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels; the name is `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Seconds since the epoch, and the value then. One of them for an instant query.
    pub values: Vec<(f64, f64)>,
}

impl Series {
    /// A label, or nothing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Its last value.
    pub fn value(&self) -> f64 {
        self.values.last().map_or(f64::NAN, |(_, value)| *value)
    }
}

/// A record of Loki.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its labels and its structured metadata.
    pub labels: BTreeMap<String, String>,
    /// ns since the epoch.
    pub at: u128,
    /// Its line: of an event, its name.
    pub line: String,
}

impl Record {
    /// A label, or nothing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Stack {
    /// PromQL, now.
    pub async fn promql(&self, query: &str) -> Vec<Series> {
        self.promql_at(query, now()).await
    }

    /// PromQL at a time, in seconds since the epoch.
    pub async fn promql_at(&self, query: &str, time: f64) -> Vec<Series> {
        let answer = self.prometheus_api("query", &[("query", query), ("time", &time.to_string())]).await;
        series(&answer)
    }

    /// PromQL over a range, in seconds since the epoch.
    pub async fn promql_range(&self, query: &str, from: f64, to: f64, step: f64) -> Vec<Series> {
        let (from, to, step) = (from.to_string(), to.to_string(), step.to_string());
        let asked = [("query", query), ("start", &from), ("end", &to), ("step", &step)];
        series(&self.prometheus_api("query_range", &asked).await)
    }

    /// LogQL over a range, in seconds since the epoch: records, oldest first.
    pub async fn logql(&self, query: &str, from: f64, to: f64) -> Vec<Record> {
        let mut records = Vec::new();
        for stream in self.logql_range(query, from, to).await["result"].as_array().into_iter().flatten() {
            let labels = strings(&stream["stream"]);
            for value in stream["values"].as_array().into_iter().flatten() {
                let at = value[0].as_str().and_then(|t| t.parse().ok()).expect("a time");
                let line = value[1].as_str().unwrap_or_default().to_owned();
                records.push(Record { labels: labels.clone(), at, line });
            }
        }
        records.sort_by_key(|r| r.at);
        records
    }

    /// LogQL that yields numbers, over a range.
    pub async fn logql_series(&self, query: &str, from: f64, to: f64) -> Vec<Series> {
        series(&self.logql_range(query, from, to).await)
    }

    async fn logql_range(&self, query: &str, from: f64, to: f64) -> Value {
        let at = |seconds: f64| format!("{}", (seconds * 1e9) as u64);
        let (from, to) = (at(from), at(to));
        let asked =
            [("query", query), ("start", &from), ("end", &to), ("limit", "5000"), ("direction", "forward")];
        let url = format!("{}/loki/api/v1/query_range", self.loki_url);
        get(&url, &asked).await.unwrap_or_else(|e| panic!("{query}: {e}"))["data"].clone()
    }

    /// The names of the services that Jaeger knows.
    pub async fn services(&self) -> Vec<String> {
        let answer = get(&format!("{}/api/services", self.jaeger_url), &[]).await.expect("the services");
        let names = answer["data"].as_array().into_iter().flatten();
        names.filter_map(|n| n.as_str().map(str::to_owned)).collect()
    }

    /// A service's traces of the last hours that bear these tags, as Jaeger's own JSON.
    pub async fn traces(&self, service: &str, tags: &[(&str, &str)]) -> Vec<Value> {
        let tags: BTreeMap<_, _> = tags.iter().copied().collect();
        let tags = serde_json::to_string(&tags).expect("JSON");
        let asked = [("service", service), ("tags", tags.as_str()), ("lookback", "48h"), ("limit", "1000")];
        let answer = get(&format!("{}/api/traces", self.jaeger_url), &asked).await.expect("traces");
        answer["data"].as_array().cloned().unwrap_or_default()
    }

    /// A trace by its id; nothing where Jaeger does not know it.
    pub async fn trace(&self, id: &str) -> Option<Value> {
        let answer = get(&format!("{}/api/traces/{id}", self.jaeger_url), &[]).await.ok()?;
        answer["data"].get(0).cloned()
    }

    async fn prometheus_api(&self, path: &str, asked: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.prometheus_url);
        get(&url, asked).await.unwrap_or_else(|e| panic!("{asked:?}: {e}"))["data"].clone()
    }
}

/// What a backend answers to a query; its own words where it refuses.
pub async fn get(url: &str, asked: &[(&str, &str)]) -> Result<Value, String> {
    let url = reqwest::Url::parse_with_params(url, asked).expect("an address");
    let answer = reqwest::get(url).await.map_err(|e| e.to_string())?;
    let (status, text) = (answer.status(), answer.text().await.map_err(|e| e.to_string())?);
    if !status.is_success() {
        return Err(format!("{status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
}

/// Seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

fn series(data: &Value) -> Vec<Series> {
    let value = |v: &Value| {
        let number = v[1].as_str().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN);
        (v[0].as_f64().unwrap_or_default(), number)
    };
    if data["resultType"] == "scalar" {
        return vec![Series { labels: BTreeMap::new(), values: vec![value(&data["result"])] }];
    }
    let found = data["result"].as_array().into_iter().flatten();
    let each = found.map(|s| {
        let many = s["values"].as_array().into_iter().flatten().chain(s.get("value"));
        Series { labels: strings(&s["metric"]), values: many.map(value).collect() }
    });
    each.collect()
}

fn strings(object: &Value) -> BTreeMap<String, String> {
    let fields = object.as_object().into_iter().flatten();
    fields.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
}
