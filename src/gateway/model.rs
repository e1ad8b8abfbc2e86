//! The model API: what Claude Code finds at `ANTHROPIC_BASE_URL`.
//!
//! ```text
//!   POST /v1/messages…  ─▶ budget ─▶ credential ─▶ upstream, or the demo model
//!                                                     │ every byte back as it comes
//!                                          usage read on the side ─▶ journal, when the answer ends
//! ```
//!
//! By the profile's credential: `gateway` takes out whatever credential the client sent and puts the
//! operator's key in; `user` passes the client's own on; `demo` answers from a script. Status, headers and
//! body of the upstream's answers, errors included, are passed on as they are: the client's retries depend on
//! their wording.
//!
//! The operator's key is read once, is sent to the configured URL and nowhere else, and is in no log.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;

use super::{Context, demo};
use crate::{
    config::{self, Price},
    event,
    spec::Credential,
};

pub(in crate::gateway) mod call;
mod usage;

use call::Call;

/// The longest request, in bytes: a conversation with images.
const BODY_LIMIT: usize = 32 << 20;
/// How long the upstream may be silent; the client gives up after 300 s.
const SILENCE: Duration = Duration::from_secs(330);
/// How long a connection to the upstream may take.
const CONNECT: Duration = Duration::from_secs(15);

/// The upstream, shared by all sessions.
pub struct Upstream {
    http: reqwest::Client,
    base: String,
    key: Option<HeaderValue>,
    prices: Vec<(String, Price)>,
}

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The key's file.
    #[error("model.key_file {path}: {problem}")]
    Key {
        /// Where.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The HTTP client.
    #[error("model: the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl Upstream {
    /// An upstream as configured. Nothing is connected to yet.
    pub fn new(model: &config::Model) -> Result<Upstream, UpstreamError> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let mut prices: Vec<(String, Price)> = model.prices.clone().into_iter().collect();
        prices.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Upstream {
            http,
            base: model.url.trim_end_matches('/').to_owned(),
            key: model.key_file.as_deref().map(read_key).transpose()?,
            prices,
        })
    }

    /// The price of a call in US dollars: by the longest prefix of the model's name that the list has.
    fn cost(&self, call: &event::Model) -> f64 {
        let Some((_, price)) = self.prices.iter().find(|(prefix, _)| call.model.starts_with(prefix.as_str()))
        else {
            return 0.0;
        };
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let millions = |tokens: u64| tokens as f64 / 1e6;
        millions(call.input_tokens) * price.input
            + millions(call.output_tokens) * price.output
            + millions(call.cache_read_tokens) * price.cache_read
            + millions(call.cache_creation_tokens) * price.cache_write
    }
}

fn read_key(path: &Path) -> Result<HeaderValue, UpstreamError> {
    let wrong = |problem: String| UpstreamError::Key { path: path.display().to_string(), problem };
    let mode = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!(
            "its mode is {:o}; nobody but the daemon may read it: chmod 600 it",
            mode & 0o777
        )));
    }
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let mut key = HeaderValue::from_str(text.trim()).map_err(|_| wrong("it holds no key".to_owned()))?;
    if key.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    key.set_sensitive(true);
    Ok(key)
}

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

async fn answer(State(ctx): State<Arc<Context>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "the request is longer than 32 MiB",
            );
        }
        Err(_) => {
            return problem(StatusCode::BAD_REQUEST, "invalid_request_error", "the request did not arrive");
        }
    };
    // Only this is a call of the model; counting tokens and listing models cost nothing.
    let counts = parts.method == Method::POST && parts.uri.path() == "/v1/messages";
    let call = counts.then(|| Call::begin(Arc::clone(&ctx), &parts.headers, &body));
    if let Some(refused) = refuse_over_budget(&ctx, call.as_ref()) {
        return refused;
    }
    match ctx.spec.profile.credential {
        Credential::Demo => demo::answer(&parts, &body, call),
        Credential::User | Credential::Gateway => pass_on(&ctx, parts, body.into(), call).await,
    }
}

/// At its limit a session's calls are refused in the API's own error shape, with a status that the client
/// does not try again.
fn refuse_over_budget(ctx: &Context, call: Option<&Call>) -> Option<Response> {
    let call = call?;
    if !ctx.recorder.with_summary(|s| s.is_over(&ctx.spec.profile.budget)) {
        return None;
    }
    call.refused(StatusCode::FORBIDDEN, "budget");
    let message = "This session's budget is spent. Ask the operator of this sandbox for a new session.";
    Some(problem(StatusCode::FORBIDDEN, "permission_error", message))
}

async fn pass_on(ctx: &Arc<Context>, parts: Parts, body: reqwest::Body, call: Option<Call>) -> Response {
    let upstream = &ctx.upstream;
    let mut headers = onward(&parts.headers);
    if ctx.spec.profile.credential == Credential::Gateway {
        headers.remove(header::AUTHORIZATION);
        headers.remove(API_KEY);
        let Some(key) = &upstream.key else {
            call.inspect(|c| c.refused(StatusCode::UNAUTHORIZED, "credential"));
            let message = "The operator of this sandbox has configured no API key (model.key_file).";
            return problem(StatusCode::UNAUTHORIZED, "authentication_error", message);
        };
        headers.insert(API_KEY, key.clone());
    }
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let sent = upstream
        .http
        .request(parts.method, format!("{}{path}", upstream.base))
        .headers(headers)
        .body(body)
        .send();
    let answer = match sent.await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(session = %ctx.id, error = %error.without_url(), "the model API cannot be reached");
            call.inspect(|c| c.refused(StatusCode::BAD_GATEWAY, "upstream"));
            let message = "The model API cannot be reached from this sandbox's gateway.";
            return problem(StatusCode::BAD_GATEWAY, "api_error", message);
        }
    };
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

/// The headers that go on: not those of one connection (RFC 9110, 7.6.1), nor those that the HTTP client
/// sets itself. Compression is not asked for: usage is read from the answer as it passes.
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
    for name in DROPPED {
        kept.remove(name);
    }
    kept
}

/// An error in the API's own shape.
fn problem(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests;
