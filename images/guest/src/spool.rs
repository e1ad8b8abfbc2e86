//! The spool: the one ordered stream of records, on disk from the first moment.
//!
//! ```text
//!   producers                                                        sender
//!   terminal ─┐              spool/00000000000000000001  ┐
//!   requests ─┼─ append ──▶  spool/00000000000000004711  ├─ Reader ──▶ control.sock
//!   files, …  ┘    (waits)   spool/00000000000000009002  ┘                │
//!                    ▲                                                    │
//!                    └──────────── room ◀────────── ack(through) ◀────────┘
//! ```
//!
//! There is no other queue. A record is whole in its file before a reader can see it, so the daemon finds
//! everything in the host's folder even if this process is killed. A segment is deleted once all of it is
//! acknowledged. When the unacknowledged bytes reach the limit, or the disk is full, whoever appends waits:
//! nothing is dropped, ever.
//!
//! One lock guards the state; it is held for one `write` into the page cache at the longest.

mod segment;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::frame::{self, HEADER, Head, Kind};
use segment::Segment;

/// A segment that has grown to this size is followed by a new one.
const SEGMENT: u64 = 4 << 20; // bytes

/// Of an open segment that is acknowledged to its end, this much stays before it is given up for a new one:
/// less would make and delete a file with every keystroke.
const KEPT: u64 = 256 << 10; // bytes

/// How finely acknowledgements are turned into freed bytes.
const MARK: u64 = 64 << 10; // bytes

/// How long a producer waits before it tries a full disk again.
const RETRY: Duration = Duration::from_millis(200);

/// The spool is closed: the last record is in.
#[derive(Debug, thiserror::Error)]
#[error("the session's last record is written; nothing can follow it")]
pub struct Closed;

/// The spool of one container.
pub struct Spool {
    dir: PathBuf,
    state: Mutex<State>,
    /// Readers wait here for records.
    more: Condvar,
    /// Producers wait here for room, and the end waits here for its acknowledgement.
    room: Condvar,
}

struct State {
    /// In order; the last is appended to unless it is sealed.
    segments: VecDeque<Arc<Segment>>,
    /// Number of the next record.
    next: u64,
    /// Every record up to this one is acknowledged.
    acked: u64,
    /// Bytes ever appended.
    written: u64,
    /// Bytes of them that are acknowledged, rounded down to a mark.
    freed: u64,
    /// Record numbers and where in `written` those records end, about every [`MARK`] bytes.
    marks: VecDeque<(u64, u64)>,
    limit: u64,
    closed: bool,
    /// Readers that wait; who appends with none waiting saves the call that would wake them.
    waiting: usize,
    /// Time of the last record: times never run backwards.
    time: u64,
    /// Why the last write failed, if it did; empty if not.
    stalled: String,
}

impl Spool {
    /// Opens the spool in this folder, making it if need be, and goes on where a former process stopped.
    pub fn open(dir: &Path) -> io::Result<Arc<Spool>> {
        let (segments, next) = segment::recover(dir)?;
        let first = segments.front().map_or(next, |s| s.first);
        let written = segments.iter().map(|s| s.len()).sum();
        let state = State {
            segments,
            next,
            acked: first - 1,
            written,
            freed: 0,
            marks: VecDeque::new(),
            limit: u64::MAX,
            closed: false,
            waiting: 0,
            time: 0,
            stalled: String::new(),
        };
        let (more, room) = (Condvar::new(), Condvar::new());
        Ok(Arc::new(Spool { dir: dir.to_owned(), state: Mutex::new(state), more, room }))
    }

    /// From how many unacknowledged bytes on producers wait.
    pub fn set_limit(&self, bytes: u64) {
        self.lock().limit = bytes.max(1);
    }

    /// Appends a record and returns its number. Waits while there is no room.
    pub fn append(&self, kind: Kind, payload: &[u8]) -> Result<u64, Closed> {
        self.append_and(kind, payload, false)
    }

    /// Appends the last record: whatever comes after it is refused.
    pub fn append_last(&self, kind: Kind, payload: &[u8]) -> Result<u64, Closed> {
        self.append_and(kind, payload, true)
    }

