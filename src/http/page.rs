//! The page: built from `web/` into the binary. Three paths show it; which view is the page's own affair.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{AppState, Failure, extract::Segment};

/// What Vite built; a page that says how to build it where nobody has.
#[derive(RustEmbed)]
#[folder = "web/dist/"]
struct Dist;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(index))
        .route("/join/{token}", get(index))
        .route("/s/{id}", get(index))
        .route("/favicon.svg", get(icon))
        .route("/assets/{name}", get(asset))
}

async fn index() -> Result<Response, Failure> {
    let file = Dist::get("index.html").ok_or(Failure::NoRoute)?;
    Ok(serve(file, "no-cache"))
}

async fn icon() -> Result<Response, Failure> {
    let file = Dist::get("favicon.svg").ok_or(Failure::NoRoute)?;
    Ok(serve(file, "public, max-age=86400"))
}

/// A file whose name holds its hash: it never changes.
async fn asset(Segment(name): Segment) -> Result<Response, Failure> {
    let file = Dist::get(&format!("assets/{name}")).ok_or(Failure::NoRoute)?;
    Ok(serve(file, "public, max-age=31536000, immutable"))
}

fn serve(file: EmbeddedFile, cached: &'static str) -> Response {
    let media_type = match file.metadata.mimetype() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, cached.to_owned())];
    (StatusCode::OK, headers, file.data).into_response()
}
