//! Telemetry: OTLP over HTTP, over gRPC ([`grpc`]) and out of the guest's spool ([`ingest`]).
//!
//! ```text
//!   body ──inflate──▶ JSON? ──json──▶ protobuf ──stamp──▶ journal ──commit──▶ 200
//! ```
//!
//! The three ways in share everything from the second arrow on. Nothing is answered as accepted before it
//! is on disk, and what is accepted is accepted whole: `partial_success` is never set, because the gateway
//! refuses requests and not single records. A request that carries the guest's number
//! ([`REQUEST_HEADER`](sandbox_guest::wire::REQUEST_HEADER)) counts once, however often it comes.
//!
//! | refused with | when | will the client try again |
//! |---|---|---|
//! | 400 | not the message that its path names | no |
//! | 408 | the body did not arrive in time | no |
//! | 413 | longer than the limits below | no |
//! | 415 | neither protobuf nor JSON, or neither gzip nor identity | no |
//! | 503 with `Retry-After` | the disk is full or fails, or too much arrives at once | yes |
//! | 410 | the session has ended, its journal is sealed | no |

pub mod grpc;
pub mod http;
pub mod json;
pub mod schema;
pub mod stamp;
pub mod wire;

use std::io::Read;

use bytes::Bytes;
use sandbox_guest::{frame::MAX_PAYLOAD, wire::SpooledRequest};
use tokio::sync::Semaphore;

use crate::{
    clock,
    event::Lifecycle,
    journal::{JournalError, Kind},
    signal::Signal,
};

use self::{schema::Message, stamp::Stamp, wire::WireError};
use super::{
    Context,
    intake::{Full, INLINE_LIMIT},
};

/// The longest body, in bytes, as it comes over HTTP or in a gRPC message.
pub const BODY_LIMIT: usize = 16 << 20;

/// The longest body once inflated, in bytes.
pub const INFLATED_LIMIT: usize = 64 << 20;

/// What `Retry-After` asks for: Claude Code's exporter gives up early if it is told less than 10.
pub const RETRY_AFTER: u64 = 15; // seconds

/// How many long bodies, and such as are to be inflated, are decoded and counted at once, of all sessions. Each may
/// take its body many times over; who sends it has no say in how long that lasts, so all the others wait.
static HEAVY: Semaphore = Semaphore::const_new(2);

