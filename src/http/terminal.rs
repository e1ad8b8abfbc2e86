//! A session's terminal as a WebSocket.
//!
//! ```text
//!              ┌─ eyes ◀── Viewer::next       waits for room in the window, writes with a deadline
//!   socket ────┤
//!              └─ ears ──▶ acknowledgements, roles, sizes
//!                     └──▶ typed (≤ 256 KiB) ──▶ fingers ──▶ Hands::input
//! ```
//!
//! The three run side by side in one task, and the first to end ends the others; but what the client typed
//! before it left is typed, within two seconds. A client that does not
//! read stalls its own eyes and nothing else: it holds no queue, and skips to a snapshot when it reads
//! again. A program that does not read stalls the fingers, and the ears only once 256 KiB are typed ahead.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{
        State,
        ws::{
            CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    response::Response,
};
use bytes::{BufMut, BytesMut};
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    AppState, Caller, Failure,
    extract::{Asked, Named},
    problem::OfSession,
    window::{MESSAGE, Window},
};
use crate::{
    api::{FromTerminal, Role, TerminalQuery, ToTerminal},
    session::{Hands, SessionHandle, Sight, Viewer},
    supervisor::Refusal,
};

/// Largest message from a client.
pub const INPUT_LIMIT: usize = 64 << 10; // bytes
/// Typed ahead of what the program reads; when it is full, the client is not read from.
const TYPED_LIMIT: usize = 256 << 10; // bytes
/// Messages typed ahead, however short.
const TYPED_MESSAGES: usize = 4096;
/// Between two pings. Proxies cut what is silent for a minute.
const PING: Duration = Duration::from_secs(15);
/// A client that has not answered three pings is gone.
const SILENCE: Duration = Duration::from_secs(50);
/// How long one write may take before the client counts as stalled for good.
const WRITE: Duration = Duration::from_secs(30);

/// How long what was typed last may take to be typed once the client has gone.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a client may take to answer that it is left.
const PARTING: Duration = Duration::from_secs(1);

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

/// Joins a session's terminal
///
/// A WebSocket. Binary messages from the server are output: the frame's sequence number (`u64`, big-endian),
/// then the bytes; text messages are JSON `FromTerminal`. Binary messages from the client are typed bytes, at
/// most 64 KiB each; text messages are JSON `ToTerminal`. The server keeps at most 256 KiB unacknowledged:
/// a client that never acknowledges is sent no more than that. It closes with 1000 when the session has ended,
/// 1012 when the daemon stops (join again, with `after`), 1008 when a message makes no sense.
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}/terminal", tag = "sessions",
    params(("id" = String, Path, description = "Id, or a unique prefix of one."), TerminalQuery),
    responses((status = 101, description = "The WebSocket begins."),
        (status = 426, description = "The request asks for no WebSocket.", body = crate::api::Problem), OfSession)
)]
pub(super) async fn terminal(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<TerminalQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    caller.may_see(id)?;
    let upgrade = upgrade.map_err(|_| Failure::NoUpgrade)?;
    let handle = state.supervisor.handle(id)?;
    let seated = caller.sits_at(id);
    let who = match &caller {
        Caller::Admin(admin) if !seated => admin.who.clone(),
        _ => handle.spec.user.to_string(),
    };
    let role = query.role.unwrap_or(if seated { Role::Driver } else { Role::Observer });
    // Joined before the upgrade, so that a refusal is an answer and not a broken socket.
    let viewer = handle.join(who, role, true, query.after).await.map_err(Refusal::Denied)?;
    let tracker = state.tracker.clone();
    let upgrade = upgrade.max_message_size(INPUT_LIMIT).max_frame_size(INPUT_LIMIT);
    Ok(upgrade.on_upgrade(move |socket| tracker.track_future(converse(state, handle, viewer, socket))))
}

/// Why a conversation is over.
enum Over {
    /// The session has ended; the client has been told.
    Ended,
    /// The daemon stops.
    Stopping,
    /// The client closed, broke off, or stalled.
    Gone,
    /// A message was longer than any may be.
    TooLong,
    /// The client said what makes no sense: what, and what would.
    Nonsense(String),
}

