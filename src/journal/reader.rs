//! Reading: from any frame on, in order, across segments, on handles of its own.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sandbox_guest::frame::{Head, Kind};

use super::{
    Entry, JournalError, Position,
    segment::{Step, Walk},
    segment_path, segments,
};

/// Reads frames in order. `next` is `None` at the last good frame, and goes on when it is asked again after
/// the journal has grown; a torn tail looks like the end, and damage in the middle is an error, after which
/// nothing more is read.
pub struct Reader {
    dir: PathBuf,
    from: u64,
    kinds: Option<Vec<Kind>>,
    segment: u64,
    walk: Option<Walk>,
    next: u64,
    failed: bool,
}

impl Reader {
    /// Reads from frame `from` on; the folder need not hold it yet.
    pub fn open(dir: &Path, from: u64) -> Reader {
        Reader { dir: dir.to_owned(), from, kinds: None, segment: 0, walk: None, next: 0, failed: false }
    }

    /// Reads from the frame that begins at `position`, which is `seq`.
    pub fn open_at(dir: &Path, position: Position, seq: u64) -> Result<Reader, JournalError> {
        let walk = Walk::open(&segment_path(dir, position.segment), position.offset, seq)?;
        Ok(Reader { segment: position.segment, walk: Some(walk), next: seq, ..Reader::open(dir, seq) })
    }

    /// Reads only these kinds and passes over the others' payloads, unchecked.
    pub fn only(mut self, kinds: &[Kind]) -> Reader {
        self.kinds = Some(kinds.to_vec());
        self
    }

    fn step(&mut self) -> Result<Option<Entry>, JournalError> {
        let mut looked_again = false;
        loop {
            let Some(walk) = &mut self.walk else {
                if !self.enter_segment()? {
                    return Ok(None);
                }
                continue;
            };
            let before = walk.offset;
            let (from, kinds, next) = (self.from, &self.kinds, self.next);
            let step = walk.step(|kind| next >= from && kinds.as_ref().is_none_or(|k| k.contains(&kind)))?;
            match step {
                Step::End if !walk.is_current()? => {
                    self.walk = Some(Walk::open(&segment_path(&self.dir, self.segment), before, next)?);
                }
                Step::End if self.enter_segment()? => {}
                Step::End => match self.gap()? {
                    None => return Ok(None),
                    // The segment may have grown between its last look and the folder's.
                    Some(_) if !std::mem::replace(&mut looked_again, true) => {}
                    Some(gap) => return Err(gap),
                },
                Step::Passed(head) => self.advance(&head, before)?,
                Step::Frame(head, _, payload) => {
                    self.advance(&head, before)?;
                    let Head { seq, time, origin, kind } = head;
                    return Ok(Some(Entry { seq, time, origin, kind, payload: Bytes::from(payload) }));
                }
            }
        }
    }

    fn advance(&mut self, head: &Head, at: u64) -> Result<(), JournalError> {
        if head.seq != self.next {
            let problem = format!("frame {} stands where {} should", head.seq, self.next);
            return Err(JournalError::Damaged { path: segment_path(&self.dir, self.segment), at, problem });
        }
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// Goes to the segment that holds the next frame, if that is another one, and is there.
    fn enter_segment(&mut self) -> Result<bool, JournalError> {
        let all = segments(&self.dir)?;
        let wanted = if self.walk.is_none() {
            all.iter().rev().find(|first| **first <= self.from.max(1)).copied()
        } else {
            all.iter().find(|first| **first == self.next && **first > self.segment).copied()
        };
        let Some(first) = wanted else {
            return match all.first() {
                Some(first) if self.walk.is_none() => {
                    let problem = format!("frames {} to {} are missing", self.from.max(1), first - 1);
                    Err(JournalError::Damaged { path: segment_path(&self.dir, *first), at: 0, problem })
                }
                _ => Ok(false),
            };
        };
        self.walk = Some(Walk::open(&segment_path(&self.dir, first), 0, first)?);
        self.segment = first;
        self.next = first;
        Ok(true)
    }
}

impl Reader {
    /// What is wrong when this segment has ended, later ones are there, and none of them goes on from here.
    fn gap(&self) -> Result<Option<JournalError>, JournalError> {
        let later = segments(&self.dir)?.into_iter().find(|first| *first > self.segment);
        Ok(later.filter(|first| *first != self.next).map(|first| {
            let problem = format!("frames {} to {} are missing", self.next, first.saturating_sub(1));
            let at = self.walk.as_ref().map_or(0, |walk| walk.offset);
            JournalError::Damaged { path: segment_path(&self.dir, self.segment), at, problem }
        }))
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}
