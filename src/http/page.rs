//! The page: one document for every address that people visit, and its assets, all inside the binary.

use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::RustEmbed;

use super::{AppState, Failure};

/// What `npm run build` made; a note on that in its place where it was not run (see `build.rs`).
#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Built;

/// Assets' names hold their hashes, so they never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(document))
        .route("/join/{token}", get(document))
        .route("/s/{id}", get(document))
        .route("/favicon.svg", get(|| async { file("favicon.svg", "public, max-age=86400") }))
        .route("/assets/{name}", get(asset))
}

async fn document() -> Result<Response, Failure> {
    file("index.html", "no-cache")
}

async fn asset(Path(name): Path<String>) -> Result<Response, Failure> {
    file(&format!("assets/{name}"), FOR_EVER)
}

fn file(name: &str, cache: &'static str) -> Result<Response, Failure> {
    let found = Built::get(name).ok_or(Failure::NoRoute)?;
    let media = found.metadata.mimetype().to_owned();
    let headers = [(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, cache.to_owned())];
    Ok((StatusCode::OK, headers, found.data.into_owned()).into_response())
}