    fn append_and(&self, kind: Kind, payload: &[u8], last: bool) -> Result<u64, Closed> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Closed);
            }
            if state.unacked() >= state.limit {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            match state.write(&self.dir, kind, payload) {
                Ok(number) => {
                    state.stalled.clear();
                    state.closed |= last;
                    if state.waiting > 0 {
                        self.more.notify_all();
                    }
                    return Ok(number);
                }
                Err(error) => {
                    if state.stalled.is_empty() {
                        crate::complain!(
                            "sandbox-guest: the spool cannot be written, its producers wait: {error}"
                        );
                        state.stalled = error.to_string();
                        self.more.notify_all();
                    }
                    state.give_up_acknowledged(1);
                    let waited = self.room.wait_timeout(state, RETRY);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Waits until a record would find room. The terminal asks before it reads, so that bytes wait where the
    /// program can feel it, and their time is the time they were taken.
    pub fn wait_for_room(&self) {
        let full = |state: &mut State| state.unacked() >= state.limit && !state.closed;
        drop(self.room.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes that the daemon has every record up to `through`. Numbers that were never given are ignored.
    pub fn ack(&self, through: u64) {
        let mut state = self.lock();
        let through = through.min(state.next - 1);
        if through <= state.acked {
            return;
        }
        state.acked = through;
        while let Some(&(_, end)) = state.marks.front().filter(|(number, _)| *number <= through) {
            state.freed = end;
            state.marks.pop_front();
        }
        if through == state.next - 1 {
            state.freed = state.written;
        }
        while state.segments.len() > 1 && state.segments[1].first <= through + 1 {
            state.remove_first();
        }
        state.give_up_acknowledged(KEPT);
        self.room.notify_all();
    }

    /// Number of the first record that is not acknowledged.
    pub fn first_unacked(&self) -> u64 {
        self.lock().acked + 1
    }

    /// Waits until every record is acknowledged.
    pub fn wait_until_acked(&self) {
        let behind = |state: &mut State| state.acked + 1 < state.next;
        drop(self.room.wait_while(self.lock(), behind).unwrap_or_else(PoisonError::into_inner));
    }

    /// A reader that begins right after the last acknowledged record.
    pub fn reader(self: &Arc<Spool>) -> io::Result<Reader> {
        let state = self.lock();
        let wanted = state.acked + 1;
        let segment = state.segments.iter().rev().find(|s| s.first <= wanted).or(state.segments.front());
        let segment = segment.cloned();
        drop(state);
        let offset = segment.as_ref().map_or(Ok(0), |s| s.find(wanted))?;
        Ok(Reader { spool: self.clone(), segment, offset, told: String::new() })
    }

    /// Makes waiting readers look at their `stop` again.
    pub fn wake_readers(&self) {
        drop(self.lock());
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unacked(&self) -> u64 {
        self.written - self.freed
    }

    fn write(&mut self, dir: &Path, kind: Kind, payload: &[u8]) -> io::Result<u64> {
        let segment = self.open_segment(dir)?;
        let number = self.next;
        self.time = self.time.max(now());
        let head = Head { seq: number, time: self.time, origin: number, kind };
        segment.append(&frame::header(&head, payload), payload)?;
        self.next += 1;
        self.written += (HEADER + payload.len()) as u64;
        let marked = self.marks.back().map_or(self.freed, |(_, end)| *end);
        if self.written - marked >= MARK {
            self.marks.push_back((number, self.written));
        }
        Ok(number)
    }

    fn open_segment(&mut self, dir: &Path) -> io::Result<Arc<Segment>> {
        if let Some(last) = self.segments.back().filter(|s| !s.is_sealed()) {
            if last.len() < SEGMENT {
                return Ok(last.clone());
            }
            last.seal();
        }
        let segment = Arc::new(Segment::create(dir, self.next)?);
        self.segments.push_back(segment.clone());
        Ok(segment)
    }

    /// Deletes the open segment if all of it is acknowledged and it holds at least so many bytes.
    fn give_up_acknowledged(&mut self, least: u64) {
        if self.acked + 1 == self.next && self.segments.back().is_some_and(|s| s.len() >= least) {
            while !self.segments.is_empty() {
                self.remove_first();
            }
        }
    }

    fn remove_first(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            segment.seal();
            segment.delete();
        }
    }
}

/// Reads the stream of frames from some record on; it follows as records are appended.
///
/// It holds the segment that it stands in, so a segment that is acknowledged and deleted meanwhile (the
/// daemon had it from an earlier connection) is still read to its end, and what is read are whole frames.
///
/// When it is at the end and the spool cannot be written, or can be again, that is a frame too:
/// [`Kind::Stalled`].
pub struct Reader {
    spool: Arc<Spool>,
    segment: Option<Arc<Segment>>,
    offset: u64,
    /// The last that was read of why the spool cannot be written.
    told: String,
}

impl Reader {
    /// Reads some bytes, waiting until there are any; 0 once `stop` is set. Set it, then call
    /// [`Spool::wake_readers`].
    pub fn read(&mut self, buffer: &mut [u8], stop: &AtomicBool) -> io::Result<usize> {
        loop {
            if let Some(segment) = &self.segment {
                let read = segment.read(self.offset, buffer)?;
                if read > 0 {
                    self.offset += read as u64;
                    return Ok(read);
                }
            }
            let spool = self.spool.clone();
            let mut state = spool.lock();
            while !self.advance(&state) {
                if state.stalled != self.told {
                    self.told.clone_from(&state.stalled);
                    let head = Head { seq: 0, time: now(), origin: 0, kind: Kind::Stalled };
                    let (whole, mut room) = (buffer.len(), buffer);
                    frame::write(&mut room, &head, self.told.as_bytes())?;
                    return Ok(whole - room.len());
                }
                if stop.load(Ordering::Acquire) {
                    return Ok(0);
                }
                state.waiting += 1;
                state = spool.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
            }
        }
    }

    /// Whether there is something to read, moving on to the next segment if this one is read to its end.
    fn advance(&mut self, state: &State) -> bool {
        let here = match &self.segment {
            Some(segment) if segment.len() > self.offset => return true,
            Some(segment) if !segment.is_sealed() => return false,
            Some(segment) => segment.first,
            None => 0,
        };
        let next = state.segments.iter().find(|s| s.first > here).cloned();
        let found = next.is_some();
        if found {
            (self.segment, self.offset) = (next, 0);
        }
        found
    }
}

/// µs since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

#[cfg(test)]
mod tests;
