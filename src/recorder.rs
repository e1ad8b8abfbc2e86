//! The one way into a session's journal while it lives: append, and fold what was appended.
//!
//! The session's task and the gateway's handlers each hold a clone. A frame is in the journal before it
//! counts in the summary, and both happen under one short lock, so the summary always stands for a prefix
//! of the journal.
//!
//! What can be told to wait is appended or refused. What has happened and cannot be taken back (a phase, a call
//! of the model that was answered) is noted: while the journal takes nothing it waits here, and goes in before
//! anything else does.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    clock,
    event::Lifecycle,
    journal::{Draft, Entry, Journal, JournalError, Kind},
    summary::{Said, Summary},
};

/// Notes that may wait for the journal. What is refused while it takes nothing makes none, so these are what
/// was under way; beyond the bound they are counted, and the count is recorded.
const WAITING: usize = 4096;
/// How long a refusal of the journal's counts: after that somebody has to try.
const LATELY: u64 = 1_000_000; // µs

/// Appends to one session's journal.
#[derive(Clone)]
pub struct Recorder {
    journal: Journal,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    active: AtomicU64,
}

struct State {
    /// The last frame that `summary` counts.
    seq: u64,
    summary: Summary,
    /// Notes that the journal has not taken yet, oldest first.
    waiting: VecDeque<Entry>,
    /// Notes that found no room there.
    dropped: u64,
    /// When the journal last took nothing, if it has taken nothing since; in µs since the epoch.
    failed_at: Option<u64>,
}

impl Recorder {
    /// A recorder over a journal whose frames up to `seq` add up to `summary`.
    pub fn new(journal: Journal, seq: u64, summary: Summary, active: u64) -> Recorder {
        let state = State { seq, summary, waiting: VecDeque::new(), dropped: 0, failed_at: None };
        let shared = Shared { state: Mutex::new(state), active: AtomicU64::new(active) };
        Recorder { journal, shared: Arc::new(shared) }
    }

    /// Appends a frame that happened at `time` (µs since the epoch) under the guest's number `origin` (0 for
    /// one of the daemon's own); returns its sequence number.
    pub fn append(&self, time: u64, origin: u64, kind: Kind, payload: Bytes) -> Result<u64, JournalError> {
        self.append_locked(&mut self.lock(), Entry { seq: 0, time, origin, kind, payload })
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
        // Others wait for the lock: what takes long is done before it.
        let said = Said::read(kind, &payload);
        let mut state = self.lock();
        if origin != 0 && self.journal.has_request(origin) {
            return Ok(None);
        }
        self.flush(&mut state)?;
        self.write(&mut state, Entry { seq: 0, time, origin, kind, payload }, &said).map(Some)
    }

    /// Appends an event of the daemon's own, now, as JSON.
    pub fn event(&self, kind: Kind, event: &impl Serialize) -> Result<u64, JournalError> {
        self.append_locked(&mut self.lock(), entry(kind, event))
    }

    /// Appends an event that cannot be refused: now, or before anything else once the journal takes it.
    pub fn note(&self, kind: Kind, event: &impl Serialize) {
        let mut state = self.lock();
        let note = entry(kind, event);
        let kept = note.clone();
        let Err(error) = self.append_locked(&mut state, note) else { return };
        if matches!(error, JournalError::Sealed { .. }) {
            // Whoever is late has seen the session end.
            return;
        }
        if state.waiting.is_empty() {
            let (kind, dir) = (kind.name(), self.journal.dir().display());
            tracing::error!(%error, kind, journal = %dir, "the journal takes nothing; events wait");
        }
        if state.waiting.len() < WAITING {
            state.waiting.push_back(kept);
        } else {
            state.dropped += 1;
        }
    }

    /// Appends what waits. `Ok` when nothing waits any more.
    pub fn settle(&self) -> Result<(), JournalError> {
        self.flush(&mut self.lock())
    }

    /// Whether the journal has just taken nothing: no time to begin what could not be recorded.
    pub fn is_stuck(&self) -> bool {
        let state = self.lock();
        let lately = state.failed_at.is_some_and(|at| clock::now().saturating_sub(at) < LATELY);
        lately || !state.waiting.is_empty() || *self.journal.doubtful().borrow()
    }

    fn append_locked(&self, state: &mut State, entry: Entry) -> Result<u64, JournalError> {
        self.flush(state)?;
        self.read_and_write(state, entry)
    }

    fn flush(&self, state: &mut State) -> Result<(), JournalError> {
        while let Some(entry) = state.waiting.front().cloned() {
            self.read_and_write(state, entry)?;
            state.waiting.pop_front();
        }
        if state.dropped > 0 {
            self.read_and_write(
                state,
                entry(Kind::Lifecycle, &Lifecycle::Unrecorded { events: state.dropped }),
            )?;
            state.dropped = 0;
        }
        Ok(())
    }

    fn read_and_write(&self, state: &mut State, entry: Entry) -> Result<u64, JournalError> {
        let said = Said::read(entry.kind, &entry.payload);
        self.write(state, entry, &said)
    }

    fn write(&self, state: &mut State, mut entry: Entry, said: &Said) -> Result<u64, JournalError> {
        let Entry { time, origin, kind, .. } = entry;
        let appended = self.journal.append(Draft { time, origin, kind, payload: &entry.payload });
        state.failed_at = appended.is_err().then(clock::now);
        entry.seq = appended?;
        state.summary.count(&entry, said);
        state.seq = entry.seq;
        if is_activity(kind) {
            self.shared.active.fetch_max(time, Ordering::Relaxed);
        }
        Ok(entry.seq)
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
        let state = self.lock();
        (state.seq, state.summary.clone())
    }

    /// The last frame that the summary counts.
    pub fn counted(&self) -> u64 {
        self.lock().seq
    }

    /// Looks at the summary without copying it.
    pub fn with_summary<T>(&self, look: impl FnOnce(&Summary) -> T) -> T {
        look(&self.lock().summary)
    }

    /// Last output, input or telemetry, in µs since the epoch.
    pub fn active(&self) -> u64 {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Notes activity that leaves no frame, such as input that is not recorded.
    pub fn touch(&self) {
        self.shared.active.fetch_max(clock::now(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(kind: Kind, event: &impl Serialize) -> Entry {
    let payload = serde_json::to_vec(event).unwrap_or_default();
    Entry { seq: 0, time: clock::now(), origin: 0, kind, payload: payload.into() }
}

/// Whether a frame of this kind shows that somebody or something is at work.
pub fn is_activity(kind: Kind) -> bool {
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
