//! The forwarder: every session's telemetry to an OTLP destination, from the journals.
//!
//! ```text
//!                ┌─ each session ──▶ spans of ours ─┐
//!   journals ────┤  in order                        ├──▶ privacy ──▶ door (HTTP or gRPC) ──▶ taken ──▶ cursor
//!                └─ all sessions ──▶ totals ────────┤                  │
//!                   by time          (metrics)      │                  └─ else: wait (backoff, Retry-After), the
//!   the daemon's own metrics ───────────────────────┘                           same again
//! ```
//!
//! There is one for each destination, with cursors of its own, and none knows of the others. It is a reader like any
//! other: it slows nothing down, and the destination may be away for a day. In a session everything goes in order;
//! several sessions go at once, and one whose request keeps failing is not in the others' way ([`deliver`]). The cursor
//! moves after the answer, so what is sent is sent at least once (sums are kept first: [`sums`]). A request that the
//! destination refuses for good is counted, logged and passed over: holding everything behind it back would lose more.
//!
//! Spans and log records leave as they stand in the journal, stamped, but for what `privacy` holds back; metrics leave
//! summed over sessions ([`totals`]) unless the destination wants a label for each. To the client's spans come those
//! of what the gateway saw ([`spans`]), and the daemon's own metrics ([`own`]).

mod backoff;
mod deliver;
mod door;
mod grpc;
mod headers;
mod merge;
mod own;
mod points;
mod privacy;
mod session;
mod spans;
mod status;
mod sums;
mod totals;

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{config::Forward, id::SessionId, signal::Signal, supervisor::Supervisor};
pub use backoff::Backoff;
pub use door::{Door, Outcome};
use privacy::Filter;
pub use status::Status;

/// Sessions that are sent at once.
const AT_ONCE: usize = 8;
/// How often sessions are looked for that nothing told of.
const LOOK: Duration = Duration::from_secs(30);

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
    session_labels: bool,
    status: Arc<Status>,
    /// Who has one reads and sends.
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
            session_labels: config.session_labels,
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

    /// Forwards until cancelled. Sessions that ended while no daemon ran are brought up to date first. `all` is every
    /// destination, which the daemon's own metrics tell of.
    pub async fn run(self, all: Vec<Arc<Status>>, cancel: CancellationToken) {
        let mut parts = JoinSet::new();
        parts.spawn(Arc::clone(&self.shared).sessions(cancel.clone()));
        if self.shared.signals.contains(&Signal::Metrics) {
            let (own, sums) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
            let (first, second) = (cancel.clone(), cancel);
            parts.spawn(async move { first.run_until_cancelled(own.own_metrics(all)).await.unwrap_or(()) });
            if !self.shared.session_labels {
                parts.spawn(async move { second.run_until_cancelled(sums.sums()).await.unwrap_or(()) });
            }
        }
        while parts.join_next().await.is_some() {}
    }
}

impl Shared {
    /// Sends what sessions have, each in a task of its own.
    async fn sessions(self: Arc<Self>, cancel: CancellationToken) {
        let mut sending = JoinSet::new();
        let mut changes = self.supervisor.changes();
        while !cancel.is_cancelled() {
            changes.mark_unchanged();
            // Of who is at work now the cursor may be an old one by the time it is read.
            let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match self.supervisor.store().unsent(&self.name).await {
                Ok(unsent) => {
                    for of in unsent.into_iter().filter(|of| !busy.contains(&of.id)) {
                        // Neither live nor ended is one that the supervisor has not taken up again yet.
                        let live = self.supervisor.live(of.id);
                        if (live.is_some() || of.ended) && self.claim(of.id) {
                            let (shared, cancel) = (Arc::clone(&self), cancel.clone());
                            sending.spawn(async move {
                                cancel.run_until_cancelled(shared.session(of, live)).await;
                                shared.release(of.id);
                            });
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "the forwarder cannot tell which sessions there are"),
            }
            let news = async { while changes.changed().await.is_ok() && !self.has_unclaimed() {} };
            tokio::select! {
                _ = timeout(LOOK, news) => {}
                Some(_) = sending.join_next() => {}
                () = cancel.cancelled() => {}
            }
        }
        while sending.join_next().await.is_some() {}
    }

    fn has_unclaimed(&self) -> bool {
        let live = self.supervisor.all_live();
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        live.iter().any(|session| !busy.contains(&session.id))
    }

    fn claim(&self, id: SessionId) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    fn release(&self, id: SessionId) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.status.waiting(id, None);
    }
}

#[cfg(test)]
mod tests;
