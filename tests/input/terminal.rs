//! The messages of a terminal's WebSocket.

use futures_util::{SinkExt, StreamExt};
use sandboxctl::api::Role;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::common::{Daemon, Rung};

/// A message, and how the refusal begins.
const WRONG: &[(&str, &str)] = &[
    ("", "a text message: give JSON"),
    ("hello", "a text message: give JSON"),
    ("{\"type\":\"ack\",\"seq\":1", "a text message: give JSON"),
    ("[]", "a text message: give an object"),
    ("5", "a text message: give an object"),
    ("{}", "type: give resize, role or ack"),
    (r#"{"type":5}"#, "type: give resize, role or ack"),
    (r#"{"type":"input"}"#, "type: give resize, role or ack"),
    (r#"{"type":"resize"}"#, "cols: "),
    (r#"{"type":"resize","cols":80}"#, "rows: "),
    (r#"{"type":"resize","cols":"80","rows":24}"#, "cols: "),
    (r#"{"type":"resize","cols":80,"rows":-1}"#, "rows: "),
    (r#"{"type":"resize","cols":65536,"rows":24}"#, "cols: give a whole number, at most 65535"),
    (r#"{"type":"resize","cols":80.5,"rows":24}"#, "cols: "),
    (r#"{"type":"resize","cols":80,"rows":24,"depth":1}"#, "an unknown field: this type has cols and rows"),
    (r#"{"type":"role"}"#, "role: give driver or observer"),
    (r#"{"type":"role","role":"owner"}"#, "role: give driver or observer"),
    (r#"{"type":"ack"}"#, "seq: give a sequence number"),
    (r#"{"type":"ack","seq":-1}"#, "seq: give a sequence number"),
    (r#"{"type":"ack","seq":18446744073709551616}"#, "seq: give a sequence number"),
    (r#"{"type":"ack","seq":1,"seq":2}"#, "duplicate field"),
];

#[tokio::test]
async fn a_message_that_makes_no_sense_is_told_why_and_costs_nobody_else_anything() {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("while read -r x; do [ $x = end ] && exit; echo \"got $x\"; done").await;
    let mut driver = daemon.join(&session, Role::Driver, None).await;
    driver.until("it drives", |s| s.role == Some(Role::Driver)).await;
    let id = session.id.to_string();
    for (n, (said, why)) in WRONG.iter().enumerate() {
        let mut terminal = daemon.client.terminal(&id, Role::Observer, None).await.expect("a terminal");
        terminal.send(Message::text(*said)).await.expect("sent");
        let close = loop {
            match terminal.next().await.expect("it is told before it is left").expect("a message") {
                Message::Close(close) => break close.expect("a reason"),
                _ => continue,
            }
        };
        assert_eq!(close.code, CloseCode::Policy, "{said}: {close}");
        assert!(close.reason.starts_with(why), "{said}: {close}");
        driver.type_in(&format!("{n}\n")).await;
        driver.until_shows(&format!("got {n}")).await;
    }
    assert_eq!(driver.role, Some(Role::Driver), "who drives goes on driving");
    assert_eq!(driver.snapshots, 1, "and was never cut off");
    let mut terminal = daemon.client.terminal(&id, Role::Observer, None).await.expect("a terminal");
    terminal.send(Message::binary(vec![b'x'; 70_000])).await.ok();
    // The close may be lost: what was sent is not read, so that the system may reset the connection.
    while let Some(Ok(message)) = terminal.next().await {
        if let Message::Close(Some(close)) = message {
            assert_eq!(
                (close.code, close.reason.as_str()),
                (CloseCode::Size, "give at most 64 KiB in a message")
            );
        }
    }
    driver.type_in("end\n").await;
    driver.until("the exit", |s| s.exit.is_some()).await;
}
