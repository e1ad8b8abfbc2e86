//! From the command to the first byte of `sh -c 'echo ready'` at the caller's terminal: a container of its
//! own, fresh or warm, against `docker run -it --network none` of the same image.

use std::time::Duration;

use sandboxctl::api::SessionList;

use super::{
    Options,
    common::{Daemon, Rung, eventually},
    peers, pty,
    report::{Bound, Pairs, Report, Row},
};

const READY: &[u8] = b"ready\r\n";
const PROGRAM: [&str; 3] = ["sh", "-c", "echo ready"];

/// Rows: cold, and from a spare.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start_with(Rung::Docker, &profiles(options)).await;
    let docker = peers::docker_run(options, &PROGRAM);
    let docker: Vec<&str> = docker.iter().map(String::as_str).collect();
    // Neither side pays for a first time.
    pty::time_to(&docker, READY)?;
    timed(&daemon, "cold").await?;
    let suffix = options.runtime.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
    for (profile, what, bound) in [
        ("cold", "start, cold, to the first byte", Bound::RatioAtMost(1.15)),
        ("warm", "start from a spare, to the first byte", Bound::RatioAtMost(0.10)),
    ] {
        let bound = if options.runtime.is_some() { Bound::Told } else { bound };
        let pairs = Pairs::take(
            options,
            || timed(&daemon, profile),
            async || {
                // The engine is to be as idle for the one as for the other.
                quiet(&daemon, profile).await;
                Ok(pty::time_to(&docker, READY)?.as_secs_f64() * 1e3)
            },
        )
        .await?;
        report.add(Row::paired(&format!("{what}{suffix}"), "ms", pairs, "docker run -it", bound));
    }
    Ok(())
}

fn profiles(options: &Options) -> String {
    let runtime = options.runtime.as_ref().map(|r| format!("runtime = \"{r}\"\n")).unwrap_or_default();
    let image = &options.image;
    format!(
        "[profiles.cold]\nimage = \"{image}\"\ncredential = \"demo\"\n{runtime}\
         [profiles.warm]\nimage = \"{image}\"\ncredential = \"demo\"\nspares = 1\n{runtime}"
    )
}

/// One session through the CLI, at a terminal; milliseconds.
async fn timed(daemon: &Daemon, profile: &str) -> anyhow::Result<f64> {
    quiet(daemon, profile).await;
    let config = daemon.config().display().to_string();
    let mut argv =
        vec![env!("CARGO_BIN_EXE_sandboxctl"), "--config", &config, "start", "--profile", profile, "--"];
    argv.extend(PROGRAM);
    Ok(pty::time_to(&argv, READY)?.as_secs_f64() * 1e3)
}

/// Waits until nothing of an earlier session is under way, and the profile's spare is warm.
async fn quiet(daemon: &Daemon, profile: &str) {
    eventually("no session lives, and a spare is warm", async || {
        let live = daemon.client.sessions(false).await.map(|l: SessionList| l.sessions.len());
        matches!(live, Ok(0)) && (profile != "warm" || daemon.spares().await > 0)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}
