use clap::Parser;
use reqwest::StatusCode;
use serde_json::json;

use super::{
    backends::{BACKENDS, Backends},
    *,
};
use crate::config::Protocol;

const PORTS: [u16; 2] = [4318, 4317];

fn destination(name: &str, endpoint: &str) -> Destination {
    Destination {
        name: name.to_owned(),
        endpoint: endpoint.to_owned(),
        protocol: Protocol::Http,
        sent_traces: 1,
        sent_metrics: 1,
        sent_logs: 1,
        refused: 0,
        rejected_records: 0,
        retries: 0,
        waiting_frames: 0,
        lag_s: 0,
        last_sent_at: None,
        last_error: None,
        last_error_at: None,
    }
}

fn found(sent: bool, looks: [Look; 3]) -> Found {
    let n = if sent { 2 } else { 1 };
    let now = Destination {
        sent_traces: n,
        sent_metrics: n,
        sent_logs: n,
        ..destination("stack", "http://127.0.0.1:4318")
    };
    Found { destination: Some(now), collector: Ok(()), backends: BACKENDS.iter().zip(looks).collect() }
}

fn first_failed(found: &Found) -> Option<String> {
    let hops = judge(&destination("stack", "http://127.0.0.1:4318"), found);
    assert_eq!(hops.len(), 5);
    for hop in &hops {
        assert_eq!(hop.state == CheckState::Ok, hop.remedy.is_none(), "what is wrong has a remedy: {hop:?}");
    }
    hops.into_iter().find(|hop| hop.state == CheckState::Failed).map(|hop| hop.name)
}

#[test]
fn the_first_hop_without_a_signal_is_named() {
    let away = || Look::Away("http://127.0.0.1:3100 does not answer".to_owned());
    let all = || [Look::Found, Look::Found, Look::Found];
    assert_eq!(first_failed(&found(true, all())), None);
    let failed = first_failed(&found(false, [Look::Missing, Look::Missing, Look::Missing]));
    assert_eq!(failed.as_deref(), Some("forwarder"));
    let failed = first_failed(&found(true, [Look::Found, away(), Look::Found]));
    assert_eq!(failed.as_deref(), Some("loki"));
    let failed = first_failed(&found(true, [Look::Found, Look::Found, Look::Missing]));
    assert_eq!(failed.as_deref(), Some("jaeger"));
    let broken = Found {
        collector: Err("it does not answer".to_owned()),
        ..found(true, [Look::Missing, Look::Found, Look::Found])
    };
    assert_eq!(first_failed(&broken).as_deref(), Some("collector"));
    let unasked = Found { collector: Err("it does not answer".to_owned()), ..found(true, all()) };
    assert_eq!(first_failed(&unasked), None, "what arrived came through it");
    let gone = Found { destination: None, ..found(true, [Look::Missing, Look::Found, Look::Found]) };
    assert_eq!(first_failed(&gone).as_deref(), Some("forwarder"));
}

#[test]
fn a_signal_that_is_switched_off_is_told_from_a_collector_that_is_away() {
    let before = destination("stack", "http://127.0.0.1:4318");
    let metric = [&BACKENDS[0]];
    let off = forwarder(&before, Some(&before.clone()), &metric);
    assert!(off.remedy.as_ref().is_some_and(|r| r.contains("signals")), "{off:?}");
    let waits = Destination {
        waiting_frames: 3,
        lag_s: 9,
        last_error: Some("connection refused".to_owned()),
        ..before.clone()
    };
    let away = forwarder(&before, Some(&waits), &metric);
    assert!(away.found.contains("connection refused") && away.found.contains("3 frames"), "{away:?}");
    assert!(away.remedy.is_some_and(|r| r.contains("collector runs")));
}

#[test]
fn the_destination_is_found_by_name_by_port_or_for_want_of_another() {
    let all =
        || vec![destination("far", "https://otel.example.org"), destination("near", "http://127.0.0.1:4317")];
    let name = |named, all| choose(named, all, &PORTS).map(|d| d.name);
    assert_eq!(name(None, all()), Ok("near".to_owned()));
    assert_eq!(name(Some("far"), all()), Ok("far".to_owned()));
    assert_eq!(name(None, vec![destination("far", "https://otel.example.org")]), Ok("far".to_owned()));
    assert!(name(Some("other"), all()).is_err_and(|e| e.contains("far, near")));
    assert!(name(None, Vec::new()).is_err_and(|e| e.contains("nothing")));
}

