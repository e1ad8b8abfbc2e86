//! The long form, for `scripts/soak`: storm after storm, for as long as it is told, and an account at the end.

use std::{
    env,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

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
        (Program::Flood, Manner::Attentive),
        (Program::Lines, Manner::Slow),
        (Program::Lines, Manner::Resizing),
        (Program::Painter, Manner::Attentive),
        (Program::Telemetry, Manner::Attentive),
        (last, Manner::Attentive),
    ];
    let began = Instant::now();
    let (mut sum, mut sessions, mut kills) = (Tally::default(), 0, 0);
    while began.elapsed() < length && sum.wrong.is_empty() {
        let round = ROUND.min(length.saturating_sub(began.elapsed()));
        // What fails within is counted too, so that there is an account in any case.
        let round = AssertUnwindSafe(async {
            let mut storm = Storm::gather(rung, &programs).await;
            let seed = storm.dice.seed;
            storm.rage(Until::Time(round)).await;
            let kills = storm.kills;
            (seed, kills, storm.settle().await)
        });
        match round.catch_unwind().await {
            Ok((seed, killed, report)) => {
                kills += killed;
                sessions += report.sessions.len() + report.born;
                sum.add(report.sum());
                let (s, mb) = (began.elapsed().as_secs(), sum.bytes >> 20);
                eprintln!("{s} s: {kills} kills, {sessions} sessions, {mb} MB of output (seed {seed})");
            }
            Err(panic) => {
                let why = panic.downcast_ref::<String>().map_or("see above", |why| why);
                sum.wrong.push(format!("a storm failed: {why}"));
            }
        }
    }
    eprintln!(
        "\nkills of the daemon     {kills}\nsessions                {sessions}\nbytes of output         {} written, \
         {} on record\nOTLP requests           {} answered 200, {} on record\nlost: {}",
        sum.bytes,
        sum.bytes_found,
        sum.requests,
        sum.requests_found,
        sum.lost()
    );
    for wrong in &sum.wrong {
        eprintln!("wrong: {wrong}");
    }
    sum.assert_whole();
}
