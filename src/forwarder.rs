//! The forwarder: every session's telemetry to one OTLP/HTTP destination, from the journals.
//!
//! ```text
//!   journals ──▶ reader from the cursor ──▶ POST /v1/{traces,metrics,logs} ──▶ 2xx ──▶ cursor
//!      ▲                                         │
//!      └── head watch, new sessions              └─ else: wait (backoff, Retry-After), the same again
//! ```
//!
//! It is a reader like any other: it slows nothing down, and the destination may be away for a day. In a
//! session everything goes in order; several sessions go at once. A request is sent as it stands in the
//! journal, stamped. The cursor moves after the answer, so what is sent is sent at least once. A request
//! that the destination refuses for good (a 4xx that is no 408 or 429) is counted, logged and passed over:
//! holding everything behind it back would lose more.

use std::{
    collections::HashSet,
    io::Write,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use reqwest::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Forward,
    id::SessionId,
    journal::{Entry, Kind, Reader},
    session::SessionHandle,
    supervisor::Supervisor,
};

/// Sessions that are sent at once.
const AT_ONCE: usize = 8;
/// Between two tries, at first and at most; each wait is a random part of it.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How often new sessions are looked for, when nothing tells of one.
const LOOK: Duration = Duration::from_secs(30);
/// Requests that are read from a journal at once.
const BATCH: usize = 64;
/// Frames between two writes of the cursor, while all goes well.
const CURSOR_EVERY: usize = 16;

/// Forwards to one destination.
pub struct Forwarder {
    shared: Arc<Shared>,
}

struct Shared {
    supervisor: Supervisor,
    http: reqwest::Client,
    endpoint: String,
    headers: HeaderMap,
    places: Semaphore,
    /// Sessions that somebody is at.
    busy: Mutex<HashSet<SessionId>>,
}

