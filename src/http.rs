//! The HTTP face: the API, the terminal's WebSocket, and the page.
//!
//! ```text
//!   TCP ──────▶ observe ─▶ guard ─▶ routes ─▶ Supervisor
//!   admin.sock ─▶ peer ─┘   │          │
//!               (who it is) │          └─ sessions, terminal, events, export, invites, …; the page
//!                           └─ Host, Origin, token or cookie ─▶ Caller
//! ```
//!
//! - [`serve`] owns the listeners. Whoever comes over the admin socket is known by peer credentials.
//! - `observe` gives every request its id, its line in the log and its safe headers.
//! - `guard` finds out who asks ([`Caller`]); handlers say what that caller must be.
//! - [`problem`] is the one table from what can go wrong to status, code and sentence.
//!
//! Handlers extract, ask the supervisor, render. The document at `/api/openapi.json` is made from the same
//! declarations as the routes, so that neither can be without the other.

mod access;
mod allowed;
mod answer;
mod auth;
mod document;
mod events;
mod export;
mod extract;
mod health;
mod invites;
mod observe;
mod origin;
mod page;
mod places;
mod problem;
mod report;
mod serve;
mod sessions;
mod terminal;
mod throttle;
mod window;

use std::sync::Arc;

use axum::{Router, middleware, routing::get};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{forwarder, supervisor::Supervisor};

pub use auth::{Admin, Caller};
pub use problem::Failure;
pub use serve::{TlsError, load_tls, serve_admin, serve_tcp};
#[doc(hidden)]
pub use terminal::{INPUT_LIMIT, Said};

/// What every handler shares. Clones are cheap.
#[derive(Clone)]
pub struct AppState {
    supervisor: Supervisor,
    /// How those are that telemetry is forwarded to.
    destinations: Arc<[Arc<forwarder::Status>]>,
    /// Refuses who guesses tokens.
    throttle: Arc<throttle::Throttle>,
    /// Holds every open terminal, so that the daemon can wait for them.
    tracker: TaskTracker,
    /// The daemon stops: streams end, terminals are let go.
    stopping: CancellationToken,
}

impl AppState {
    /// The state of a router. Terminals that it opens are tracked by `tracker` and end with `stopping`.
    pub fn new(
        supervisor: Supervisor,
        destinations: Vec<Arc<forwarder::Status>>,
        tracker: TaskTracker,
        stopping: CancellationToken,
    ) -> AppState {
        AppState {
            supervisor,
            destinations: destinations.into(),
            throttle: Arc::default(),
            tracker,
            stopping,
        }
    }
}

/// The router of both listeners.
pub fn router(state: AppState) -> Router {
    let (api, _) = api().split_for_parts();
    api.route("/api/openapi.json", get(document::document))
        .merge(page::routes())
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn_with_state(state.clone(), auth::guard))
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

/// The API's document.
pub fn openapi() -> OpenApi {
    api().into_openapi()
}

fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(document::head())
        .routes(routes!(sessions::start, sessions::list))
        .routes(routes!(sessions::show, sessions::end))
        .routes(routes!(sessions::wait))
        .routes(routes!(terminal::terminal))
        .routes(routes!(events::events))
        .routes(routes!(export::export))
        .routes(routes!(invites::invite))
        .routes(routes!(invites::invitation))
        .routes(routes!(invites::join))
        .routes(routes!(access::login))
        .routes(routes!(access::logout))
        .routes(routes!(access::whoami))
        .routes(routes!(access::rotate))
        .routes(routes!(health::info))
        .routes(routes!(health::doctor))
        .routes(routes!(health::destinations))
        .routes(routes!(report::report))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

#[cfg(test)]
mod tests;
