//! The terminal's WebSocket: what a client may send to the daemon, and what it is sent.
//!
//! - Any bytes on the socket end in messages or in an error, within the limit on their size.
//! - A message is typed bytes, a word of the protocol, or nonsense: what is understood means the same when it
//!   is written and understood again.
//! - What the daemon says is read by the command line as it was said.

use std::io::{self, Read, Write};

use axum::extract::ws::Message;
use sandboxctl::{
    api::{FromTerminal, Role, ToTerminal},
    http::{INPUT_LIMIT, Said},
    lifecycle::Reason,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_tungstenite::tungstenite::{
    self, WebSocket,
    protocol::{
        Role as End, WebSocketConfig,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

/// The first byte says what the rest is: the socket's bytes, a text, or typed bytes.
pub fn websocket(data: &[u8]) {
    let Some((&what, rest)) = data.split_first() else { return };
    match what % 3 {
        0 => socket(rest),
        1 => text(&String::from_utf8_lossy(rest)),
        _ => assert_eq!(Said::from(Message::Binary(rest.to_vec().into())), Said::Typed(rest.to_vec().into())),
    }
}

/// The daemon's end of a socket on which a client has sent these bytes and closed it.
fn socket(bytes: &[u8]) {
    let config =
        WebSocketConfig::default().max_message_size(Some(INPUT_LIMIT)).max_frame_size(Some(INPUT_LIMIT));
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), End::Server, Some(config));
    while let Ok(message) = socket.read() {
        assert!(message.len() <= INPUT_LIMIT, "{} bytes at once", message.len());
        match message {
            tungstenite::Message::Text(said) => text(&said),
            tungstenite::Message::Binary(typed) => {
                assert_eq!(Said::from(Message::Binary(typed.clone())), Said::Typed(typed));
            }
            _ => {}
        }
    }
}

fn text(text: &str) {
    match Said::from(Message::Text(text.into())) {
        Said::Told(told) => assert_eq!(again(&told), told),
        Said::Nonsense(why) => assert!(!why.is_empty() && why.len() <= 123, "{why}"),
        other => panic!("a text is no {other:?}"),
    }
    if let Ok(said) = serde_json::from_str::<FromTerminal>(text) {
        assert_eq!(again(&said), said);
    }
}

fn again<T: Serialize + DeserializeOwned>(message: &T) -> T {
    let text = serde_json::to_string(message).expect("JSON");
    serde_json::from_str(&text).expect("what was written")
}

/// Reads what has come; what is sent goes nowhere.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Each message as text, and a conversation as a client's bytes.
pub fn seeds() -> Vec<Vec<u8>> {
    let role = Role::Driver;
    let mut texts: Vec<String> =
        [ToTerminal::Resize { cols: 80, rows: 24 }, ToTerminal::Role { role }, ToTerminal::Ack { seq: 7 }]
            .iter()
            .map(|message| serde_json::to_string(message).expect("JSON"))
            .collect();
    let mut conversation = vec![0];
    for text in &texts {
        put(&mut conversation, OpCode::Data(Data::Text), true, text.as_bytes());
    }
    put(&mut conversation, OpCode::Data(Data::Binary), false, b"ls");
    put(&mut conversation, OpCode::Data(Data::Continue), true, b"\r");
    mask(Frame::ping(b"?".to_vec()), &mut conversation);
    texts.extend(
        [
            FromTerminal::Snapshot { seq: 1, cols: 80, rows: 24 },
            FromTerminal::Resize { seq: 2, cols: 80, rows: 24 },
            FromTerminal::Role { role },
            FromTerminal::Notice { text: Some("an end is near".to_owned()) },
            FromTerminal::Exit { code: Some(0), reason: Reason::Exited { code: 0 } },
        ]
        .iter()
        .map(|message| serde_json::to_string(message).expect("JSON")),
    );
    let mut seeds: Vec<Vec<u8>> = texts.into_iter().map(|text| format!("\x01{text}").into_bytes()).collect();
    seeds.extend([conversation, b"\x02\x1b[A".to_vec()]);
    seeds
}

fn put(out: &mut Vec<u8>, code: OpCode, last: bool, payload: &[u8]) {
    mask(Frame::message(payload.to_vec(), code, last), out);
}

/// Appends a frame as a client sends it.
fn mask(mut frame: Frame, out: &mut Vec<u8>) {
    frame.header_mut().mask = Some([1, 2, 3, 4]);
    frame.format(out).expect("written");
}
