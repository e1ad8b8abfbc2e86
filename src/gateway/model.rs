//! The model API (placeholder: the module is on its way from another branch; take that side).

use std::sync::Arc;

use axum::Router;

use super::Context;

/// The upstream.
pub struct Upstream;

/// Its routes.
pub fn router() -> Router<Arc<Context>> {
    Router::new()
}