async fn converse(state: AppState, handle: SessionHandle, mut viewer: Viewer, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let window = Window::default();
    let heard = Heard::now();
    let hands = viewer.hands();
    let over = {
        let mut hearing = pin!(ears_and_fingers(&mut stream, &hands, &window, &heard));
        tokio::select! {
            over = &mut hearing => over,
            over = eyes(&mut sink, &mut viewer, &window, &heard) => {
                if matches!(over, Over::Gone) {
                    // It reads no more, and may have typed before it left.
                    timeout(LAST_WORDS, hearing).await.ok();
                }
                over
            }
            () = state.stopping.cancelled() => Over::Stopping,
        }
    };
    let (code, reason) = match over {
        Over::Ended => (close_code::NORMAL, Utf8Bytes::from_static("the session has ended")),
        Over::Stopping => (close_code::RESTART, Utf8Bytes::from_static("the daemon stops; join again")),
        Over::Nonsense(why) => (close_code::POLICY, why.into()),
        Over::TooLong => (close_code::SIZE, Utf8Bytes::from_static("give at most 64 KiB in a message")),
        Over::Gone => (close_code::AWAY, Utf8Bytes::from_static("no answer")),
    };
    let close = Message::Close(Some(CloseFrame { code, reason: reason.clone() }));
    // A connection that is closed while something of the client's is unread is reset, and the reason is lost.
    let part = async {
        sink.send(close).await.ok()?;
        while !matches!(stream.next().await?.ok()?, Message::Close(_)) {}
        Some(())
    };
    timeout(PARTING, part).await.ok();
    tracing::debug!(session = %handle.id, reason = reason.as_str(), "a terminal was left");
}

/// Shows the client what the viewer sees.
async fn eyes(sink: &mut Sink, viewer: &mut Viewer, window: &Window, heard: &Heard) -> Over {
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = None;
    loop {
        let sight = match waiting.take() {
            Some(sight) => Some(sight),
            None => tokio::select! {
                sight = async { window.room().await; viewer.next().await } => sight,
                _ = ping.tick() => {
                    if heard.since() > SILENCE || write(sink, Message::Ping(Bytes::new())).await.is_err() {
                        return Over::Gone;
                    }
                    continue;
                }
            },
        };
        let Some(sight) = sight else { return Over::Stopping };
        let ended = matches!(sight, Sight::Exit { .. });
        for message in render(sight, viewer, &mut waiting, window) {
            if write(sink, message).await.is_err() {
                return Over::Gone;
            }
        }
        if ended {
            return Over::Ended;
        }
    }
}

/// The messages for a sight. Output that is there already joins the message; what else comes is `waiting`.
fn render(sight: Sight, viewer: &mut Viewer, waiting: &mut Option<Sight>, window: &Window) -> Vec<Message> {
    match sight {
        Sight::Output { seq, bytes } => {
            let (mut last, mut all) = (seq, output(seq, &bytes));
            while all.len() < MESSAGE / 2 {
                match viewer.next().now_or_never() {
                    Some(Some(Sight::Output { seq, bytes })) if all.len() + bytes.len() <= MESSAGE => {
                        last = seq;
                        all.put_slice(&bytes);
                    }
                    Some(other) => {
                        *waiting = other;
                        break;
                    }
                    None => break,
                }
            }
            all[..8].copy_from_slice(&last.to_be_bytes());
            window.sent(last, all.len());
            vec![Message::Binary(all.freeze())]
        }
        Sight::Snapshot { seq, cols, rows, bytes } => {
            let bytes = output(seq, &bytes).freeze();
            window.sent(seq, bytes.len());
            vec![text(&FromTerminal::Snapshot { seq, cols, rows }), Message::Binary(bytes)]
        }
        Sight::Resize { seq, cols, rows } => vec![text(&FromTerminal::Resize { seq, cols, rows })],
        Sight::Role(role) => vec![text(&FromTerminal::Role { role })],
        Sight::Notice(notice) => vec![text(&FromTerminal::Notice { text: notice })],
        Sight::Exit { code, reason } => vec![text(&FromTerminal::Exit { code, reason })],
    }
}

fn output(seq: u64, bytes: &[u8]) -> BytesMut {
    let mut message = BytesMut::with_capacity(8 + bytes.len());
    message.put_u64(seq);
    message.put_slice(bytes);
    message
}

fn text(message: &FromTerminal) -> Message {
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}

