//! `replay`: a recording, played in this terminal at its own pace.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::{args::Replay, export::member, usage};
use crate::{
    cast::{Code, Header, Reader},
    client::{Client, ClientError},
};

/// The recording's file in a bundle.
const CAST: &str = "terminal/session.cast";
/// Puts back what a recording may have changed.
const RESTORE: &[u8] = b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[<u\x1b[r\x1b[?25h\x1b[m\r\n";

/// `sandboxctl replay`.
pub(super) async fn replay(args: &Replay, client: &Client) -> anyhow::Result<()> {
    let cast = if Path::new(&args.what).is_file() {
        from_file(Path::new(&args.what)).map_err(|e| {
            usage(format!("{}: {e}; name a bundle, an asciicast file or a session", args.what))
        })?
    } else {
        from_session(&args.what, client).await?
    };
    let text = String::from_utf8_lossy(&cast);
    let mut lines = text.lines();
    let mut reader = Reader::new(lines.next().unwrap_or_default())
        .map_err(|e| usage(format!("{}: {e}; name a bundle, an asciicast file or a session", args.what)))?;
    warn_about_size(reader.header());
    let played = play(&mut reader, lines, args).await;
    if io::stdout().is_terminal() {
        io::stdout().lock().write_all(RESTORE)?;
    }
    played
}

async fn play(reader: &mut Reader, lines: impl Iterator<Item = &str>, args: &Replay) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut due = Instant::now();
    let mut at = Duration::ZERO;
    for line in lines {
        let Some(event) = reader.line(line)? else { continue };
        let time = Duration::from_micros(event.time);
        let pause = time.saturating_sub(at);
        at = time;
        // What lies before the beginning is drawn at once: the screen is right from the first moment on.
        if at > args.from {
            out.flush()?;
            due += pause.min(args.idle).div_f64(args.speed);
            sleep_until(due).await;
        }
        if event.code == Code::Output {
            out.write_all(event.data.as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

fn from_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut magic = [0; 2];
    File::open(path)?.read_exact(&mut magic).ok();
    let file = BufReader::new(File::open(path)?);
    if magic == [0x1f, 0x8b] { member(file, CAST) } else { file.bytes().collect() }
}

async fn from_session(session: &str, client: &Client) -> anyhow::Result<Vec<u8>> {
    let id = client.session(session).await?.id;
    let mut chunks =
        std::pin::pin!(client.stream(&format!("/api/v1/sessions/{id}/export"), "application/gzip").await?);
    let mut bundle = tempfile::tempfile()?;
    while let Some(chunk) = chunks.next().await {
        bundle.write_all(&chunk?)?;
    }
    io::Seek::rewind(&mut bundle)?;
    member(BufReader::new(bundle), CAST).map_err(|e| ClientError::Broken(e.to_string()).into())
}

fn warn_about_size(cast: &Header) {
    if let Ok((cols, rows)) = crossterm::terminal::size()
        && io::stdout().is_terminal()
        && (cols < cast.cols || rows < cast.rows)
    {
        eprintln!(
            "the recording is {}×{}, this terminal {cols}×{rows}: it may look torn",
            cast.cols, cast.rows
        );
    }
}
