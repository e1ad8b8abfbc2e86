//! Answers in JSON. What is in them came from users and programs, and may be read in a terminal, by way of
//! `curl` say: it is [`inert`](mod@crate::inert) there too.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::inert;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], text(&self.0)).into_response()
    }
}

/// A value as one line of JSON. Everything that is answered can be written as JSON.
pub(super) fn text(value: &impl Serialize) -> String {
    inert::json(serde_json::to_string(value).unwrap_or_default())
}
