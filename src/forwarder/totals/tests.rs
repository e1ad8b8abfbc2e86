#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{Gauge, Histogram, HistogramDataPoint, Sum},
    resource::v1::Resource,
};
use proptest::prelude::*;

use prost::Message;

use super::*;
use crate::signal::Signal;
use bytes::Bytes;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn point(start: u64, value: f64, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.iter().map(|(k, v)| text(k, v)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: start + 1,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
}

fn sum(name: &str, is_monotonic: bool, delta: bool, data_points: Vec<NumberDataPoint>) -> Metric {
    let of = if delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative };
    metric(name, Data::Sum(Sum { data_points, aggregation_temporality: of as i32, is_monotonic }))
}

/// A session's request, as the gateway stamps it.
fn request(user: &str, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = vec![
        text("service.name", "claude-code"),
        text("os.version", "6.1"),
        text("sandbox.session.id", &format!("of {user}")),
        text("user.email", user),
    ];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let of = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![of] }
}

fn tokens(user: &str, start: u64, value: f64, session: &str) -> ExportMetricsServiceRequest {
    let said = [("session.id", session), ("model", "m"), ("user.id", "x")];
    request(user, vec![sum("tokens", true, false, vec![point(start, value, &said)])])
}

/// Each point that is sent: user, metric, attributes, start, time, value.
fn sent(requests: &[ExportMetricsServiceRequest]) -> Vec<(String, String, String, u64, u64, f64)> {
    let shown = |attributes: &[KeyValue]| {
        let each: Vec<String> = attributes
            .iter()
            .map(|a| match &a.value.as_ref().unwrap().value {
                Some(any_value::Value::StringValue(text)) => format!("{}={text}", a.key),
                other => format!("{}={other:?}", a.key),
            })
            .collect();
        each.join(",")
    };
    let mut all = Vec::new();
    for of in requests.iter().flat_map(|r| &r.resource_metrics) {
        let resource = &of.resource.as_ref().unwrap().attributes;
        assert!(
            resource.iter().all(|a| a.key != "sandbox.session.id" && a.key != "os.version"),
            "{resource:?}"
        );
        let user = resource
            .iter()
            .find(|a| a.key == "user.email")
            .map(|a| shown(std::slice::from_ref(a)))
            .unwrap_or_default();
        for metric in of.scope_metrics.iter().flat_map(|s| &s.metrics) {
            let Some(Data::Sum(sum)) = &metric.data else { continue };
            for p in &sum.data_points {
                let Some(Value::AsDouble(value)) = p.value else { panic!("a double") };
                let (from, at) = (p.start_time_unix_nano / 1000, p.time_unix_nano / 1000);
                all.push((user.clone(), metric.name.clone(), shown(&p.attributes), from, at, value));
            }
        }
    }
    all
}

fn values(requests: &[ExportMetricsServiceRequest]) -> Vec<f64> {
    sent(requests).into_iter().map(|(.., value)| value).collect()
}

const NOW: u64 = 1_000_000_000;

#[test]
fn sessions_of_one_person_share_a_series_that_begins_at_zero() {
    let mut totals = Totals::new("d".to_owned(), Vec::new(), Vec::new());
    let (a, b) = (SessionId::new(), SessionId::new());
    totals.add(a, tokens("ada", 1, 3.0, "1"));
    totals.add(b, tokens("ada", 2, 9.0, "2"));
    totals.add(b, tokens("bob", 2, 1.0, "2"));
    let (requests, _) = totals.step(NOW);
    let row = |user: &str, at, value| {
        (
            format!("user.email={user}"),
            "tokens".to_owned(),
            "model=m".to_owned(),
            NOW - ZERO_BEFORE,
            at,
            value,
        )
    };
    let mut all = sent(&requests);
    all.sort_by(|x, y| x.partial_cmp(y).unwrap());
    assert_eq!(
        all,
        [
            row("ada", NOW - ZERO_BEFORE, 0.0),
            row("ada", NOW, 12.0),
            row("bob", NOW - ZERO_BEFORE, 0.0),
            row("bob", NOW, 1.0)
        ]
    );
    totals.add(a, tokens("ada", 1, 7.0, "1"));
    assert_eq!(values(&totals.step(NOW + 1).0), [16.0], "what did not change is not sent");
    totals.end(a);
    // The client took a new id, and another process counts from the beginning.
    totals.add(b, tokens("ada", 2, 2.0, "3"));
    totals.add(b, tokens("ada", 5, 1.0, "2"));
    assert_eq!(values(&totals.step(NOW + 2).0), [19.0]);
    assert_eq!(totals.step(NOW + 3).0, []);
    assert_eq!(values(&totals.all(NOW + 4)).len(), 2);
}

