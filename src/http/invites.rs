//! Invites: make one, look at one, join with one.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    AppState, Caller, Failure,
    auth::{From, set_cookie},
    extract::{Body, Segment},
    problem::{Anybody, Starting, WithBody},
};
use crate::{
    api::{Invitation, Invite, InviteRequest, JoinRequest, Session},
    supervisor::Refusal,
};

/// How long a browser keeps its seat.
const SEAT: u64 = 7 * 24 * 3600; // seconds

/// Make an invite.
///
/// The link is told once, here.
#[utoipa::path(post, path = "/api/v1/invites", tag = "invites", request_body = InviteRequest,
    responses((status = 201, description = "The invite.", body = Invite), WithBody))]
pub(super) async fn invite(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<InviteRequest>,
) -> Result<(StatusCode, Json<Invite>), Failure> {
    caller.admin()?;
    let (_, invite) = state.supervisor.invite(request).await?;
    Ok((StatusCode::CREATED, Json(invite)))
}

/// Look at an invite before joining.
#[utoipa::path(get, path = "/api/v1/invites/{token}", tag = "invites", params(("token" = String, Path, description = "The end of the link.")),
    responses(
        (status = 200, description = "What it offers.", body = Invitation),
        (status = 404, description = "It is unknown, used up or expired.", body = crate::api::Problem),
        (status = 429, description = "Too many wrong links from this address.", body = crate::api::Problem),
        Anybody))]
pub(super) async fn invitation(
    State(state): State<AppState>,
    from: From,
    Segment(token): Segment,
) -> Result<Json<Invitation>, Failure> {
    state.check_throttle(from)?;
    let found = state.supervisor.invitation(&token).await;
    state.count_wrong_invite(&found, from);
    Ok(Json(found?))
}

/// Join: start the session that an invite offers.
///
/// The answer's cookie drives the session.
#[utoipa::path(post, path = "/api/v1/invites/{token}/join", tag = "invites", request_body = JoinRequest, params(("token" = String, Path, description = "The end of the link.")),
    responses(
        (status = 201, description = "The session.", body = Session),
        (status = 404, description = "The invite is unknown, used up or expired.", body = crate::api::Problem),
        Starting))]
pub(super) async fn join(
    State(state): State<AppState>,
    from: From,
    Segment(token): Segment,
    Body(request): Body<JoinRequest>,
) -> Result<Response, Failure> {
    state.check_throttle(from)?;
    let joined = state.supervisor.join(&token, request).await;
    state.count_wrong_invite(&joined, from);
    let (session, seat) = joined?;
    // The seat goes to this session's paths and to nobody else's.
    let cookie =
        |path: String| set_cookie(&state.supervisor.config(), &state.seat_cookie(), &seat, &path, SEAT);
    let own = cookie(format!("/api/v1/sessions/{}", session.id));
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, own)], Json(session)).into_response())
}

impl AppState {
    fn count_wrong_invite<T>(&self, outcome: &Result<T, Refusal>, from: From) {
        if matches!(outcome, Err(Refusal::Invite)) {
            self.throttle.wrong(from.0, std::time::Instant::now());
        }
    }
}
