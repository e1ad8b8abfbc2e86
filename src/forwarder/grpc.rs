//! OTLP over gRPC, as its client: the bytes of the journal as they are, without decoding them first.

use std::{path::Path, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use reqwest::header::HeaderMap;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    ForwarderError,
    door::{Outcome, words},
    headers,
};
use crate::{cause::deepest, config::Forward, signal::Signal};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that is made when it is needed, and again when it breaks.
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
    gzip: bool,
}

impl Client {
    pub(super) fn new(name: &str, config: &Forward) -> Result<Client, ForwarderError> {
        let wrong = |error: tonic::transport::Error| ForwarderError::Endpoint {
            name: name.to_owned(),
            problem: error.to_string(),
        };
        let mut endpoint =
            Endpoint::from_shared(config.endpoint.clone()).map_err(wrong)?.connect_timeout(CONNECT);
        if config.endpoint.starts_with("https:") {
            endpoint = endpoint.tls_config(tls(name, config)?).map_err(wrong)?;
        }
        Ok(Client { channel: endpoint.connect_lazy(), timeout: config.timeout, gzip: config.gzip() })
    }

    /// Sends one request; the answer's bytes.
    pub(super) async fn send(
        &self,
        headers: HeaderMap,
        signal: Signal,
        request: Bytes,
    ) -> Result<Bytes, Status> {
        let mut client = Grpc::new(self.channel.clone());
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let call = async {
            client.ready().await.map_err(|error| Status::unavailable(words(&deepest(&error).to_string())))?;
            let mut request = Request::new(request);
            *request.metadata_mut() = MetadataMap::from_headers(headers);
            client.unary(request, PathAndQuery::from_static(signal.service()), Plain).await
        };
        let answer = tokio::time::timeout(self.timeout, call).await;
        Ok(answer.map_err(|_| Status::deadline_exceeded("it does not answer in time"))??.into_inner())
    }
}

fn tls(name: &str, config: &Forward) -> Result<ClientTlsConfig, ForwarderError> {
    let key = |key: &str| format!("forward.{name}.tls.{key}");
    let mut tls = ClientTlsConfig::new().with_native_roots();
    if let Some(path) = &config.tls.ca {
        tls = tls.ca_certificate(Certificate::from_pem(headers::read(key("ca"), path)?));
    }
    if let (Some(cert), Some(private)) = (&config.tls.cert, &config.tls.key) {
        let wrong =
            |path: &Path, problem| ForwarderError::File { key: key("key"), path: path.to_owned(), problem };
        let secret = headers::read_private(private).map_err(|problem| wrong(private, problem))?;
        tls = tls.identity(Identity::from_pem(headers::read(key("cert"), cert)?, secret));
    }
    Ok(tls)
}

/// What came of a call.
pub(super) fn outcome(answer: Result<Bytes, Status>) -> Outcome {
    let status = match answer {
        Ok(body) => return accepted(&body),
        Err(status) => status,
    };
    // What our own side could not do has a cause; what the other side says has words.
    let why = match std::error::Error::source(&status) {
        Some(cause) => words(&deepest(cause).to_string()),
        None => format!("{}: {}", status.code().description(), words(status.message())),
    };
    // A message beyond the receiver's limit is answered like a lack of room, by Go's server and by tonic's.
    let too_long = status.code() == Code::ResourceExhausted && status.message().contains("larger than");
    match status.code() {
        Code::InvalidArgument => Outcome::Refused(why),
        Code::OutOfRange => Outcome::Refused(why),
        _ if too_long => Outcome::Refused(why),
        _ => Outcome::Later(why, None),
    }
}

/// An `Export…ServiceResponse`, of any signal: they have the same shape (`opentelemetry/proto/collector`).
pub(super) fn accepted(body: &[u8]) -> Outcome {
    let partial = Answer::decode(body).ok().and_then(|answer| answer.partial_success).unwrap_or_default();
    Outcome::Sent { rejected: partial.rejected.try_into().unwrap_or(0), why: words(&partial.error_message) }
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
