//! Walking one segment's frames: the one place that knows a torn tail from damage.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sandbox_guest::frame::{self, FrameError, HEADER, Head, Kind};

use super::JournalError;

const BUFFER: usize = 256 << 10; // bytes

/// A segment, read from some frame on.
pub(super) struct Walk {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next frame begins.
    pub(super) offset: u64,
    /// Its number.
    next: u64,
}

/// What stands at a place.
pub(super) enum Step {
    /// A good frame, with its encoding's header.
    Frame(Head, [u8; HEADER], Vec<u8>),
    /// A frame that was passed over; its checksum was not looked at.
    Passed(Head),
    /// Nothing, or the beginning of a frame that is not all there.
    End,
}

impl Walk {
    /// From frame `next` on, which begins at `offset`.
    pub(super) fn open(path: &Path, offset: u64, next: u64) -> Result<Walk, JournalError> {
        let error = |e| JournalError::io(path, e);
        let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(error)?);
        file.seek(SeekFrom::Start(offset)).map_err(error)?;
        Ok(Walk { path: path.to_owned(), file, offset, next })
    }

    /// The next frame. `wanted` says whether its payload is needed; where it is not, it is passed over.
    /// After `End` the walk stands where it stood, and may be asked again.
    pub(super) fn step(&mut self, wanted: impl Fn(Kind) -> bool) -> Result<Step, JournalError> {
        let mut header = [0; HEADER];
        let have = fill(&mut self.file, &mut header).map_err(|e| JournalError::io(&self.path, e))?;
        if have < HEADER {
            return self.end(have as u64);
        }
        let len = match frame::payload_len(&header) {
            Ok(len) => len,
            Err(error) => return self.wrong(&error, HEADER as u64, false),
        };
        if let Some(kind) = Kind::from_u8(header[32])
            && !wanted(kind)
        {
            return self.pass(&header, len as u64);
        }
        let mut payload = vec![0; len];
        let have = fill(&mut self.file, &mut payload).map_err(|e| JournalError::io(&self.path, e))?;
        if have < len {
            return self.torn(&FrameError::Torn, (HEADER + have) as u64);
        }
        match frame::check(&header, &payload) {
            Ok(head) => {
                self.offset += (HEADER + len) as u64;
                self.next = head.seq.saturating_add(1);
                Ok(Step::Frame(head, header, payload))
            }
            Err(error) => self.wrong(&error, (HEADER + len) as u64, true),
        }
    }

    fn pass(&mut self, header: &[u8; HEADER], len: u64) -> Result<Step, JournalError> {
        let error = |e| JournalError::io(&self.path, e);
        let end = self.offset + HEADER as u64 + len;
        if self.file.get_ref().metadata().map_err(error)?.len() < end {
            return self.torn(&FrameError::Torn, HEADER as u64);
        }
        self.file.seek_relative(len.cast_signed()).map_err(error)?;
        self.offset = end;
        let field = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let kind = Kind::from_u8(header[32]).unwrap_or(Kind::Marker);
        let head = Head { seq: field(8), time: field(16), origin: field(24), kind };
        self.next = head.seq.saturating_add(1);
        Ok(Step::Passed(head))
    }

    /// Whether the file that is read is still the segment: one that was in doubt is replaced by another.
    pub(super) fn is_current(&self) -> Result<bool, JournalError> {
        let error = |e| JournalError::io(&self.path, e);
        let (ours, there) =
            (self.file.get_ref().metadata().map_err(error)?, fs::metadata(&self.path).map_err(error)?);
        Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }

    /// Goes back over what was read of a frame that is not all there.
    fn end(&mut self, read: u64) -> Result<Step, JournalError> {
        self.file.seek_relative(-read.cast_signed()).map_err(|e| JournalError::io(&self.path, e))?;
        Ok(Step::End)
    }

    /// What is not all there is a torn tail, unless its length is wrong: then good frames stand behind its header.
    fn torn(&mut self, error: &FrameError, read: u64) -> Result<Step, JournalError> {
        if self.is_followed()? && !self.is_whole()? {
            return self.damaged(error);
        }
        self.end(read)
    }

    /// A bad frame behind which nothing stands is a torn tail: a write that the machine did not finish. Zeros
    /// are nothing: space that was allocated and never written before a power cut, which a frame may begin
    /// well in front of. One that anything else follows is damage.
    fn wrong(&mut self, error: &FrameError, read: u64, whole: bool) -> Result<Step, JournalError> {
        if whole && self.is_empty_from(self.offset + read)? {
            return self.torn(error, read);
        }
        self.damaged(error)
    }

    fn damaged(&self, error: &FrameError) -> Result<Step, JournalError> {
        Err(JournalError::Damaged { path: self.path.clone(), at: self.offset, problem: error.to_string() })
    }

    /// Whether good frames stand anywhere behind this one's first byte.
    fn is_followed(&self) -> Result<bool, JournalError> {
        let error = |e| JournalError::io(&self.path, e);
        let file = File::open(&self.path).map_err(error)?;
        Ok(frame::last_behind_in(&file, self.offset, self.next, u64::MAX).map_err(error)?.is_some())
    }

    /// Whether this frame is good by now: its writer may have been at work while it was read.
    fn is_whole(&self) -> Result<bool, JournalError> {
        Ok(matches!(frame::read(&mut BufReader::new(self.again()?)), Ok(Some(_))))
    }

    /// The file, at this frame.
    fn again(&self) -> Result<File, JournalError> {
        let error = |e| JournalError::io(&self.path, e);
        let mut file = File::open(&self.path).map_err(error)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(error)?;
        Ok(file)
    }

    /// Whether there is nothing but zeros from here on.
    fn is_empty_from(&self, offset: u64) -> Result<bool, JournalError> {
        let error = |e| JournalError::io(&self.path, e);
        let mut file = File::open(&self.path).map_err(error)?;
        file.seek(SeekFrom::Start(offset)).map_err(error)?;
        let mut rest = BufReader::new(file).bytes();
        rest.try_fold(true, |empty, byte| byte.map(|b| empty && b == 0)).map_err(error)
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match from.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
