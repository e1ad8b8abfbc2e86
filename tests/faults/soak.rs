//! The long form, for `scripts/soak`: storm after storm, for as long as it is told, and an account at the end.

use std::{
    env,
    time::{Duration, Instant},
};

use crate::{
    common::Rung,
    programs::{Program, Tally},
    storm::{Storm, Until},
    watchers::Manner,
};

/// A storm that goes on longer leaves records that take longer to check than to write.
const ROUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes as long as SANDBOXCTL_SOAK_S says: scripts/soak runs it"]
async fn nothing_is_lost_for_as_long_as_it_goes_on() {
    let seconds = env::var("SANDBOXCTL_SOAK_S").expect("SANDBOXCTL_SOAK_S says how many seconds");
    let length = Duration::from_secs(seconds.parse().expect("SANDBOXCTL_SOAK_S is a number"));
    let docker = env::var_os("SANDBOXCTL_SOAK_DOCKER").is_some();
    let (rung, last) = if docker { (Rung::Docker, Program::Client) } else { (Rung::Local, Program::Lines) };
    let programs = [
        (Program::Lines, Manner::Attentive),
        (Program::Lines, Manner::Slow),
        (Program::Lines, Manner::Resizing),
        (Program::Painter, Manner::Attentive),
        (Program::Telemetry, Manner::Attentive),
        (last, Manner::Attentive),
    ];
    let began = Instant::now();
    let (mut sum, mut sessions, mut kills) = (Tally::default(), 0, 0);
    while began.elapsed() < length {
        let mut storm = Storm::gather(rung, &programs).await;
        let seed = storm.dice.seed;
        storm.rage(Until::Time(ROUND.min(length.saturating_sub(began.elapsed())))).await;
        kills += storm.kills;
        let report = storm.settle().await;
        sessions += report.sessions.len() + report.born;
        for (_, _, tally) in &report.sessions {
            sum.bytes += tally.bytes;
            sum.bytes_found += tally.bytes_found;
            sum.requests += tally.requests;
            sum.requests_found += tally.requests_found;
        }
        let s = began.elapsed().as_secs();
        eprintln!(
            "{s} s: {kills} kills, {sessions} sessions, {} MB of output (seed {seed})",
            sum.bytes >> 20
        );
    }
    let lost = (sum.bytes - sum.bytes_found) + (sum.requests - sum.requests_found);
    eprintln!(
        "\nkills of the daemon     {kills}\nsessions                {sessions}\nbytes of output         {} written, \
         {} on record\nOTLP requests           {} answered 200, {} on record\nlost: {lost}",
        sum.bytes, sum.bytes_found, sum.requests, sum.requests_found
    );
    assert_eq!(lost, 0);
}
