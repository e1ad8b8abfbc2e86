//! Invites: made by the admin, read and used up by whoever has the link.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{AppendHeaders, IntoResponse},
};

use super::{
    AppState, Caller, Failure,
    answer::Json,
    auth::{Source, set_cookie},
    extract::{Body, Segment},
    problem::{Known, Starting, WithBody},
};
use crate::{
    api::{Invitation, Invite, InviteRequest, JoinRequest, Problem, Session},
    supervisor::Refusal,
};

/// How long a browser keeps a seat; the session's own life is shorter.
const SEAT_S: u64 = 7 * 24 * 3600;

/// Makes an invite
#[utoipa::path(
    post, path = "/api/v1/invites", tag = "invites", request_body = Option<InviteRequest>,
    responses((status = 201, description = "The invite; its link is told here and never again.", body = Invite), WithBody)
)]
pub(super) async fn invite(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<InviteRequest>, Failure>,
) -> Result<(StatusCode, Json<Invite>), Failure> {
    caller.admin()?;
    let (_, invite) = state.supervisor.invite(body?.0).await?;
    Ok((StatusCode::CREATED, Json(invite)))
}

/// Reads an invite
///
/// What somebody should know before they join. Needs nothing but the invite's token.
#[utoipa::path(
    get, path = "/api/v1/invites/{token}", tag = "invites", security(()),
    params(("token" = String, Path, description = "The token, as in the invite's link.")),
    responses(
        (status = 200, description = "What it offers.", body = Invitation),
        (status = 404, description = "It is unknown, used up or expired.", body = Problem), Known)
)]
pub(super) async fn invitation(
    State(state): State<AppState>,
    from: Source,
    Segment(token): Segment,
) -> Result<Json<Invitation>, Failure> {
    state.check_throttle(from)?;
    match state.supervisor.invitation(&token).await {
        Ok(invitation) => Ok(Json(invitation)),
        Err(refusal) => Err(state.refused(refusal, from)),
    }
}

/// Joins by an invite
///
/// Uses the invite up by one and starts its session. The answer's cookie is a seat: it drives this session
/// and is good for nothing else.
#[utoipa::path(
    post, path = "/api/v1/invites/{token}/join", tag = "invites", security(()), request_body = JoinRequest,
    params(("token" = String, Path, description = "The token, as in the invite's link.")),
    responses(
        (status = 201, description = "The session.", body = Session),
        (status = 404, description = "The invite is unknown, used up or expired.", body = Problem), Starting)
)]
pub(super) async fn join(
    State(state): State<AppState>,
    from: Source,
    Segment(token): Segment,
    Body(request): Body<JoinRequest>,
) -> Result<impl IntoResponse, Failure> {
    state.check_throttle(from)?;
    let joined = state.supervisor.join(&token, request).await;
    let (session, seat) = joined.map_err(|refusal| state.refused(refusal, from))?;
    // The path keeps seats apart: a browser may sit at several sessions, and sends each only its own.
    let path = format!("/api/v1/sessions/{}", session.id);
    let cookie = set_cookie(&state.supervisor.config(), &state.seat_cookie(), &seat, &path, SEAT_S);
    Ok((StatusCode::CREATED, AppendHeaders([(header::SET_COOKIE, cookie)]), Json(session)))
}

impl AppState {
    /// A wrong invite counts as a wrong token.
    fn refused(&self, refusal: Refusal, from: Source) -> Failure {
        if matches!(refusal, Refusal::Invite) {
            self.throttle.wrong(from.0, std::time::Instant::now());
        }
        Failure::Refused(refusal)
    }
}
