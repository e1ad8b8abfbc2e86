//! A session's journal: an append-only, checksummed, hash-chained log of frames, and the only truth there is.
//!
//! ```text
//!   journal/00000000000000000001.log   frames 1 … n-1     ≤ 64 MiB each; a segment begins with a frame of
//!   journal/000000000000000….n.log     frames n …         kind Segment, which carries the hash so far
//! ```
//!
//! [`Journal`] writes. `append` returns when the frame is written (it survives the daemon), `commit` when it
//! is on disk (it survives the machine); commits of many callers share one `fdatasync`. [`Reader`] reads, on
//! its own file handles, from any frame on, and goes on where it ended when there is more.
//!
//! The chain: `h₀` is 32 zero bytes, `hₙ = BLAKE3(hₙ₋₁ ‖ frame n)`. When the session ends the last hash is
//! signed: whoever has the daemon's public key can tell that nothing was added, changed or cut.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
pub use sandbox_guest::frame::Kind;
use serde::{Deserialize, Serialize};

use crate::id::SessionId;

mod commit;
mod committed;
mod index;
mod reader;
mod recover;
mod seal;
mod segment;
mod tail;
mod writer;

pub use index::{Index, Keyframe};
pub use reader::Reader;
pub use seal::{Seal, Verified, verify};
pub use writer::Journal;

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number in this journal, from 1, without gaps.
    pub seq: u64,
    /// When it happened, in µs since the Unix epoch.
    pub time: u64,
    /// The guest's number for it, or 0.
    pub origin: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: Bytes,
}

/// A frame to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// When it happened, in µs since the Unix epoch.
    pub time: u64,
    /// The guest's number for it, or 0.
    pub origin: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: &'a [u8],
}

/// Where a frame begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// First frame of the segment, which names its file.
    pub segment: u64,
    /// Byte in that file.
    pub offset: u64,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last frame.
    pub last_seq: u64,
    /// The last record of the guest's stream: what to acknowledge.
    pub last_record: u64,
    /// Bytes of a torn tail that were cut off, and kept in a file beside.
    pub cut_bytes: u64,
    /// Frames that a commit had brought to the disk and that are not there: the first and the last.
    pub lost: Option<(u64, u64)>,
    /// Whether it is sealed.
    pub sealed: bool,
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
    #[error("journal {path}: damaged at byte {at}: {problem}; the frames before it are good")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the frame begins.
        at: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// It is sealed.
    #[error("journal {path}: it is sealed; nothing can be added")]
    Sealed {
        /// The folder.
        path: PathBuf,
    },
    /// A sync failed, and what it was to bring to the disk has not been written again yet.
    #[error("journal {path}: a sync failed ({error}); it takes nothing until the disk is well again")]
    Broken {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// The disk takes no writes at all.
    #[error("journal {path}: the disk is read-only; mount it writable, and the session goes on")]
    ReadOnly {
        /// The segment.
        path: PathBuf,
    },
    /// Something else.
    #[error("journal {path}: {error}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl JournalError {
    fn io(path: &Path, error: io::Error) -> JournalError {
        let path = path.to_owned();
        match error.kind() {
            kind if tail::is_full(kind) => JournalError::Full { path },
            io::ErrorKind::ReadOnlyFilesystem => JournalError::ReadOnly { path },
            _ => JournalError::Io { path, error },
        }
    }
}

/// The payload of a segment's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SegmentHead {
    version: u32,
    session: SessionId,
    /// Hash over all frames before this one, hexadecimal.
    chain: String,
}

/// Version of the journal's format.
const VERSION: u32 = 1;

/// First frames of a folder's segments, in order.
fn segments(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| JournalError::io(dir, e))? {
        let name = entry.map_err(|e| JournalError::io(dir, e))?.file_name();
        if let Some(first) = name.to_str().and_then(|n| n.strip_suffix(".log")).and_then(|n| n.parse().ok()) {
            found.push(first);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

#[cfg(test)]
mod tests;