#[test]
fn what_comes_twice_adds_nothing_and_what_counts_anew_adds_all() {
    let mut totals = Totals::default();
    let a = SessionId::new();
    for (value, expected) in [(5.0, Some(5.0)), (5.0, Some(5.0)), (6.0, Some(6.0)), (2.0, Some(8.0))] {
        totals.add(a, tokens("ada", 1, value, "1"));
        assert_eq!(values(&totals.step(NOW).0).last().copied(), expected);
    }
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        totals.add(a, tokens("ada", 1, value, "1"));
        assert_eq!(totals.step(NOW).0, [], "{value} is no count");
    }
}

#[test]
fn differences_levels_histograms_and_what_cannot_be_added() {
    let mut totals = Totals::default();
    let (a, b) = (SessionId::new(), SessionId::new());
    let send = |totals: &mut Totals, of, data: Metric| totals.add(of, request("ada", vec![data]));
    for _ in 0..2 {
        send(&mut totals, a, sum("delta", true, true, vec![point(1, 4.0, &[])]));
    }
    assert_eq!(values(&totals.step(NOW).0), [0.0, 8.0]);
    send(&mut totals, a, sum("level", false, false, vec![point(1, 4.0, &[])]));
    send(&mut totals, b, sum("level", false, false, vec![point(1, 5.0, &[])]));
    assert_eq!(values(&totals.step(NOW).0), [9.0]);
    send(&mut totals, a, sum("level", false, false, vec![point(1, 1.0, &[])]));
    assert_eq!(values(&totals.step(NOW).0), [6.0]);
    totals.end(b);
    assert_eq!(values(&totals.step(NOW).0), [1.0]);
    let histogram = |count, buckets: [u64; 2]| {
        let point = HistogramDataPoint {
            attributes: vec![text("session.id", "1")],
            count,
            sum: Some(count as f64),
            bucket_counts: buckets.to_vec(),
            explicit_bounds: vec![1.0],
            ..HistogramDataPoint::default()
        };
        let of = AggregationTemporality::Cumulative as i32;
        metric("times", Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: of }))
    };
    send(&mut totals, a, histogram(3, [1, 2]));
    send(&mut totals, b, histogram(5, [5, 0]));
    let (requests, _) = totals.step(NOW);
    let Some(Data::Histogram(all)) = &requests[1].resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("a histogram")
    };
    let p = &all.data_points[0];
    assert_eq!((p.count, p.sum, &p.bucket_counts[..], p.attributes.len()), (8, Some(8.0), &[6, 2][..], 0));
    let gauge = Gauge { data_points: vec![point(1, 2.5, &[("session.id", "1"), ("cpu", "0")])] };
    send(&mut totals, a, metric("load", Data::Gauge(gauge)));
    let (requests, _) = totals.step(NOW);
    let Some(Data::Gauge(gauge)) = &requests[0].resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("a gauge")
    };
    assert_eq!(gauge.data_points[0].attributes, [text("cpu", "0")]);
}

