#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use opentelemetry_proto::tonic::metrics::v1::metric;

use super::*;

#[test]
fn counts_add_up_by_label_and_every_line_is_well_formed() {
    let metrics = Metrics::default();
    metrics.start("docker", Start::Started);
    metrics.start("docker", Start::Started);
    metrics.start("docker", Start::Refused);
    metrics.start_took("docker", Duration::from_millis(180));
    metrics.start_took("docker", Duration::from_secs(90));
    metrics.ended(&Reason::Exited { code: 3 });
    metrics.answered("GET", 200);
    metrics.answered("GET", 204);
    metrics.answered("GET", 999);
    metrics.hook("PreToolUse", "deny");
    let now = Now { sessions: BTreeMap::from([(Phase::Running, 2)]), viewers: 5, ..Now::default() };
    let text = text(&metrics.gather(&now));
    for expected in [
        "sandboxctl_session_starts_total{engine=\"docker\",result=\"started\"} 2",
        "sandboxctl_session_starts_total{engine=\"docker\",result=\"refused\"} 1",
        "sandboxctl_session_start_seconds_bucket{engine=\"docker\",le=\"0.1\"} 0",
        "sandboxctl_session_start_seconds_bucket{engine=\"docker\",le=\"0.2\"} 1",
        "sandboxctl_session_start_seconds_bucket{engine=\"docker\",le=\"+Inf\"} 2",
        "sandboxctl_session_start_seconds_sum{engine=\"docker\"} 90.18",
        "sandboxctl_session_start_seconds_count{engine=\"docker\"} 2",
        "sandboxctl_session_ends_total{reason=\"exited\"} 1",
        "sandboxctl_http_requests_total{method=\"GET\",status=\"2xx\"} 2",
        "sandboxctl_http_requests_total{method=\"GET\",status=\"other\"} 1",
        "sandboxctl_hooks_total{event=\"PreToolUse\",decision=\"deny\"} 1",
        "sandboxctl_sessions{phase=\"running\"} 2",
        "sandboxctl_sessions{phase=\"starting\"} 0",
        "sandboxctl_viewers 5",
    ] {
        assert!(text.lines().any(|l| l == expected), "{expected} is missing from:\n{text}");
    }
    let mut announced = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            announced.push(rest.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = announced.last().unwrap();
            assert!(name.starts_with(family), "{name} follows its own family's TYPE, not {family}'s");
            assert!(line.rsplit(' ').next().is_some_and(|v| v.parse::<f64>().is_ok()), "{line}");
        }
    }
}

#[test]
fn what_sessions_did_counts_once_whether_they_live_or_are_over() {
    let metrics = Metrics::default();
    let (adopted, new) = (SessionId::new(), SessionId::new());
    let work = |recorded_bytes, logs, cost_usd: f64| Work {
        recorded_bytes,
        records: [0, 0, logs],
        cost_nanos: (cost_usd * 1e9) as u64,
    };
    metrics.begun(adopted, work(1000, 10, 1.0));
    metrics.begun(new, Work::default());
    let now = |live: &[(SessionId, Work)]| Now {
        work: live.iter().map(|(id, work)| (*id, "demo".to_owned(), *work)).collect(),
        ..Now::default()
    };
    let expect = |now: &Now, lines: [&str; 3]| {
        let text = text(&metrics.gather(now));
        for line in lines {
            assert!(text.lines().any(|l| l == line), "{line} is missing from:\n{text}");
        }
    };
    let sums = [
        "sandboxctl_recorded_bytes_total 700",
        "sandboxctl_otlp_records_total{signal=\"logs\"} 7",
        "sandboxctl_model_cost_usd_total{profile=\"demo\"} 0.75",
    ];
    let before = now(&[(adopted, work(1500, 15, 1.5)), (new, work(200, 2, 0.25))]);
    expect(&before, sums);
    metrics.over(adopted, "demo", work(1500, 15, 1.5));
    expect(&now(&[(new, work(200, 2, 0.25))]), sums);
    // Looked up before it was over.
    expect(&before, sums);
    metrics.over(adopted, "demo", work(9999, 99, 9.0));
    expect(&before, sums);
}

#[test]
fn as_otlp_every_family_has_its_kind() {
    let metrics = Metrics::default();
    metrics.egress(false);
    metrics.start_took("local", Duration::from_millis(1));
    let families = metrics.gather(&Now { completeness: 1.0, ..Now::default() });
    let request = otlp::request(&families, "me", 1, 2);
    let of = &request.resource_metrics[0].scope_metrics[0].metrics;
    let find = |name: &str| of.iter().find(|m| m.name == name).unwrap().data.clone().unwrap();
    let metric::Data::Sum(egress) = find("sandboxctl_egress_total") else { panic!("a sum") };
    assert!(egress.is_monotonic);
    assert_eq!(
        (egress.data_points[0].start_time_unix_nano, egress.data_points[0].time_unix_nano),
        (1000, 2000)
    );
    assert!(matches!(find("sandboxctl_completeness_ratio"), metric::Data::Gauge(_)));
    let metric::Data::Histogram(times) = find("sandboxctl_session_start_seconds") else {
        panic!("a histogram")
    };
    assert_eq!((times.data_points[0].count, times.data_points[0].bucket_counts.len()), (1, 11));
    assert!(of.iter().all(|m| m.name != "sandboxctl_hooks_total"), "what has no samples is left out");
}

#[test]
fn every_series_that_is_known_beforehand_begins_at_zero() {
    let profiles = ["demo".to_owned()];
    let metrics = Metrics::begin("docker", profiles.iter(), ["PreToolUse"].into_iter());
    let lines = text(&metrics.gather(&Now::default()));
    for expected in [
        "sandboxctl_session_starts_total{engine=\"docker\",result=\"failed\"} 0",
        "sandboxctl_session_start_seconds_bucket{engine=\"docker\",le=\"+Inf\"} 0",
        "sandboxctl_session_ends_total{reason=\"oom\"} 0",
        "sandboxctl_otlp_requests_total{signal=\"logs\",result=\"refused\"} 0",
        "sandboxctl_hooks_total{event=\"PreToolUse\",decision=\"deny\"} 0",
        "sandboxctl_model_calls_total{result=\"refused\"} 0",
        "sandboxctl_egress_total{result=\"denied\"} 0",
        "sandboxctl_model_cost_usd_total{profile=\"demo\"} 0",
    ] {
        assert!(lines.lines().any(|l| l == expected), "{expected} is missing from:\n{lines}");
    }
    for reason in [Reason::Idle, Reason::Oom, Reason::KeyLost, Reason::Exited { code: 0 }] {
        assert!(Reason::NAMES.contains(&reason.name()));
    }
}
