//! One file of the spool: frames, end to end, named by the number of the first.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::frame::{self, FrameError, HEADER};

/// A segment. Only the holder of the spool's lock appends; anyone reads.
pub struct Segment {
    /// Number of its first record.
    pub first: u64,
    path: PathBuf,
    file: File,
    /// Bytes of whole frames.
    len: AtomicU64,
    /// Nothing will be appended any more.
    sealed: AtomicBool,
    /// A failed write may have left bytes behind `len`.
    torn: AtomicBool,
}

impl Segment {
    /// Makes the segment that begins with this record.
    pub fn create(dir: &Path, first: u64) -> io::Result<Segment> {
        let path = dir.join(format!("{first:020}"));
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        Ok(Segment::new(first, path, file, 0))
    }

    fn new(first: u64, path: PathBuf, file: File, len: u64) -> Segment {
        let (sealed, torn) = (AtomicBool::new(false), AtomicBool::new(false));
        Segment { first, path, file, len: AtomicU64::new(len), sealed, torn }
    }

    /// Bytes of whole frames in it.
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Whether it has got its last frame.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// No more frames.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Removes the file; who reads it can go on.
    pub fn delete(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            crate::complain!("sandbox-guest: a segment of the spool cannot be deleted: {error}");
        }
    }

    /// Appends a frame with one write, wholly or not at all.
    pub fn append(&self, header: &[u8; HEADER], payload: &[u8]) -> io::Result<()> {
        let len = self.len();
        if self.torn.load(Ordering::Relaxed) {
            self.file.set_len(len)?;
            self.torn.store(false, Ordering::Relaxed);
        }
        if let Err(error) = frame::write_parts(&mut &self.file, header, payload) {
            self.torn.store(self.file.set_len(len).is_err(), Ordering::Relaxed);
            return Err(error);
        }
        self.len.store(len + (HEADER + payload.len()) as u64, Ordering::Release);
        Ok(())
    }

    /// Reads whole frames' bytes from here on; 0 at the end.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.len().saturating_sub(offset).min(buffer.len() as u64) as usize;
        if there == 0 {
            return Ok(0);
        }
        self.file.read_at(&mut buffer[..there], offset)
    }

    /// Where the first record from this number on begins.
    pub fn find(&self, number: u64) -> io::Result<u64> {
        let (mut offset, mut at) = (0, self.first);
        let len = self.len();
        while at < number && offset < len {
            let mut header = [0; HEADER];
            self.file.read_exact_at(&mut header, offset)?;
            offset += (HEADER + frame::payload_len(&header).map_err(io::Error::other)?) as u64;
            at += 1;
        }
        Ok(offset)
    }
}

/// What a former process left in the folder, the torn tail cut off, and the number of the next record. Where good
/// records stand behind a bad one nothing is cut: the next number comes after theirs, so that the daemon sees what
/// it does not get.
pub fn recover(dir: &Path) -> io::Result<(VecDeque<Arc<Segment>>, u64)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut firsts: Vec<u64> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|first| *first > 0)
        .collect();
    firsts.sort_unstable();
    let mut segments = VecDeque::new();
    let mut next = firsts.first().copied().unwrap_or(1);
    for (index, &first) in firsts.iter().enumerate() {
        let path = dir.join(format!("{first:020}"));
        let file = OpenOptions::new().read(true).append(true).open(&path)?;
        let mut sealed = index + 1 < firsts.len();
        let len = if sealed {
            file.metadata()?.len()
        } else {
            let (len, frames) = whole_frames(&file)?;
            next = first + frames;
            match frame::last_behind_in(&file, len, next, u64::MAX)? {
                None => file.set_len(len)?,
                Some(behind) => {
                    crate::complain!(
                        "sandbox-guest: the spool is damaged: records {next} to {behind} are lost"
                    );
                    (next, sealed) = (behind + 1, true);
                }
            }
            len
        };
        let segment = Segment::new(first, path, file, len);
        if sealed {
            segment.seal();
        }
        segments.push_back(Arc::new(segment));
    }
    Ok((segments, next))
}

/// Bytes and number of the good frames that a file begins with.
fn whole_frames(file: &File) -> io::Result<(u64, u64)> {
    let mut reader = io::BufReader::new(file);
    let (mut len, mut frames) = (0, 0);
    loop {
        match frame::read(&mut reader) {
            Ok(Some(frame)) => {
                len += (HEADER + frame.payload.len()) as u64;
                frames += 1;
            }
            Err(FrameError::Io(error)) => return Err(error),
            Ok(None) | Err(_) => return Ok((len, frames)),
        }
    }
}