#[test]
fn nobody_invents_series_without_end_nor_the_daemons_own() {
    let mut totals = Totals::default();
    let mut points = 0;
    for n in 0..SERIES / PER_SESSION + 2 {
        let id = SessionId::new();
        for i in 0..PER_SESSION + 10 {
            let label = format!("{n} {i}");
            let many = sum("many", true, false, vec![point(1, 1.0, &[("l", &label)])]);
            totals.add(id, request(&format!("user {}", n % 12), vec![many]));
        }
        points += PER_SESSION;
    }
    assert!(points > SERIES);
    let (requests, _) = totals.step(NOW);
    let all: Vec<_> = sent(&requests).into_iter().filter(|(.., at, _)| *at == NOW).collect();
    assert_eq!(all.len(), SERIES + 1);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = points as f64;
    assert_eq!(
        all.iter().map(|(.., value)| value).sum::<f64>(),
        expected,
        "none of it is lost, but what is beyond a session's sources"
    );
    assert!(all.iter().any(|(.., of, _, _, _)| of.contains("overflow")), "it says so");
    for name in
        ["SandboxCtl_hooks", ".sandboxctl_hooks", "all:sandboxctl_hook_denials:limit15m", "é.sandbox_ctl"]
    {
        let mut totals = Totals::default();
        totals.add(SessionId::new(), request("eve", vec![sum(name, true, false, vec![point(1, 1.0, &[])])]));
        assert_eq!(totals.step(NOW).0, [], "{name}");
    }
}

#[test]
fn one_person_leaves_room_for_the_others() {
    let mut totals = Totals::default();
    for n in 0..PER_PERSON / PER_SESSION + 2 {
        let points = (0..PER_SESSION).map(|i| point(1, 1.0, &[("l", format!("{n} {i}").as_str())]));
        let mut many = request("eve", vec![sum("many", true, false, points.collect())]);
        let resource = many.resource_metrics[0].resource.as_mut().unwrap();
        resource.attributes.push(text("service.version", &n.to_string()));
        totals.add(SessionId::new(), many);
    }
    totals.add(SessionId::new(), tokens("ada", 1, 1.0, "1"));
    let all = sent(&totals.step(NOW).0);
    let of = |user: &str| all.iter().filter(|(u, .., at, _)| u.contains(user) && *at == NOW).count();
    assert_eq!((of("eve"), of("ada")), (PER_PERSON, 1));
}

#[test]
fn no_point_takes_the_place_of_what_the_resource_says() {
    let said = [
        ("user.email", "victim"),
        ("user_email", "victim"),
        ("User--Email", "victim"),
        (".team", "victims"),
        ("job", "sandboxctl"),
        ("sandbox.profile", "p"),
        ("sandboxes", "2"),
        ("model", "m"),
    ];
    let forged = || request("eve", vec![sum("c", true, false, vec![point(1, 1.0, &said)])]);
    let mut totals = Totals::default();
    totals.add(SessionId::new(), forged());
    let left = |requests: &[ExportMetricsServiceRequest]| sent(requests)[0].2.clone();
    assert_eq!(left(&totals.step(NOW).0), "model=m,sandboxes=2");
    let cleaned = honest(Signal::Metrics, forged().encode_to_vec().into()).unwrap();
    let cleaned = ExportMetricsServiceRequest::decode(cleaned).unwrap();
    let Some(Data::Sum(sum)) = &cleaned.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!()
    };
    assert_eq!(sum.data_points[0].attributes, [text("sandboxes", "2"), text("model", "m")]);
}

#[test]
fn nothing_that_a_session_says_is_long() {
    let long = "x".repeat(1 << 20);
    let points = (0..100).map(|n| point(1, 1.0, &[("n", n.to_string().as_str())])).collect();
    let mut long_names = request("eve", vec![sum("c", true, false, points)]);
    let of = &mut long_names.resource_metrics[0];
    let name = InstrumentationScope { name: long.clone(), version: long.clone(), ..Default::default() };
    of.scope_metrics[0].scope = Some(name);
    let bytes = Some(AnyValue { value: Some(any_value::Value::BytesValue(long.clone().into_bytes())) });
    let resource = &mut of.resource.as_mut().unwrap().attributes;
    resource[0] = KeyValue { key: "service.name".to_owned(), value: bytes, ..KeyValue::default() };
    let wide: Vec<(String, String)> = (0..60).map(|n| (format!("{n:0200}"), "v".repeat(200))).collect();
    let wide: Vec<(&str, &str)> = wide.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let gauge = |point| metric("g", Data::Gauge(Gauge { data_points: vec![point] }));
    let mut totals = Totals::default();
    totals.add(SessionId::new(), long_names);
    totals.add(SessionId::new(), request("eve", vec![sum("w", true, false, vec![point(1, 1.0, &wide)])]));
    totals.add(SessionId::new(), request("eve", vec![gauge(point(1, 1.0, &wide))]));
    let (requests, changes) = totals.step(NOW);
    assert_eq!(changes.series.len(), 100);
    assert!(requests.iter().map(Message::encoded_len).sum::<usize>() < 100_000);
}

