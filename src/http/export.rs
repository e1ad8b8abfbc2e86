//! A session's bundle, streamed.

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    AppState, Caller, Failure,
    extract::{Asked, Named},
    problem::OfSession,
};
use crate::api::ExportQuery;

/// Export a session.
///
/// One `tar.gz`, written as it is read, from a live session or an ended one.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/export", tag = "sessions", params(("id" = String, Path, description = "Id, or a unique prefix of one."), ExportQuery),
    responses((status = 200, description = "The bundle.", body = Vec<u8>, content_type = "application/gzip"), OfSession))]
pub(super) async fn export(
    State(state): State<AppState>,
    caller: Caller,
    Named(id): Named,
    Asked(query): Asked<ExportQuery>,
) -> Result<Response, Failure> {
    caller.admin()?;
    let bundle = state.supervisor.export(id, query.workspace).await?;
    let name = format!("attachment; filename=\"sandbox-session-{id}.tar.gz\"");
    let headers =
        [(header::CONTENT_TYPE, "application/gzip".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(bundle)).into_response())
}
