//! Reports.

use axum::extract::State;

use super::{AppState, Caller, Failure, answer::Json, extract::Asked, problem::Known};
use crate::api::{Report, ReportQuery};

/// Adds up what was used
///
/// By user, team, model, tool, profile, day, week or month; of ended sessions, whether or not their records are still
/// there, and of those that live.
#[utoipa::path(
    get, path = "/api/v1/report", tag = "daemon", params(ReportQuery),
    responses((status = 200, description = "A line for each group, and the total.", body = Report), Known)
)]
pub(super) async fn report(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Asked<ReportQuery>, Failure>,
) -> Result<Json<Report>, Failure> {
    caller.admin()?;
    Ok(Json(state.supervisor.report(&query?.0).await?))
}
