//! A session's timeline: server-sent events, or JSON lines; from any frame on; with or without what comes.

use std::{convert::Infallible, path::PathBuf};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    AppState, Caller, Failure,
    extract::{Asked, Named},
    problem::OfSession,
    sessions::accepts,
};
use crate::{
    api::{Event, EventQuery},
    journal::{Kind, Reader},
    timeline,
};

/// Events that wait for whoever reads; when it is full, reading the journal waits.
const WAITING: usize = 256;
/// Kinds that have no place in the timeline: their payloads are passed over.
const NOT_TOLD: [Kind; 3] = [Kind::Output, Kind::Input, Kind::Segment];

/// Read a session's timeline.
///
/// Server-sent events, each with its sequence number as `id`; JSON lines with `Accept:
/// application/x-ndjson`. After a break, `Last-Event-ID` (or `from`) takes the reading up.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/events", tag = "sessions", params(("id" = String, Path, description = "Id, or a unique prefix of one."), EventQuery),
    responses(
        (status = 200, description = "The events.", content((Event = "text/event-stream"), (Event = "application/x-ndjson"))),
        OfSession))]
pub(super) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.may_see(id)?;
    state.supervisor.session(id).await?;
    let kinds = query.kind.as_deref().map(kinds).transpose()?.unwrap_or_else(told);
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let from = last.map_or(query.from, |seq| seq.saturating_add(1)).max(1);
    let (send, events) = mpsc::channel(WAITING);
    let follow = query.follow.then(|| state.supervisor.live(id)).flatten();
    let read = read(state.supervisor.journal_dir(id), from, kinds, follow, send);
    let stopping = state.stopping.clone();
    state.tracker.spawn(async move {
        stopping.run_until_cancelled(read).await;
    });
    let events = ReceiverStream::new(events);
    if accepts(&headers, "application/x-ndjson") {
        let lines = events.map(|event| {
            let mut line = serde_json::to_vec(&event).unwrap_or_default();
            line.push(b'\n');
            Ok::<_, Infallible>(Bytes::from(line))
        });
        return Ok(
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
        );
    }
    let sent = events.map(|event| {
        let id = event.seq.to_string();
        Ok::<_, Infallible>(SseEvent::default().id(id).json_data(&event).unwrap_or_default())
    });
    Ok(Sse::new(sent).keep_alive(KeepAlive::default()).into_response())
}

/// Reads to the journal's end and, for a live session, on until that ends. Each batch is read on a thread
/// where reading may block.
async fn read(
    dir: PathBuf,
    from: u64,
    kinds: Vec<Kind>,
    follow: Option<crate::session::SessionHandle>,
    send: mpsc::Sender<Event>,
) {
    let mut head = follow.as_ref().map(|session| session.recorder.journal().head());
    let mut reader = Reader::open(&dir, from).only(&kinds);
    loop {
        if let Some(head) = &mut head {
            head.mark_unchanged();
        }
        let gone = follow.is_none();
        let sender = send.clone();
        let batch = tokio::task::spawn_blocking(move || {
            for entry in reader.by_ref() {
                let Ok(entry) = entry.inspect_err(|error| tracing::error!(%error, "a timeline broke off"))
                else {
                    return None;
                };
                for event in timeline::events(&entry) {
                    sender.blocking_send(event).ok()?;
                }
            }
            Some(reader)
        });
        match batch.await {
            Ok(Some(back)) => reader = back,
            _ => return,
        }
        let (Some(session), Some(head), false) = (&follow, &mut head, gone) else { return };
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return },
            () = session.gone() => {
                if !head.has_changed().unwrap_or(false) {
                    return;
                }
            }
            () = send.closed() => return,
        }
    }
}

fn kinds(text: &str) -> Result<Vec<Kind>, Failure> {
    text.split(',')
        .map(|name| {
            told().into_iter().find(|kind| kind.name() == name.trim()).ok_or_else(|| {
                let known: Vec<&str> = told().iter().map(|kind| kind.name()).collect();
                let message =
                    format!("'{}' is no kind; there are {}", crate::inert::inert(name), known.join(", "));
                Failure::Invalid { field: Some("kind".to_owned()), message }
            })
        })
        .collect()
}

fn told() -> Vec<Kind> {
    (1..64).filter_map(Kind::from_u8).filter(|k| !NOT_TOLD.contains(k) && *k != Kind::Request).collect()
}
