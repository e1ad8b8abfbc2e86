//! A session's terminal over a WebSocket.
//!
//! ```text
//!   Viewer ──sights──▶ outbound task ──▶ socket      at most 256 KiB unacknowledged
//!   Hands  ◀──keys──── inbound loop ◀── socket       also while the outbound waits for an ack
//! ```
//!
//! A client that stops reading stops its own outbound task and nothing else. It is cut off when a write
//! takes too long, or when nothing at all has come from it (the answers to pings included) for too long.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        FromRequestParts, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::watch,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    AppState, Caller, Failure,
    extract::{Asked, Named},
    problem::OfSession,
};
use crate::{
    api::{FromTerminal, Role, TerminalQuery, ToTerminal},
    lifecycle::Denied,
    session::{Hands, Sight, Viewer},
    supervisor::Refusal,
};

/// What may be on its way to a client before it acknowledges. More makes xterm.js stop answering.
const WINDOW: u64 = 256 << 10; // bytes
/// The longest message of a client.
const INPUT_LIMIT: usize = 64 << 10; // bytes
/// How long one write may take.
const WRITE: Duration = Duration::from_secs(30);
/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(15);
/// How long it may say nothing at all.
const SILENCE: Duration = Duration::from_secs(60);

/// Join a session's terminal (WebSocket).
///
/// Text messages are JSON: `FromTerminal` from the server, `ToTerminal` from the client. Binary messages are
/// output from the server (sequence number, `u64` big-endian, then the bytes) and typed bytes from the client.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/terminal", tag = "terminal", params(("id" = String, Path, description = "Id, or a unique prefix of one."), TerminalQuery),
    responses(
        (status = 101, description = "The terminal."),
        (status = 426, description = "The request asks for no upgrade to a WebSocket.", body = crate::api::Problem),
        OfSession))]
pub(super) async fn terminal(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<TerminalQuery>,
    request: Request,
) -> Result<Response, Failure> {
    caller.may_see(id)?;
    let session = match state.supervisor.live(id) {
        Some(session) => session,
        None => {
            state.supervisor.session(id).await?;
            return Err(Refusal::Denied(Denied::Ended).into());
        }
    };
    let (mut parts, _) = request.into_parts();
    let upgrade =
        WebSocketUpgrade::from_request_parts(&mut parts, &state).await.map_err(|_| Failure::NoUpgrade)?;
    let who = match &caller {
        Caller::Admin(admin) => admin.who.clone(),
        Caller::Seat(_) | Caller::Nobody => session.spec.user.to_string(),
    };
    let may_drive = matches!(caller, Caller::Admin(_)) || caller.sits_at(id);
    let role = query.role.unwrap_or(if may_drive { Role::Driver } else { Role::Observer });
    let viewer = session.join(who, role, may_drive, query.after).await.map_err(Refusal::from)?;
    let (tracker, stopping) = (state.tracker.clone(), state.stopping.clone());
    let upgrade = upgrade.max_message_size(INPUT_LIMIT).max_frame_size(INPUT_LIMIT);
    Ok(upgrade.on_upgrade(move |socket| tracker.track_future(serve(socket, viewer, stopping))))
}

async fn serve(socket: WebSocket, viewer: Viewer, stopping: CancellationToken) {
    let (send, receive) = socket.split();
    let hands = viewer.hands();
    let acked = Arc::new(watch::Sender::new(0));
    let mut client = Client { send, sent: 0, pending: Vec::new() };
    let close = tokio::select! {
        close = show(&mut client, viewer, acked.subscribe()) => close,
        close = listen(receive, hands, &acked) => close,
        () = stopping.cancelled() => Some((close_code::RESTART, "the daemon stops; join again")),
    };
    if let Some((code, reason)) = close {
        let frame = CloseFrame { code, reason: reason.into() };
        timeout(WRITE, client.send.send(Message::Close(Some(frame)))).await.ok();
    }
}

