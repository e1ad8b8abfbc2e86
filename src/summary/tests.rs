use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
        number_data_point,
    },
};

use super::*;

fn text(key: &str, value: &str) -> KeyValue {
    with(key, Value::StringValue(value.to_owned()))
}

fn with(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn entry(kind: Kind, payload: Vec<u8>) -> Entry {
    Entry { seq: 1, time: 1, origin: 0, kind, payload: Bytes::from(payload) }
}

fn event(attributes: Vec<KeyValue>) -> Entry {
    let record = LogRecord { attributes, ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    entry(Kind::Logs, ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec())
}

fn metric(name: &str, value: f64, start: u64, temporality: AggregationTemporality) -> Entry {
    let point = NumberDataPoint {
        start_time_unix_nano: start,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let sum =
        Sum { data_points: vec![point], aggregation_temporality: temporality as i32, is_monotonic: true };
    let metric = Metric { name: name.to_owned(), data: Some(Data::Sum(sum)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    entry(Kind::Metrics, ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec())
}

fn fold(entries: &[Entry]) -> Summary {
    let mut summary = Summary::default();
    entries.iter().for_each(|e| summary.apply(e));
    summary
}

#[test]
fn numbers_count_in_whatever_type_they_come() {
    let request = |tokens: Value, cost: Value| {
        event(vec![
            text("event.name", "api_request"),
            text("model", "m"),
            with("input_tokens", tokens),
            with("cost_usd", cost),
        ])
    };
    let summary = fold(&[
        request(Value::IntValue(3), Value::DoubleValue(0.5)),
        request(Value::StringValue("4".to_owned()), Value::StringValue("0.25".to_owned())),
        request(Value::DoubleValue(5.0), Value::IntValue(1)),
        request(Value::IntValue(-7), Value::DoubleValue(f64::NAN)),
    ]);
    let totals = summary.totals();
    assert_eq!((totals.input_tokens, totals.cost_usd), (12, 1.75));
    assert_eq!(summary.models["m"].calls, 4);
}

#[test]
fn numbers_beyond_all_measure_stay_at_the_largest() {
    let request = |model: &str| {
        let numbers = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"];
        let mut said = vec![text("event.name", "api_request"), text("model", model)];
        said.extend(numbers.map(|name| with(name, Value::DoubleValue(1e30))));
        event(said)
    };
    let used = event::Model {
        model: "m".into(),
        status: 200,
        input_tokens: u64::MAX,
        output_tokens: u64::MAX,
        cache_read_tokens: u64::MAX,
        cache_creation_tokens: u64::MAX,
        ..Default::default()
    };
    let call = |model: &str| {
        let call = event::Model { model: model.into(), ..used.clone() };
        entry(Kind::Model, serde_json::to_vec(&call).expect("JSON"))
    };
    let all = [request("m"), request("m"), request("n"), call("m"), call("m"), call("n")];
    let summary = fold(&all);
    let totals = summary.totals();
    let sums = [
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_read_tokens,
        totals.cache_creation_tokens,
        summary.gateway["m"].input_tokens,
    ];
    assert_eq!(sums, [u64::MAX; 5]);
    assert!(summary.is_over(&Budget { usd: None, tokens: Some(u64::MAX) }));
}

#[test]
fn tools_turns_and_errors_are_counted() {
    let summary = fold(&[
        event(vec![text("event.name", "user_prompt"), text("session.id", "s1")]),
        event(vec![
            text("event.name", "tool_result"),
            text("tool_name", "Bash"),
            text("success", "true"),
            text("duration_ms", "12"),
        ]),
        event(vec![text("event.name", "tool_result"), text("tool_name", "Bash"), text("success", "false")]),
        event(vec![text("event.name", "api_error"), text("session.id", "s2")]),
    ]);
    let totals = summary.totals();
    assert_eq!((totals.turns, totals.tools, totals.errors), (1, 2, 2));
    assert_eq!(summary.tools["Bash"], ToolUse { calls: 2, failures: 1, duration_ms: 12 });
    assert_eq!(summary.claude_sessions.len(), 2);
}

#[test]
fn a_cumulative_counter_counts_once_however_often_it_is_sent() {
    use AggregationTemporality::{Cumulative, Delta};
    let summary = fold(&[
        metric("claude_code.commit.count", 1.0, 10, Cumulative),
        metric("claude_code.commit.count", 2.0, 10, Cumulative),
        metric("claude_code.commit.count", 1.0, 99, Cumulative),
        metric("claude_code.active_time.total", 1.5, 1, Delta),
        metric("claude_code.active_time.total", 2.0, 2, Delta),
    ]);
    let sums = summary.counters.sums();
    assert_eq!(sums["claude_code.commit.count"], 3.0, "two processes: 2 and 1");
    assert_eq!(sums["claude_code.active_time.total"], 3.5);
}

#[test]
fn invented_names_fill_no_memory() {
    let mut summary = Summary::default();
    for n in 0..2 * NAMES {
        let tool = text("tool_name", &format!("tool {n}"));
        summary.apply(&event(vec![
            text("event.name", "tool_result"),
            tool,
            text("session.id", &n.to_string()),
        ]));
    }
    assert_eq!(summary.totals().tools, 2 * NAMES as u64);
    assert!(summary.tools.len() <= NAMES + 1 && summary.claude_sessions.len() <= NAMES);
}

#[test]
fn a_budget_is_over_by_the_gateways_count() {
    let call = event::Model {
        model: "m".into(),
        status: 200,
        input_tokens: 60,
        output_tokens: 40,
        cost_usd: 0.5,
        ..Default::default()
    };
    let summary = fold(&[entry(Kind::Model, serde_json::to_vec(&call).expect("JSON"))]);
    let budget = |usd, tokens| Budget { usd, tokens };
    assert!(!summary.is_over(&budget(None, None)));
    assert!(summary.is_over(&budget(Some(0.5), None)) && !summary.is_over(&budget(Some(0.51), None)));
    assert!(summary.is_over(&budget(None, Some(100))) && !summary.is_over(&budget(None, Some(101))));
}

#[test]
fn what_is_kept_goes_on_as_what_was() {
    let entries = [
        event(vec![text("event.name", "user_prompt"), with("event.sequence", Value::IntValue(0))]),
        metric("claude_code.cost.usage", 1.0, 1, AggregationTemporality::Cumulative),
    ];
    let half = fold(&entries[..1]);
    let mut kept: Summary =
        serde_json::from_slice(&serde_json::to_vec(&half).expect("JSON")).expect("a summary");
    kept.apply(&entries[1]);
    assert_eq!(kept, fold(&entries));
}

/// The days of a session add up to its totals, and a fold that was kept on the way goes on as if it had not been.
#[test]
fn days_add_up_to_the_whole_and_survive_being_kept() {
    const DAY: u64 = 24 * 3600 * 1_000_000; // µs
    let counter = |value| {
        let mut entry = metric("claude_code.commit.count", value, 7, AggregationTemporality::Cumulative);
        entry.seq = 9;
        entry
    };
    let request = event(vec![
        text("event.name", "api_request"),
        text("model", "m"),
        with("output_tokens", Value::IntValue(3)),
        with("cost_usd", Value::DoubleValue(0.5)),
    ]);
    let tool =
        event(vec![text("event.name", "tool_result"), text("tool_name", "Bash"), text("success", "false")]);
    let used = event::Model {
        model: "m".to_owned(),
        status: 200,
        output_tokens: 4,
        cost_usd: 0.75,
        ..event::Model::default()
    };
    let seen = entry(Kind::Model, serde_json::to_vec(&used).expect("JSON"));
    let all =
        [event(vec![text("event.name", "user_prompt")]), request, counter(2.0), tool, seen, counter(5.0)];
    let (mut summary, mut again) = (Summary::default(), Summary::default());
    for (n, entry) in all.iter().chain(&all[..5]).enumerate() {
        let entry = Entry { time: (20_000 + n as u64 / 4) * DAY + n as u64, ..entry.clone() };
        summary.apply(&entry);
        again = serde_json::from_str(&serde_json::to_string(&again).expect("JSON")).expect("a summary");
        again.apply(&entry);
    }
    assert_eq!(summary, again);
    let (mut work, mut models, mut gateway, mut tools) =
        (Work::default(), Use::default(), Use::default(), ToolUse::default());
    let rows = summary.usage.rows(19_990 * DAY);
    assert_eq!(
        rows[0],
        Row { day: 19_990, of: Of::Session, used: Used::default() },
        "the day it was asked for"
    );
    let mut all = Used::default();
    for Row { of, used, .. } in rows {
        match of {
            Of::Session => {
                work.turns += used.work.turns;
                work.commits += used.work.commits;
                all.client.add(&used.client);
                all.gateway.add(&used.gateway);
                all.tool.add(&used.tool);
            }
            Of::Model(_) => {
                models.add(&used.client);
                gateway.add(&used.gateway);
            }
            Of::Tool(_) => tools.add(&used.tool),
        }
    }
    assert_eq!((&all.client, &all.gateway, &all.tool), (&models, &gateway, &tools), "each kind is the whole");
    let totals = summary.totals();
    assert_eq!((work.turns, totals.turns), (2, 2));
    assert_eq!(work.commits, summary.counters.sums()["claude_code.commit.count"], "the last value counts");
    assert_eq!((models.output_tokens, models.cost_usd), (totals.output_tokens, totals.cost_usd));
    assert_eq!((gateway.calls, gateway.cost_usd), (2, totals.gateway_cost_usd));
    assert_eq!((tools.calls, tools.failures), (totals.tools, 2));
}

/// A client that is left open tells its counters again and again: those are no days of work.
#[test]
fn a_counter_that_does_not_grow_makes_no_day() {
    const DAY: u64 = 24 * 3600 * 1_000_000; // µs
    let cumulative = AggregationTemporality::Cumulative;
    let mut summary = Summary::default();
    for (day, commits) in [(20_000, 0.0), (20_001, 2.0), (20_002, 2.0), (20_003, 2.0), (20_004, 3.0)] {
        let told = metric("claude_code.commit.count", commits, 7, cumulative);
        summary.apply(&Entry { time: day * DAY, ..told });
    }
    let days: Vec<(u32, f64)> =
        summary.usage.rows(20_001 * DAY).iter().map(|row| (row.day, row.used.work.commits)).collect();
    assert_eq!(days, [(20_001, 2.0), (20_004, 1.0)]);
}
