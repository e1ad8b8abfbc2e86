//! How the daemon is: for people, probes and Prometheus.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{AppState, Caller, Failure, problem::Known};
use crate::{
    api::{Check, Info},
    metrics::{Now, Process},
};

/// Learn what this daemon is.
#[utoipa::path(get, path = "/api/v1/info", tag = "daemon",
    responses((status = 200, description = "What it is.", body = Info), Known))]
pub(super) async fn info(State(state): State<AppState>, caller: Caller) -> Result<Json<Info>, Failure> {
    caller.admin()?;
    let config = state.supervisor.config();
    let mut profiles: Vec<String> = config.profiles.keys().cloned().collect();
    profiles.sort_by_key(|name| *name != config.default_profile);
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: state.supervisor.instance().to_string(),
        url: state.supervisor.public_url(),
        detach_key: config.detach_key.clone(),
        profiles,
    }))
}

/// Have the daemon check itself and what it stands on.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "daemon",
    responses((status = 200, description = "What was found.", body = Vec<Check>), Known))]
pub(super) async fn doctor(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Vec<Check>>, Failure> {
    caller.admin()?;
    Ok(Json(state.supervisor.doctor().await))
}

/// Ask whether the daemon lives.
#[utoipa::path(get, path = "/healthz", tag = "daemon",
    responses((status = 200, description = "It does.", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ask whether sessions can be started.
#[utoipa::path(get, path = "/readyz", tag = "daemon",
    responses(
        (status = 200, description = "They can.", body = String),
        (status = 503, description = "They cannot; the message says why.", body = crate::api::Problem)))]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<&'static str, Failure> {
    state.supervisor.ready().await.map_err(Failure::NotReady)?;
    Ok("ready\n")
}

/// Read the daemon's metrics, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "daemon",
    responses((status = 200, description = "The metrics.", body = String)))]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let mut now = Now { process: Process::look(), ..Now::default() };
    for session in state.supervisor.all_live() {
        let view = session.view();
        *now.sessions.entry(view.phase).or_default() += 1;
        now.viewers += u64::from(view.viewers);
        now.recorded_bytes += view.recorded_bytes;
    }
    let text = state.supervisor.metrics().render(&now);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