async fn write(sink: &mut Sink, message: Message) -> Result<(), ()> {
    match timeout(WRITE, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// Hears the client out: what it typed before it left is typed too.
async fn ears_and_fingers(stream: &mut Stream, hands: &Hands, window: &Window, heard: &Heard) -> Over {
    let room = Semaphore::new(TYPED_LIMIT);
    let (typed, typing) = mpsc::channel(TYPED_MESSAGES);
    let mut fingers = pin!(fingers(hands, typing, &room));
    let over = tokio::select! {
        over = ears(stream, hands, window, heard, typed, &room) => over,
        () = &mut fingers => Over::Gone,
    };
    timeout(LAST_WORDS, fingers).await.ok();
    over
}

/// Takes what the client says. Typed bytes wait for the program elsewhere; nothing else ever waits for it.
async fn ears(
    stream: &mut Stream,
    hands: &Hands,
    window: &Window,
    heard: &Heard,
    typed: mpsc::Sender<Bytes>,
    room: &Semaphore,
) -> Over {
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) if is_too_long(&error) => return Over::TooLong,
            Err(_) => return Over::Gone,
        };
        heard.again();
        match Said::from(message) {
            Said::Typed(bytes) => {
                let Ok(permit) = room.acquire_many(weight(&bytes)).await else { return Over::Gone };
                permit.forget();
                if typed.send(bytes).await.is_err() {
                    return Over::Gone;
                }
            }
            Said::Told(ToTerminal::Ack { seq }) => window.acknowledge(seq),
            Said::Told(ToTerminal::Resize { cols, rows }) => hands.resize(cols, rows).await,
            Said::Told(ToTerminal::Role { role }) => hands.want(role).await,
            Said::Nonsense(why) => return Over::Nonsense(why),
            Said::Nothing => {}
            Said::Bye => return Over::Gone,
        }
    }
    Over::Gone
}

/// What a client's message means. Public for the fuzzer.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// These bytes are typed.
    Typed(Bytes),
    /// One of the protocol's own messages.
    Told(ToTerminal),
    /// It lives.
    Nothing,
    /// It leaves.
    Bye,
    /// It does not speak the protocol; a sentence of at most 123 bytes, which a closing frame holds, says why.
    Nonsense(String),
}

impl From<Message> for Said {
    fn from(message: Message) -> Said {
        match message {
            Message::Binary(bytes) => Said::Typed(bytes),
            Message::Text(text) => told(&text).map_or_else(Said::Nonsense, Said::Told),
            Message::Ping(_) | Message::Pong(_) => Said::Nothing,
            Message::Close(_) => Said::Bye,
        }
    }
}

/// Longest reason of a closing frame (RFC 6455, 5.5).
const REASON_LIMIT: usize = 123; // bytes

/// Reads a text message, or says what is wrong with it. What it holds is not repeated.
fn told(text: &str) -> Result<ToTerminal, String> {
    let wrong = |problem: &str| {
        let mut problem = problem.to_owned();
        problem.truncate(problem.floor_char_boundary(REASON_LIMIT));
        problem
    };
    let parsed: Value = serde_json::from_str(text).map_err(|_| wrong("a text message: give JSON"))?;
    let Some(fields) = parsed.as_object() else {
        return Err(wrong("a text message: give an object with `type`"));
    };
    let known: &[&str] = match fields.get("type").and_then(Value::as_str) {
        Some("resize") => &["cols", "rows"],
        Some("role") => &["role"],
        Some("ack") => &["seq"],
        _ => return Err(wrong("type: give resize, role or ack")),
    };
    if fields.keys().any(|name| name != "type" && !known.contains(&name.as_str())) {
        return Err(wrong(&format!("an unknown field: this type has {}", known.join(" and "))));
    }
    for name in known {
        let value = fields.get(*name).unwrap_or(&Value::Null);
        let (fits, wanted) = match *name {
            "role" => (Role::deserialize(value).is_ok(), "give driver or observer"),
            "seq" => (value.is_u64(), "give a sequence number"),
            _ => (
                value.as_u64().is_some_and(|n| n <= u64::from(u16::MAX)),
                "give a whole number, at most 65535",
            ),
        };
        if !fits {
            return Err(wrong(&format!("{name}: {wanted}")));
        }
    }
    // What is left are names that come twice.
    serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))
}

/// Whether a message broke the bounds that the upgrade set. The library tells by its words alone.
fn is_too_long(error: &axum::Error) -> bool {
    error.to_string().contains("Space limit exceeded")
}

/// Types what the client typed, at the program's speed, until the ears have ended and all of it is typed.
async fn fingers(hands: &Hands, mut typing: mpsc::Receiver<Bytes>, room: &Semaphore) {
    while let Some(bytes) = typing.recv().await {
        let weight = weight(&bytes);
        hands.input(bytes).await;
        room.add_permits(weight as usize);
    }
}

fn weight(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(TYPED_LIMIT as u32)
}

/// When the client last said anything.
struct Heard {
    start: Instant,
    at_ms: AtomicU64,
}

impl Heard {
    fn now() -> Heard {
        Heard { start: Instant::now(), at_ms: AtomicU64::new(0) }
    }

    fn again(&self) {
        self.at_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn since(&self) -> Duration {
        let at = Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(at)
    }
}
