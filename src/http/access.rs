//! Logging in and out, and the admin token.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    AppState, Caller, Failure,
    auth::{From, cookie, set_cookie},
    extract::Body,
    problem::{Anybody, Known, WithBody},
};
use crate::api::{LoginRequest, Token, Whoami};

/// How long a browser stays logged in.
const LOGIN: u64 = 12 * 3600; // seconds

/// Log a browser in.
///
/// The admin token, exchanged for a cookie.
#[utoipa::path(post, path = "/api/v1/login", tag = "access", request_body = LoginRequest,
    responses((status = 204, description = "The cookie is set."), WithBody))]
pub(super) async fn login(
    State(state): State<AppState>,
    from: From,
    Body(request): Body<LoginRequest>,
) -> Result<Response, Failure> {
    state.check_token(&request.token, from).await?;
    let secret = state.supervisor.open_browser_session().await?;
    let set = set_cookie(&state.supervisor.config(), &state.admin_cookie(), &secret, "/", LOGIN);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set)]).into_response())
}

/// Log a browser out.
#[utoipa::path(post, path = "/api/v1/logout", tag = "access",
    responses((status = 204, description = "The cookie is taken away."), Anybody))]
pub(super) async fn logout(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, Failure> {
    if let Some(secret) = cookie(&headers, &state.admin_cookie()) {
        state.supervisor.close_browser_session(secret).await;
    }
    let unset = set_cookie(&state.supervisor.config(), &state.admin_cookie(), "", "/", 0);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, unset)]).into_response())
}

/// Ask who the daemon takes the caller for.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "access",
    responses((status = 200, description = "Who.", body = Whoami), Anybody))]
pub(super) async fn whoami(caller: Caller) -> Json<Whoami> {
    Json(match caller {
        Caller::Admin(admin) => Whoami { admin: true, name: Some(admin.who) },
        Caller::Seat(_) | Caller::Nobody => Whoami { admin: false, name: None },
    })
}

/// Replace the admin token.
///
/// Only over the local admin socket. The token before it stops working, and every browser is logged out.
#[utoipa::path(post, path = "/api/v1/token", tag = "access",
    responses((status = 201, description = "The new token, told this once.", body = Token), Known))]
pub(super) async fn rotate(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<(StatusCode, Json<Token>), Failure> {
    if !caller.admin()?.local {
        return Err(Failure::SocketOnly);
    }
    let token = state.supervisor.rotate_token().await?;
    Ok((StatusCode::CREATED, Json(Token { token })))
}
