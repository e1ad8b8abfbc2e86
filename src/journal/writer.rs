//! Appending: one lock, one write a frame, segments rolled, requests remembered.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sandbox_guest::frame::{self, HEADER, Head, Kind};
use tokio::sync::watch;

use super::{
    Draft, JournalError, Position, Reader, Recovered, SegmentHead, VERSION,
    commit::Turns,
    committed,
    recover::{self, Requests},
    segment_path, segments,
    tail::Tail,
};
use crate::{bounds, clock, id::SessionId, keys::hex};

/// The longest segment.
const SEGMENT_LIMIT: u64 = 64 << 20; // bytes

/// Writes a session's journal. Clones share it.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    session: SessionId,
    segment_limit: u64,
    writer: Mutex<Writer>,
    head: watch::Sender<u64>,
    turns: Turns,
    /// Whether a sync has failed and none has succeeded since.
    doubtful: watch::Sender<bool>,
}

struct Writer {
    tail: Tail,
    /// First frame of the tail's segment.
    segment: u64,
    next: u64,
    chain: [u8; 32],
    bytes_before: u64,
    requests: Requests,
    sealed: bool,
}

impl Journal {
    /// Makes a new journal in `dir`, which must not hold one.
    pub fn create(dir: &Path, session: SessionId) -> Result<Journal, JournalError> {
        Journal::create_with(dir, session, segment_limit())
    }

    pub(super) fn create_with(
        dir: &Path,
        session: SessionId,
        segment_limit: u64,
    ) -> Result<Journal, JournalError> {
        make_dir(dir)?;
        let writer = Writer {
            tail: Tail::create(&segment_path(dir, 1))?,
            segment: 1,
            next: 1,
            chain: [0; 32],
            bytes_before: 0,
            requests: Requests::default(),
            sealed: false,
        };
        let journal = Journal::over(dir, session, segment_limit, writer);
        journal.begin_segment(&mut journal.lock())?;
        Ok(journal)
    }

    /// Opens a journal that an earlier daemon wrote, cutting a torn tail back to the last good frame. Where
    /// that daemon did not get as far as to make one, it is made.
    pub fn open(dir: &Path, session: SessionId) -> Result<(Journal, Recovered), JournalError> {
        Journal::open_with(dir, session, segment_limit())
    }

    pub(super) fn open_with(
        dir: &Path,
        session: SessionId,
        segment_limit: u64,
    ) -> Result<(Journal, Recovered), JournalError> {
        make_dir(dir)?;
        let all = segments(dir)?;
        let Some(&segment) = all.last() else {
            return Ok((Journal::create_with(dir, session, segment_limit)?, Recovered::default()));
        };
        let mut requests = Requests::default();
        let mut recovered = Recovered::default();
        let end = recover::find_end(dir, &all, &mut requests, &mut recovered)?;
        let path = segment_path(dir, segment);
        recovered.cut_bytes = recover::cut(&path, end.offset)?;
        recovered.last_seq = end.next - 1;
        recovered.lost = committed::read(dir).filter(|last| *last >= end.next).map(|last| (end.next, last));
        let mut bytes_before = 0;
        for first in &all[..all.len() - 1] {
            let path = segment_path(dir, *first);
            bytes_before += fs::metadata(&path).map_err(|e| JournalError::io(&path, e))?.len();
        }
        let tail = Tail::open(&path, end.offset)?;
        // An earlier daemon may have died between writing a frame and its commit. Who opens the journal takes what
        // is in it for recorded, and tells the guest so.
        tail.pending().sync().map_err(|e| JournalError::io(&path, e))?;
        let writer = Writer {
            tail,
            segment,
            next: end.next,
            chain: end.chain,
            bytes_before,
            requests,
            sealed: recovered.sealed,
        };
        Ok((Journal::over(dir, session, segment_limit, writer), recovered))
    }

