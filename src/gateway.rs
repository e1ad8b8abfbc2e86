//! The gateway: the one door out of a container.
//!
//! ```text
//!   gateway.sock ──▶ serve: ≤ 256 connections, each a task, HTTP/1.1 and HTTP/2
//!                      │
//!        CONNECT, http://… ──▶ egress     allow-list, then resolve, then connect; recorded
//!        POST /v1/{traces,metrics,logs}
//!        gRPC  …/Export ─────▶ otlp       stamp, journal, commit, 200
//!        POST /hooks ────────▶ hooks      policy, journal, commit, answer
//!        POST /mcp ──────────▶ mcp        journal, commit, 200
//!        /v1/messages, … ────▶ model      the model API
//!        anything else ──────▶ 404
//! ```
//!
//! There is one router for each session, served on that session's own socket: whose a request is follows
//! from where it came in and from nothing that it says. The handlers share a [`Context`], and the session's
//! [`Recorder`] is all they write to.
//!
//! Everything that a container sends is bounded: connections, headers, the time both may take, bodies, and
//! how many bodies are in memory at once, of a session ([`Doors`]) and of all (`intake`).

pub(crate) mod demo;
pub mod egress;
pub mod hooks;
mod intake;
pub mod mcp;
pub mod model;
pub mod otlp;

mod serve;

use std::sync::Arc;

use axum::{Extension, Json, Router, http::StatusCode, middleware, response::IntoResponse};
use bytes::Bytes;
use sandbox_guest::wire::SpooledRequest;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    id::SessionId,
    journal::JournalError,
    metrics::Metrics,
    policy::{Policy, PolicyError},
    recorder::Recorder,
    spec::Spec,
};

pub use serve::serve;

/// Bodies of OTLP requests, hooks and MCP messages that one session may have in memory. More wait unread.
const INTAKE_LIMIT: usize = 4;

/// What the handlers of one session share.
pub struct Context {
    /// The session.
    pub id: SessionId,
    /// What it was asked to be.
    pub spec: Arc<Spec>,
    /// The way into its journal.
    pub recorder: Recorder,
    /// The model API, shared by all sessions.
    pub upstream: Arc<model::Upstream>,
    /// What its hooks are answered by.
    pub policy: Arc<Policy>,
    /// Where its egress proxy leads.
    pub egress: Arc<egress::AllowList>,
    /// Counts what is done.
    pub metrics: Arc<Metrics>,
    /// What the guest says with its number of a request.
    pub request_key: String,
}

impl Context {
    /// What the handlers of a session share; its policy and allow-list are compiled here.
    pub fn new(
        id: SessionId,
        spec: Arc<Spec>,
        recorder: Recorder,
        upstream: Arc<model::Upstream>,
        metrics: Arc<Metrics>,
        request_key: String,
    ) -> Result<Context, ContextError> {
        let policy = Arc::new(Policy::new(&spec.profile.policy)?);
        let egress = Arc::new(egress::AllowList::new(&spec.profile.egress)?);
        Ok(Context { id, spec, recorder, upstream, policy, egress, metrics, request_key })
    }
}

/// Why a profile makes no gateway. [`crate::config`] checks every profile, so that none gets this far.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Its policy.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// Its egress.
    #[error("egress: {0}")]
    Egress(#[from] egress::EgressError),
}

/// Journals a request that the guest answered itself while the daemon was away, unless it has been
/// journalled before. Returns the number to commit before the guest may forget the request.
pub async fn ingest(ctx: &Context, request: &SpooledRequest, body: Bytes) -> Result<u64, JournalError> {
    if request.path == mcp::PATH {
        mcp::ingest(ctx, request, &body)
    } else {
        otlp::ingest(ctx, request, body).await
    }
}

/// The bounds that the handlers of one session share.
pub(crate) struct Doors {
    intake: Semaphore,
    /// In KiB: bodies of model calls are of very different lengths.
    model_intake: Arc<Semaphore>,
    calls: model::UnderWay,
    tunnels: egress::Tunnels,
}

impl Doors {
    fn new(cancel: CancellationToken) -> Doors {
        Doors {
            intake: Semaphore::new(INTAKE_LIMIT),
            model_intake: Arc::new(Semaphore::new(model::INTAKE_KIB)),
            calls: model::UnderWay::new(cancel.clone()),
            tunnels: egress::Tunnels::new(cancel),
        }
    }
}

/// The router of one session. What it opens to the network stays open until the connections end; [`serve()`]
/// ends them with the session.
pub fn router(ctx: Arc<Context>) -> Router {
    assemble(ctx, Arc::new(Doors::new(CancellationToken::new())))
}

fn assemble(ctx: Arc<Context>, doors: Arc<Doors>) -> Router {
    Router::new()
        .merge(otlp::http::router())
        .merge(otlp::grpc::router())
        .merge(hooks::router())
        .merge(mcp::router())
        .merge(model::router())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&ctx), egress::intercept))
        .layer(Extension(doors))
        .with_state(ctx)
}

async fn unknown() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        Json(json!({ "error": { "code": "not_found", "message": "nothing is served here" } })),
    )
}

async fn wrong_method() -> impl IntoResponse {
    let message = "this path does not take this method";
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({ "error": { "code": "method", "message": message } })))
}

#[cfg(test)]
mod tests;
