//! OTLP over HTTP: `POST /v1/traces`, `/v1/metrics` and `/v1/logs`.
//!
//! The answer is in the encoding of the request: an empty `Export…ServiceResponse`, or a
//! `google.rpc.Status` that says why not.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError};
use prost::Message;
use sandbox_guest::wire::REQUEST_HEADER;
use tokio::time::timeout;

use super::{BODY_LIMIT, Encoding, Labels, RETRY_AFTER, Refusal, accept};
use crate::{
    gateway::{
        Context, Doors,
        intake::{Share, is_full},
    },
    journal::JournalError,
    keys::same_hash,
    signal::Signal,
};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The three routes.
pub fn router() -> Router<Arc<Context>> {
    Signal::ALL.into_iter().fold(Router::new(), |router, signal| {
        let export = move |State(ctx): State<Arc<Context>>,
                           Extension(doors): Extension<Arc<Doors>>,
                           request: Request| export(ctx, doors, signal, request);
        router.route(signal.path(), post(export))
    })
}

async fn export(ctx: Arc<Context>, doors: Arc<Doors>, signal: Signal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let content_type = text(&parts.headers, header::CONTENT_TYPE.as_str());
    let answer_in = Encoding::of(content_type).unwrap_or(Encoding::Json);
    let labels = Labels {
        signal,
        content_type,
        content_encoding: text(&parts.headers, header::CONTENT_ENCODING.as_str()),
    };
    let origin = request_number(&ctx, &parts.headers);
    // Bodies wait here, unread, so that one session holds only so many in memory.
    let Ok(_place) = doors.intake.acquire().await else {
        return refused(answer_in, &Refusal::Body);
    };
    let share = Share::default();
    let accepted = match read(&parts.headers, body, BODY_LIMIT, &share).await {
        Ok(body) => accept(&ctx, labels, origin, body).await,
        Err(refusal) => Err(refusal),
    };
    match accepted {
        Ok(Encoding::Protobuf) => ([(header::CONTENT_TYPE, "application/x-protobuf")], "").into_response(),
        Ok(Encoding::Json) => ([(header::CONTENT_TYPE, "application/json")], "{}").into_response(),
        Err(refusal) => refused(answer_in, &refusal),
    }
}

/// The guest's number of a request, and 0 where there is none: it counts from 1. Whoever else claims a number
/// does not know the key.
pub(in crate::gateway) fn request_number(ctx: &Context, headers: &HeaderMap) -> u64 {
    let said = text(headers, REQUEST_HEADER).and_then(|value| value.split_once(' '));
    let number = said.filter(|(_, key)| same_hash(key, &ctx.request_key)).map(|(number, _)| number);
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Reads a body of at most `limit` bytes, which count as long as the share lives.
pub(in crate::gateway) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    share: &Share,
) -> Result<Bytes, Refusal> {
    let announced = text(headers, header::CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limit as u64) {
        return Err(Refusal::TooLong);
    }
    match timeout(BODY_TIME, share.limited(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Refusal::TooLong),
        Ok(Err(e)) if is_full(&e) => Err(Refusal::Full),
        Ok(Err(_)) | Err(_) => Err(Refusal::Body),
    }
}

/// A header, if it is there and is text.
pub(in crate::gateway) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// The refusal as HTTP and as gRPC spell it.
pub(super) fn codes(refusal: &Refusal) -> (StatusCode, tonic::Code) {
    use tonic::Code;
    match refusal {
        Refusal::ContentType(_) | Refusal::ContentEncoding(_) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
        }
        Refusal::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument),
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        Refusal::Body => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
        Refusal::Gzip(_) | Refusal::Json(_) | Refusal::Protobuf(_) => {
            (StatusCode::BAD_REQUEST, Code::InvalidArgument)
        }
        Refusal::Journal(
            JournalError::Full { .. }
            | JournalError::ReadOnly { .. }
            | JournalError::Io { .. }
            | JournalError::Damaged { .. }
            | JournalError::Broken { .. },
        ) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        Refusal::Journal(JournalError::Sealed { .. }) => (StatusCode::GONE, Code::FailedPrecondition),
    }
}

/// What the client may read of a refusal. Paths of the host are not its business.
pub(super) fn sentence(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Journal(JournalError::Full { .. }) => {
            "the disk is full; try again when there is space".to_owned()
        }
        Refusal::Journal(JournalError::Sealed { .. }) => "the session has ended".to_owned(),
        Refusal::Journal(
            JournalError::ReadOnly { .. }
            | JournalError::Io { .. }
            | JournalError::Damaged { .. }
            | JournalError::Broken { .. },
        ) => "the journal cannot be written; try again later".to_owned(),
        other => other.to_string(),
    }
}

fn refused(encoding: Encoding, refusal: &Refusal) -> Response {
    let (http, code) = codes(refusal);
    if let Refusal::Journal(error) = refusal {
        tracing::warn!(%error, "telemetry refused");
    }
    let status = Status { code: code as i32, message: sentence(refusal), details: Vec::new() };
    let mut response = match encoding {
        Encoding::Protobuf => {
            (http, [(header::CONTENT_TYPE, "application/x-protobuf")], status.encode_to_vec()).into_response()
        }
        Encoding::Json => {
            let body = serde_json::json!({ "code": status.code, "message": status.message });
            (http, axum::Json(body)).into_response()
        }
    };
    if http == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.into());
    }
    response
}