#[test]
fn what_passes_has_a_bound_and_the_last_one_tells() {
    let gauge = |value: f64, n: usize| {
        let points = vec![point(1, value, &[("n", n.to_string().as_str())])];
        metric("g", Data::Gauge(Gauge { data_points: points }))
    };
    let mut totals = Totals::default();
    let a = SessionId::new();
    for n in 0..2 * PER_SESSION {
        totals.add(a, request("eve", vec![gauge(1.0, n), gauge(2.0, n)]));
    }
    let points = |requests: &[ExportMetricsServiceRequest]| -> Vec<f64> {
        let of = requests.iter().flat_map(|r| &r.resource_metrics).flat_map(|r| &r.scope_metrics);
        let gauges = of.flat_map(|s| &s.metrics).filter_map(|m| match &m.data {
            Some(Data::Gauge(gauge)) => Some(gauge.data_points[0].value),
            _ => None,
        });
        gauges.map(|value| if let Some(Value::AsDouble(value)) = value { value } else { f64::NAN }).collect()
    };
    assert_eq!(points(&totals.step(NOW).0), vec![2.0; PER_SESSION]);
    totals.add(a, request("eve", vec![gauge(3.0, 0), gauge(3.0, 2 * PER_SESSION)]));
    assert_eq!(points(&totals.step(NOW).0), [3.0]);
}

#[test]
fn a_long_session_is_followed_for_ever() {
    let mut totals = Totals::default();
    let a = SessionId::new();
    let count = PER_SESSION as u64 + 100;
    for n in 1..=count {
        // Another process each time, which says the same thing twice.
        totals.add(a, tokens("ada", n * SILENCE, 1.0, &n.to_string()));
        totals.add(a, tokens("ada", n * SILENCE, 1.0, &n.to_string()));
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = count as f64;
    assert_eq!(values(&totals.step(NOW).0), [0.0, expected]);
}

#[test]
fn who_says_more_than_is_followed_counts_nothing_twice() {
    let mut totals = Totals::default();
    let a = SessionId::new();
    for time in 1..4 {
        let points = (0..PER_SESSION + 100).map(|i| NumberDataPoint {
            time_unix_nano: time * 10_000_000_000,
            ..point(1, 1.0, &[("l", i.to_string().as_str())])
        });
        totals.add(a, request("ada", vec![sum("c", true, false, points.collect())]));
    }
    assert!(totals.series.values().all(|series| series.amount.value <= 1.0));
}

#[test]
fn a_level_of_a_series_that_was_given_up_is_whole_again() {
    let mut totals = Totals::default();
    let a = SessionId::new();
    let level = |at, value| {
        let point = NumberDataPoint { time_unix_nano: at, ..point(1, value, &[]) };
        request("ada", vec![sum("level", false, false, vec![point])])
    };
    totals.add(a, level(2, 5.0));
    totals.step(NOW);
    totals.series.clear();
    totals.forget_levels(|_| true);
    totals.add(a, level(3, 4.0));
    assert_eq!(values(&totals.step(NOW + 1).0), [4.0]);
    totals.end(a);
    assert_eq!(values(&totals.step(NOW + 2).0), [0.0]);
}

#[test]
fn a_sum_that_has_no_room_for_one_more_begins_anew() {
    let mut totals = Totals::default();
    let much = |value| request("ada", vec![sum("c", true, true, vec![point(1, value, &[])])]);
    for value in [LARGEST / 2.0, LARGEST / 2.0 - 1.0] {
        totals.add(SessionId::new(), much(value));
    }
    totals.step(NOW);
    totals.add(SessionId::new(), much(5.0));
    assert_eq!(values(&totals.step(NOW + 1).0), [0.0, 5.0]);
}

#[test]
fn what_could_not_be_kept_or_would_be_refused_is_not_added() {
    let mut totals = Totals::default();
    let a = SessionId::new();
    let mut send = |metric: Metric| {
        totals.add(a, request("ada", vec![metric]));
        totals.step(NOW).0
    };
    let histogram = |bounds: &[f64], buckets: &[u64], total: f64| {
        let point = HistogramDataPoint {
            count: 1,
            sum: Some(total),
            bucket_counts: buckets.to_vec(),
            explicit_bounds: bounds.to_vec(),
            ..HistogramDataPoint::default()
        };
        let of = AggregationTemporality::Cumulative as i32;
        metric("h", Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: of }))
    };
    for wrong in [
        histogram(&[f64::INFINITY], &[1, 0], 1.0),
        histogram(&[f64::NAN], &[1, 0], 1.0),
        histogram(&[2.0, 1.0], &[1, 0, 0], 1.0),
        histogram(&[1.0], &[1], 1.0),
        histogram(&[1.0], &[1, 0], -1.0),
        sum("", true, false, vec![point(1, 1.0, &[])]),
        sum(&"n".repeat(300), true, false, vec![point(1, 1.0, &[])]),
        sum("large", true, false, vec![point(1, 1.7e308, &[])]),
        sum("key", true, false, vec![point(1, 1.0, &[(&"k".repeat(300), "v")])]),
    ] {
        assert_eq!(send(wrong.clone()), [], "{wrong:?}");
    }
    assert_eq!(send(histogram(&[1.0], &[1, 0], 1.0)).len(), 2);
    for delta in [true, false] {
        for _ in 0..2 {
            send(sum("much", true, delta, vec![point(1, 9e299, &[])]));
        }
    }
    assert!(values(&totals.all(NOW)).iter().all(|value| value.is_finite()));
}

