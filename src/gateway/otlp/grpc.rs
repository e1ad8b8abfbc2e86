//! OTLP over gRPC: the `Export` methods of the three collector services, on the same socket as the rest.
//!
//! The generated services would decode every message into structs before we see it. These take the bytes
//! as they come, so that gRPC and HTTP share one path (and one defence) from here on.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Buf, Bytes};
use prost::Message;
use tokio::time::timeout;
use tonic::{
    Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

use super::{
    BODY_LIMIT, Labels, RETRY_AFTER, Refusal, accept,
    http::{self, codes, sentence},
};
use crate::{
    gateway::{Context, Doors, intake::Share},
    signal::Signal,
};

/// How long a call may take to arrive and be kept.
const CALL_TIME: Duration = Duration::from_secs(60);

/// The three services.
pub fn router() -> Router<Arc<Context>> {
    Signal::ALL.into_iter().fold(Router::new(), |router, signal| {
        let export = move |State(ctx): State<Arc<Context>>,
                           Extension(doors): Extension<Arc<Doors>>,
                           request: Request| export(ctx, doors, signal, request);
        router.route(signal.service(), post(export))
    })
}

async fn export(ctx: Arc<Context>, doors: Arc<Doors>, signal: Signal, request: Request) -> Response {
    let Ok(_place) = doors.intake.acquire().await else {
        return Status::unavailable("the session ends").into_http::<axum::body::Body>();
    };
    let mut grpc =
        Grpc::new(Bare).accept_compressed(CompressionEncoding::Gzip).max_decoding_message_size(BODY_LIMIT);
    let share = Share::default();
    let request = request.map(|body| share.counting(body, || refused(&Refusal::Full)));
    match timeout(CALL_TIME, grpc.unary(Export { ctx, signal }, request)).await {
        Ok(response) => response.into_response(),
        Err(_) => {
            Status::deadline_exceeded("the request did not arrive in time").into_http::<axum::body::Body>()
        }
    }
}

struct Export {
    ctx: Arc<Context>,
    signal: Signal,
}

impl UnaryService<Bytes> for Export {
    type Response = Empty;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<tonic::Response<Empty>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (ctx, signal) = (Arc::clone(&self.ctx), self.signal);
        Box::pin(async move {
            // tonic has inflated the message, within the same limit as one that was not compressed.
            let labels =
                Labels { signal, content_type: Some("application/x-protobuf"), content_encoding: None };
            match accept(&ctx, labels, 0, request.into_inner()).await {
                Ok(_) => Ok(tonic::Response::new(Empty)),
                Err(refusal) => Err(refused(&refusal)),
            }
        })
    }
}

fn refused(refusal: &Refusal) -> Status {
    let (_, code) = codes(refusal);
    let message = sentence(refusal);
    if let Refusal::Journal(error) = refusal {
        tracing::warn!(%error, "telemetry refused");
    }
    if code != tonic::Code::Unavailable {
        return Status::new(code, message);
    }
    let retry = RetryInfo { delay: Some(Delay { seconds: RETRY_AFTER as i64 }) };
    let any = http::Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: retry.encode_to_vec(),
    };
    let details = http::Status { code: code as i32, message: message.clone(), details: vec![any] };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub delay: Option<Delay>,
}

/// `google.protobuf.Duration`, in whole seconds.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

/// Messages in as bytes, empty messages out.
#[derive(Clone, Copy)]
struct Bare;

/// `Export…ServiceResponse` without `partial_success`, which is no bytes at all.
struct Empty;

impl Codec for Bare {
    type Encode = Empty;
    type Decode = Bytes;
    type Encoder = Bare;
    type Decoder = Bare;

    fn encoder(&mut self) -> Bare {
        Bare
    }

    fn decoder(&mut self) -> Bare {
        Bare
    }
}

impl Encoder for Bare {
    type Item = Empty;
    type Error = Status;

    fn encode(&mut self, _: Empty, _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
