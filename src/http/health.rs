//! How the daemon is: for probes, for Prometheus, for people.

use axum::{extract::State, http::header, response::IntoResponse};

use super::{AppState, Caller, Failure, answer::Json, problem::Known};
use crate::{
    api::{Check, Destination, Info, Problem},
    metrics::text,
};

/// Tells about the daemon
#[utoipa::path(
    get, path = "/api/v1/info", tag = "daemon",
    responses((status = 200, description = "Version, instance, profiles.", body = Info), Known)
)]
pub(super) async fn info(State(state): State<AppState>, caller: Caller) -> Result<Json<Info>, Failure> {
    caller.admin()?;
    let config = state.supervisor.config();
    let others = config.profiles.keys().filter(|name| **name != config.default_profile);
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: state.supervisor.instance().to_string(),
        url: state.supervisor.public_url(),
        detach_key: config.detach_key.clone(),
        profiles: std::iter::once(&config.default_profile).chain(others).cloned().collect(),
    }))
}

/// Checks the daemon and its surroundings
#[utoipa::path(
    get, path = "/api/v1/doctor", tag = "daemon",
    responses((status = 200, description = "A line for each check, failed ones with a remedy.", body = Vec<Check>), Known)
)]
pub(super) async fn doctor(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Vec<Check>>, Failure> {
    caller.admin()?;
    Ok(Json(state.supervisor.doctor().await))
}

/// Lists where telemetry is forwarded to
#[utoipa::path(
    get, path = "/api/v1/destinations", tag = "daemon",
    responses((status = 200, description = "Each destination, and how it is since this daemon started.",
        body = Vec<Destination>), Known)
)]
pub(super) async fn destinations(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Vec<Destination>>, Failure> {
    caller.admin()?;
    Ok(Json(state.destinations.iter().map(|status| status.report()).collect()))
}

/// Tells that the daemon answers
#[utoipa::path(
    get, path = "/healthz", tag = "daemon", security(()),
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain"), Known)
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Tells whether sessions can be started
#[utoipa::path(
    get, path = "/readyz", tag = "daemon", security(()),
    responses(
        (status = 200, description = "They can.", body = String, content_type = "text/plain"),
        (status = 503, description = "They cannot; the message says why.", body = Problem), Known)
)]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<&'static str, Failure> {
    state.supervisor.ready().await.map_err(Failure::NotReady)?;
    Ok("ready\n")
}

/// Counts, for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "daemon", security(()),
    responses((status = 200, description = "Text format 0.0.4.", body = String, content_type = "text/plain"), Known)
)]
pub(super) async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    let now = state.supervisor.observed(state.destinations.iter().map(|status| status.report()).collect());
    let text = text(&state.supervisor.metrics().gather(&now));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