/// How a signal's requests are built.
fn schema_of(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &schema::TRACES,
        Signal::Metrics => &schema::METRICS,
        Signal::Logs => &schema::LOGS,
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Encoding {
    fn of(content_type: Option<&str>) -> Result<Encoding, Refusal> {
        let given = content_type.unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf") {
            Ok(Encoding::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Ok(Encoding::Json)
        } else {
            Err(Refusal::ContentType(given.to_owned()))
        }
    }
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is neither protobuf nor JSON.
    #[error("content type '{0}': send application/x-protobuf or application/json")]
    ContentType(String),
    /// It is compressed in a way that OTLP does not have.
    #[error("content encoding '{0}': send gzip or identity")]
    ContentEncoding(String),
    /// It is longer than allowed.
    #[error("the request is too long: send at most {} MiB, {} MiB inflated", BODY_LIMIT >> 20, INFLATED_LIMIT >> 20)]
    TooLong,
    /// Its body did not come in time, or broke off.
    #[error("the request's body did not arrive")]
    Body,
    /// Bodies of all sessions fill what there is for them.
    #[error("{Full}")]
    Full,
    /// Its gzip is damaged.
    #[error("the body is not gzip: {0}")]
    Gzip(std::io::Error),
    /// It is not the JSON that its path asks for.
    #[error("the body is not OTLP/JSON: {0}")]
    Json(serde_json::Error),
    /// It is not the protobuf that its path asks for.
    #[error("the body is not OTLP: {0}")]
    Protobuf(WireError),
    /// It cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What a client says about a request.
#[derive(Clone, Copy, Debug)]
struct Labels<'a> {
    signal: Signal,
    content_type: Option<&'a str>,
    content_encoding: Option<&'a str>,
}

/// Journals a request that the guest answered itself while the daemon was away, unless it has been
/// journalled before. One that cannot be decoded leaves a [`Lifecycle::RequestRefused`] in its place, since
/// nobody is left to be told. Returns the number to commit before the guest may forget the request.
pub async fn ingest(ctx: &Context, request: &SpooledRequest, body: Bytes) -> Result<u64, JournalError> {
    let seen = || *ctx.recorder.journal().head().borrow();
    if ctx.recorder.journal().has_request(request.request) {
        return Ok(seen());
    }
    let bytes = body.len() as u64;
    let labels = Signal::ALL.into_iter().find(|signal| signal.path() == request.path).map(|signal| Labels {
        signal,
        content_type: request.content_type.as_deref(),
        content_encoding: request.content_encoding.as_deref(),
    });
    let error = match labels {
        None => format!("nothing is received at {:.64}", request.path),
        Some(labels) => match keep(ctx, labels, request.request, body).await {
            Ok((_, seq)) => return Ok(seq.unwrap_or_else(seen)),
            Err(Refusal::Journal(error)) => return Err(error),
            Err(refusal) => refusal.to_string(),
        },
    };
    let path = request.path.chars().take(256).collect();
    ctx.recorder.event(Kind::Lifecycle, &Lifecycle::RequestRefused { path, bytes, error })
}

/// Stamps a request and keeps it; returns once it is on disk.
async fn accept(ctx: &Context, labels: Labels<'_>, origin: u64, body: Bytes) -> Result<Encoding, Refusal> {
    let accepted = try_accept(ctx, labels, origin, body).await;
    ctx.metrics.otlp(labels.signal.name(), accepted.is_ok());
    accepted
}

async fn try_accept(
    ctx: &Context,
    labels: Labels<'_>,
    origin: u64,
    body: Bytes,
) -> Result<Encoding, Refusal> {
    let (encoding, seq) = keep(ctx, labels, origin, body).await?;
    let seq = seq.unwrap_or_else(|| *ctx.recorder.journal().head().borrow());
    ctx.recorder.commit(seq).await?;
    Ok(encoding)
}

/// Stamps a request and appends it; `None` if there was nothing to add: it is empty, or is there already. Tells
/// how the request was written.
async fn keep(
    ctx: &Context,
    labels: Labels<'_>,
    origin: u64,
    body: Bytes,
) -> Result<(Encoding, Option<u64>), Refusal> {
    let encoding = Encoding::of(labels.content_type)?;
    let gzip = match labels.content_encoding.unwrap_or_default().trim() {
        "" => false,
        e if e.eq_ignore_ascii_case("identity") => false,
        e if e.eq_ignore_ascii_case("gzip") => true,
        other => return Err(Refusal::ContentEncoding(other.to_owned())),
    };
    let stamp = Stamp::new(ctx.id, &ctx.spec);
    let (signal, recorder) = (labels.signal, ctx.recorder.clone());
    let is_light = !gzip && body.len() <= INLINE_LIMIT;
    let work = move || -> Result<Option<u64>, Refusal> {
        let payload = decode(&stamp, signal, encoding, gzip, &body)?;
        drop(body);
        if payload.is_empty() {
            return Ok(None);
        }
        Ok(recorder.append_once(clock::now(), origin, signal.kind(), payload.into())?)
    };
    let kept = if is_light {
        work()
    } else {
        let _turn = HEAVY.acquire().await.map_err(|_| Refusal::Body)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Body)?
    };
    Ok((encoding, kept?))
}

fn decode(
    stamp: &Stamp,
    signal: Signal,
    encoding: Encoding,
    gzip: bool,
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let inflated;
    let body = if gzip {
        inflated = inflate(body)?;
        &inflated
    } else {
        body
    };
    let transcoded;
    let body = match encoding {
        Encoding::Protobuf => body,
        Encoding::Json => {
            transcoded = json::to_protobuf(schema_of(signal), body, MAX_PAYLOAD).map_err(|e| {
                if e.to_string().contains(json::TOO_LONG) { Refusal::TooLong } else { Refusal::Json(e) }
            })?;
            &transcoded
        }
    };
    let payload = stamp.apply(schema_of(signal), body).map_err(|e| match e {
        WireError::Large => Refusal::TooLong,
        other => Refusal::Protobuf(other),
    })?;
    if payload.len() > MAX_PAYLOAD { Err(Refusal::TooLong) } else { Ok(payload) }
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(4).min(INFLATED_LIMIT));
    flate2::bufread::MultiGzDecoder::new(body)
        .take(INFLATED_LIMIT as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(Refusal::Gzip)?;
    if inflated.len() > INFLATED_LIMIT { Err(Refusal::TooLong) } else { Ok(inflated) }
}
