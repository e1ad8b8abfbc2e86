//! What reaches a collector: everything, once, by the right name; whoever was away or was killed meanwhile.

mod common;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use common::{
    Daemon, Rung,
    bundle::Bundle,
    collector::{Collector, Taken},
    eventually,
    stories::ask,
};
use sandboxctl::{api::Session, engine::GUEST, id::SessionId};
use tokio::time::sleep;

/// How many log records, spans and metric points a bundle holds, of its three files.
fn counted(bundle: &Bundle, file: &str, key: &str) -> usize {
    let mut found = 0;
    for line in bundle.lines(&format!("telemetry/{file}.jsonl")) {
        common::bundle::walk(&line, &mut |object| {
            found += object.get(key).and_then(|all| all.as_array()).map_or(0, Vec::len);
        });
    }
    found
}

fn of_session(taken: &Taken, id: SessionId) -> Taken {
    let id = id.to_string();
    let of = |resource: &common::collector::Labels| resource.get("sandbox.session.id") == Some(&id);
    let mut taken = taken.clone();
    taken.spans.retain(|(resource, _)| of(resource));
    taken.logs.retain(|(resource, _)| of(resource));
    taken
}

/// Two sessions of one person, the collector away for the first of them, the daemon killed in the second.
#[tokio::test]
async fn a_collector_that_was_away_gets_everything_once_and_sums_go_on() {
    let collector = Collector::start(true).await;
    let config =
        format!("[forward.team]\nendpoint = \"{}\"\n[teams]\nlab = [\"*@localhost\"]", collector.url);
    let mut daemon = Daemon::start_with(Rung::Docker, &config).await;
    let program = ["claude", "-p", "List the files here"];
    let first = daemon.begin(ask(&program)).await;
    let first = daemon.ended(&first).await;
    daemon.terminate();
    daemon.restart().await;
    collector.away(false);
    let second = daemon.begin(ask(&program)).await;
    daemon.kill();
    daemon.restart().await;
    let second = daemon.ended(&second).await;
    assert_eq!((first.completeness, second.completeness), (Some(1.0), Some(1.0)), "{}", daemon.log());

    let bundles = [daemon.export(&first).await, daemon.export(&second).await];
    for (session, bundle) in [&first, &second].into_iter().zip(&bundles) {
        let whole = || async {
            let taken = of_session(&collector.taken(), session.id);
            taken.spans.iter().any(|(_, span)| span.name == "session")
        };
        eventually("the session's own span, which is the last", whole).await;
        let taken = of_session(&collector.taken(), session.id);
        // The daemon that was killed may have been about to note that something was taken.
        let sequences: BTreeSet<_> = taken.logs.iter().map(|(_, said)| said.get("event.sequence")).collect();
        assert_eq!(sequences.len(), counted(bundle, "logs", "logRecords"), "each log record");
        let spans = |service: &str| -> BTreeSet<Vec<u8>> {
            let of = taken.spans.iter().filter(|(resource, _)| resource["service.name"] == service);
            of.map(|(_, span)| span.span_id.clone()).collect()
        };
        assert_eq!(spans("claude-code").len(), counted(bundle, "traces", "spans"), "each span");
        if session.id == first.id {
            assert_eq!(taken.logs.len(), sequences.len(), "and once");
        }
        for (resource, _) in &taken.logs {
            assert_eq!(resource["team"], "lab");
            assert_eq!(resource["user.email"], session.user.email);
        }
        trace_hangs_together(&taken, session);
    }
    eventually("the sums of both", || async { collector.taken().sum("claude_code.session.count") == 2.0 })
        .await;
    let sums = |name: &str| {
        let of = |bundle: &Bundle| -> f64 {
            let counters = bundle.json("summary.json")["counters"].clone();
            let all = counters.as_object().expect("counters").iter();
            all.filter(|(key, _)| key.split(' ').next() == Some(name)).filter_map(|(_, n)| n.as_f64()).sum()
        };
        bundles.iter().map(of).sum::<f64>()
    };
    for name in ["claude_code.token.usage", "claude_code.cost.usage", "claude_code.session.count"] {
        let expected = sums(name);
        assert!(expected > 0.0, "{name}: {}", bundles[0].text("summary.json"));
        eventually(name, || async { (collector.taken().sum(name) - expected).abs() < 1e-9 }).await;
    }
    let taken = collector.taken();
    let tokens = taken.last("claude_code.token.usage");
    for point in &tokens {
        assert!(
            !point.labels.contains_key("session.id") && !point.labels.contains_key("user.id"),
            "{point:?}"
        );
        assert!(!point.resource.contains_key("sandbox.session.id"), "{point:?}");
        assert_eq!(point.resource["service.name"], "claude-code");
        assert_eq!(point.resource["team"], "lab");
        let before: Vec<_> = taken
            .points
            .iter()
            .filter(|p| (&p.name, &p.resource, &p.labels) == (&point.name, &point.resource, &point.labels))
            .collect();
        assert_eq!(before[0].value, 0.0, "a series begins at nothing");
        assert!(before.is_sorted_by_key(|p| p.time) && before.is_sorted_by(|a, b| a.value <= b.value));
    }
    let own = || async { collector.taken().points.iter().any(|p| p.name == "sandboxctl_sessions") };
    eventually("the daemon's own metrics", own).await;
    let lag: Vec<sandboxctl::api::Destination> =
        daemon.client.get("/api/v1/destinations").await.expect("destinations");
    assert_eq!((lag[0].waiting_frames, lag[0].refused, lag[0].rejected_records), (0, 0, 0), "{lag:?}");
}

