//! The API's document: what it says beside the paths, which the handlers declare themselves.

use axum::{http::header, response::IntoResponse};
use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::api::{Event, FromTerminal, Problem, ToTerminal};

/// The document without its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "sandboxctl",
        description = "Recorded, attributed, hardened container sessions for Claude Code. \
            Every error's body is a `Problem`. Sizes are bytes, times are RFC 3339 in UTC."
    ),
    components(schemas(Problem, Event, FromTerminal, ToTerminal)),
    security(("token" = []), ("login" = []), ("seat" = [])),
    tags(
        (name = "sessions", description = "Start, watch, end and export sessions."),
        (name = "invites", description = "Let others start a session for themselves."),
        (name = "access", description = "Who the caller is."),
        (name = "daemon", description = "How the daemon is.")
    )
)]
struct Head;

/// The document without its paths, and with what may open the door.
pub(super) fn head() -> openapi::OpenApi {
    let mut document = Head::openapi();
    let components = document.components.get_or_insert_default();
    let cookie = |name: &str, description: &str| {
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(name, description)))
    };
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The admin token.")).build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    components.add_security_scheme(
        "login",
        cookie(
            "sandboxctl_admin_…",
            "A browser's login; the name ends in the instance's first eight characters.",
        ),
    );
    components
        .add_security_scheme("seat", cookie("sandboxctl_seat_…", "A seat at one session, from an invite."));
    document
}

/// `GET /api/openapi.json`.
pub(super) async fn document() -> impl IntoResponse {
    let text = super::openapi().to_json().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text)
}
