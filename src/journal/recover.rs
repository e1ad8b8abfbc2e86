//! What an earlier daemon left in a journal's folder, walked and checked, so that a writer can go on behind it.
//!
//! Only the last two segments are looked at, since that is where a crash can have left anything undone, and
//! where a request may yet come twice. What lies before them is for readers, and for [`super::verify`].

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use sandbox_guest::frame::Kind;

use super::{
    JournalError, Recovered, SegmentHead,
    segment::{Step, Walk},
    segment_path,
    writer::{Requests, chain, is_request},
};
use crate::{clock, keys::unhex};

/// Where a writer goes on.
pub(super) struct Found {
    /// The last segment's length, its torn tail cut off.
    pub(super) end: u64,
    /// Number of the next frame.
    pub(super) next: u64,
    /// Hash over all frames before it.
    pub(super) chain: [u8; 32],
    /// The last requests.
    pub(super) requests: Requests,
    /// What to tell.
    pub(super) recovered: Recovered,
}

/// Looks at a journal of these segments, and cuts its torn tail.
pub(super) fn recover(dir: &Path, all: &[u64]) -> Result<Found, JournalError> {
    let (earlier, looked_at) = all.split_at(all.len().saturating_sub(2));
    let mut requests = Requests::default();
    let mut recovered = Recovered::default();
    let mut before = Scan::default();
    // Where the first of them should begin: where it does, unless it is the journal's first.
    let begin = if earlier.is_empty() { Some(&1) } else { looked_at.first() };
    let mut last = Scan { next: begin.copied().unwrap_or(1), ..before };
    for &first in looked_at {
        if first != last.next {
            let problem = format!("frame {first} stands where {} should", last.next);
            return Err(JournalError::Damaged { path: segment_path(dir, first), at: 0, problem });
        }
        before = last;
        last = scan(dir, first, &mut requests, &mut recovered)?;
    }
    for &first in earlier.iter().rev() {
        if recovered.last_record > 0 {
            break;
        }
        // Nothing but telemetry since: the guest's last record stands further back.
        let mut further = Recovered::default();
        scan(dir, first, &mut Requests::default(), &mut further)?;
        recovered.last_record = further.last_record;
    }
    if last.next == 0 {
        // Not even the segment's first frame was whole.
        last = Scan { end: 0, ..before };
    }
    if let Some(&segment) = looked_at.last() {
        recovered.cut_bytes = cut(&segment_path(dir, segment), last.end)?;
    }
    recovered.last_seq = last.next - 1;
    let Scan { end, next, chain } = last;
    Ok(Found { end, next, chain, requests, recovered })
}

/// What walking a segment finds.
#[derive(Clone, Copy, Default)]
struct Scan {
    /// The first byte that is no good frame's.
    end: u64,
    /// Number of the next frame; 0 where there is no frame at all.
    next: u64,
    chain: [u8; 32],
}

/// Walks a segment, checking everything, noting what a writer needs to know.
fn scan(
    dir: &Path,
    first: u64,
    requests: &mut Requests,
    recovered: &mut Recovered,
) -> Result<Scan, JournalError> {
    let path = segment_path(dir, first);
    let mut walk = Walk::open(&path, 0)?;
    let mut found = Scan::default();
    while let Step::Frame(head, header, payload) = walk.step(|_| true)? {
        let expected = if found.next == 0 { first } else { found.next };
        let damaged = |problem: String| JournalError::Damaged { path: path.clone(), at: found.end, problem };
        if head.seq != expected {
            return Err(damaged(format!("frame {} stands where {expected} should", head.seq)));
        }
        if found.next == 0 {
            let segment: SegmentHead =
                serde_json::from_slice(&payload).map_err(|e| damaged(e.to_string()))?;
            found.chain = unhex(&segment.chain).ok_or_else(|| damaged("its chain is no hash".to_owned()))?;
        }
        found.chain = chain(&found.chain, &header, &payload);
        found.next = head.seq.saturating_add(1);
        found.end = walk.offset;
        if is_request(head.kind) && head.origin > 0 {
            requests.add(head.origin);
        } else {
            recovered.last_record = recovered.last_record.max(head.origin);
        }
        recovered.sealed = head.kind == Kind::Seal;
    }
    Ok(found)
}

/// Cuts a file, keeping what is cut in another beside it: it may still tell somebody something.
fn cut(path: &Path, end: u64) -> Result<u64, JournalError> {
    let error = |e| JournalError::io(path, e);
    let len = fs::metadata(path).map_err(error)?.len();
    if len > end {
        let content = fs::read(path).map_err(error)?;
        let end_at = usize::try_from(end).unwrap_or(content.len());
        fs::write(path.with_extension(format!("cut-{}", clock::now())), &content[end_at..]).map_err(error)?;
        let file = OpenOptions::new().write(true).open(path).map_err(error)?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(error)?;
    }
    Ok(len - end)
}
