//! The metrics of all sessions, in the order of their time.
//!
//! Sums over sessions mean something only if what is added is added in order: a day that a destination was away is
//! gone through as it went by, whichever sessions were alive in it. A session's id begins with the time at which it was
//! made (UUIDv7), so a journal is opened no sooner than its time has come, and there are never more of them open than
//! sessions were alive at once.

use std::collections::{BTreeMap, HashSet, VecDeque};

use tokio::sync::watch;

use super::{
    Shared,
    session::{Read, read},
};
use crate::{
    id::SessionId,
    journal::{Entry, Kind, Reader},
    session::SessionHandle,
    store::{StoreError, Unsent},
};

/// What one step takes together: so much time of the sessions',
const STEP: u64 = 5_000_000; // µs
/// and at most so many requests.
const REQUESTS: usize = 512;
/// and of their bytes, but for the last one's.
const BYTES: usize = 4 << 20;

/// What a step has.
#[derive(Default)]
pub(super) struct Step {
    /// Requests in the order of their time, or nearly: one that the guest kept while the daemon was away comes late.
    pub entries: Vec<(SessionId, Entry)>,
    /// Sessions that are over, and of which everything has been handed out.
    pub over: Vec<SessionId>,
}

/// The sessions, and how far each has been read.
#[derive(Default)]
pub(super) struct Merge {
    /// Not opened yet, by id, and so by time.
    waiting: BTreeMap<SessionId, Unsent>,
    open: BTreeMap<SessionId, Source>,
}

struct Source {
    reader: Option<Reader>,
    live: Option<(SessionHandle, watch::Receiver<u64>)>,
    ended: bool,
    ahead: VecDeque<Entry>,
    /// Whether the journal may hold more than has been read.
    more: bool,
    /// It could not be read: it is opened again at the next look, from the cursor on.
    failed: bool,
}

impl Merge {
    /// Looks which sessions there are; `cursor` is the name under which cursors are kept.
    pub async fn look(&mut self, of: &Shared, cursor: &str) -> Result<(), StoreError> {
        let all = of.supervisor.store().unsent(cursor).await?;
        let there: HashSet<SessionId> = all.iter().map(|unsent| unsent.id).collect();
        for (id, source) in &mut self.open {
            // It was purged.
            if !there.contains(id) && of.supervisor.live(*id).is_none() {
                (source.live, source.ended, source.more) = (None, true, false);
            }
        }
        for unsent in all {
            match self.open.get_mut(&unsent.id) {
                // It lived when it was opened, and now it is over: what it has left stands in its journal.
                Some(source) if unsent.ended && !source.ended && of.supervisor.live(unsent.id).is_none() => {
                    (source.live, source.ended, source.more) = (None, true, true);
                }
                Some(_) => {}
                None => drop(self.waiting.insert(unsent.id, unsent)),
            }
        }
        Ok(())
    }

    /// What comes next: nothing, where all is up to date.
    pub async fn step(&mut self, of: &Shared) -> Step {
        let mut step = Step::default();
        let (mut until, mut bytes) = (None, 0);
        while step.entries.len() < REQUESTS && bytes < BYTES {
            self.fill(of).await;
            self.close(&mut step.over);
            let first =
                self.open.iter().filter_map(|(id, source)| Some((source.ahead.front()?.time, *id))).min();
            if self.open_waiting(of, first.map(|(time, _)| time)) {
                continue;
            }
            let Some((time, id)) = first else { break };
            if time > *until.get_or_insert(time.saturating_add(STEP)) {
                break;
            }
            let Some(entry) = self.open.get_mut(&id).and_then(|source| source.ahead.pop_front()) else {
                break;
            };
            bytes += entry.payload.len();
            step.entries.push((id, entry));
        }
        step
    }

    /// Closes what has nothing more, at once: of ten thousand that have ended with nothing to add, none stays open for
    /// the others.
    fn close(&mut self, ended: &mut Vec<SessionId>) {
        self.open.retain(|id, source| {
            if source.failed {
                return false;
            }
            let over = source.ended && !source.more && source.ahead.is_empty();
            if over {
                ended.push(*id);
            }
            !over
        });
    }

    /// Reads on in every session of which nothing is ahead.
    async fn fill(&mut self, of: &Shared) {
        for (id, source) in &mut self.open {
            if let Some((_, head)) = &mut source.live
                && head.has_changed().unwrap_or(false)
            {
                head.mark_unchanged();
                source.more = true;
            }
            if !source.ahead.is_empty() || !source.more {
                continue;
            }
            let Some(reader) = source.reader.take() else { continue };
            let Read::Some(reader, batch) = read(reader, *id, None).await else {
                source.failed = true;
                continue;
            };
            source.reader = Some(reader);
            source.more = !batch.is_empty();
            source.ahead = batch.into();
            let end = source.live.as_ref().map_or(0, |(_, head)| *head.borrow());
            let first = source.ahead.front().map(|first| (end.saturating_sub(first.seq), first.time));
            of.status.waiting_metrics(*id, first);
        }
    }

    /// Opens the sessions whose time has come, of which the earliest if nothing is ahead in any; says whether there
    /// were some.
    fn open_waiting(&mut self, of: &Shared, time: Option<u64>) -> bool {
        let mut opened = false;
        while let Some(next) = self.waiting.first_entry() {
            let unsent = *next.get();
            let live = of.supervisor.live(unsent.id);
            let due = live.is_some() || time.map_or(!opened, |time| unsent.id.made_at() <= time);
            if !due {
                break;
            }
            next.remove();
            if live.is_none() && !unsent.ended {
                // The supervisor has not taken it up again yet: the next look finds it.
                continue;
            }
            opened = true;
            let dir = of.supervisor.journal_dir(unsent.id);
            let reader = Reader::open(&dir, unsent.cursor.saturating_add(1)).only(&[Kind::Metrics]);
            let live = live.map(|live| {
                let head = live.recorder.journal().head();
                (live, head)
            });
            let ended = live.is_none();
            let source = Source {
                reader: Some(reader),
                live,
                ended,
                ahead: VecDeque::new(),
                more: true,
                failed: false,
            };
            self.open.insert(unsent.id, source);
        }
        opened
    }
}