#[test]
fn what_comes_late_is_older_than_what_is_known() {
    let mut totals = Totals::default();
    let a = SessionId::new();
    for (time, value) in [(7, 7.0), (5, 5.0), (9, 9.0)] {
        let late = NumberDataPoint { time_unix_nano: time, ..point(1, value, &[]) };
        totals.add(a, request("ada", vec![sum("c", true, false, vec![late])]));
    }
    assert_eq!(values(&totals.step(NOW).0), [0.0, 9.0]);
}

#[test]
fn who_stood_still_for_a_day_makes_room() {
    let mut totals = Totals::default();
    let many = |totals: &mut Totals, round: usize| {
        for n in 0..SERIES / PER_SESSION + 1 {
            let points =
                (0..PER_SESSION).map(|i| point(1, 1.0, &[("l", format!("{round} {n} {i}").as_str())]));
            let many = sum("many", true, false, points.collect());
            totals.add(SessionId::new(), request(&format!("user {}", n % 12), vec![many]));
        }
    };
    many(&mut totals, 0);
    assert_eq!(totals.step(NOW).1.gone, []);
    let next = tokens("bob", 1, 1.0, "1");
    totals.add(SessionId::new(), next.clone());
    let (_, changes) = totals.step(NOW + IDLE + 1);
    assert_eq!(changes.gone.len(), SERIES, "but for the one of those that had no room");
    totals.add(SessionId::new(), next);
    assert!(
        sent(&totals.step(NOW + IDLE + 2).0).iter().any(|(user, ..)| user.contains("bob")),
        "there is room"
    );
}

