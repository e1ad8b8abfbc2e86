//! Joining a terminal that has shown 100 MB: how long until its screen is whole, and how much is sent for it.

use std::time::Instant;

use anyhow::Context;
use futures_util::StreamExt;
use sandboxctl::api::{Role, StartRequest};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Options,
    common::{Daemon, Rung},
    report::{Bound, Report, Row, percentile},
    terminal::{Viewer, profile, program},
};

/// Joins, of which the figures are told.
const JOINS: usize = 20;

/// Rows: time and bytes; the worst of all joins is what counts.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start_with(Rung::Docker, &profile(options)).await;
    let program = ["sh", "-c", &format!("{}; cat > /dev/null", program(7))].map(str::to_owned).to_vec();
    let session = daemon.begin(StartRequest { program, ..StartRequest::default() }).await;
    Viewer::join(&daemon, &session).await?.watch().await?;
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..JOINS {
        let began = Instant::now();
        let mut terminal = daemon.client.terminal(&session.id.to_string(), Role::Observer, None).await?;
        let mut bytes = 0;
        loop {
            let message = terminal.next().await.context("the terminal ended")??;
            bytes += message.len();
            if matches!(message, Message::Binary(_)) {
                break;
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
        sizes.push(bytes as f64 / 1024.0);
    }
    let worst = |figures: &[f64]| vec![percentile(figures.iter().copied(), 1.0)];
    report.add(Row::alone("join after 100 MB, the slowest of 20", "ms", worst(&times), Bound::AtMost(20.0)));
    report.add(Row::alone("join after 100 MB, sent", "KiB", worst(&sizes), Bound::AtMost(64.0)));
    daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await?;
    Ok(())
}
