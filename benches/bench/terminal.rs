//! Bytes of a terminal per second: through guest, daemon, journal and screen model to one viewer; against
//! reading the same program's terminal with nothing between, and against the peers.
//!
//! The program makes a file in memory, says GO, prints the file, and says DONE; the clock runs between the two
//! words as the reader sees them.

use std::time::Instant;

use anyhow::Context;
use futures_util::StreamExt;
use sandboxctl::api::{Role, StartRequest};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Options,
    common::{Daemon, Rung},
    peers,
    pty::Pty,
    report::{Bound, Pairs, Report, Row, per_second},
};

/// How often the file is printed: 45 MB in all.
const TIMES: usize = 3;

/// Makes `$f`, 15 MB as Claude Code draws: blocks that redraw the last lines in place while an answer grows,
/// each a synchronised update (mode 2026), then whole screens on the alternate one. The words are drawn by lot,
/// the same in every run, so that it packs as such sessions do: to about a sixth.
const DRAW: &str = r#"awk 'BEGIN {
  srand(7)
  n = split("the session container journal frame of a to is and screen token writes reads daemon guest viewer when it that for with as on byte record trace metric hook policy model answer file line test error value Result Option async await match struct return 0x1f8b 2026 src/main.rs Cargo.toml --release ✓ ● │ ⎿", word, " ")
  for (i = 0; i < 7600; i++) {
    printf "\033[?2026h\033[12A"
    for (l = 0; l < 4; l++) { text = ""; for (w = 0; w < 9; w++) text = text word[int(rand() * n) + 1] " "; last[(i * 4 + l) % 12] = text }
    for (l = 0; l < 12; l++) printf "\033[2K\033[38;5;%dm●\033[39m \033[1m%5d\033[22m %s\033[2m(esc to interrupt)\033[22m\r\n", 30 + l, i + l, last[(i * 4 + 4 + l) % 12]
    printf "\033[?2026l"
  }
  printf "\033[?1049h"
  for (i = 0; i < 2500; i++) {
    printf "\033[?2026h\033[H"
    for (l = 0; l < 6; l++) { text = ""; for (w = 0; w < 9; w++) text = text word[int(rand() * n) + 1] " "; page[(i * 6 + l) % 24] = text }
    for (l = 0; l < 24; l++) printf "\033[48;5;%dm %4d \033[49m\033[38;5;%dm%s\033[39m // %d\033[K\r\n", 232 + l, i * 6 + l, 100 + l, page[(i * 6 + 6 + l) % 24], l
    printf "\033[?2026l"
  }
  printf "\033[?1049l"
}' > $f"#;

/// The program, as a line for `sh -c`: it prints that as often.
pub fn program(times: usize) -> String {
    format!("f=/tmp/bench.$$; {DRAW}; echo GO; {}rm $f; echo DONE", "cat $f; ".repeat(times))
}

/// Rows: raw, `docker run -it`, and those peers that are here.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start_with(Rung::Docker, &profile(options)).await;
    let line = program(TIMES);
    let shell = ["sh", "-c", &line];
    let docker = peers::docker_run(options, &shell);
    let docker: Vec<&str> = docker.iter().map(String::as_str).collect();
    let suffix = options.runtime.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
    let held = options.runtime.is_none();
    let bound = |b| if held { Bound::RatioAtLeast(b) } else { Bound::Told };
    let name = format!("terminal bytes to one viewer{suffix}");
    let ours = || rate(&daemon, &line);
    let pairs = Pairs::take(options, ours, async || at_terminal(&shell)).await?;
    report.add(Row::paired(&name, "MB/s", pairs, "the same terminal, raw", bound(0.7)));
    let pairs = Pairs::take(options, ours, async || at_terminal(&docker)).await?;
    report.add(Row::paired(&name, "MB/s", pairs, "docker run -it", bound(4.0)));
    if let Some(asciinema) = peers::binary("asciinema").filter(|_| held) {
        let asciinema = asciinema.display().to_string();
        let to = daemon.dir().join("peer.cast").display().to_string();
        let quoted = line.replace('\'', "'\\''");
        let command = format!("sh -c '{quoted}'");
        let argv = [asciinema.as_str(), "rec", "--overwrite", "--quiet", "-c", &command, &to];
        let pairs = Pairs::take(options, ours, async || at_terminal(&argv)).await?;
        report.add(Row::paired(&name, "MB/s", pairs, "asciinema rec (no container)", Bound::Told));
    }
    if let Some(ttyd) = peers::binary("ttyd").filter(|_| held) {
        let pairs = Pairs::take(options, ours, || peers::ttyd(&ttyd, &line)).await?;
        report.add(Row::paired(&name, "MB/s", pairs, "ttyd (no record, no container)", Bound::Told));
    }
    if held {
        slow_viewer(options, report, &daemon).await?;
    }
    Ok(())
}

