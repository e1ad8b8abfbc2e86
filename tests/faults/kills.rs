//! `kill -9` of the daemon, at any moment.

use std::env;

use crate::{
    common::Rung,
    programs::Program,
    storm::{Report, Storm, Until},
    watchers::Manner,
};

/// Kills of the short form; `SANDBOXCTL_KILLS` asks for more, and `scripts/soak --kills` with it.
const KILLS: u64 = 6;

fn kills() -> u64 {
    env::var("SANDBOXCTL_KILLS").map_or(KILLS, |kills| kills.parse().expect("SANDBOXCTL_KILLS is a number"))
}

/// Gathers these programs, kills the daemon under them, and accounts for what they wrote.
async fn storm(rung: Rung, programs: &[(Program, Manner)]) -> Report {
    let mut storm = Storm::gather(rung, programs).await;
    storm.rage(Until::Kills(kills())).await;
    let (kills, early) = (storm.kills, storm.early_kills);
    let report = storm.settle().await;
    for (program, session, tally) in &report.sessions {
        eprintln!("{} {program:?}: {tally:?}, {} turns", session.id, session.totals.turns);
    }
    let sum = report.sum();
    eprintln!(
        "{kills} kills, {early} of them in the middle of a start; {} MB of output in up to {} segments; lost: {}",
        sum.bytes >> 20,
        report.segments,
        sum.lost()
    );
    sum.assert_whole();
    assert!(sum.requests > 0, "there was telemetry");
    assert!(report.segments > 2, "a journal was rolled under way");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_daemon_at_random_moments_loses_no_byte_and_no_request_and_stops_no_session() {
    let programs = [
        (Program::Flood, Manner::Attentive),
        (Program::Flood, Manner::Slow),
        (Program::Lines, Manner::Resizing),
        (Program::Painter, Manner::Attentive),
        (Program::Telemetry, Manner::Attentive),
    ];
    storm(Rung::Local, &programs).await;
}

/// Five sessions print at full rate, the real client works and tells, and the daemon is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn five_sessions_at_full_rate_and_the_real_client_lose_nothing_to_kill_9_of_the_daemon() {
    let programs = [
        (Program::Flood, Manner::Attentive),
        (Program::Flood, Manner::Slow),
        (Program::Flood, Manner::Resizing),
        (Program::Flood, Manner::Attentive),
        (Program::Flood, Manner::Attentive),
        (Program::Client, Manner::Attentive),
        (Program::Telemetry, Manner::Attentive),
    ];
    let report = storm(Rung::Docker, &programs).await;
    assert!(report.sessions.iter().any(|(_, session, _)| session.totals.turns > 0), "the client took turns");
}