/// Why there is no forwarder.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderError {
    /// The endpoint is no URL.
    #[error("forward.endpoint = \"{0}\": give a URL such as http://127.0.0.1:4318")]
    Endpoint(String),
    /// The file of headers.
    #[error("forward.headers_file {path}: {problem}")]
    Headers {
        /// Where.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The HTTP client.
    #[error("forward: the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// What came of one request.
enum Outcome {
    Sent,
    Refused(StatusCode),
    Later(Option<Duration>),
}

impl Forwarder {
    /// A forwarder as configured. Nothing is connected to yet.
    pub fn new(config: &Forward, supervisor: Supervisor) -> Result<Forwarder, ForwarderError> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let endpoint = config.endpoint.trim_end_matches('/').to_owned();
        let url = reqwest::Url::parse(&endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.ok_or_else(|| ForwarderError::Endpoint(config.endpoint.clone()))?;
        let http = reqwest::Client::builder().timeout(config.timeout).build()?;
        let shared = Shared {
            supervisor,
            http,
            endpoint,
            headers: headers(config)?,
            places: Semaphore::new(AT_ONCE),
            busy: Mutex::default(),
        };
        Ok(Forwarder { shared: Arc::new(shared) })
    }

    /// Forwards until cancelled. Sessions that ended while no daemon ran are brought up to date first.
    pub async fn run(self, cancel: CancellationToken) {
        let mut sessions = JoinSet::new();
        let mut changes = self.shared.supervisor.changes();
        let mut done: HashSet<SessionId> = HashSet::new();
        while !cancel.is_cancelled() {
            changes.mark_unchanged();
            match self.shared.supervisor.store().all().await {
                Ok(all) => {
                    for id in all.into_iter().filter(|id| !done.contains(id)) {
                        if self.shared.claim(id) {
                            let (shared, cancel) = (Arc::clone(&self.shared), cancel.clone());
                            sessions.spawn(async move {
                                let ended = cancel.run_until_cancelled(shared.session(id)).await;
                                shared.release(id);
                                ended.unwrap_or(false).then_some(id)
                            });
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "the forwarder cannot tell which sessions there are"),
            }
            tokio::select! {
                _ = timeout(LOOK, changes.changed()) => {}
                Some(ended) = sessions.join_next() => done.extend(ended.ok().flatten()),
                () = cancel.cancelled() => {}
            }
        }
        while sessions.join_next().await.is_some() {}
    }
}

impl Shared {
    fn claim(&self, id: SessionId) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    fn release(&self, id: SessionId) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Sends a session to its end; true when it has ended and all of it is sent.
    async fn session(&self, id: SessionId) -> bool {
        let Ok(mut cursor) = self.supervisor.store().cursor(&self.endpoint, id).await else { return false };
        let live = self.supervisor.live(id);
        let mut head = live.as_ref().map(|session| session.recorder.journal().head());
        let kinds = [Kind::Traces, Kind::Metrics, Kind::Logs];
        let mut reader = Some(Reader::open(&self.supervisor.journal_dir(id), cursor + 1).only(&kinds));
        loop {
            if let Some(head) = &mut head {
                head.mark_unchanged();
            }
            let Some(taken) = reader.take() else { return false };
            let Some((back, batch)) = read(taken, id).await else { return true };
            reader = Some(back);
            if batch.is_empty() {
                let Some(head) = &mut head else { return true };
                if !wait_for_more(head, live.as_ref()).await {
                    return true;
                }
                continue;
            }
            let Ok(_place) = self.places.acquire().await else { return false };
            for (n, entry) in batch.iter().enumerate() {
                self.deliver(id, entry).await;
                cursor = entry.seq;
                if (n + 1) % CURSOR_EVERY == 0 || n + 1 == batch.len() {
                    self.keep_cursor(id, cursor).await;
                }
            }
        }
    }

    async fn keep_cursor(&self, id: SessionId, cursor: u64) {
        if let Err(error) = self.supervisor.store().set_cursor(&self.endpoint, id, cursor).await {
            tracing::warn!(session = %id, %error, "the forwarder's cursor could not be kept; some will be sent twice");
        }
    }

    /// Sends one request, for as long as it takes.
    async fn deliver(&self, id: SessionId, entry: &Entry) {
        let mut backoff = BACKOFF.0;
        let mut told = false;
        loop {
            match self.send(entry).await {
                Outcome::Sent => return,
                Outcome::Refused(status) => {
                    tracing::error!(session = %id, seq = entry.seq, status = status.as_u16(), "the collector refused a request for good");
                    return;
                }
                Outcome::Later(asked) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            endpoint = self.endpoint,
                            "the collector takes nothing; everything waits for it"
                        );
                    }
                    sleep(asked.unwrap_or_else(|| backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0))).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    async fn send(&self, entry: &Entry) -> Outcome {
        let path = match entry.kind {
            Kind::Traces => "traces",
            Kind::Metrics => "metrics",
            _ => "logs",
        };
        let request = self
            .http
            .post(format!("{}/v1/{path}", self.endpoint))
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "gzip")
            .body(gzip(&entry.payload));
        let Ok(answer) = request.send().await else { return Outcome::Later(None) };
        match answer.status() {
            status if status.is_success() => Outcome::Sent,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => later(answer.headers()),
            status if status.is_client_error() => Outcome::Refused(status),
            _ => later(answer.headers()),
        }
    }
}

fn later(headers: &HeaderMap) -> Outcome {
    let seconds = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    Outcome::Later(seconds.map(Duration::from_secs).map(|wait| wait.min(BACKOFF.1)))
}

/// The next requests, and the reader back; `None` when the journal breaks off.
async fn read(mut reader: Reader, id: SessionId) -> Option<(Reader, Vec<Entry>)> {
    let reading = tokio::task::spawn_blocking(move || {
        let batch: Result<Vec<Entry>, _> = reader.by_ref().take(BATCH).collect();
        (reader, batch)
    });
    match reading.await.ok()? {
        (reader, Ok(batch)) => Some((reader, batch)),
        (_, Err(error)) => {
            tracing::error!(session = %id, %error, "a journal breaks off; what follows cannot be forwarded");
            None
        }
    }
}

/// Waits for more frames; false when the session has ended and there are none.
async fn wait_for_more(head: &mut tokio::sync::watch::Receiver<u64>, live: Option<&SessionHandle>) -> bool {
    let Some(session) = live else { return false };
    tokio::select! {
        changed = head.changed() => changed.is_ok(),
        () = session.gone() => head.has_changed().unwrap_or(false),
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    encoder.write_all(bytes).ok();
    encoder.finish().unwrap_or_default().into()
}

/// One header a line, `Name: value`; nobody but the daemon may read the file.
fn headers(config: &Forward) -> Result<HeaderMap, ForwarderError> {
    let Some(path) = &config.headers_file else { return Ok(HeaderMap::new()) };
    let wrong = |problem: String| ForwarderError::Headers { path: path.display().to_string(), problem };
    let mode = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!(
            "its mode is {:o}; nobody but the daemon may read it: chmod 600 it",
            mode & 0o777
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let mut headers = HeaderMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        });
        let (name, value) = parsed.ok_or_else(|| wrong(format!("line {} is not `Name: value`", n + 1)))?;
        headers.append(name, value);
    }
    Ok(headers)
}