#[test]
fn a_refused_request_is_taken_apart_to_its_points_and_a_forged_one_cleaned() {
    let points = (0..5).map(|n| point(1, 1.0, &[("n", n.to_string().as_str())])).collect();
    let whole =
        request("ada", vec![sum("a", true, false, points), sum("b", true, false, vec![point(1, 1.0, &[])])]);
    let mut waiting = vec![whole.clone()];
    let mut alone = Vec::new();
    while let Some(next) = waiting.pop() {
        match halves(next.clone()) {
            Some(both) => waiting.extend(both),
            None => alone.push(next),
        }
    }
    let names = |request: &ExportMetricsServiceRequest| -> Vec<String> {
        let scopes = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics).map(|metric| metric.name.clone()).collect()
    };
    let mut all: Vec<String> = alone.iter().flat_map(names).collect();
    all.sort();
    assert_eq!((alone.len(), all), (6, ["a", "a", "a", "a", "a", "b"].map(str::to_owned).to_vec()));
    let bytes = Bytes::from(whole.encode_to_vec());
    assert_eq!(honest(Signal::Metrics, bytes.clone()), Some(bytes));
    let forged = request("eve", vec![sum("sandboxctl_hooks", true, false, vec![point(1, 1.0, &[])])]);
    let cleaned = honest(Signal::Metrics, forged.encode_to_vec().into()).unwrap();
    assert!(names(&ExportMetricsServiceRequest::decode(cleaned).unwrap()).is_empty());
    for (service, stays) in [("SandboxCtl", false), ("sandboxctl-verify", true)] {
        let mut claims = whole.clone();
        claims.resource_metrics[0].resource.as_mut().unwrap().attributes[0] = text("service.name", service);
        let cleaned = honest(Signal::Metrics, claims.encode_to_vec().into()).unwrap();
        let kept = names(&ExportMetricsServiceRequest::decode(cleaned).unwrap());
        let mut totals = Totals::default();
        totals.add(SessionId::new(), claims);
        assert_eq!((!kept.is_empty(), !values(&totals.step(NOW).0).is_empty()), (stays, stays), "{service}");
    }
}

#[test]
fn a_step_that_was_kept_and_not_sent_is_sent_with_its_zeros() {
    let mut totals = Totals::default();
    totals.add(SessionId::new(), tokens("ada", 1, 3.0, "1"));
    let (first, _) = totals.step(NOW);
    assert_eq!(values(&totals.once_more(NOW)), [0.0, 3.0]);
    assert_eq!(values(&first), [0.0, 3.0]);
    totals.add(SessionId::new(), tokens("ada", 1, 1.0, "1"));
    totals.step(NOW + 1);
    assert_eq!(values(&totals.once_more(NOW + 1)), [4.0], "this one began before");
}

proptest! {
    /// Whatever comes, kept and read back at any point: a counter's sum never falls, and is what was counted.
    #[test]
    fn sums_never_fall_and_survive_a_restart(
        steps in proptest::collection::vec((0..3usize, 0.0..1e3f64, proptest::bool::weighted(0.2), proptest::bool::weighted(0.2)), 1..60)
    ) {
        let mut totals = Totals::default();
        let ids = [SessionId::new(), SessionId::new(), SessionId::new()];
        let mut counted = [(0u64, 0.0f64); 3];
        let mut last = 0.0;
        let (mut kept, mut parts) = (BTreeMap::new(), HashMap::new());
        for (of, more, restart, reload) in steps {
            let (start, value) = &mut counted[of];
            if restart {
                (*start, *value) = (*start + 1, 0.0);
            }
            *value += more;
            totals.add(ids[of], tokens("ada", *start, *value, "1"));
            let (requests, changes) = totals.step(NOW);
            let now = values(&requests).last().copied().unwrap();
            prop_assert!(now >= last, "{now} after {last}");
            prop_assert!((now - last - more).abs() < 1e-6);
            last = now;
            kept.extend(changes.series.iter().map(|(key, s)| (*key, serde_json::to_string(s).unwrap())));
            parts.extend(changes.parts.iter().map(|(id, p)| (*id, serde_json::to_string(p).unwrap())));
            if reload {
                totals = Totals::new(
                    String::new(),
                    kept.iter().map(|(key, s)| (*key, serde_json::from_str(s).unwrap())).collect(),
                    parts.iter().map(|(id, p)| (*id, serde_json::from_str(p).unwrap())).collect(),
                );
                prop_assert_eq!(values(&totals.all(NOW)), vec![last], "to the last bit");
            }
        }
    }
}
