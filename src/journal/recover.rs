//! What an earlier daemon left: the end of the log found, checked, and cut clean.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, OpenOptions},
    path::Path,
};

use sandbox_guest::frame::Kind;

use super::{
    JournalError, Recovered, SegmentHead,
    segment::{Step, Walk},
    segment_path,
    writer::chain,
};
use crate::{clock, keys::unhex};

/// Requests that are remembered, to know one that comes twice.
const REQUESTS: usize = 65_536;

/// The numbers of the last requests, bounded.
#[derive(Default)]
pub(super) struct Requests {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Requests {
    pub(super) fn has(&self, request: u64) -> bool {
        self.known.contains(&request)
    }

    /// Notes the number of a frame that came as a request.
    pub(super) fn note(&mut self, kind: Kind, origin: u64) {
        if !is_request(kind) || origin == 0 {
            return;
        }
        if self.known.insert(origin) {
            self.order.push_back(origin);
        }
        while self.order.len() > REQUESTS {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// Where the log ends.
#[derive(Default)]
pub(super) struct End {
    /// The first byte of the last segment that is no good frame's.
    pub(super) offset: u64,
    /// Number of the next frame.
    pub(super) next: u64,
    /// Hash over all before it.
    pub(super) chain: [u8; 32],
}

/// Walks the last two of these segments: one more than the last, for the requests that may yet come twice. What
/// lies before them is for readers, and for [`super::verify`].
pub(super) fn find_end(
    dir: &Path,
    all: &[u64],
    requests: &mut Requests,
    recovered: &mut Recovered,
) -> Result<End, JournalError> {
    let (earlier, looked_at) = all.split_at(all.len().saturating_sub(2));
    // The first of them begins where it does, unless it is the journal's first.
    let begin = if earlier.is_empty() { Some(&1) } else { looked_at.first() };
    let mut end = End { next: begin.copied().unwrap_or(1), ..End::default() };
    for &first in looked_at {
        let path = segment_path(dir, first);
        if end.next != first {
            let problem = format!("frames {} to {} before it are missing", end.next, first.saturating_sub(1));
            return Err(JournalError::Damaged { path, at: 0, problem });
        }
        end = scan(&path, first, requests, recovered)?;
    }
    for &first in earlier.iter().rev() {
        if recovered.last_record > 0 {
            break;
        }
        // Nothing but telemetry since: the guest's last record stands further back.
        let mut further = Recovered::default();
        scan(&segment_path(dir, first), first, &mut Requests::default(), &mut further)?;
        recovered.last_record = further.last_record;
    }
    if end.offset == 0
        && let [.., before, _] = all
    {
        // Not even its first frame is whole: the chain goes on from the segment before.
        let path = segment_path(dir, *before);
        end.chain = scan(&path, *before, &mut Requests::default(), &mut Recovered::default())?.chain;
    }
    Ok(end)
}

/// Walks a segment, checking everything, noting what a writer needs to know.
fn scan(
    path: &Path,
    first: u64,
    requests: &mut Requests,
    recovered: &mut Recovered,
) -> Result<End, JournalError> {
    let mut walk = Walk::open(path, 0, first)?;
    let mut found = End { next: first, ..End::default() };
    while let Step::Frame(head, header, payload) = walk.step(|_| true)? {
        let damaged =
            |problem: String| JournalError::Damaged { path: path.to_owned(), at: found.offset, problem };
        if head.seq != found.next {
            return Err(damaged(format!("frame {} stands where {} should", head.seq, found.next)));
        }
        if found.offset == 0 {
            let segment: SegmentHead =
                serde_json::from_slice(&payload).map_err(|e| damaged(e.to_string()))?;
            found.chain = unhex(&segment.chain).ok_or_else(|| damaged("its chain is no hash".to_owned()))?;
        }
        found.chain = chain(&found.chain, &header, &payload);
        found.next = head.seq.saturating_add(1);
        found.offset = walk.offset;
        requests.note(head.kind, head.origin);
        if !is_request(head.kind) {
            recovered.last_record = recovered.last_record.max(head.origin);
        }
        recovered.sealed = head.kind == Kind::Seal;
    }
    Ok(found)
}

/// Cuts a file, keeping what is cut in another beside it: it may still tell somebody something.
pub(super) fn cut(path: &Path, end: u64) -> Result<u64, JournalError> {
    let error = |e| JournalError::io(path, e);
    let len = fs::metadata(path).map_err(error)?.len();
    if len > end {
        let content = fs::read(path).map_err(error)?;
        let end_at = usize::try_from(end).unwrap_or(content.len());
        let beside = path.with_extension(format!("cut-{}", clock::now()));
        if let Err(error) = fs::write(&beside, &content[end_at..]) {
            // It was never acknowledged to anybody; a full disk must not keep the session from going on.
            tracing::warn!(path = %beside.display(), %error, "a torn tail is cut and cannot be kept");
            fs::remove_file(&beside).ok();
        }
        let file = OpenOptions::new().write(true).open(path).map_err(error)?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(error)?;
    }
    Ok(len - end)
}

/// Kinds whose origin is the number of a request, not of a record.
fn is_request(kind: Kind) -> bool {
    matches!(kind, Kind::Traces | Kind::Metrics | Kind::Logs | Kind::Mcp)
}
