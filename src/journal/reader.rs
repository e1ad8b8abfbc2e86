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
        let walk = Walk::open(&segment_path(dir, position.segment), position.offset)?;
        Ok(Reader { segment: position.segment, walk: Some(walk), next: seq, ..Reader::open(dir, seq) })
    }

    /// Reads only these kinds and passes over the others' payloads, unchecked.
    pub fn only(mut self, kinds: &[Kind]) -> Reader {
        self.kinds = Some(kinds.to_vec());
        self
    }

    fn step(&mut self) -> Result<Option<Entry>, JournalError> {
        // Whether a later segment was there before this one was read to its end, which then is the last there is.
        let mut complete = false;
        loop {
            let Some(walk) = &mut self.walk else {
                if !self.enter_first()? {
                    return Ok(None);
                }
                continue;
            };
            let before = walk.offset;
            let (from, kinds, next) = (self.from, &self.kinds, self.next);
            let step = walk.step(|kind| next >= from && kinds.as_ref().is_none_or(|k| k.contains(&kind)))?;
            match step {
                Step::End => match self.later_segment()? {
                    None => return Ok(None),
                    Some(first) if first == self.next => {
                        self.enter(first)?;
                        complete = false;
                    }
                    Some(first) if complete => return Err(self.hole(first, before)),
                    Some(_) => complete = true,
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

    /// Goes to the segment that holds the first frame to be read; false if there is none yet.
    fn enter_first(&mut self) -> Result<bool, JournalError> {
        let all = segments(&self.dir)?;
        let Some(&earliest) = all.first() else { return Ok(false) };
        let Some(&first) = all.iter().rev().find(|first| **first <= self.from.max(1)) else {
            self.next = self.from.max(1);
            return Err(self.hole(earliest, 0));
        };
        self.enter(first)?;
        Ok(true)
    }

    fn enter(&mut self, first: u64) -> Result<(), JournalError> {
        self.walk = Some(Walk::open(&segment_path(&self.dir, first), 0)?);
        self.segment = first;
        self.next = first;
        Ok(())
    }

    /// The segment after the one being read. It is made once that one is complete.
    fn later_segment(&self) -> Result<Option<u64>, JournalError> {
        Ok(segments(&self.dir)?.into_iter().find(|first| *first > self.segment))
    }

    /// Frames between those read and the segment that begins with `first` are not there.
    fn hole(&self, first: u64, at: u64) -> JournalError {
        let path = segment_path(&self.dir, self.segment.max(1));
        let problem = format!("the next segment begins with frame {first} and not with {}", self.next);
        JournalError::Damaged { path, at, problem }
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
