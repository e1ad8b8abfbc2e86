//! The model API: what Claude Code finds at `ANTHROPIC_BASE_URL`.
//!
//! ```text
//!   /v1/messages, …     ─▶ path ─▶ budget ─▶ credential ─▶ upstream, or the demo model
//!                                                     │ every byte back as it comes
//!                                          usage read on the side ─▶ journal, when the answer ends
//! ```
//!
//! By the profile's credential: `gateway` takes out whatever credential the client sent and puts the
//! operator's key in; `user` passes the client's own on; `demo` answers from a script. Status, headers and
//! body of the upstream's answers, errors included, are passed on as they are: the client's retries depend on
//! their wording.
//!
//! The operator's key is read once, is sent to the configured URL and nowhere else, and is in no log. It opens
//! a short list of calls and no others: batches would pass by the budget, and files are those of everybody who
//! uses the key. A path reaches the upstream as it was judged here or not at all.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use super::{
    Context, Doors, demo,
    intake::{Full, Share, is_full},
    otlp::RETRY_AFTER,
};
use crate::spec::Credential;

pub(in crate::gateway) mod call;
mod under_way;
mod upstream;
mod usage;

use call::Call;
pub(super) use under_way::UnderWay;
pub use upstream::{Upstream, UpstreamError};

/// The longest request, in bytes: a conversation with images.
const BODY_LIMIT: usize = 32 << 20;
/// How long a request's body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);
/// What requests of one session may hold in memory together, in KiB; more wait unread. A request holds its
/// length until the upstream begins to answer.
pub(in crate::gateway) const INTAKE_KIB: usize = 64 << 10;

/// The API's own status for a time when it had better be asked later; the client asks again by itself.
const OVERLOADED: StatusCode = match StatusCode::from_u16(529) {
    Ok(status) => status,
    Err(_) => StatusCode::SERVICE_UNAVAILABLE,
};

/// The routes.
pub fn router() -> Router<Arc<Context>> {
    Router::new()
        .route("/v1/messages", any(answer))
        .route("/v1/messages/{*rest}", any(answer))
        .route("/v1/models", any(answer))
        .route("/v1/models/{*rest}", any(answer))
        .route("/v1/files", any(answer))
        .route("/v1/files/{*rest}", any(answer))
        .route("/api/hello", get(hello))
}

async fn hello() -> &'static str {
    "sandboxctl"
}

