//! Who asks. A request is somebody's by one of four things, looked at in this order:
//!
//! 1. it came over the admin socket: the peer's credentials, which [`super::serve`] has looked at;
//! 2. `Authorization: Bearer` with the admin token; a wrong one is refused, not ignored;
//! 3. the cookie of a browser that has shown the admin token;
//! 4. the cookie of a seat, which a browser sends only to the session that it drives.
//!
//! Cookies are `HttpOnly` and `SameSite=Strict`. What changes something, and every WebSocket, must besides
//! come from our own page by its `Origin`, unless the caller showed something that no browser adds by itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{AppState, Failure, origin};
use crate::{config::Config, id::SessionId, spec::User};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// May do everything.
    Admin(Admin),
    /// Drives one session, and may look at it.
    Seat(SessionId),
    /// Nobody we know.
    Nobody,
}

/// An admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// What records call them.
    pub who: String,
    /// As whom they start sessions that name nobody; only the admin socket knows.
    pub user: Option<User>,
    /// Whether they came over the admin socket.
    pub local: bool,
    /// The session that the same browser has a seat at.
    pub seat: Option<SessionId>,
}

impl Caller {
    /// The admin, or a refusal.
    pub fn admin(&self) -> Result<&Admin, Failure> {
        match self {
            Caller::Admin(admin) => Ok(admin),
            Caller::Seat(_) => Err(Failure::Forbidden),
            Caller::Nobody => Err(Failure::Unauthenticated),
        }
    }

    /// Whether this session may be looked at.
    pub fn may_see(&self, id: SessionId) -> Result<(), Failure> {
        match self {
            Caller::Admin(_) => Ok(()),
            Caller::Seat(seat) if *seat == id => Ok(()),
            Caller::Seat(_) => Err(Failure::Forbidden),
            Caller::Nobody => Err(Failure::Unauthenticated),
        }
    }

    /// Whether this caller has the seat of a session.
    pub fn sits_at(&self, id: SessionId) -> bool {
        match self {
            Caller::Admin(admin) => admin.seat == Some(id),
            Caller::Seat(seat) => *seat == id,
            Caller::Nobody => false,
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Caller, Failure> {
        Ok(parts.extensions.get().cloned().unwrap_or(Caller::Nobody))
    }
}

/// The address that a request came from, for the throttle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source(pub(super) IpAddr);

impl Source {
    fn of(parts: &Parts) -> Source {
        let from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Source(from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }
}

impl FromRequestParts<AppState> for Source {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Source, Failure> {
        Ok(Source::of(parts))
    }
}

impl AppState {
    /// Refuses an address that has shown too many wrong tokens.
    pub(super) fn check_throttle(&self, from: Source) -> Result<(), Failure> {
        let wait = self.throttle.check(from.0, Instant::now());
        wait.map_err(|wait| Failure::Throttled { retry_after_s: wait.as_secs() + 1 })
    }

    /// Checks an admin token; a wrong one counts.
    pub(super) async fn check_token(&self, token: &str, from: Source) -> Result<(), Failure> {
        self.check_throttle(from)?;
        if self.supervisor.is_admin_token(token).await {
            return Ok(());
        }
        self.throttle.wrong(from.0, Instant::now());
        Err(Failure::WrongToken)
    }

    /// The name of the admin's cookie: browsers share cookies between ports, daemons do not share logins.
    pub(super) fn admin_cookie(&self) -> String {
        cookie_name("sandboxctl_admin", self)
    }

    /// The name of a seat's cookie.
    pub(super) fn seat_cookie(&self) -> String {
        cookie_name("sandboxctl_seat", self)
    }
}

fn cookie_name(kind: &str, state: &AppState) -> String {
    let instance = state.supervisor.instance().to_string();
    format!("{kind}_{}", instance.split('-').next().unwrap_or_default())
}

/// Finds out who asks; refuses what another site's page may have made.
pub(super) async fn guard(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if request.extensions().get::<Caller>().is_none() {
        let (mut parts, body) = request.into_parts();
        let caller = identify(&state, &parts).await?;
        parts.extensions.insert(caller);
        request = Request::from_parts(parts, body);
    }
    Ok(next.run(request).await)
}

async fn identify(state: &AppState, parts: &Parts) -> Result<Caller, Failure> {
    // Probes and Prometheus ask by whatever name their network gives this machine, and learn no secret.
    if matches!(parts.uri.path(), "/healthz" | "/readyz" | "/metrics") {
        return Ok(Caller::Nobody);
    }
    if let Some(token) = bearer(&parts.headers) {
        state.check_token(token, Source::of(parts)).await?;
        return Ok(Caller::Admin(Admin { who: "admin".to_owned(), user: None, local: false, seat: None }));
    }
    let config = state.supervisor.config();
    let host = host(parts).ok_or(Failure::ForeignHost)?.to_owned();
    if !origin::is_our_host(&host, config.public_url.as_deref()) {
        return Err(Failure::ForeignHost);
    }
    let caller = by_cookie(state, &parts.headers).await;
    if needs_origin(&parts.method, &parts.headers) {
        match parts.headers.get(header::ORIGIN).map(HeaderValue::to_str) {
            Some(Ok(origin)) if origin::is_our_origin(origin, &host, config.public_url.as_deref()) => {}
            None if caller == Caller::Nobody => {}
            _ => return Err(Failure::ForeignOrigin),
        }
    }
    Ok(caller)
}

async fn by_cookie(state: &AppState, headers: &HeaderMap) -> Caller {
    let seat = match cookie(headers, &state.seat_cookie()) {
        Some(secret) => state.supervisor.seat(secret).await,
        None => None,
    };
    if let Some(secret) = cookie(headers, &state.admin_cookie())
        && state.supervisor.is_browser_session(secret).await
    {
        return Caller::Admin(Admin { who: "admin".to_owned(), user: None, local: false, seat });
    }
    seat.map_or(Caller::Nobody, Caller::Seat)
}

/// Whether a request changes something, or opens a WebSocket.
fn needs_origin(method: &Method, headers: &HeaderMap) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || headers.contains_key(header::UPGRADE)
}

/// HTTP/1.1 says it in `Host`, HTTP/2 in the URI.
fn host(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| parts.uri.authority().map(axum::http::uri::Authority::as_str))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

/// The value of the first cookie of this name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

/// A `Set-Cookie` header's value. An empty `value` takes the cookie away.
pub(super) fn set_cookie(config: &Config, name: &str, value: &str, path: &str, max_age_s: u64) -> String {
    let https =
        config.tls.is_some() || config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    let secure = if https { "; Secure" } else { "" };
    let max_age_s = if value.is_empty() { 0 } else { max_age_s };
    format!("{name}={value}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}")
}