pub fn profile(options: &Options) -> String {
    let runtime = options.runtime.as_ref().map(|r| format!("runtime = \"{r}\"\n")).unwrap_or_default();
    format!(
        "[profiles.demo]\nimage = \"{}\"\ncredential = \"demo\"\n{runtime}[profiles.demo.limits]\ncpus = 2\n",
        options.image
    )
}

/// MB/s of a program at a terminal of ours.
fn at_terminal(argv: &[&str]) -> anyhow::Result<f64> {
    let mut pty = Pty::spawn(argv)?;
    let began = pty.until(b"GO\r\n")?;
    let (bytes, ended) = pty.count_until(b"DONE\r\n")?;
    pty.finish()?;
    Ok(per_second(bytes, began, ended))
}

/// MB/s of the same in a session, as one viewer gets it: what it was skipped past in a flood does not count.
async fn rate(daemon: &Daemon, line: &str) -> anyhow::Result<f64> {
    let session = daemon.begin(ask(line)).await;
    let mut viewer = Viewer::join(daemon, &session).await?;
    let rate = viewer.watch().await?;
    if viewer.missed > 0 {
        eprintln!("  (the viewer was skipped forward {} times)", viewer.missed);
    }
    daemon.ended(&session).await;
    Ok(rate)
}

fn ask(line: &str) -> StartRequest {
    let program = ["sh", "-c", line].map(str::to_owned).to_vec();
    StartRequest { program, ..StartRequest::default() }
}

/// A viewer that draws nothing: it acknowledges what it gets, as a page does.
pub struct Viewer {
    terminal: sandboxctl::client::Terminal,
    tail: Vec<u8>,
    bytes: u64,
    snapshots: u64,
    /// Times that it was skipped forward while it watched.
    missed: u64,
    unacknowledged: usize,
}

impl Viewer {
    pub async fn join(daemon: &Daemon, session: &sandboxctl::api::Session) -> anyhow::Result<Viewer> {
        let terminal = daemon.client.terminal(&session.id.to_string(), Role::Observer, None).await?;
        Ok(Viewer { terminal, tail: Vec::new(), bytes: 0, snapshots: 0, missed: 0, unacknowledged: 0 })
    }

    /// From GO to DONE, in MB/s of what the program printed.
    pub async fn watch(&mut self) -> anyhow::Result<f64> {
        self.until(b"GO\r\n").await?;
        let began = Instant::now();
        let (before, snapshots) = (self.bytes, self.snapshots);
        self.until(b"DONE\r\n").await?;
        let ended = Instant::now();
        self.missed = self.snapshots - snapshots;
        Ok(per_second(self.bytes - before, began, ended))
    }

    async fn until(&mut self, wanted: &[u8]) -> anyhow::Result<()> {
        use futures_util::SinkExt;
        loop {
            if let Some(at) = memchr::memmem::find(&self.tail, wanted) {
                self.tail.drain(..at + wanted.len());
                return Ok(());
            }
            let keep = self.tail.len().min(wanted.len() - 1);
            self.tail.drain(..self.tail.len() - keep);
            match self.terminal.next().await.context("the terminal ended")?? {
                Message::Binary(bytes) => {
                    let (seq, output) = bytes.split_first_chunk::<8>().context("a sequence number")?;
                    self.bytes += output.len() as u64;
                    self.tail.extend_from_slice(output);
                    self.unacknowledged += output.len();
                    if self.unacknowledged >= 64 << 10 {
                        self.unacknowledged = 0;
                        let ack = format!("{{\"type\":\"ack\",\"seq\":{}}}", u64::from_be_bytes(*seq));
                        self.terminal.send(Message::Text(ack.into())).await?;
                    }
                }
                Message::Text(text) => self.snapshots += u64::from(text.contains("\"snapshot\"")),
                _ => {}
            }
        }
    }
}

/// A viewer beside one that has stopped reading, held to what it gets alone.
async fn slow_viewer(options: &Options, report: &mut Report, daemon: &Daemon) -> anyhow::Result<()> {
    let line = program(TIMES);
    let beside = async || {
        let session = daemon.begin(ask(&line)).await;
        let mut viewer = Viewer::join(daemon, &session).await?;
        let stalled = Viewer::join(daemon, &session).await?;
        let rate = viewer.watch().await;
        drop(stalled);
        daemon.ended(&session).await;
        rate
    };
    let pairs = Pairs::take(options, beside, || rate(daemon, &line)).await?;
    report.add(Row::paired(
        "terminal bytes to a viewer beside one that stops reading",
        "MB/s",
        pairs,
        "alone",
        Bound::RatioAtLeast(0.95),
    ));
    Ok(())
}