async fn answer(
    State(ctx): State<Arc<Context>>,
    Extension(doors): Extension<Arc<Doors>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(target) = ctx.upstream.target(&parts.uri) else {
        return problem(StatusCode::NOT_FOUND, "not_found_error", "this path is not plain");
    };
    if ctx.spec.profile.credential == Credential::Gateway && !is_open(&parts) {
        let message = "This sandbox's gateway passes calls of the model on, and nothing else of the API.";
        return problem(StatusCode::FORBIDDEN, "permission_error", message);
    }
    let long = || problem(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "the request exceeds 32 MiB");
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(BODY_LIMIT);
    if length > BODY_LIMIT {
        return long();
    }
    let kib = u32::try_from(length.div_ceil(1 << 10).max(1)).unwrap_or(u32::MAX);
    let ends = || problem(StatusCode::SERVICE_UNAVAILABLE, "api_error", "the session ends");
    let Ok(intake) = Arc::clone(&doors.model_intake).acquire_many_owned(kib).await else { return ends() };
    // Whoever is slow holds the place of others, all of the same session.
    let share = Share::default();
    let body = match timeout(BODY_TIME, share.limited(body, BODY_LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return long(),
        Ok(Err(error)) if is_full(&error) => return overloaded(&Full.to_string()),
        Ok(Err(_)) | Err(_) => {
            return problem(StatusCode::BAD_REQUEST, "invalid_request_error", "the request did not arrive");
        }
    };
    if ctx.recorder.is_stuck() {
        let message = "This session's record cannot be written at the moment, so no call is passed on.";
        return overloaded(message);
    }
    // Only this is a call of the model; counting tokens and listing models cost nothing.
    let counts = parts.method == Method::POST && parts.uri.path() == "/v1/messages";
    let mut call = None;
    if counts {
        let Some(place) = doors.calls.place().await else { return ends() };
        call = Some(Call::begin(Arc::clone(&ctx), Arc::clone(&doors), place, &parts.headers, &body));
    }
    if call.is_some() && ctx.recorder.with_summary(|s| s.is_over(&ctx.spec.profile.budget)) {
        return refuse_over_budget(call);
    }
    match ctx.spec.profile.credential {
        Credential::Demo => demo::answer(&parts, &body, call),
        Credential::User | Credential::Gateway => {
            pass_on(&ctx, &doors, target, parts, body, call, intake).await
        }
    }
}

/// What the operator's key opens: method and path; below a path that ends in `/` everything.
const OPEN: [(Method, &str); 4] = [
    (Method::POST, "/v1/messages"),
    (Method::POST, "/v1/messages/count_tokens"),
    (Method::GET, "/v1/models"),
    (Method::GET, "/v1/models/"),
];

fn is_open(parts: &Parts) -> bool {
    let path = parts.uri.path();
    OPEN.iter().any(|(method, open)| {
        *method == parts.method && (path == *open || (open.ends_with('/') && path.starts_with(open)))
    })
}

/// At its limit a session's calls are refused in the API's own error shape, with a status that the client
/// does not try again.
fn refuse_over_budget(call: Option<Call>) -> Response {
    if let Some(call) = call {
        call.refused(StatusCode::FORBIDDEN, "budget");
    }
    let message = "This session's budget is spent. Ask the operator of this sandbox for a new session.";
    problem(StatusCode::FORBIDDEN, "permission_error", message)
}

async fn pass_on(
    ctx: &Context,
    doors: &Doors,
    target: reqwest::Url,
    parts: Parts,
    body: Bytes,
    call: Option<Call>,
    intake: OwnedSemaphorePermit,
) -> Response {
    let upstream = &ctx.upstream;
    let mut headers = onward(&parts.headers);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if ctx.spec.profile.credential == Credential::Gateway {
        headers.remove(header::AUTHORIZATION);
        headers.remove(API_KEY);
        let Some(key) = &upstream.key else {
            if let Some(call) = call {
                call.refused(StatusCode::UNAUTHORIZED, "credential");
            }
            let message = "The operator of this sandbox has configured no API key (model.key_file).";
            return problem(StatusCode::UNAUTHORIZED, "authentication_error", message);
        };
        headers.insert(key.name.clone(), key.value.clone());
        if let Some(beta) = key.beta {
            headers.append(BETA, HeaderValue::from_static(beta));
        }
    }
    let sent = upstream.http.request(parts.method, target).headers(headers).body(body).send();
    let (give, take) = oneshot::channel();
    let id = ctx.id;
    doors.calls.spawn(async move {
        let answer = match sent.await {
            Ok(answer) => passed_on(answer, call),
            Err(error) => {
                tracing::warn!(session = %id, error = %error.without_url(), "the model API cannot be reached");
                if let Some(call) = call {
                    call.refused(StatusCode::BAD_GATEWAY, "upstream");
                }
                let message = "The model API cannot be reached from this sandbox's gateway.";
                problem(StatusCode::BAD_GATEWAY, "api_error", message)
            }
        };
        drop(intake);
        // An answer that nobody takes any more is read on for what it costs when it is dropped.
        give.send(answer).ok();
    });
    let ends = |_| problem(StatusCode::SERVICE_UNAVAILABLE, "api_error", "the session ends");
    take.await.unwrap_or_else(ends)
}

fn passed_on(answer: reqwest::Response, call: Option<Call>) -> Response {
    let status = answer.status();
    let headers = onward(answer.headers());
    let stream = answer.bytes_stream();
    let body = match call {
        Some(call) => Body::from_stream(call.follow(status, &headers, stream)),
        None => Body::from_stream(stream),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// The headers that go on: not those of one connection (RFC 9110, 7.6.1), nor those that the HTTP client
/// sets itself. What compression the client takes is left out: usage is read from the answer as it passes.
fn onward(headers: &HeaderMap) -> HeaderMap {
    const DROPPED: [&str; 12] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "accept-encoding",
    ];
    let mut kept = headers.clone();
    // What a connection's header names is of that connection too.
    for name in headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok()) {
        for name in name.split(',') {
            kept.remove(name.trim());
        }
    }
    for name in DROPPED {
        kept.remove(name);
    }
    kept
}

/// What the client tries again after a while.
fn overloaded(message: &str) -> Response {
    let mut answer = problem(OVERLOADED, "overloaded_error", message);
    answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.into());
    answer
}

/// An error in the API's own shape.
fn problem(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests;
