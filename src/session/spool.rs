//! The spool that a guest left on our disk: what it had said when it ended, and nobody had read yet.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sandbox_guest::frame::{self, FrameError, HEADER, MAX_PAYLOAD};

/// The longest file of a spool that a guest makes: what one holds when it takes its last record, and that.
const SPOOL_FILE: u64 = (4 << 20) + MAX_PAYLOAD as u64; // bytes

/// What a guest left on our disk.
pub(super) struct Spool {
    files: Vec<PathBuf>,
    /// Number of the first record.
    pub(super) first: Option<u64>,
}

impl Spool {
    /// Who is root in the container can put anything in its place: a link, which might lead to another session's,
    /// is not followed, and what is no file, such as a pipe that nobody writes to, is passed over.
    pub(super) fn open(dir: &Path) -> io::Result<Spool> {
        let mut files = Vec::new();
        match fs::symlink_metadata(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(found) if !found.is_dir() => {
                tracing::error!(path = %dir.display(), "a guest's spool is no folder, and is not read");
            }
            _ => {
                for entry in fs::read_dir(dir)? {
                    let entry = entry?;
                    if entry.file_type()?.is_file() {
                        files.push(entry.path());
                    }
                }
            }
        }
        files.sort();
        let first = files.first().and_then(|path| first_record(path));
        Ok(Spool { files, first })
    }

    /// Its frames, oldest first. A torn last one was never whole, and so never sent: it ends the list. After
    /// what is damaged it goes on with the next file.
    pub(super) fn frames(self) -> impl Iterator<Item = Result<frame::Frame, String>> {
        self.files.into_iter().flat_map(|path| {
            let mut reader = Some(File::open(&path).map(io::BufReader::new));
            let (mut offset, mut next) = (0, first_record(&path).unwrap_or(1));
            std::iter::from_fn(move || {
                let read = match reader.as_mut()? {
                    Ok(file) => match frame::read(file) {
                        Err(FrameError::Torn) if !is_followed(&path, offset, next) => Ok(None),
                        read => read.map_err(|e| e.to_string()),
                    },
                    Err(error) => Err(error.to_string()),
                };
                match read {
                    Ok(Some(frame)) => {
                        offset += (HEADER + frame.payload.len()) as u64;
                        next = frame.head.seq.saturating_add(1);
                        Some(Ok(frame))
                    }
                    Ok(None) => None,
                    Err(error) => {
                        reader = None;
                        Some(Err(format!("{}: {error}", path.display())))
                    }
                }
            })
        })
    }
}

/// The number of a file's first record, by which it is named.
fn first_record(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Whether good frames stand behind the one that begins at `offset`, should be `number`, and is not all there.
fn is_followed(path: &Path, offset: u64, number: u64) -> bool {
    let last = File::open(path).and_then(|file| frame::last_behind_in(&file, offset, number, SPOOL_FILE));
    last.is_ok_and(|last| last.is_some())
}

/// Whether a guest left nothing there that the journal could be without.
pub(crate) fn spool_is_empty(folder: &Path) -> bool {
    Spool::open(&folder.join("spool")).is_ok_and(|spool| spool.frames().next().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use sandbox_guest::frame::{Head, Kind};

    use super::*;

    /// What is found in a spool of one file of three records, done this to.
    fn found(first: u64, harm: impl FnOnce(&mut Vec<u8>)) -> Vec<Result<u64, String>> {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        for seq in first..first + 3 {
            frame::write(&mut bytes, &Head { seq, time: 1, origin: 0, kind: Kind::Output }, b"said").unwrap();
        }
        harm(&mut bytes);
        fs::write(dir.path().join(format!("{first:020}")), bytes).unwrap();
        Spool::open(dir.path()).unwrap().frames().map(|frame| frame.map(|f| f.head.seq)).collect()
    }

    #[test]
    fn a_torn_last_frame_ends_the_list() {
        let found = found(500, |bytes| bytes.truncate(bytes.len() - 1));
        assert_eq!(found, [Ok(500), Ok(501)]);
    }

    #[test]
    fn a_wrong_length_in_the_first_frame_of_a_later_file_is_no_torn_tail() {
        let found = found(500, |bytes| bytes[3] ^= 0x01);
        assert!(matches!(found.as_slice(), [Err(error)] if error.contains("500")), "{found:?}");
    }
}
