//! The API's document: what it says beside the paths, which the handlers declare themselves.

use axum::{extract::State, http::header, response::IntoResponse};
use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::AppState;
use crate::api::{Event, FromTerminal, Problem, ToTerminal};

/// The cookies' names, where no daemon says its own.
const ADMIN_COOKIE: &str = "sandboxctl_admin_INSTANCE";
const SEAT_COOKIE: &str = "sandboxctl_seat_INSTANCE";

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
        cookie(ADMIN_COOKIE, "A browser's login; the name ends in the instance's first eight characters."),
    );
    components.add_security_scheme("seat", cookie(SEAT_COOKIE, "A seat at one session, from an invite."));
    document
}

/// `GET /api/openapi.json`: this daemon's, with its own cookies.
pub(super) async fn document(State(state): State<AppState>) -> impl IntoResponse {
    let text = super::openapi().to_json().unwrap_or_default();
    let text = text.replace(ADMIN_COOKIE, &state.admin_cookie()).replace(SEAT_COOKIE, &state.seat_cookie());
    ([(header::CONTENT_TYPE, "application/json")], text)
}
