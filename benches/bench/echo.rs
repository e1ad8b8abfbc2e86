//! A keystroke's way to the program's terminal and back to the caller's: through `sandboxctl attach`, against
//! a terminal with nothing between.

use std::time::{Duration, Instant};

use super::{
    Options,
    common::{Daemon, Rung},
    pty::Pty,
    report::{Bound, Pairs, Report, Row, percentile},
    terminal::profile,
};

/// Keystrokes of one figure.
const KEYS: usize = 400;
/// Between two of them: nobody types faster, and nothing is measured of a queue.
const PAUSE: Duration = Duration::from_millis(3);
/// Echoes what is typed, and says when it is ready to.
const PROGRAM: [&str; 3] = ["sh", "-c", "stty -icanon; echo ready; cat > /dev/null"];

/// Rows: the median, and the 99th percentile.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start_with(Rung::Docker, &profile(options)).await;
    let config = daemon.config().display().to_string();
    let mut ours = vec![env!("CARGO_BIN_EXE_sandboxctl"), "--config", &config, "start", "--"];
    ours.extend(PROGRAM);
    let (mut middle, mut tail) = (Pairs::default(), Pairs::default());
    for turn in 0..options.pairs {
        let mut both = [Vec::new(), Vec::new()];
        for side in [turn % 2, 1 - turn % 2] {
            both[side] = times(if side == 0 { &PROGRAM } else { ours.as_slice() })?;
        }
        let [raw, through] = both;
        for (pairs, at) in [(&mut middle, 0.5), (&mut tail, 0.99)] {
            pairs.theirs.push(percentile(raw.iter().copied(), at));
            pairs.ours.push(percentile(through.iter().copied(), at));
        }
    }
    let suffix = options.runtime.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
    let bound = |b| if options.runtime.is_none() { Bound::AddsAtMost(b) } else { Bound::Told };
    report.add(Row::paired(&format!("echo through attach, median{suffix}"), "ms", middle, "raw", bound(0.5)));
    report.add(Row::paired(&format!("echo through attach, p99{suffix}"), "ms", tail, "raw", bound(2.0)));
    for session in daemon.client.sessions(false).await?.sessions {
        daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await?;
    }
    Ok(())
}

/// Round trips in milliseconds.
fn times(argv: &[&str]) -> anyhow::Result<Vec<f64>> {
    let mut pty = Pty::spawn(argv)?;
    pty.until(b"ready\r\n")?;
    std::thread::sleep(Duration::from_millis(300));
    let mut times = Vec::with_capacity(KEYS);
    for key in (b'a'..=b'z').cycle().take(KEYS) {
        let began = Instant::now();
        pty.type_in(&[key])?;
        times.push((pty.until(&[key])? - began).as_secs_f64() * 1e3);
        std::thread::sleep(PAUSE);
    }
    pty.kill();
    Ok(times)
}
