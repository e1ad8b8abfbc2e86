//! The one way into a session's journal while it lives: append, and fold what was appended.
//!
//! The session's task and the gateway's handlers each hold a clone. A frame is in the journal before it
//! counts in the summary, and both happen under one short lock, so the summary always stands for a prefix
//! of the journal.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    clock,
    journal::{Draft, Entry, Journal, JournalError, Kind},
    summary::Summary,
};

/// Appends to one session's journal.
#[derive(Clone)]
pub struct Recorder {
    journal: Journal,
    shared: Arc<Shared>,
}

struct Shared {
    summary: Mutex<(u64, Summary)>,
    active: AtomicU64,
}

impl Recorder {
    /// A recorder over a journal whose frames up to `seq` add up to `summary`.
    pub fn new(journal: Journal, seq: u64, summary: Summary, active: u64) -> Recorder {
        let shared = Shared { summary: Mutex::new((seq, summary)), active: AtomicU64::new(active) };
        Recorder { journal, shared: Arc::new(shared) }
    }

    /// Appends a frame that happened at `time` (µs since the epoch) under the guest's number `origin` (0 for
    /// one of the daemon's own); returns its sequence number.
    pub fn append(&self, time: u64, origin: u64, kind: Kind, payload: Bytes) -> Result<u64, JournalError> {
        self.append_locked(self.summary_lock(), Entry { seq: 0, time, origin, kind, payload })
    }

    /// Appends a frame that came as the guest's request `origin`, unless it is there already (`None`): two
    /// connections may bring the same request at once. An `origin` of 0 is no number and always appends.
    pub fn append_once(
        &self,
        time: u64,
        origin: u64,
        kind: Kind,
        payload: Bytes,
    ) -> Result<Option<u64>, JournalError> {
        let summary = self.summary_lock();
        if origin != 0 && self.journal.has_request(origin) {
            return Ok(None);
        }
        self.append_locked(summary, Entry { seq: 0, time, origin, kind, payload }).map(Some)
    }

    fn append_locked(
        &self,
        mut summary: MutexGuard<'_, (u64, Summary)>,
        mut entry: Entry,
    ) -> Result<u64, JournalError> {
        let Entry { time, origin, kind, .. } = entry;
        entry.seq = self.journal.append(Draft { time, origin, kind, payload: &entry.payload })?;
        summary.1.apply(&entry);
        summary.0 = entry.seq;
        drop(summary);
        if is_activity(kind) {
            self.shared.active.fetch_max(time, Ordering::Relaxed);
        }
        Ok(entry.seq)
    }

    /// Appends an event of the daemon's own, now, as JSON.
    pub fn event(&self, kind: Kind, event: &impl Serialize) -> Result<u64, JournalError> {
        let payload = serde_json::to_vec(event).unwrap_or_default();
        self.append(clock::now(), 0, kind, payload.into())
    }

    /// Waits until everything up to `seq` is on disk.
    pub async fn commit(&self, seq: u64) -> Result<(), JournalError> {
        self.journal.commit(seq).await
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The summary, and the last frame that it counts.
    pub fn summary(&self) -> (u64, Summary) {
        self.summary_lock().clone()
    }

    /// Looks at the summary without copying it.
    pub fn with_summary<T>(&self, look: impl FnOnce(&Summary) -> T) -> T {
        look(&self.summary_lock().1)
    }

    /// Last output, input or telemetry, in µs since the epoch.
    pub fn active(&self) -> u64 {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Notes activity that leaves no frame, such as input that is not recorded.
    pub fn touch(&self) {
        self.shared.active.fetch_max(clock::now(), Ordering::Relaxed);
    }

    fn summary_lock(&self) -> MutexGuard<'_, (u64, Summary)> {
        self.shared.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_activity(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Output
            | Kind::Input
            | Kind::Traces
            | Kind::Metrics
            | Kind::Logs
            | Kind::Hook
            | Kind::Mcp
            | Kind::Model
    )
}
