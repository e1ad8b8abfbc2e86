//! How cost grows with the number of sessions: what each adds to the daemon's memory, what all of them cost
//! when idle, how long the next one takes, and how long a keystroke in it.

use std::time::{Duration, Instant};

use sandboxctl::api::{Role, StartRequest};

use super::{
    Options,
    common::{Daemon, Rung},
    memory::{cpu_s, resident_kib},
    report::{Bound, Report, Row, percentile},
    terminal,
};

/// Sessions that there are, step by step.
const STEPS: [usize; 4] = [1, 10, 100, 1000];
/// Over which idleness is measured.
const IDLE: Duration = Duration::from_secs(10);
/// Keystrokes of a figure.
const KEYS: usize = 100;

/// Rows: for Docker up to 100, for the local engine up to `--most`.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let many = "max_sessions = 2000\nmax_sessions_per_user = 2000\n";
    for (rung, name, most) in [(Rung::Docker, "Docker", 100), (Rung::Local, "local", options.most)] {
        let config = format!("{many}{}", terminal::profile(options));
        let daemon = Daemon::start_with(rung, &config).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let empty = resident_kib(daemon.pid())?;
        let mut alive = 0;
        for step in STEPS.into_iter().filter(|step| *step <= most) {
            while alive < step - 1 {
                begin(&daemon).await;
                alive += 1;
            }
            let began = Instant::now();
            let session = begin(&daemon).await;
            let mut screen = daemon.join(&session, Role::Driver, None).await;
            screen.until_shows("ready").await;
            let start = began.elapsed().as_secs_f64() * 1e3;
            alive += 1;
            let mut keys = Vec::new();
            for key in ('a'..='z').cycle().take(KEYS) {
                screen.bytes.clear();
                let began = Instant::now();
                screen.type_in(&key.to_string()).await;
                screen.until("the echo", |s| s.bytes.contains(&(key as u8))).await;
                keys.push(began.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            drop(screen);
            let cpu = cpu_s(daemon.pid())?;
            tokio::time::sleep(IDLE).await;
            let idle = (cpu_s(daemon.pid())? - cpu) / IDLE.as_secs_f64() * 100.0;
            let each = (resident_kib(daemon.pid())? - empty) / alive as f64 / 1024.0;
            let told = |what: &str, unit, figure| {
                Row::alone(&format!("{name}, {alive} sessions: {what}"), unit, vec![figure], Bound::Told)
            };
            report.add(told("the last one's start", "ms", start));
            report.add(told(
                "a keystroke's echo at the WebSocket, median",
                "ms",
                percentile(keys.into_iter(), 0.5),
            ));
            report.add(told("the daemon's memory, each", "MiB", each));
            report.add(told("the daemon's processor when all are idle", "% of a core", idle));
        }
    }
    Ok(())
}

async fn begin(daemon: &Daemon) -> sandboxctl::api::Session {
    let program = ["sh", "-c", "stty -icanon; echo ready; cat > /dev/null"].map(str::to_owned).to_vec();
    let session = daemon.begin(StartRequest { program, ..StartRequest::default() }).await;
    daemon.when(&session, "it runs", |s| s.started_at.is_some()).await
}
