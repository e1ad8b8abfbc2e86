//! The API's document, made from the handlers' own declarations.

use axum::Json;
use utoipa::{
    OpenApi as _,
    openapi::{
        OpenApi,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::api::{FromTerminal, Problem, ToTerminal};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "sandboxctl",
        description = "Recorded, attributed, hardened container sessions for Claude Code."
    ),
    components(schemas(Problem, FromTerminal, ToTerminal))
)]
struct Head;

/// What the routes are added to.
pub(super) fn head() -> OpenApi {
    let mut document = Head::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    if let Some(components) = &mut document.components {
        components.add_security_scheme("admin_token", bearer);
    }
    document.security = Some(vec![
        SecurityRequirement::default(),
        SecurityRequirement::new("admin_token", Vec::<String>::new()),
    ]);
    document
}

/// `GET /api/openapi.json`.
pub(super) async fn document() -> Json<OpenApi> {
    Json(super::openapi())
}
