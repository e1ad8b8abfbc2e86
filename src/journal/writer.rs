//! Appending: one lock, one write a frame, segments rolled, requests remembered.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sandbox_guest::frame::{self, HEADER, Head, Kind};
use tokio::sync::watch;

use super::{
    Draft, JournalError, Position, Reader, Recovered, SegmentHead, VERSION,
    commit::Committer,
    recover::{Found, recover},
    segment_path, segments,
};
use crate::{clock, id::SessionId, keys::hex};

/// The longest segment.
const SEGMENT_LIMIT: u64 = 64 << 20; // bytes
/// Requests that are remembered, to know one that comes twice.
const REQUESTS: usize = 65_536;

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
    committer: Committer,
}

struct Writer {
    file: Arc<File>,
    at: Position,
    next: u64,
    chain: [u8; 32],
    bytes_before: u64,
    requests: Requests,
    sealed: bool,
}

/// The numbers of the last requests, bounded.
#[derive(Default)]
pub(super) struct Requests {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Journal {
    /// Makes a new journal in `dir`, which must not hold one.
    pub fn create(dir: &Path, session: SessionId) -> Result<Journal, JournalError> {
        Journal::create_with(dir, session, SEGMENT_LIMIT)
    }

    pub(super) fn create_with(
        dir: &Path,
        session: SessionId,
        segment_limit: u64,
    ) -> Result<Journal, JournalError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| JournalError::io(dir, e))?;
        let file = Arc::new(create_segment(dir, 1)?);
        let writer = Writer {
            file,
            at: Position { segment: 1, offset: 0 },
            next: 1,
            chain: [0; 32],
            bytes_before: 0,
            requests: Requests::default(),
            sealed: false,
        };
        let journal = Journal::over(dir, session, segment_limit, writer);
        let mut writer = journal.lock();
        journal.begin_segment(&mut writer)?;
        drop(writer);
        Ok(journal)
    }

    /// Opens a journal that an earlier daemon wrote, cutting a torn tail back to the last good frame. All that is
    /// left is on disk then.
    pub fn open(dir: &Path, session: SessionId) -> Result<(Journal, Recovered), JournalError> {
        Journal::open_with(dir, session, SEGMENT_LIMIT)
    }

    pub(super) fn open_with(
        dir: &Path,
        session: SessionId,
        segment_limit: u64,
    ) -> Result<(Journal, Recovered), JournalError> {
        let all = segments(dir)?;
        let Some(&last) = all.last() else {
            return Ok((Journal::create_with(dir, session, segment_limit)?, Recovered::default()));
        };
        let Found { requests, end, next, chain, mut recovered } = recover(dir, &all)?;
        let path = segment_path(dir, last);
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| JournalError::io(&path, e))?;
        // An earlier daemon may have died between writing a frame and its commit. Who opens the journal takes
        // what is in it for recorded, and tells the guest so.
        file.sync_data().map_err(|e| JournalError::io(&path, e))?;
        let mut bytes_before = 0;
        for first in &all[..all.len() - 1] {
            let path = segment_path(dir, *first);
            bytes_before += fs::metadata(&path).map_err(|e| JournalError::io(&path, e))?.len();
        }
        let writer = Writer {
            file: Arc::new(file),
            at: Position { segment: last, offset: end },
            next,
            chain,
            bytes_before,
            requests,
            sealed: recovered.sealed,
        };
        let journal = Journal::over(dir, session, segment_limit, writer);
        if end == 0 {
            journal.begin_segment(&mut journal.lock())?;
            recovered.last_seq += 1;
        }
        Ok((journal, recovered))
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
                committer: Committer::new(),
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
        if writer.at.offset + len > self.shared.segment_limit
            && writer.at.offset > 0
            && draft.kind != Kind::Segment
        {
            self.roll(writer)?;
        } else if writer.at.offset == 0 {
            // The disk was full when this segment was to begin.
            self.begin_segment(writer)?;
        }
        let seq = self.write(writer, draft)?;
        if is_request(draft.kind) && draft.origin > 0 {
            writer.requests.add(draft.origin);
        }
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
        let payload = payload(writer.chain, writer.next - 1);
        let draft = Draft { time: clock::now(), origin: 0, kind: Kind::Seal, payload: &payload };
        let seq = self.append_locked(&mut writer, draft)?;
        writer.sealed = true;
        Ok(seq)
    }

    /// Waits until the frame is on disk. Many callers share one sync, at most one every 2 ms.
    pub async fn commit(&self, through: u64) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        let source = move || {
            let writer = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&writer.file), writer.next - 1, segment_path(&shared.dir, writer.at.segment))
        };
        self.shared.committer.commit(through, source).await
    }

    /// The last frame's number, as it grows.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// Whether the request of this number (the origin of an OTLP or MCP frame) is in the journal. Remembers
    /// the last 65 536: more than a guest can hold unanswered.
    pub fn has_request(&self, request: u64) -> bool {
        self.lock().requests.known.contains(&request)
    }

    /// Bytes of all its segments.
    pub fn bytes(&self) -> u64 {
        let writer = self.lock();
        writer.bytes_before + writer.at.offset
    }

    /// Where the next frame will begin, if no segment is rolled before it.
    pub fn position(&self) -> Position {
        self.lock().at
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
        let old = segment_path(&self.shared.dir, writer.at.segment);
        writer.file.sync_data().map_err(|e| JournalError::io(&old, e))?;
        let file = create_segment(&self.shared.dir, writer.next)?;
        writer.bytes_before += writer.at.offset;
        writer.file = Arc::new(file);
        writer.at = Position { segment: writer.next, offset: 0 };
        self.begin_segment(writer)
    }

    fn write(&self, writer: &mut Writer, draft: Draft<'_>) -> Result<u64, JournalError> {
        let seq = writer.next;
        let head = Head { seq, time: draft.time, origin: draft.origin, kind: draft.kind };
        let header = frame::header(&head, draft.payload);
        if let Err(error) = write_both(&writer.file, &header, draft.payload) {
            let path = segment_path(&self.shared.dir, writer.at.segment);
            // A part of a frame must not stay: the next append would stand behind it.
            writer.file.set_len(writer.at.offset).map_err(|e| JournalError::io(&path, e))?;
            return Err(JournalError::io(&path, error));
        }
        writer.chain = chain(&writer.chain, &header, draft.payload);
        writer.at.offset += (HEADER + draft.payload.len()) as u64;
        writer.next += 1;
        Ok(seq)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requests {
    pub(super) fn add(&mut self, request: u64) {
        if self.known.insert(request) {
            self.order.push_back(request);
        }
        while self.order.len() > REQUESTS {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// Hash of everything up to and with a frame.
pub(super) fn chain(before: &[u8; 32], header: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(header);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

fn create_segment(dir: &Path, first: u64) -> Result<File, JournalError> {
    let path = segment_path(dir, first);
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| JournalError::io(&path, e))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| JournalError::io(dir, e))?;
    Ok(file)
}

fn write_both(file: &File, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let mut file = file;
    let total = header.len() + payload.len();
    let mut done = 0;
    while done < total {
        let wrote = if done < header.len() {
            file.write_vectored(&[IoSlice::new(&header[done..]), IoSlice::new(payload)])
        } else {
            file.write(&payload[done - header.len()..])
        };
        match wrote {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Kinds whose origin is the number of a request, not of a record.
pub(super) fn is_request(kind: Kind) -> bool {
    matches!(kind, Kind::Traces | Kind::Metrics | Kind::Logs | Kind::Mcp)
}
