//! A session's append-only log (contract; the implementation is on its way).
use crate::id::SessionId;
use bytes::Bytes;
pub use sandbox_guest::frame::Kind;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number in this journal, from 1, without gaps.
    pub seq: u64,
    /// µs since the epoch.
    pub time: u64,
    /// The guest's number, or 0.
    pub origin: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: Bytes,
}

/// A frame to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// µs since the epoch.
    pub time: u64,
    /// The guest's number, or 0.
    pub origin: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: &'a [u8],
}

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No space is left.
    #[error("journal {path}: no space left on the disk; free some, and the session goes on")]
    Full {
        /// The segment.
        path: PathBuf,
    },
    /// A frame in the middle is damaged.
    #[error("journal {path}: damaged at byte {at}: {problem}")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        at: u64,
        /// How.
        problem: String,
    },
    /// It is sealed.
    #[error("journal {path}: it is sealed; nothing can be added")]
    Sealed {
        /// The folder.
        path: PathBuf,
    },
    /// Something else.
    #[error("journal {path}: {error}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Last frame.
    pub last_seq: u64,
    /// Highest origin among records of the guest's stream: what to acknowledge.
    pub last_record: u64,
    /// Bytes of torn tail that were cut.
    pub cut_bytes: u64,
    /// Whether it is sealed.
    pub sealed: bool,
}

/// The writer.
#[derive(Clone)]
pub struct Journal {}

#[expect(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    reason = "the contract, until the module lands"
)]
impl Journal {
    pub fn create(dir: &Path, id: SessionId) -> Result<Journal, JournalError> {
        unimplemented!()
    }
    pub fn open(dir: &Path, id: SessionId) -> Result<(Journal, Recovered), JournalError> {
        unimplemented!()
    }
    /// Writes a frame (page cache); returns its seq.
    pub fn append(&self, draft: Draft<'_>) -> Result<u64, JournalError> {
        unimplemented!()
    }
    /// Waits until the frame is on disk; commits are grouped.
    pub async fn commit(&self, through: u64) -> Result<(), JournalError> {
        unimplemented!()
    }
    /// Last appended seq, as it grows.
    pub fn head(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }
    /// Whether a request (origin of an OTLP or MCP frame) has been journalled.
    pub fn has_request(&self, request: u64) -> bool {
        unimplemented!()
    }
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
    pub fn dir(&self) -> &Path {
        unimplemented!()
    }
    pub fn read(&self, from: u64) -> Reader {
        unimplemented!()
    }
}

/// Reads frames in order; ends at the last good frame. Call `next` again after the head has moved.
pub struct Reader {}

#[expect(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    reason = "the contract, until the module lands"
)]
impl Reader {
    pub fn open(dir: &Path, from: u64) -> Reader {
        unimplemented!()
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, JournalError>;
    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