/// More sessions than are sent at once have something that the collector cannot bear: the next one's signals arrive.
#[tokio::test]
async fn what_a_collector_cannot_bear_is_in_no_other_sessions_way() {
    const UNBEARABLE: &str = "deadbeefdeadbeefdeadbeefdeadbeef";
    const GOOD: &str = "0123456789abcdef0123456789abcdef";
    let collector = Collector::start(false).await;
    collector.cannot_bear(UNBEARABLE);
    let config = format!("[forward.team]\nendpoint = \"{}\"\n", collector.url);
    let daemon = Daemon::start_with(Rung::Local, &config).await;
    let emits = async |mark: &str| {
        let session = daemon.begin(ask(&[GUEST, "emit", mark])).await;
        daemon.ended(&session).await
    };
    for _ in 0..9 {
        emits(UNBEARABLE).await;
    }
    let good = emits(GOOD).await;
    let arrived = async || {
        let taken = of_session(&collector.taken(), good.id);
        !taken.logs.is_empty() && taken.spans.iter().any(|(_, span)| span.name == "session")
    };
    eventually("the log record and the spans", arrived).await;
    // That others arrive is known by the daemon's own metrics, which go every 15 s.
    let until = Instant::now() + Duration::from_secs(120);
    while collector.taken().sum("stack.verify") < 1.0 {
        assert!(Instant::now() < until, "the metric: {}", daemon.log());
        sleep(Duration::from_millis(200)).await;
    }
    let destinations: Vec<sandboxctl::api::Destination> =
        daemon.client.get("/api/v1/destinations").await.expect("destinations");
    let [team] = &destinations[..] else { panic!("{destinations:?}") };
    assert!(team.refused >= 1 && team.waiting_frames >= 9, "nothing is passed over but a sum: {team:?}");
    collector.cannot_bear("what nobody says");
    let waiting = async || {
        let taken = collector.taken();
        taken.logs.iter().filter(|(_, of)| of.get("verify.mark").is_some_and(|m| m == UNBEARABLE)).count()
    };
    while waiting().await < 9 {
        assert!(Instant::now() < until + Duration::from_secs(60), "the others: {}", daemon.log());
        sleep(Duration::from_millis(200)).await;
    }
}

/// `claude -p` hangs its turns below the session's span, and the gateway its calls below the client's.
fn trace_hangs_together(taken: &Taken, session: &Session) {
    let spans = || taken.spans.iter().map(|(resource, span)| (resource["service.name"].as_str(), span));
    let trace = session.id.trace_id().to_vec();
    let names: Vec<_> = spans().map(|(service, span)| format!("{service}: {}", span.name)).collect();
    let root = spans().find(|(_, span)| span.name == "session").expect("the session's span").1;
    assert!(root.parent_span_id.is_empty() && root.trace_id == trace);
    let turn = spans().find(|(_, span)| span.name == "claude_code.interaction").expect("a turn").1;
    assert_eq!((&turn.trace_id, &turn.parent_span_id), (&trace, &root.span_id), "{names:?}");
    let chat = spans().find(|(_, span)| span.name.starts_with("chat ")).expect("a call of the model").1;
    let above = spans().find(|(_, span)| span.span_id == chat.parent_span_id).expect("a parent of it").1;
    assert_eq!(above.name, "claude_code.llm_request", "{names:?}");
    assert!(spans().any(|(_, span)| span.name == "hook PreToolUse" && span.parent_span_id == root.span_id));
    assert!(spans().all(|(_, span)| span.trace_id == trace), "one trace: {names:?}");
    assert!(root.links.is_empty(), "nothing has a trace of its own");
}
