//! Files of a bundle before it is one: unnamed temporary files whose size and hash are known.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{
    bundle::HashWriter,
    keys::hex,
    redact::{RedactStream, Redactor},
};

/// A file that is written.
pub(super) struct Stage {
    path: String,
    file: BufWriter<File>,
    hash: Sha256,
    size: u64,
    redact: RedactStream,
}

/// A file that is whole.
pub(super) struct Staged {
    /// Below the bundle's folder.
    pub(super) path: String,
    /// Bytes.
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
    file: File,
}

impl Stage {
    /// A file to be, masked as it is written. It has no name, and goes with its handle.
    pub(super) fn new(scratch: &Path, path: &str, redactor: &Redactor) -> io::Result<Stage> {
        Ok(Stage {
            path: path.to_owned(),
            file: BufWriter::with_capacity(256 << 10, tempfile::tempfile_in(scratch)?),
            hash: Sha256::new(),
            size: 0,
            redact: redactor.stream(),
        })
    }

    /// Adds to it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let masked = self.redact.push(bytes);
        self.write_masked(&masked)
    }

    fn write_masked(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Completes it.
    pub(super) fn finish(mut self) -> io::Result<Staged> {
        let redact = std::mem::replace(&mut self.redact, Redactor::new(&[]).stream());
        self.write_masked(&redact.finish())?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Staged { path: self.path, size: self.size, sha256: hex(&self.hash.finalize()), file })
    }
}

impl Staged {
    /// A file of this text.
    pub(super) fn text(scratch: &Path, path: &str, text: &str, redactor: &Redactor) -> io::Result<Staged> {
        let mut stage = Stage::new(scratch, path, redactor)?;
        stage.write(text.as_bytes())?;
        stage.finish()
    }

    /// A file that is there already, as it is.
    pub(super) fn whole(path: &str, mut file: File) -> io::Result<Staged> {
        file.rewind()?;
        let mut hash = Sha256::new();
        let size = io::copy(&mut file, &mut HashWriter(&mut hash))?;
        Ok(Staged { path: path.to_owned(), size, sha256: hex(&hash.finalize()), file })
    }

    /// Its content, from the start.
    pub(super) fn content(self) -> io::Result<impl Read> {
        let mut file = self.file;
        file.rewind()?;
        Ok(BufReader::with_capacity(256 << 10, file))
    }
}
