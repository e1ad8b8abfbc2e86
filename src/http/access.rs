//! Logging in and out, who one is, and a new admin token.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse},
};

use super::{
    AppState, Caller, Failure,
    answer::Json,
    auth::{Source, cookie, set_cookie},
    extract::Body,
    problem::{Known, WithBody},
};
use crate::api::{LoginRequest, Token, Whoami};

/// How long a browser stays logged in.
const LOGIN_S: u64 = 12 * 3600;

/// Logs a browser in
///
/// Exchanges the admin token for a cookie.
#[utoipa::path(
    post, path = "/api/v1/login", tag = "access", security(()), request_body = LoginRequest,
    responses((status = 204, description = "The answer's cookie is the login."), WithBody)
)]
pub(super) async fn login(
    State(state): State<AppState>,
    from: Source,
    Body(request): Body<LoginRequest>,
) -> Result<impl IntoResponse, Failure> {
    state.check_token(&request.token, from).await?;
    let secret = state.supervisor.open_browser_session().await?;
    let cookie = set_cookie(&state.supervisor.config(), &state.admin_cookie(), &secret, "/", LOGIN_S);
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie)])))
}

/// Logs a browser out
#[utoipa::path(
    post, path = "/api/v1/logout", tag = "access", security((), ("login" = [])),
    responses((status = 204, description = "The cookie is good for nothing any more."), Known)
)]
pub(super) async fn logout(State(state): State<AppState>, headers: HeaderMap) -> impl IntoResponse {
    let name = state.admin_cookie();
    if let Some(secret) = cookie(&headers, &name) {
        state.supervisor.close_browser_session(secret).await;
    }
    let cookie = set_cookie(&state.supervisor.config(), &name, "", "/", 0);
    (StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie)]))
}

/// Tells who the caller is
#[utoipa::path(
    get, path = "/api/v1/whoami", tag = "access", security((), ("token" = []), ("login" = []), ("seat" = [])),
    responses((status = 200, description = "Who the daemon takes the caller for.", body = Whoami), Known)
)]
pub(super) async fn whoami(caller: Caller) -> Json<Whoami> {
    let name = caller.admin().ok().map(|admin| admin.who.clone());
    Json(Whoami { admin: name.is_some(), name })
}

/// Makes a new admin token
///
/// Only over the local admin socket. The token before it, and every browser's login, no longer work.
#[utoipa::path(
    post, path = "/api/v1/token", tag = "access",
    responses((status = 201, description = "The token, told here and never again.", body = Token), Known)
)]
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
