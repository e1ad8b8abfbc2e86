//! A terminal as somebody at it has it.

use futures_util::{SinkExt, StreamExt};
use sandboxctl::{
    api::{FromTerminal, Role, ToTerminal},
    client::Terminal,
};
use tokio_tungstenite::tungstenite::Message;

use super::PATIENCE;

/// Somebody's terminal, joined.
pub struct Screen {
    terminal: Terminal,
    model: sandboxctl::screen::Screen,
    /// Every byte shown since the last snapshot, snapshot included.
    pub bytes: Vec<u8>,
    /// The last sequence number.
    pub after: u64,
    /// Snapshots so far.
    pub snapshots: usize,
    /// How it ended.
    pub exit: Option<FromTerminal>,
    /// What we may do.
    pub role: Option<Role>,
    snapshot_next: bool,
}

impl Screen {
    /// A terminal that has just been joined.
    pub(super) fn new(terminal: Terminal, cols: u16, rows: u16) -> Screen {
        Screen {
            terminal,
            model: sandboxctl::screen::Screen::new(cols, rows),
            bytes: Vec::new(),
            after: 0,
            snapshots: 0,
            exit: None,
            role: None,
            snapshot_next: false,
        }
    }

    /// Types.
    pub async fn type_in(&mut self, text: &str) {
        self.terminal.send(Message::Binary(text.as_bytes().to_vec().into())).await.expect("typed");
    }

    /// Sends a control message.
    pub async fn tell(&mut self, message: &ToTerminal) {
        let text = serde_json::to_string(message).expect("JSON");
        self.terminal.send(Message::Text(text.into())).await.expect("told");
    }

    /// What is shown, control bytes and all.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Follows until `wanted`; panics when the terminal ends before.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Screen) -> bool) {
        let follow = async {
            while !wanted(self) {
                assert!(self.step().await, "{what}: the terminal ended first; shown: {}", self.text());
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, follow).await;
        assert!(in_time.is_ok(), "{what}: not in time; shown:\n{}", self.lines());
    }

    /// What somebody would read on the screen.
    pub fn lines(&self) -> String {
        self.model.lines().join("\n")
    }

    /// Follows until the text is shown, whatever the program did to draw it; or, for control bytes, was sent.
    pub async fn until_shows(&mut self, text: &str) {
        self.until(&format!("shows {text:?}"), |s| s.lines().contains(text) || s.text().contains(text)).await;
    }

    /// Takes one message; false at the end.
    pub async fn step(&mut self) -> bool {
        match self.terminal.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                let (seq, output) = bytes.split_first_chunk::<8>().expect("a sequence number");
                if std::mem::take(&mut self.snapshot_next) {
                    self.bytes.clear();
                }
                self.after = u64::from_be_bytes(*seq);
                self.bytes.extend_from_slice(output);
                self.model.advance(output);
                let ack = ToTerminal::Ack { seq: self.after };
                let text = serde_json::to_string(&ack).expect("JSON");
                self.terminal.send(Message::Text(text.into())).await.ok();
                true
            }
            Some(Ok(Message::Text(text))) => {
                match serde_json::from_str(&text).expect("a message of the protocol") {
                    FromTerminal::Snapshot { seq, cols, rows } => {
                        self.model = sandboxctl::screen::Screen::new(cols, rows);
                        self.after = seq;
                        self.snapshots += 1;
                        self.snapshot_next = true;
                    }
                    FromTerminal::Resize { seq, cols, rows } => {
                        self.model.resize(cols, rows);
                        self.after = seq;
                    }
                    FromTerminal::Role { role } => self.role = Some(role),
                    FromTerminal::Notice { .. } => {}
                    exit @ FromTerminal::Exit { .. } => self.exit = Some(exit),
                }
                true
            }
            Some(Ok(_)) => true,
            Some(Err(_)) | None => false,
        }
    }
}
