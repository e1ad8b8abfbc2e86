//! A session's terminal in this one. A lost connection is joined again at the exact byte.
//!
//! ```text
//!   keyboard ──▶ ┌──────┐ ─▶ WebSocket
//!   SIGWINCH ──▶ │ join │
//!   WebSocket ─▶ └──────┘ ─▶ stdout, then acknowledge
//! ```

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use crossterm::terminal;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{farewell, keyboard::Keyboard, program_code, say, wait_for};
use crate::{
    api::{FromTerminal, Role, ToTerminal},
    client::{Client, ClientError, Terminal},
    detach::DetachKey,
    inert::inert,
};

/// How long to try to reach a daemon that has gone away.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Acknowledged at least this often.
const ACK_BYTES: usize = 64 << 10;
/// Puts back what a program may have changed: screen, mouse, paste, focus, keyboard, cursor, colours, title.
const RESTORE: &[u8] = b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?1l\x1b>\x1b[<u\x1b[?7h\x1b[r\x1b[?25h\x1b[0 q\x1b[m\x1b]2;\x07";

/// Why a terminal was left.
enum Left {
    /// With the detach key.
    Detached,
    /// The session ended.
    Ended,
    /// The connection broke; what came last had this sequence number.
    Lost,
}

/// Joins a session's terminal until it ends or the detach key is pressed.
pub(super) async fn attach(
    client: &Client,
    session: &str,
    drive: bool,
    key: DetachKey,
) -> anyhow::Result<ExitCode> {
    let session = client.session(session).await?;
    let id = session.id.to_string();
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let role = if drive { Role::Driver } else { Role::Observer };
    let mut join = Join {
        client,
        id: id.clone(),
        role,
        after: None,
        keyboard: Keyboard::open(),
        resized: signal(SignalKind::window_change())?,
        key,
        interactive,
    };
    if interactive {
        eprintln!("session {id}; leave it with {}", join.key.name());
    }
    let raw = if interactive { Some(Raw::enter()?) } else { None };
    let left = join.run().await;
    drop(raw);
    match left? {
        Left::Detached => {
            eprintln!(
                "\nleft session {id}, which goes on; join again with: sandboxctl attach {}",
                session.id.short()
            );
            Ok(ExitCode::SUCCESS)
        }
        Left::Ended | Left::Lost => {
            let session = wait_for(client, &id).await?;
            eprintln!("\n{}", farewell(&session));
            Ok(program_code(&session))
        }
    }
}

struct Join<'a> {
    client: &'a Client,
    id: String,
    role: Role,
    after: Option<u64>,
    keyboard: Keyboard,
    resized: Signal,
    key: DetachKey,
    interactive: bool,
}

impl Join<'_> {
    async fn run(&mut self) -> anyhow::Result<Left> {
        let mut since: Option<Instant> = None;
        let mut pause = RETRY.0;
        loop {
            match self.client.terminal(&self.id, self.role, self.after).await {
                Ok(terminal) => {
                    since = None;
                    pause = RETRY.0;
                    match self.follow(terminal).await? {
                        Left::Lost => {}
                        left => return Ok(left),
                    }
                }
                Err(ClientError::Refused(problem)) if problem.code == "session_ended" => {
                    return Ok(Left::Ended);
                }
                Err(error @ ClientError::Refused(_)) => return Err(error.into()),
                Err(error) if since.is_some_and(|s| s.elapsed() > PATIENCE) => return Err(error.into()),
                Err(_) => {}
            }
            since.get_or_insert_with(Instant::now);
            title(self.interactive, "reconnecting…");
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(RETRY.1),
                bytes = self.keyboard.next() => {
                    if self.key.find(&bytes).is_some() {
                        return Ok(Left::Detached);
                    }
                }
            }
        }
    }

    async fn follow(&mut self, terminal: Terminal) -> anyhow::Result<Left> {
        let (mut send, mut receive) = terminal.split();
        let mut next_is_snapshot = false;
        let mut unacknowledged = 0;
        let mut ack_at = None;
        loop {
            tokio::select! {
                message = receive.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        let Some((seq, output)) = bytes.split_first_chunk::<8>() else { continue };
                        show(output)?;
                        self.after = Some(u64::from_be_bytes(*seq));
                        unacknowledged += output.len();
                        if std::mem::take(&mut next_is_snapshot) || unacknowledged >= ACK_BYTES {
                            unacknowledged = 0;
                            ack_at = None;
                            tell(&mut send, &ToTerminal::Ack { seq: u64::from_be_bytes(*seq) }).await.ok();
                        } else {
                            ack_at.get_or_insert_with(|| Instant::now() + Duration::from_millis(50));
                        }
                    }
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text)? {
                        FromTerminal::Snapshot { seq, .. } => {
                            self.after = Some(seq);
                            next_is_snapshot = true;
                        }
                        FromTerminal::Resize { seq, .. } => self.after = Some(seq),
                        FromTerminal::Role { role } => {
                            if role == Role::Driver {
                                tell_size(&mut send).await;
                            }
                        }
                        FromTerminal::Notice { text } => title(self.interactive, text.as_deref().unwrap_or_default()),
                        FromTerminal::Exit { .. } => return Ok(Left::Ended),
                    },
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Ok(Left::Lost),
                },
                () = sleep_until(ack_at.unwrap_or_else(Instant::now)), if ack_at.is_some() => {
                    ack_at = None;
                    unacknowledged = 0;
                    if let Some(seq) = self.after {
                        tell(&mut send, &ToTerminal::Ack { seq }).await.ok();
                    }
                }
                bytes = self.keyboard.next() => {
                    let (rest, detach) = match self.key.find(&bytes) {
                        Some(at) => (bytes[..at].to_vec(), true),
                        None => (bytes, false),
                    };
                    if self.role == Role::Driver && !rest.is_empty() && send.send(Message::Binary(rest.into())).await.is_err() {
                        return Ok(Left::Lost);
                    }
                    if detach {
                        send.close().await.ok();
                        return Ok(Left::Detached);
                    }
                }
                _ = self.resized.recv() => if self.role == Role::Driver { tell_size(&mut send).await },
            }
        }
    }
}

type Sender = futures_util::stream::SplitSink<Terminal, Message>;

async fn tell(send: &mut Sender, message: &ToTerminal) -> Result<(), tungstenite::Error> {
    let text = serde_json::to_string(message).unwrap_or_default();
    send.send(Message::Text(text.into())).await
}

async fn tell_size(send: &mut Sender) {
    if let Ok((cols, rows)) = terminal::size()
        && io::stdout().is_terminal()
    {
        tell(send, &ToTerminal::Resize { cols, rows }).await.ok();
    }
}

fn show(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The one place that a session's terminal leaves to us: the title bar.
fn title(interactive: bool, text: &str) {
    if interactive {
        show(format!("\x1b]2;{}\x07", inert(text)).as_bytes()).ok();
    }
}

/// Raw mode, and everything put back at the end.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Raw> {
        terminal::enable_raw_mode()?;
        Ok(Raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        show(RESTORE).ok();
        terminal::disable_raw_mode().ok();
        say("").ok();
    }
}
