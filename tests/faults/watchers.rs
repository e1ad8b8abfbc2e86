//! Somebody at a terminal who comes back whenever the daemon does, as the page and `sandboxctl watch` do.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use sandbox_guest::wire::decode_size;
use sandboxctl::{
    api::{FromTerminal, Role, Session, ToTerminal},
    client::{Client, ClientError},
    journal::{Kind, Reader},
    screen::Screen,
};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::common::PATIENCE;

/// What a watcher has seen.
pub struct Seen {
    /// The screen at the end.
    pub screen: Screen,
    /// How often it joined.
    pub joins: usize,
    /// How often it was given a whole screen.
    pub snapshots: usize,
}

/// How somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads what comes.
    Attentive,
    /// Reads a little, then looks away for a while.
    Slow,
    /// Drives, and changes the size again and again.
    Resizing,
}

/// Watches a session to its end.
pub fn watch(client: Client, session: &Session, manner: Manner) -> JoinHandle<Seen> {
    let id = session.id.to_string();
    let screen = Screen::new(session.cols, session.rows);
    tokio::spawn(async move {
        let mut watcher =
            Watcher { seen: Seen { screen, joins: 0, snapshots: 0 }, after: None, manner, turns: 0 };
        let mut away_since = Instant::now();
        let role = if manner == Manner::Resizing { Role::Driver } else { Role::Observer };
        loop {
            match client.terminal(&id, role, watcher.after).await {
                Ok(terminal) => {
                    watcher.seen.joins += 1;
                    if watcher.follow(terminal).await {
                        return watcher.seen;
                    }
                    away_since = Instant::now();
                }
                Err(ClientError::Refused(problem)) if problem.code == "session_ended" => return watcher.seen,
                Err(error) => {
                    assert!(away_since.elapsed() < PATIENCE, "the watcher cannot come back: {error}")
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

struct Watcher {
    seen: Seen,
    after: Option<u64>,
    manner: Manner,
    turns: u64,
}

impl Watcher {
    /// Follows one connection; true when the session has ended.
    async fn follow(&mut self, mut terminal: sandboxctl::client::Terminal) -> bool {
        let mut snapshot_next = false;
        while let Some(Ok(message)) = terminal.next().await {
            match message {
                Message::Binary(bytes) => {
                    let (seq, output) = bytes.split_first_chunk::<8>().expect("a sequence number");
                    let seq = u64::from_be_bytes(*seq);
                    let before = self.after.filter(|_| !snapshot_next);
                    assert!(before.is_none_or(|before| seq > before), "{seq} comes after {before:?}");
                    snapshot_next = false;
                    self.after = Some(seq);
                    self.seen.screen.advance(output);
                    let ack = serde_json::to_string(&ToTerminal::Ack { seq }).expect("JSON");
                    terminal.send(Message::Text(ack.into())).await.ok();
                    self.turns += 1;
                    match self.manner {
                        Manner::Attentive => {}
                        Manner::Slow if self.turns.is_multiple_of(20) => {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                        Manner::Resizing if self.turns.is_multiple_of(20) => {
                            let (cols, rows) = (60 + (self.turns % 60) as u16, 34 + (self.turns % 7) as u16);
                            let resize =
                                serde_json::to_string(&ToTerminal::Resize { cols, rows }).expect("JSON");
                            terminal.send(Message::Text(resize.into())).await.ok();
                        }
                        Manner::Slow | Manner::Resizing => {}
                    }
                }
                Message::Text(text) => {
                    match serde_json::from_str(&text).expect("a message of the protocol") {
                        FromTerminal::Snapshot { seq, cols, rows } => {
                            self.seen.screen = Screen::new(cols, rows);
                            self.seen.snapshots += 1;
                            self.after = Some(seq);
                            snapshot_next = true;
                        }
                        FromTerminal::Resize { seq, cols, rows } => {
                            self.seen.screen.resize(cols, rows);
                            self.after = Some(seq);
                        }
                        FromTerminal::Exit { .. } => return true,
                        FromTerminal::Role { .. } | FromTerminal::Notice { .. } => {}
                    }
                }
                _ => {}
            }
        }
        false
    }
}

/// The screen that a journal leads to.
pub fn screen_of(journal: &Path, session: &Session) -> Screen {
    let mut screen = Screen::new(session.cols, session.rows);
    for entry in Reader::open(journal, 1) {
        let entry = entry.expect("a good frame");
        match entry.kind {
            Kind::Output => screen.advance(&entry.payload),
            Kind::Resize => {
                let (cols, rows) = decode_size(&entry.payload).expect("a size");
                screen.resize(cols, rows);
            }
            _ => {}
        }
    }
    screen
}
