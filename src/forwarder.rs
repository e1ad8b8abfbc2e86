//! The forwarder: every session's telemetry to an OTLP destination, from the journals.
//!
//! ```text
//!   journals ──▶ reader from the cursor ──▶ privacy ──▶ door (HTTP or gRPC) ──▶ taken ──▶ cursor
//!      ▲                                                 │
//!      └── head watch, new sessions                      └─ else: wait (backoff, Retry-After), the same again
//! ```
//!
//! There is one for each destination, with cursors of its own, and none knows of the others. It is a reader like any
//! other: it slows nothing down, and the destination may be away for a day. In a session everything goes in order;
//! several sessions go at once. A request is sent as it stands in the journal, stamped, but for what `privacy` holds
//! back. The cursor moves after the answer, so what is sent is sent at least once. A request that the destination
//! refuses for good is counted, logged and passed over: holding everything behind it back would lose more.

mod door;
mod grpc;
mod headers;
mod privacy;
mod status;

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
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
    signal::Signal,
    supervisor::Supervisor,
};
use door::{Door, Outcome};
use privacy::Filter;
pub use status::Status;

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
    name: String,
    supervisor: Supervisor,
    door: Door,
    filter: Filter,
    signals: BTreeSet<Signal>,
    status: Arc<Status>,
    places: Semaphore,
    /// Sessions that somebody is at.
    busy: Mutex<HashSet<SessionId>>,
}

/// Why there is no forwarder.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderError {
    /// The endpoint cannot be spoken to.
    #[error("forward.{name}.endpoint: {problem}; give a URL such as http://127.0.0.1:4317")]
    Endpoint {
        /// The destination.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that the configuration names.
    #[error("{key} {}: {problem}", path.display())]
    File {
        /// The key that names it.
        key: String,
        /// Where.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The HTTP client.
    #[error("forward: the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl Forwarder {
    /// The forwarder to the destination of this name. Nothing is connected to yet.
    pub fn new(name: &str, config: &Forward, supervisor: Supervisor) -> Result<Forwarder, ForwarderError> {
        let shared = Shared {
            name: name.to_owned(),
            door: Door::new(name, config)?,
            filter: Filter::new(&config.privacy, &supervisor.key().derive("forward")),
            signals: config.signals.clone(),
            status: Arc::new(Status::new(name, config)),
            supervisor,
            places: Semaphore::new(AT_ONCE),
            busy: Mutex::default(),
        };
        Ok(Forwarder { shared: Arc::new(shared) })
    }

    /// How the destination is, as it goes on.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.shared.status)
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
        let Ok(mut cursor) = self.supervisor.store().cursor(&self.name, id).await else { return false };
        let live = self.supervisor.live(id);
        let mut head = live.as_ref().map(|session| session.recorder.journal().head());
        let kinds: Vec<Kind> = self.signals.iter().map(|signal| signal.kind()).collect();
        let mut reader = Some(Reader::open(&self.supervisor.journal_dir(id), cursor + 1).only(&kinds));
        loop {
            if let Some(head) = &mut head {
                head.mark_unchanged();
            }
            let Some(taken) = reader.take() else { return false };
            let Some((back, batch)) = read(taken, id).await else { return true };
            reader = Some(back);
            if batch.is_empty() {
                self.status.waiting(id, None);
                let Some(head) = &mut head else { return true };
                if !wait_for_more(head, live.as_ref()).await {
                    return true;
                }
                continue;
            }
            let Ok(_place) = self.places.acquire().await else { return false };
            for (n, entry) in batch.iter().enumerate() {
                let last = live.as_ref().map_or(entry.seq, |live| *live.recorder.journal().head().borrow());
                self.status.waiting(id, Some((last.saturating_sub(cursor), entry.time)));
                self.deliver(id, entry).await;
                cursor = entry.seq;
                if (n + 1) % CURSOR_EVERY == 0 || n + 1 == batch.len() {
                    self.keep_cursor(id, cursor).await;
                }
            }
        }
    }

    async fn keep_cursor(&self, id: SessionId, cursor: u64) {
        if let Err(error) = self.supervisor.store().set_cursor(&self.name, id, cursor).await {
            tracing::warn!(session = %id, %error, "the forwarder's cursor could not be kept; some will be sent twice");
        }
    }

    /// Sends one request, for as long as it takes.
    async fn deliver(&self, id: SessionId, entry: &Entry) {
        let Some(signal) = Signal::of(entry.kind) else { return };
        let Some(request) = self.filter.apply(signal, entry.payload.clone()) else {
            tracing::error!(session = %id, seq = entry.seq, "a request cannot be read, and is not forwarded");
            return;
        };
        let mut backoff = BACKOFF.0;
        let mut told = false;
        loop {
            match self.door.send(signal, request.clone()).await {
                Outcome::Sent { rejected, why } => {
                    if rejected > 0 {
                        tracing::error!(session = %id, seq = entry.seq, destination = self.name, rejected, why, "the destination turned records away");
                    }
                    return self.status.sent(signal, rejected, &why);
                }
                Outcome::Refused(why) => {
                    tracing::error!(session = %id, seq = entry.seq, destination = self.name, why, "the destination refused a request for good");
                    return self.status.refused(&why);
                }
                Outcome::Later(why, asked) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            destination = self.name,
                            why,
                            "the destination takes nothing; everything waits for it"
                        );
                    }
                    self.status.later(&why);
                    sleep(asked.unwrap_or_else(|| backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0))).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }
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

#[cfg(test)]
mod tests;
