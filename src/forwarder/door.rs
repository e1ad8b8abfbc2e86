//! A destination's door: one request in, and what came of it.
//!
//! What is about the request alone (it makes no sense to the destination, or is too long for it) is refused for good.
//! Everything else can be mended there or here, a wrong address and an expired token included, and is tried again for
//! as long as it takes: the record waits in the journal meanwhile.

use std::{io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use reqwest::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};

use super::{ForwarderError, grpc, headers, headers::Headers};
use crate::{
    cause,
    config::{Forward, Protocol},
    inert::inert,
    signal::Signal,
};

/// Longest wait that a destination may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Most of a destination's answer that is read.
const ANSWER: usize = 64 << 10; // bytes
/// Most of its words that are repeated.
const WORDS: usize = 200; // characters

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there; of its records so many were turned away, for this reason.
    Sent {
        /// Records that the destination did not take.
        rejected: u64,
        /// Its reason.
        why: String,
    },
    /// It will never be: why.
    Refused(String),
    /// Another time: why, and after how long if the destination says so.
    Later(String, Option<Duration>),
}

/// A destination as configured.
pub struct Door {
    headers: Headers,
    way: Way,
}

enum Way {
    Http { client: reqwest::Client, endpoint: String, whole: bool, gzip: bool },
    Grpc(grpc::Client),
}

impl Door {
    /// A door as configured. Nothing is connected to yet.
    pub fn new(name: &str, config: &Forward) -> Result<Door, ForwarderError> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let endpoint = config.endpoint.trim_end_matches('/').to_owned();
        // Over gRPC too: the other library says what is wrong with a certificate when it connects, and not before.
        let client = client(name, config)?;
        let way = match config.protocol {
            Protocol::Http => Way::Http { client, endpoint, whole: false, gzip: config.gzip() },
            Protocol::Grpc => Way::Grpc(grpc::Client::new(name, config)?),
        };
        Ok(Door { headers: Headers::new(name, config)?, way })
    }

    /// The same, with more headers in every request.
    pub fn with_headers(mut self, more: HeaderMap) -> Door {
        self.headers.add(more);
        self
    }

    /// The same, where the endpoint is one signal's whole address. Over gRPC it is so anyhow.
    pub fn as_it_is(mut self) -> Door {
        if let Way::Http { whole, .. } = &mut self.way {
            *whole = true;
        }
        self
    }

    /// Sends one request: protobuf as the signal's `Export…ServiceRequest`.
    pub async fn send(&self, signal: Signal, request: Bytes) -> Outcome {
        let headers = match self.headers.get().await {
            Ok(headers) => headers,
            Err(problem) => return Outcome::Later(problem, None),
        };
        match &self.way {
            Way::Http { client, endpoint, whole, gzip } => {
                let packed = if *gzip { self::gzip(&request) } else { request };
                let path = if *whole { "" } else { signal.path() };
                let mut request = client.post(format!("{endpoint}{path}")).headers(headers).body(packed);
                if *gzip {
                    request = request.header(CONTENT_ENCODING, "gzip");
                }
                self.post(request.header(CONTENT_TYPE, "application/x-protobuf")).await
            }
            Way::Grpc(client) => {
                let outcome = client.send(headers, signal, request).await;
                if let Err(status) = &outcome
                    && matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied)
                {
                    self.headers.unknown().await;
                }
                grpc::outcome(outcome)
            }
        }
    }

    async fn post(&self, request: reqwest::RequestBuilder) -> Outcome {
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Later(words(&cause::of_request(&error)), None),
        };
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.headers.unknown().await;
        }
        let after = retry_after(answer.headers());
        let body = start_of(answer).await;
        match status {
            status if status.is_success() => grpc::accepted(&body),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Outcome::Refused(format!("{status}: {}", words(&String::from_utf8_lossy(&body))))
            }
            status => Outcome::Later(format!("it answers {status}"), after),
        }
    }
}

fn client(name: &str, config: &Forward) -> Result<reqwest::Client, ForwarderError> {
    let mut builder =
        reqwest::Client::builder().timeout(config.timeout).redirect(reqwest::redirect::Policy::none());
    let wrong = |key: &str, path: &std::path::Path, problem: String| ForwarderError::File {
        key: format!("forward.{name}.tls.{key}"),
        path: path.to_owned(),
        problem,
    };
    let tls = &config.tls;
    if let Some(path) = &tls.ca {
        let pem = headers::read(format!("forward.{name}.tls.ca"), path)?;
        let all =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong("ca", path, e.to_string()))?;
        if all.is_empty() {
            return Err(wrong("ca", path, "it holds no certificate; give one in PEM".to_owned()));
        }
        builder = builder.tls_certs_merge(all);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let mut pem = headers::read(format!("forward.{name}.tls.cert"), cert)?;
        pem.extend_from_slice(headers::read_private(key).map_err(|e| wrong("key", key, e))?.as_bytes());
        let identity = reqwest::Identity::from_pem(&pem).map_err(|e| wrong("cert", cert, e.to_string()))?;
        builder = builder.identity(identity);
    }
    Ok(builder.build()?)
}

/// Somebody else's sentence, so that it can be shown.
pub(super) fn words(text: &str) -> String {
    inert(text.trim()).chars().take(WORDS).collect()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

async fn start_of(mut answer: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ANSWER
        && let Ok(Some(piece)) = answer.chunk().await
    {
        body.extend_from_slice(&piece[..piece.len().min(ANSWER - body.len())]);
    }
    body
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    encoder.write_all(bytes).ok();
    encoder.finish().unwrap_or_default().into()
}
