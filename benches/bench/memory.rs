//! What daemon and guest hold in memory.

use std::{fs, process::Command, time::Duration};

use anyhow::Context;
use sandboxctl::api::StartRequest;

use super::{
    Options,
    common::{Daemon, Rung},
    report::{Bound, Report, Row},
    terminal::profile,
};

/// Idle sessions.
const SESSIONS: u32 = 20;

/// Rows: the daemon with none, each idle session's share, the guest.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let config = format!("max_sessions_per_user = 100\n{}", profile(options));
    let daemon = Daemon::start_with(Rung::Docker, &config).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = resident_kib(daemon.pid())?;
    report.add(Row::alone("daemon with no session, RSS", "MiB", vec![empty / 1024.0], Bound::AtMost(40.0)));
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let program = ["sh", "-c", "echo idle; cat > /dev/null"].map(str::to_owned).to_vec();
        sessions.push(daemon.begin(StartRequest { program, ..StartRequest::default() }).await);
    }
    for session in &sessions {
        daemon.when(session, "it has printed", |s| s.active_at.is_some() && s.recorded_bytes > 0).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let full = resident_kib(daemon.pid())?;
    let each = (full - empty) / f64::from(SESSIONS) / 1024.0;
    report.add(Row::alone(
        "daemon, each idle session, screen model included",
        "MiB",
        vec![each],
        Bound::AtMost(1.0),
    ));
    let container = format!("sandbox-{}", sessions[0].id);
    let inspected = Command::new("docker").args(["inspect", "-f", "{{.State.Pid}}", &container]).output()?;
    let pid = String::from_utf8(inspected.stdout)?.trim().parse().context("a process id")?;
    let guest = resident_kib(pid)? / 1024.0;
    report.add(Row::alone("guest, RSS", "MiB", vec![guest], Bound::AtMost(5.0)));
    Ok(())
}

/// What a process has in memory now.
pub fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmRSS:")
}

/// The most that a process has had since [`forget_peak`].
pub fn peak_kib(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmHWM:")
}

/// Begins a process's peak anew (proc(5), `clear_refs`).
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Processor time of a process so far, in seconds.
pub fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    const TICKS: f64 = 100.0; // a second, everywhere that Linux runs
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("fields")?.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}

fn status(pid: u32, key: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)).context("a figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
