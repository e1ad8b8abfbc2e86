//! `kill -9` of the daemon, at any moment.

use std::env;

use crate::{
    common::Rung,
    programs::Program,
    storm::{Storm, Until},
    watchers::Manner,
};

/// Kills of the short form; `SANDBOXCTL_KILLS` asks for more.
const KILLS: u64 = 6;

fn kills() -> u64 {
    env::var("SANDBOXCTL_KILLS").map_or(KILLS, |kills| kills.parse().expect("SANDBOXCTL_KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_daemon_at_random_moments_loses_no_byte_and_no_request_and_stops_no_session() {
    let programs = [
        (Program::Lines, Manner::Attentive),
        (Program::Lines, Manner::Slow),
        (Program::Lines, Manner::Resizing),
        (Program::Painter, Manner::Attentive),
        (Program::Telemetry, Manner::Attentive),
    ];
    let mut storm = Storm::gather(Rung::Local, &programs).await;
    storm.rage(Until::Kills(kills())).await;
    eprintln!("{} kills, {} of them in the middle of a start", storm.kills, storm.early_kills);
    let report = storm.settle().await;
    for (program, session, tally) in &report.sessions {
        eprintln!("{} {program:?}: {tally:?}", session.id);
        assert!(tally.bytes > 0);
    }
    assert!(report.sessions.iter().any(|(_, _, tally)| tally.requests > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_client_loses_nothing_to_kill_9_of_the_daemon() {
    let programs = [
        (Program::Client, Manner::Attentive),
        (Program::Client, Manner::Attentive),
        (Program::Lines, Manner::Attentive),
        (Program::Telemetry, Manner::Attentive),
    ];
    let mut storm = Storm::gather(Rung::Docker, &programs).await;
    storm.rage(Until::Kills(kills())).await;
    let report = storm.settle().await;
    for (program, session, tally) in &report.sessions {
        eprintln!("{} {program:?}: {tally:?}, {} turns", session.id, session.totals.turns);
    }
    assert!(report.sessions.iter().any(|(_, session, _)| session.totals.turns > 0));
}
