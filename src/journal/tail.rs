//! The segment that is written to: a frame goes onto it whole or not at all, and onto the disk for certain.
//!
//! After a failed `fdatasync` the kernel takes the pages for clean, and the next one says yes without having
//! written them; to write the same bytes to the same place again does not help everywhere either (ext4 may have
//! lost the extent). So a segment that is in doubt takes no more frames. It is copied from what the kernel still
//! shows of it, each frame checked, to a new file, which is synced and takes its place. A mark beside it outlives
//! the daemon.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use sandbox_guest::frame::{self, HEADER};

use super::{
    JournalError,
    segment::{Step, Walk},
};

/// A segment, open at its end.
pub(super) struct Tail {
    path: PathBuf,
    files: Files,
    /// Bytes of whole frames.
    len: u64,
    /// A failed write may have left a part of a frame behind `len`.
    torn: bool,
    /// Why a sync failed, if one did and the segment has not been written anew since.
    doubt: Option<(io::ErrorKind, String)>,
}

/// A segment, open. Each open file is told of a failed write once, so that a roll and a commit need one each.
#[derive(Clone)]
pub(super) struct Files {
    append: Arc<File>,
    commit: Arc<File>,
}

/// What a commit is to bring to the disk. It belongs on a thread that may block.
pub(super) struct Pending {
    path: PathBuf,
    files: Files,
    len: u64,
    doubtful: bool,
}

impl Tail {
    /// Begins a segment. An empty one may be there: a former try ended after it had made the file.
    pub(super) fn create(path: &Path) -> Result<Tail, JournalError> {
        let error = |e| JournalError::io(path, e);
        let tail = Tail::over(path, 0)?;
        if tail.files.append.metadata().map_err(error)?.len() > 0 {
            return Err(error(io::ErrorKind::AlreadyExists.into()));
        }
        sync_dir(path).map_err(error)?;
        Ok(tail)
    }

    /// Goes on with a segment that has so many bytes of whole frames and no others.
    pub(super) fn open(path: &Path, len: u64) -> Result<Tail, JournalError> {
        if mark(path).exists() {
            write_anew(path, len).map_err(|e| JournalError::io(path, e))?;
        }
        Tail::over(path, len)
    }

    fn over(path: &Path, len: u64) -> Result<Tail, JournalError> {
        let files = Files::open(path).map_err(|e| JournalError::io(path, e))?;
        Ok(Tail { path: path.to_owned(), files, len, torn: false, doubt: None })
    }

    /// Bytes of whole frames.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing can be added until a commit has succeeded.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubt.is_some()
    }

    /// Adds a frame, or nothing.
    pub(super) fn append(&mut self, header: &[u8; HEADER], payload: &[u8]) -> Result<(), JournalError> {
        self.check()?;
        let file = &self.files.append;
        if self.torn {
            file.set_len(self.len).map_err(|e| JournalError::io(&self.path, e))?;
            self.torn = false;
        }
        if let Err(error) = frame::write_parts(&mut file.as_ref(), header, payload) {
            self.torn = file.set_len(self.len).is_err();
            return Err(JournalError::io(&self.path, error));
        }
        self.len += (header.len() + payload.len()) as u64;
        Ok(())
    }

    /// Syncs here and now, before another segment is begun.
    pub(super) fn complete(&mut self) -> Result<(), JournalError> {
        self.check()?;
        let synced = self.files.append.sync_data();
        synced.map_err(|error| {
            self.come_into_doubt(&error);
            JournalError::io(&self.path, error)
        })
    }

    /// What there is to commit.
    pub(super) fn pending(&self) -> Pending {
        Pending {
            path: self.path.clone(),
            files: self.files.clone(),
            len: self.len,
            doubtful: self.is_doubtful(),
        }
    }

    /// Notes what came of a commit.
    pub(super) fn settle(&mut self, pending: &Pending, synced: &io::Result<Files>) {
        if pending.path != self.path {
            // A segment that has been completed since.
            return;
        }
        match synced {
            Ok(files) if pending.doubtful => {
                self.files = files.clone();
                (self.doubt, self.torn) = (None, false);
                fs::remove_file(mark(&self.path)).ok();
            }
            Ok(_) => {}
            Err(error) => self.come_into_doubt(error),
        }
    }

    fn come_into_doubt(&mut self, error: &io::Error) {
        // Where even this cannot be made, the daemon has to live long enough to mend it.
        File::create(mark(&self.path)).ok();
        self.doubt = Some((error.kind(), error.to_string()));
    }

    /// An error while there is doubt.
    fn check(&self) -> Result<(), JournalError> {
        let path = self.path.clone();
        match &self.doubt {
            None => Ok(()),
            Some((kind, _)) if is_full(*kind) => Err(JournalError::Full { path }),
            Some((io::ErrorKind::ReadOnlyFilesystem, _)) => Err(JournalError::ReadOnly { path }),
            Some((_, error)) => Err(JournalError::Broken { path, error: error.clone() }),
        }
    }
}

impl Files {
    fn open(path: &Path) -> io::Result<Files> {
        let append = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Files { append: Arc::new(append), commit: Arc::new(File::open(path)?) })
    }
}

impl Pending {
    /// Brings it to the disk; returns the files to go on with.
    pub(super) fn sync(&self) -> io::Result<Files> {
        if self.doubtful {
            write_anew(&self.path, self.len)?;
            return Files::open(&self.path);
        }
        self.files.commit.sync_data().map(|()| self.files.clone())
    }
}

/// Whether an error means that there is no space.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes the frames in the first `len` bytes of a segment to a new file, and puts it in the old one's place.
fn write_anew(path: &Path, len: u64) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let copied = copy(path, len, &mut file);
    if let Err(error) = copied.and_then(|()| file.sync_all()) {
        // What it took may be what is missing elsewhere.
        fs::remove_file(&beside).ok();
        return Err(error);
    }
    fs::rename(&beside, path)?;
    sync_dir(path)?;
    fs::remove_file(mark(path)).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn copy(path: &Path, len: u64, to: &mut File) -> io::Result<()> {
    let lost = |problem: String| io::Error::other(format!("what was not on the disk is lost: {problem}"));
    // What ends early is an error here in any case, so the number of its first frame is of no account.
    let mut walk = Walk::open(path, 0, 1).map_err(io::Error::other)?;
    let mut to = io::BufWriter::with_capacity(1 << 20, to);
    while walk.offset < len {
        match walk.step(|_| true).map_err(|e| lost(e.to_string()))? {
            Step::Frame(_, header, payload) => {
                to.write_all(&header)?;
                to.write_all(&payload)?;
            }
            Step::Passed(_) | Step::End => return Err(lost(format!("it ends at byte {}", walk.offset))),
        }
    }
    to.flush()
}

/// The mark of a segment that is in doubt.
fn mark(path: &Path) -> PathBuf {
    path.with_extension("doubt")
}

fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
