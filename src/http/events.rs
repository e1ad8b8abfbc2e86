//! A session's timeline as a stream: server-sent events, or JSON lines.
//!
//! The journal is read in batches on a blocking thread, one at a time: the next batch is read when the
//! client has taken the one before it, so a slow client costs a slow read and no memory.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::task::spawn_blocking;

use super::{
    AppState, Caller, Failure, answer,
    extract::{Asked, Named},
    problem::OfSession,
    sessions::accepts,
};
use crate::{
    api::{Event, EventQuery, ServerSent},
    id::SessionId,
    journal::{JournalError, Reader},
    lifecycle::Phase,
    timeline,
};

/// Frames read at once.
const BATCH_FRAMES: usize = 512;
/// Payload bytes after which a batch is full.
const BATCH_BYTES: usize = 1 << 20;

/// How long the last good events may take to be sent before the connection is broken off.
const SEND: Duration = Duration::from_millis(250);

/// What may be asked for by `kind`.
const KINDS: [&str; 14] = [
    "output",
    "input",
    "resize",
    "marker",
    "traces",
    "metrics",
    "logs",
    "hook",
    "mcp",
    "model",
    "egress",
    "lifecycle",
    "transcript",
    "injected",
];

/// Reads a session's timeline
///
/// Server-sent events, each with its sequence number as `id` and an `Event` as `data`; `Last-Event-ID` goes on
/// from there. With `Accept: application/x-ndjson`, an `Event` a line. Ends at the last event, or with
/// `follow`, when the session has ended. A damaged journal breaks the connection off.
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}/events", tag = "sessions",
    params(("id" = String, Path, description = "Id, or a unique prefix of one."), EventQuery,
        ("Last-Event-ID" = Option<u64>, Header, format = "uint64", description = "The last event that the caller has.")),
    responses((status = 200, description = "The events, oldest first.", content(
        (ServerSent = "text/event-stream"), (Event = "application/x-ndjson"))), OfSession)
)]
pub(super) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.admin()?;
    let kinds = kinds(query.kind.as_deref())?;
    let last = headers.get("last-event-id").map(last_event).transpose()?;
    let from = last.map_or(query.from, |seq| seq.saturating_add(1));
    let events = read(state, id, from, query.follow).map_ok(move |mut batch| {
        batch.retain(|event| kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind)));
        batch
    });
    if accepts(&headers, "application/x-ndjson") {
        let body = Body::from_stream(events.map_ok(lines));
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response());
    }
    let events = events.flat_map(|batch| {
        let each = match batch {
            Ok(batch) => batch.into_iter().map(|event| Ok(server_sent(&event))).collect(),
            Err(error) => vec![Err(error)],
        };
        futures_util::stream::iter(each)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn kinds(asked: Option<&str>) -> Result<Option<Vec<String>>, Failure> {
    let Some(asked) = asked else { return Ok(None) };
    let kinds: Vec<String> = asked.split(',').map(|kind| kind.trim().to_owned()).collect();
    match kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        None => Ok(Some(kinds)),
        Some(_) => {
            let message = format!("kind: there is no such kind; there are {}", KINDS.join(", "));
            Err(Failure::Invalid { field: Some("kind".to_owned()), message })
        }
    }
}

fn lines(batch: Vec<Event>) -> Bytes {
    let mut text = String::new();
    for event in &batch {
        text.push_str(&answer::text(event));
        text.push('\n');
    }
    text.into()
}

fn server_sent(event: &Event) -> sse::Event {
    sse::Event::default().id(event.seq.to_string()).data(answer::text(event))
}

fn last_event(value: &HeaderValue) -> Result<u64, Failure> {
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| Failure::Invalid {
        field: Some("Last-Event-ID".to_owned()),
        message: "give the number of an event, or none".to_owned(),
    })
}

/// The journal's events from `from` on, in batches; with `follow`, until the session has ended.
fn read(
    state: AppState,
    id: SessionId,
    from: u64,
    follow: bool,
) -> impl Stream<Item = Result<Vec<Event>, JournalError>> + Send {
    async_stream::stream! {
        let handle = state.supervisor.live(id).filter(|_| follow);
        let mut head = handle.as_ref().map(|handle| handle.recorder.journal().head());
        let mut view = handle.as_ref().map(crate::session::SessionHandle::watch);
        let mut reader = Reader::open(&state.supervisor.journal_dir(id), from);
        loop {
            // Looked at before reading: what is read then is all there is.
            let over = view.as_mut().is_none_or(|view| view.borrow_and_update().phase == Phase::Ended);
            if let Some(head) = &mut head {
                head.mark_unchanged();
            }
            let (back, batch) = match spawn_blocking(move || batch(reader)).await {
                Ok(read) => read,
                // The runtime is going down.
                Err(_) => return,
            };
            reader = back;
            match batch {
                Batch { events, error: Some(error), .. } => {
                    // What was good before the damage is told first.
                    if !events.is_empty() {
                        yield Ok(events);
                        // The server drops what it has not sent when a body fails.
                        tokio::time::sleep(SEND).await;
                    }
                    tracing::error!(session = %id, %error, "a timeline could not be read");
                    yield Err(error);
                    return;
                }
                Batch { events, frames: 1.., .. } => {
                    if !events.is_empty() {
                        yield Ok(events);
                    }
                    continue;
                }
                _ if over => return,
                _ => {}
            }
            let (Some(head), Some(view)) = (&mut head, &mut view) else { return };
            tokio::select! {
                moved = head.changed() => if moved.is_err() { return },
                changed = view.changed() => if changed.is_err() { return },
                () = state.stopping.cancelled() => return,
            }
        }
    }
}

struct Batch {
    events: Vec<Event>,
    /// Frames read, whether they made an event or not.
    frames: usize,
    /// Why there is no more to read.
    error: Option<JournalError>,
}

fn batch(mut reader: Reader) -> (Reader, Batch) {
    let mut batch = Batch { events: Vec::new(), frames: 0, error: None };
    let mut bytes = 0;
    while batch.frames < BATCH_FRAMES && bytes < BATCH_BYTES {
        match reader.next() {
            Some(Ok(entry)) => {
                batch.frames += 1;
                bytes += entry.payload.len();
                batch.events.extend(timeline::events(&entry));
            }
            Some(Err(error)) => {
                batch.error = Some(error);
                break;
            }
            None => break,
        }
    }
    (reader, batch)
}
