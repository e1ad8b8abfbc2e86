//! MCP messages: `POST /mcp`, one [`event::Mcp`](crate::event::Mcp) a line, from the `tap` that stands
//! between Claude Code and each stdio server.
//!
//! A batch is one frame for each message. The last frame carries the number of the request, so a batch that
//! was cut short by a crash or a full disk is taken again when it comes again: a message may then stand
//! twice, but none is missing.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use sandbox_guest::wire::SpooledRequest;
use serde::de::Error;
use serde_json::json;

use super::{
    Context, Doors,
    intake::{Share, off_worker},
    otlp::{
        RETRY_AFTER, Refusal,
        http::{read, request_number},
    },
};
use crate::{
    clock,
    event::{Lifecycle, Mcp},
    journal::{JournalError, Kind},
    raw,
};

/// The longest batch, in bytes.
const BODY_LIMIT: usize = 8 << 20;

/// Where batches are sent.
pub const PATH: &str = "/mcp";

/// The route.
pub fn router() -> Router<Arc<Context>> {
    Router::new().route(PATH, post(receive))
}

async fn receive(
    State(ctx): State<Arc<Context>>,
    Extension(doors): Extension<Arc<Doors>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let origin = request_number(&ctx, &parts.headers);
    let Ok(_place) = doors.intake.acquire().await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the session ends");
    };
    let share = Share::default();
    let body = match read(&parts.headers, body, BODY_LIMIT, &share).await {
        Ok(body) => body,
        Err(Refusal::TooLong) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, "send at most 8 MiB at once"),
        Err(error @ Refusal::Full) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive"),
    };
    let appended = {
        let ctx = Arc::clone(&ctx);
        off_worker(body.len(), move || -> Result<_, (usize, serde_json::Error)> {
            let frames = frames(&body)?;
            drop(body);
            Ok(append(&ctx, origin, frames))
        })
        .await
    };
    let appended = match appended {
        Some(Ok(appended)) => appended,
        Some(Err((line, error))) => {
            return refuse(StatusCode::BAD_REQUEST, &format!("line {line} is no MCP message: {error}"));
        }
        None => return refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon stops"),
    };
    let committed = match appended {
        Ok(through) => ctx.recorder.commit(through).await,
        Err(error) => Err(error),
    };
    match committed {
        Ok(()) => Json(json!({})).into_response(),
        Err(error) => {
            tracing::warn!(session = %ctx.id, %error, "MCP messages could not be recorded");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the session's journal cannot be written")
        }
    }
}

/// The payload of each line's frame: the event as we spell it, so that no line smuggles in other keys.
fn frames(body: &[u8]) -> Result<Vec<Bytes>, (usize, serde_json::Error)> {
    let lines = body.split(|b| *b == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(n, line)| {
            let mut event: Mcp = serde_json::from_slice(line).map_err(|e| (n + 1, e))?;
            let deep = || (n + 1, serde_json::Error::custom("it is nested too deeply"));
            event.message = raw::compact(&event.message, raw::MAX_DEPTH).ok_or_else(deep)?;
            serde_json::to_vec(&event).map(Bytes::from).map_err(|e| (n + 1, e))
        })
        .collect()
}

/// Journals a batch that the guest answered itself while the daemon was away. Returns the number to commit.
pub fn ingest(ctx: &Context, request: &SpooledRequest, body: &[u8]) -> Result<u64, JournalError> {
    match frames(body) {
        Ok(frames) => append(ctx, request.request, frames),
        Err((line, error)) => {
            let error = format!("line {line} is no MCP message: {error}");
            let (path, bytes) = (PATH.to_owned(), body.len() as u64);
            ctx.recorder.event(Kind::Lifecycle, &Lifecycle::RequestRefused { path, bytes, error })
        }
    }
}

fn append(ctx: &Context, origin: u64, mut frames: Vec<Bytes>) -> Result<u64, JournalError> {
    let time = clock::now();
    let journal = ctx.recorder.journal();
    let last = frames.pop().filter(|_| origin == 0 || !journal.has_request(origin));
    let mut through = None;
    if let Some(last) = last {
        for frame in frames {
            ctx.recorder.append(time, 0, Kind::Mcp, frame)?;
        }
        through = ctx.recorder.append_once(time, origin, Kind::Mcp, last)?;
    }
    Ok(through.unwrap_or_else(|| *journal.head().borrow()))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let mut response = (status, Json(json!({ "error": { "message": message } }))).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.into());
    }
    response
}
