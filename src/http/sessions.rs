//! Sessions: start, list, show, wait, end.

use std::{convert::Infallible, time::Duration};

use async_stream::stream;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use tokio::time::timeout;

use super::{
    AppState, Caller, Failure,
    extract::{Asked, Body, Named},
    problem::{OfSession, Starting},
};
use crate::{
    api::{EndQuery, ListQuery, Session, SessionList, StartRequest, WaitQuery},
    lifecycle::Phase,
};

/// How long a wait lasts that names no time, and at most.
const WAIT: (u64, u64) = (30, 300); // seconds

/// Start a session.
///
/// Answers as soon as the session is on record; its container is on the way.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", request_body = StartRequest,
    responses((status = 201, description = "The session.", body = Session), Starting))]
pub(super) async fn start(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<StartRequest>,
) -> Result<(StatusCode, Json<Session>), Failure> {
    let user = caller.admin()?.user.clone();
    let session = state.supervisor.start(request, user).await?;
    Ok((StatusCode::CREATED, Json(session.view())))
}

/// List sessions.
///
/// With `Accept: text/event-stream` the list is sent again whenever it changes.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(ListQuery),
    responses(
        (status = 200, description = "The sessions, newest first.",
            content((SessionList = "application/json"), (String = "text/event-stream"))),
        super::problem::Known))]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Asked(query): Asked<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.admin()?;
    if !accepts(&headers, "text/event-stream") {
        let sessions = state.supervisor.list(query.all).await?;
        return Ok(Json(SessionList { sessions }).into_response());
    }
    let lists = stream! {
        let mut changes = state.supervisor.changes();
        loop {
            changes.mark_unchanged();
            let Ok(sessions) = state.supervisor.list(query.all).await else { break };
            let Ok(event) = Event::default().json_data(SessionList { sessions }) else { break };
            yield Ok::<_, Infallible>(event);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                () = state.stopping.cancelled() => break,
            }
        }
    };
    Ok(Sse::new(lists).keep_alive(KeepAlive::default()).into_response())
}

/// Show a session.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "Id, or a unique prefix of one.")),
    responses((status = 200, description = "The session.", body = Session), OfSession))]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Session>, Failure> {
    caller.may_see(id)?;
    Ok(Json(state.supervisor.session(id).await?))
}

/// Wait until a session has ended.
///
/// Answers with the session as it is then; its `phase` says whether it has.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/wait", tag = "sessions", params(("id" = String, Path, description = "Id, or a unique prefix of one."), WaitQuery),
    responses((status = 200, description = "The session.", body = Session), OfSession))]
pub(super) async fn wait(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<WaitQuery>,
) -> Result<Json<Session>, Failure> {
    caller.may_see(id)?;
    let seconds = query.timeout_s.unwrap_or(WAIT.0);
    if seconds > WAIT.1 {
        let message = format!("give at most {} seconds, and ask again", WAIT.1);
        return Err(Failure::Invalid { field: Some("timeout_s".to_owned()), message });
    }
    if let Some(session) = state.supervisor.live(id) {
        let mut views = session.watch();
        drop(session);
        let ended = views.wait_for(|view| view.phase == Phase::Ended);
        tokio::select! {
            _ = timeout(Duration::from_secs(seconds), ended) => {}
            () = state.stopping.cancelled() => {}
        }
    }
    Ok(Json(state.supervisor.session(id).await?))
}

/// End a session, or remove the record of an ended one.
///
/// Ending returns at once; the session's `phase` tells when it has ended. Ending twice is ending once.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "Id, or a unique prefix of one."), EndQuery),
    responses(
        (status = 202, description = "It is ending, or has ended.", body = Session),
        (status = 204, description = "Its record is gone."),
        OfSession))]
pub(super) async fn end(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<EndQuery>,
) -> Result<Response, Failure> {
    caller.admin()?;
    if query.purge {
        state.supervisor.purge(id).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let session = state.supervisor.stop(id, query.note).await?;
    Ok((StatusCode::ACCEPTED, Json(session)).into_response())
}

/// Whether the caller asks for this media type by name.
pub(super) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media))
}