    fn over(dir: &Path, session: SessionId, segment_limit: u64, writer: Writer) -> Journal {
        let head = writer.next - 1;
        Journal {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                session,
                segment_limit,
                writer: Mutex::new(writer),
                head: watch::Sender::new(head),
                turns: Turns::new(),
                doubtful: watch::Sender::new(false),
            }),
        }
    }

    /// Writes a frame; returns its number. It survives the daemon from here on, and the machine from
    /// [`Journal::commit`] on. Where it fails, nothing of it stays, and a later append may succeed.
    pub fn append(&self, draft: Draft<'_>) -> Result<u64, JournalError> {
        let mut writer = self.lock();
        if writer.sealed {
            return Err(JournalError::Sealed { path: self.shared.dir.clone() });
        }
        self.append_locked(&mut writer, draft)
    }

    fn append_locked(&self, writer: &mut Writer, draft: Draft<'_>) -> Result<u64, JournalError> {
        let len = (HEADER + draft.payload.len()) as u64;
        if writer.tail.len() > 0 && writer.tail.len() + len > self.shared.segment_limit {
            self.roll(writer)?;
        }
        // Where the disk was full when it was rolled, a segment may still be without its first frame.
        if writer.tail.len() == 0 {
            self.begin_segment(writer)?;
        }
        let seq = self.write(writer, draft)?;
        writer.requests.note(draft.kind, draft.origin);
        self.shared.head.send_replace(seq);
        Ok(seq)
    }

    /// Seals the journal with this payload: the last frame it takes.
    pub(super) fn append_seal(
        &self,
        payload: impl FnOnce([u8; 32], u64) -> Vec<u8>,
    ) -> Result<u64, JournalError> {
        let mut writer = self.lock();
        if writer.sealed {
            return Ok(writer.next - 1);
        }
        // A seal speaks of every frame before it: no other may come between, not even a segment's first.
        if writer.tail.len() == 0 {
            self.begin_segment(&mut writer)?;
        }
        let payload = payload(writer.chain, writer.next - 1);
        let draft = Draft { time: clock::now(), origin: 0, kind: Kind::Seal, payload: &payload };
        let seq = self.write(&mut writer, draft)?;
        self.shared.head.send_replace(seq);
        writer.sealed = true;
        Ok(seq)
    }

    /// Waits until the frame is on disk. Many callers share one sync, at most one every 2 ms. After an error
    /// the next commit tries again.
    pub async fn commit(&self, through: u64) -> Result<(), JournalError> {
        let again = *self.shared.doubtful.borrow();
        let Some(turn) = self.shared.turns.take(through, again).await else { return Ok(()) };
        let journal = self.clone();
        let synced = tokio::task::spawn_blocking(move || {
            let (pending, last, path) = {
                let writer = journal.lock();
                (writer.tail.pending(), writer.next - 1, journal.segment(&writer))
            };
            let synced = pending.sync();
            let mut writer = journal.lock();
            writer.tail.settle(&pending, &synced);
            journal.shared.doubtful.send_replace(writer.tail.is_doubtful());
            drop(writer);
            if synced.is_ok()
                && let Err(error) = committed::note(&journal.shared.dir, last)
            {
                tracing::debug!(%error, path = %path.display(), "how far it is committed could not be noted");
            }
            turn.end(synced.is_ok().then_some(last));
            synced.map(drop).map_err(|e| JournalError::io(&path, e))
        });
        match synced.await {
            Ok(synced) => synced,
            Err(error) => {
                Err(JournalError::Broken { path: self.shared.dir.clone(), error: error.to_string() })
            }
        }
    }

    /// Whether a sync has failed and none has succeeded since; meanwhile nothing can be appended. Whoever
    /// holds the journal's end commits until it is well again.
    pub fn doubtful(&self) -> watch::Receiver<bool> {
        self.shared.doubtful.subscribe()
    }

    /// The last frame's number, as it grows.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// Whether the request of this number (the origin of an OTLP or MCP frame) is in the journal. Remembers
    /// the last 65 536: more than a guest can hold unanswered.
    pub fn has_request(&self, request: u64) -> bool {
        self.lock().requests.has(request)
    }

    /// Bytes of all its segments.
    pub fn bytes(&self) -> u64 {
        let writer = self.lock();
        writer.bytes_before + writer.tail.len()
    }

    /// Where the next frame will begin, if no segment is rolled before it.
    pub fn position(&self) -> Position {
        let writer = self.lock();
        Position { segment: writer.segment, offset: writer.tail.len() }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Reads from this frame on.
    pub fn read(&self, from: u64) -> Reader {
        Reader::open(&self.shared.dir, from)
    }

    fn begin_segment(&self, writer: &mut Writer) -> Result<(), JournalError> {
        let head = SegmentHead { version: VERSION, session: self.shared.session, chain: hex(&writer.chain) };
        let payload = serde_json::to_vec(&head).unwrap_or_default();
        let draft = Draft { time: clock::now(), origin: 0, kind: Kind::Segment, payload: &payload };
        let seq = self.write(writer, draft)?;
        self.shared.head.send_replace(seq);
        Ok(())
    }

    /// Goes on in a new segment. The old one is synced first, so that a commit needs to look at one file.
    fn roll(&self, writer: &mut Writer) -> Result<(), JournalError> {
        let completed = writer.tail.complete();
        self.shared.doubtful.send_replace(writer.tail.is_doubtful());
        completed?;
        let tail = Tail::create(&segment_path(&self.shared.dir, writer.next))?;
        writer.bytes_before += writer.tail.len();
        writer.tail = tail;
        writer.segment = writer.next;
        Ok(())
    }

    fn write(&self, writer: &mut Writer, draft: Draft<'_>) -> Result<u64, JournalError> {
        let seq = writer.next;
        let head = Head { seq, time: draft.time, origin: draft.origin, kind: draft.kind };
        let header = frame::header(&head, draft.payload);
        writer.tail.append(&header, draft.payload)?;
        writer.chain = chain(&writer.chain, &header, draft.payload);
        writer.next += 1;
        Ok(seq)
    }

    fn segment(&self, writer: &Writer) -> PathBuf {
        segment_path(&self.shared.dir, writer.segment)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn segment_limit() -> u64 {
    bounds::bytes("SANDBOXCTL_SEGMENT_BYTES", SEGMENT_LIMIT)
}

/// Hash of everything up to and with a frame.
pub(super) fn chain(before: &[u8; 32], header: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(header);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

fn make_dir(dir: &Path) -> Result<(), JournalError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| JournalError::io(dir, e))
}