#[test]
fn backends_are_asked_for_the_mark_and_their_answers_understood() {
    let good = json!({"status": "success", "data": {"result": [{"metric": {}}]}});
    let none = json!({"status": "success", "data": {"result": []}});
    let trace = json!({"data": [{"traceID": "x"}]});
    let unknown = json!({"data": null, "errors": [{"code": 404, "msg": "trace not found"}]});
    let [prometheus, loki, jaeger] = &BACKENDS;
    for backend in [prometheus, loki] {
        assert_eq!(backend.read(StatusCode::OK, &good), Look::Found);
        assert_eq!(backend.read(StatusCode::OK, &none), Look::Missing);
        assert!(matches!(backend.read(StatusCode::NOT_FOUND, &unknown), Look::Away(_)));
        assert!(matches!(backend.read(StatusCode::SERVICE_UNAVAILABLE, &good), Look::Away(_)));
        assert!(matches!(backend.read(StatusCode::OK, &json!(null)), Look::Away(_)), "some other service");
    }
    assert_eq!(jaeger.read(StatusCode::OK, &trace), Look::Found);
    assert_eq!(jaeger.read(StatusCode::NOT_FOUND, &unknown), Look::Missing);
    assert!(matches!(jaeger.read(StatusCode::NOT_FOUND, &json!(null)), Look::Away(_)), "some other service");
}

#[test]
fn addresses_come_from_flags_then_from_the_settings() {
    let parsed =
        crate::cli::args::Cli::parse_from(["sandboxctl", "stack", "verify", "--loki", "http://[::1]:9/"]);
    let crate::cli::args::Verb::Stack(stack) = parsed.verb else { panic!("the stack") };
    let crate::cli::args::stack::StackVerb::Verify(args) = stack.verb else { panic!("verify") };
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(".env"), "STACK_BIND=0.0.0.0\nSTACK_PORT_COLLECTOR_HTTP=14318\n")
        .expect("written");
    let settings = Settings::read(dir.path());
    let backends = Backends::new(&args, &settings, "abc", |_| true).expect("backends");
    assert_eq!(backends.door, "http://127.0.0.1:14318");
    assert_eq!(backends.ports, [14318, 4317]);
    std::fs::write(dir.path().join(".env"), "STACK_BIND_OTLP=10.0.0.1\n").expect("written");
    let backends = Backends::new(&args, &Settings::read(dir.path()), "abc", |_| true).expect("backends");
    assert_eq!(backends.door, "http://10.0.0.1:4318");
}

#[tokio::test]
async fn only_backends_that_are_sent_to_or_named_are_asked() {
    let parsed =
        crate::cli::args::Cli::parse_from(["sandboxctl", "stack", "verify", "--loki", "http://127.0.0.1:9"]);
    let crate::cli::args::Verb::Stack(stack) = parsed.verb else { panic!("the stack") };
    let crate::cli::args::stack::StackVerb::Verify(args) = stack.verb else { panic!("verify") };
    rustls::crypto::ring::default_provider().install_default().ok();
    let backends = Backends::new(&args, &Settings::default(), "abc", |_| false).expect("backends");
    let looks: Vec<Look> = backends.look().await.into_iter().map(|(_, look)| look).collect();
    assert!(matches!(&looks[..], [Look::Skipped, Look::Away(_), Look::Skipped]), "{looks:?}");
}

#[test]
fn what_is_skipped_is_no_failure_and_vouches_for_nobody() {
    let before = destination("stack", "http://127.0.0.1:4318");
    let some = found(false, [Look::Found, Look::Skipped, Look::Skipped]);
    assert_eq!(first_failed(&some), None);
    assert!(some.missing(&before).is_empty());
    let none = || [Look::Skipped, Look::Skipped, Look::Skipped];
    assert_eq!(first_failed(&found(true, none())), None);
    assert_eq!(first_failed(&found(false, none())).as_deref(), Some("forwarder"), "nobody saw anything");
    let away = Found { collector: Err("it does not answer".to_owned()), ..found(true, none()) };
    assert_eq!(first_failed(&away).as_deref(), Some("collector"));
}
