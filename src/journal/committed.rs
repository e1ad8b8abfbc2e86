//! How far commits have come: the number of a frame that is on disk, and so are those before it.
//!
//! It is not synced itself, and need not be: it is written after the sync that it tells of, so that a machine which
//! ends in between leaves it behind the truth, never ahead. Where it is missing or bad, nothing is claimed.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use sandbox_guest::frame::{self, Head, Kind};

use crate::clock;

const NAME: &str = "committed";

/// Notes that everything up to this frame is on disk.
pub(super) fn note(dir: &Path, seq: u64) -> io::Result<()> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(NAME))?;
    let head = Head { seq, time: clock::now(), origin: 0, kind: Kind::Marker };
    file.write_all_at(&frame::header(&head, &[]), 0)
}

/// The last frame that was noted.
pub(super) fn read(dir: &Path) -> Option<u64> {
    let bytes = fs::read(dir.join(NAME)).ok()?;
    frame::read(&mut bytes.as_slice()).ok()?.map(|frame| frame.head.seq)
}
