//! Sessions: start, list, look, end, wait.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::Stream;
use tokio::time::timeout;

use super::{
    AppState, Caller, Failure,
    answer::{self, Json},
    extract::{Asked, Body, Named},
    problem::{Known, OfSession, Starting},
};
use crate::{
    api::{EndQuery, ListQuery, ServerSent, Session, SessionList, StartRequest, WaitQuery},
    lifecycle::Phase,
    supervisor::Supervisor,
};

/// How long `wait` holds a request that does not say, and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// Starts a session
///
/// Answers as soon as the session is on record; its container is on the way.
#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "sessions", request_body = Option<StartRequest>,
    responses((status = 201, description = "The session.", body = Session), Starting)
)]
pub(super) async fn start(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<StartRequest>, Failure>,
) -> Result<(StatusCode, Json<Session>), Failure> {
    let admin = caller.admin()?;
    let handle = state.supervisor.start(body?.0, admin.user.clone()).await?;
    Ok((StatusCode::CREATED, Json(handle.view())))
}

/// Lists sessions
///
/// With `Accept: text/event-stream`, a list now and another whenever it changes, as server-sent events.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "sessions", params(ListQuery),
    responses((status = 200, description = "The sessions, newest first.", content(
        (SessionList = "application/json"), (ServerSent = "text/event-stream"))), Known)
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Asked<ListQuery>, Failure>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.admin()?;
    let all = query?.0.all;
    if !accepts(&headers, "text/event-stream") {
        return Ok(Json(SessionList { sessions: state.supervisor.list(all).await? }).into_response());
    }
    Ok(Sse::new(lists(state, all)).keep_alive(KeepAlive::default()).into_response())
}

fn lists(state: AppState, all: bool) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let mut changes = state.supervisor.changes();
        let mut last = None;
        loop {
            changes.mark_unchanged();
            match text(&state.supervisor, all).await {
                Ok(now) if last.as_ref() != Some(&now) => {
                    yield Ok(Event::default().data(&now));
                    last = Some(now);
                }
                Ok(_) => {}
                Err(failure) => {
                    tracing::warn!(%failure, "a watched list broke off");
                    break;
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                () = state.stopping.cancelled() => break,
            }
        }
    }
}

async fn text(supervisor: &Supervisor, all: bool) -> Result<String, Failure> {
    let list = SessionList { sessions: supervisor.list(all).await? };
    Ok(answer::text(&list))
}

/// Whether an `Accept` header names a media type.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let all = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(','))
        .any(|part| part.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type))
}

/// Looks at a session
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id, or a unique prefix of one.")),
    responses((status = 200, description = "The session.", body = Session), OfSession)
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Session>, Failure> {
    caller.may_see(id)?;
    Ok(Json(state.supervisor.session(id).await?))
}

/// Ends a session, or removes its record
///
/// Without `purge`, asks the session to end and answers it as it is then; `wait` tells when it has. With
/// `purge`, removes the record of a session that has ended.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "Id, or a unique prefix of one."), EndQuery),
    responses(
        (status = 200, description = "The session, as it is now.", body = Session),
        (status = 204, description = "Its record is removed."), OfSession)
)]
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
    Ok(Json(state.supervisor.stop(id, query.note).await?).into_response())
}

/// Waits for a session's end
///
/// Answers when the session has ended, or as it is when the time is over.
#[utoipa::path(
    get, path = "/api/v1/sessions/{id}/wait", tag = "sessions",
    params(("id" = String, Path, description = "Id, or a unique prefix of one."), WaitQuery),
    responses((status = 200, description = "The session; see its phase.", body = Session), OfSession)
)]
pub(super) async fn wait(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<WaitQuery>,
) -> Result<Json<Session>, Failure> {
    caller.may_see(id)?;
    let patience = query.timeout_s.map_or(WAIT.0, |asked| Duration::from_secs(asked.into()));
    if patience > WAIT.1 {
        let message = format!("timeout_s: give a whole number from 0 to {}", WAIT.1.as_secs());
        return Err(Failure::Invalid { field: Some("timeout_s".to_owned()), message });
    }
    if let Some(handle) = state.supervisor.live(id) {
        let mut view = handle.watch();
        let ended = async { view.wait_for(|session| session.phase == Phase::Ended).await.map(drop) };
        tokio::select! {
            _ = timeout(patience, ended) => {}
            () = state.stopping.cancelled() => {}
        }
    }
    Ok(Json(state.supervisor.session(id).await?))
}
