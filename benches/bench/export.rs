//! Exporting a journal of 500 MB, against `tar c | gzip -6` of the same files.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::ensure;
use futures_util::StreamExt;
use sandboxctl::api::{Session, StartRequest};

use super::{
    Options,
    common::{Daemon, Rung},
    memory,
    report::{Bound, Pairs, Report, Row},
    terminal::program,
};

/// How often the file of 15 MB is printed.
const TIMES: usize = 34;

/// Rows: rate, and memory.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start(Rung::Local).await;
    let program = ["sh", "-c", &program(TIMES)].map(str::to_owned).to_vec();
    let session = daemon.begin(StartRequest { program, ..StartRequest::default() }).await;
    while daemon.client.session(&session.id.to_string()).await?.ended_at.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let folder = daemon.dir().join("s/sessions").join(session.id.to_string());
    let megabytes = size(&folder)? / 1e6;
    ensure!(megabytes > 450.0, "the journal has {megabytes} MB");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    memory::forget_peak(daemon.pid())?;
    let before = memory::resident_kib(daemon.pid())?;
    let mut pairs = Pairs::default();
    for turn in 0..options.pairs {
        for side in [turn % 2, 1 - turn % 2] {
            if side == 0 {
                let (seconds, bytes) = peer(&folder)?;
                pairs.theirs.push(megabytes / seconds);
                theirs.push(bytes as f64 / 1e6);
            } else {
                let began = Instant::now();
                let bytes = export(&daemon, &session).await?;
                pairs.ours.push(megabytes / began.elapsed().as_secs_f64());
                ours.push(bytes as f64 / 1e6);
            }
        }
    }
    let name = "export of a 500 MB journal";
    report.add(Row::paired(name, "MB/s", pairs, "tar c | gzip -6", Bound::RatioAtLeast(1.0)));
    let most = (memory::peak_kib(daemon.pid())? - before).max(0.0) / 1024.0;
    report.add(Row::alone("export, memory beyond the daemon's", "MiB", vec![most], Bound::AtMost(64.0)));
    let sizes = Pairs { ours, theirs };
    report.add(Row::paired("export, the bundle", "MB", sizes, "tar c | gzip -6", Bound::Told));
    Ok(())
}

async fn export(daemon: &Daemon, session: &Session) -> anyhow::Result<u64> {
    let path = format!("/api/v1/sessions/{}/export", session.id);
    let mut chunks = std::pin::pin!(daemon.client.stream(&path, "application/gzip").await?);
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        bytes += chunk?.len() as u64;
    }
    Ok(bytes)
}

/// Seconds that it takes, and bytes that come out.
fn peer(folder: &Path) -> anyhow::Result<(f64, u64)> {
    let began = Instant::now();
    let mut tar =
        Command::new("tar").arg("-C").arg(folder).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let piped = tar.stdout.take().expect("it was piped");
    let mut gzip = Command::new("gzip").arg("-6").stdin(piped).stdout(Stdio::piped()).spawn()?;
    let mut packed = gzip.stdout.take().expect("it was piped");
    let bytes = std::io::copy(&mut packed, &mut std::io::sink())?;
    ensure!(tar.wait()?.success() && gzip.wait()?.success(), "tar and gzip work");
    Ok((began.elapsed().as_secs_f64(), bytes))
}

fn size(folder: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0.0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.path().is_dir() { size(&entry.path())? } else { entry.metadata()?.len() as f64 };
    }
    Ok(bytes)
}