type Close = Option<(u16, &'static str)>;

struct Client {
    send: SplitSink<WebSocket, Message>,
    /// Bytes sent and not acknowledged.
    sent: u64,
    /// What they are: the sequence number of each message, and its bytes.
    pending: Vec<(u64, u64)>,
}

/// Shows what the viewer sees, as fast as the client acknowledges.
async fn show(client: &mut Client, mut viewer: Viewer, mut acked: watch::Receiver<u64>) -> Close {
    let mut pings = interval(PING);
    loop {
        client.forget(*acked.borrow_and_update());
        tokio::select! {
            biased;
            changed = acked.changed() => changed.ok()?,
            _ = pings.tick() => client.write(Message::Ping(Bytes::new())).await?,
            sight = viewer.next(), if client.sent < WINDOW => match sight {
                Some(sight) => {
                    let last = matches!(sight, Sight::Exit { .. });
                    client.show(sight).await?;
                    if last {
                        return Some((close_code::NORMAL, "the session has ended"));
                    }
                }
                None => return Some((close_code::RESTART, "the daemon stops; join again")),
            },
        }
    }
}

impl Client {
    async fn show(&mut self, sight: Sight) -> Option<()> {
        match sight {
            Sight::Snapshot { seq, cols, rows, bytes } => {
                self.tell(&FromTerminal::Snapshot { seq, cols, rows }).await?;
                self.output(seq, &bytes).await
            }
            Sight::Output { seq, bytes } => self.output(seq, &bytes).await,
            Sight::Resize { seq, cols, rows } => self.tell(&FromTerminal::Resize { seq, cols, rows }).await,
            Sight::Role(role) => self.tell(&FromTerminal::Role { role }).await,
            Sight::Notice(text) => self.tell(&FromTerminal::Notice { text }).await,
            Sight::Exit { code, reason } => self.tell(&FromTerminal::Exit { code, reason }).await,
        }
    }

    async fn output(&mut self, seq: u64, bytes: &[u8]) -> Option<()> {
        let mut message = BytesMut::with_capacity(8 + bytes.len());
        message.put_u64(seq);
        message.put_slice(bytes);
        self.sent += bytes.len() as u64;
        self.pending.push((seq, bytes.len() as u64));
        self.write(Message::Binary(message.freeze())).await
    }

    async fn tell(&mut self, message: &FromTerminal) -> Option<()> {
        let text = serde_json::to_string(message).ok()?;
        self.write(Message::Text(text.into())).await
    }

    async fn write(&mut self, message: Message) -> Option<()> {
        timeout(WRITE, self.send.send(message)).await.ok()?.ok()
    }

    fn forget(&mut self, through: u64) {
        let known = self.pending.partition_point(|(seq, _)| *seq <= through);
        self.sent -= self.pending.drain(..known).map(|(_, bytes)| bytes).sum::<u64>();
    }
}

/// Does what the client says until it goes.
async fn listen(mut receive: SplitStream<WebSocket>, hands: Hands, acked: &watch::Sender<u64>) -> Close {
    loop {
        let message = match timeout(SILENCE, receive.next()).await {
            Err(_) => return Some((close_code::POLICY, "nothing was heard for a minute")),
            Ok(None | Some(Err(_))) => return None,
            Ok(Some(Ok(message))) => message,
        };
        match message {
            Message::Binary(bytes) => {
                hands.input(bytes).await;
            }
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(ToTerminal::Resize { cols, rows }) => {
                    if !(1..=1000).contains(&cols) || !(1..=1000).contains(&rows) {
                        return Some((close_code::POLICY, "a size is 1 to 1000 columns and rows"));
                    }
                    hands.resize(cols, rows).await;
                }
                Ok(ToTerminal::Role { role }) => hands.want(role).await,
                Ok(ToTerminal::Ack { seq }) => {
                    acked.send_if_modified(|most| {
                        seq > *most && {
                            *most = seq;
                            true
                        }
                    });
                }
                Err(_) => {
                    return Some((close_code::POLICY, "a text message is none that the terminal knows"));
                }
            },
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}
