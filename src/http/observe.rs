//! What every request gets: an id, a line in the log, a count, and headers that keep a browser safe.
//!
//! Problems are written here too, since they carry the request's id. Paths stay out of the log above
//! `debug`, and there only as the route's pattern: a path may hold an invite.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use super::{AppState, answer::Json, problem::Told};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Scripts come from us alone; xterm.js sets styles from its script. No other page may frame ours.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     connect-src 'self'; img-src 'self' data:; font-src 'self'; manifest-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

pub(super) async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = Uuid::now_v7().to_string();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let api = request.uri().path().starts_with("/api/");
    let span = tracing::info_span!("request", id, method, route);
    let answer = async {
        let response = tell(next.run(request).await, &id);
        let status = response.status().as_u16();
        tracing::debug!(status, duration_ms = began.elapsed().as_millis() as u64, "answered");
        response
    };
    let mut response = answer.instrument(span).await;
    state.supervisor.metrics().answered(method, response.status().as_u16());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if api || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Writes a problem's body, with the request's id in it; logs what is for us alone.
fn tell(mut response: Response, id: &str) -> Response {
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    if let Some(inner) = &told.inner {
        tracing::error!(error = inner, "a request failed");
    }
    let mut problem = told.problem;
    problem.request_id = Some(id.to_owned());
    let (mut parts, _) = response.into_parts();
    let (body, json) =
        (Json(problem).into_response().into_body(), HeaderValue::from_static("application/json"));
    parts.headers.insert(header::CONTENT_TYPE, json);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

/// A method as a label: what is not HTTP's own is one thing.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
