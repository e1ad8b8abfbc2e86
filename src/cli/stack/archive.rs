//! A backup's form: one `tar.gz`, whose last entry says what every other one has to be.
//!
//! ```text
//!   sandboxctl-stack/settings/.env, compose.yaml, …       the stack's folder
//!   sandboxctl-stack/volumes/NAME/…                       a volume, with owners and modes
//!   sandboxctl-stack/manifest.json                        sizes and hashes; without it, the archive is not whole
//! ```

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// The folder of everything.
const TOP: &str = "sandboxctl-stack";
const SETTINGS: &str = "settings";
const VOLUMES: &str = "volumes";
const MANIFEST: &str = "manifest.json";
/// The form that is described above.
const FORMAT: u32 = 1;
/// The longest manifest: 200 bytes for each of two million files.
const LONGEST: u64 = 400 << 20; // bytes

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// When.
    pub made_at: String,
    /// The volumes' names in the engine, by their names in the file.
    pub volumes: BTreeMap<String, String>,
    /// Every file by its path.
    files: BTreeMap<String, File>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    size: u64,
    sha256: String,
}

impl Manifest {
    /// Bytes of all files, unpacked.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// It ends early, or its bytes are not what they were.
    #[error("it is damaged or not whole: {0}")]
    Damaged(String),
    /// It is something else.
    #[error("it is no backup of a stack; `sandboxctl stack backup FILE` writes one")]
    Foreign,
    /// A later version wrote it.
    #[error(
        "it was written by sandboxctl {0}, in a form that this version cannot read; use that version or a later one"
    )]
    Newer(String),
    /// What was to be done with an entry cannot be done.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes an archive.
pub(super) struct Writer<W: Write> {
    tar: tar::Builder<GzEncoder<W>>,
    manifest: Manifest,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    pub(super) fn new(to: W, made_at: String) -> Writer<W> {
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        Writer { tar: tar::Builder::new(GzEncoder::new(to, Compression::fast())), manifest }
    }

    /// Adds a file of the stack's folder.
    pub(super) fn setting(&mut self, name: &Path, mode: u32, data: &[u8]) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode, data.len() as u64);
        self.file(&mut header, &Path::new(TOP).join(SETTINGS).join(name), data)
    }

    /// Adds a volume out of the engine's tar, whose entries begin with a folder of any name.
    pub(super) fn volume(&mut self, key: &str, name: &str, from: impl Read) -> io::Result<()> {
        self.manifest.volumes.insert(key.to_owned(), name.to_owned());
        let root = Path::new(TOP).join(VOLUMES).join(key);
        for entry in tar::Archive::new(from).entries()? {
            let mut entry = entry?;
            let path = root.join(below(&entry.path()?));
            let old = entry.header();
            let mut header = header(old.entry_type(), old.mode()?, entry.size());
            header.set_uid(old.uid()?);
            header.set_gid(old.gid()?);
            header.set_mtime(old.mtime()?);
            match old.entry_type() {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    header.set_entry_type(EntryType::Regular);
                    self.file(&mut header, &path, &mut entry)?;
                }
                EntryType::Link => {
                    let target = entry.link_name()?.map(|to| below(&to)).unwrap_or_default();
                    self.tar.append_link(&mut header, path, target)?;
                }
                EntryType::Symlink => {
                    let target = entry.link_name()?.unwrap_or_default().into_owned();
                    self.tar.append_link(&mut header, path, target)?;
                }
                _ => self.tar.append_data(&mut header, path, io::empty())?,
            }
        }
        Ok(())
    }

    /// Closes it.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let text = serde_json::to_vec(&self.manifest)?;
        let mut header = header(EntryType::Regular, 0o600, text.len() as u64);
        self.tar.append_data(&mut header, Path::new(TOP).join(MANIFEST), text.as_slice())?;
        self.tar.into_inner()?.finish()
    }

    fn file(&mut self, header: &mut Header, path: &Path, data: impl Read) -> io::Result<()> {
        let size = header.size()?;
        let mut data = Hashed { inner: data, hash: Sha256::new() };
        self.tar.append_data(header, path, &mut data)?;
        let file = File { size, sha256: hex(data.hash) };
        self.manifest.files.insert(path.to_string_lossy().into_owned(), file);
        Ok(())
    }
}

/// Reads an archive to its end and compares everything with its manifest.
pub(super) fn verify(from: impl Read) -> Result<Manifest, ArchiveError> {
    let mut found = BTreeMap::new();
    let mut manifest: Option<Manifest> = None;
    each(from, |place, entry| {
        if manifest.is_some() {
            return Err(ArchiveError::Damaged("it goes on after its end".to_owned()));
        }
        let path = entry.path()?.to_string_lossy().into_owned();
        if let Place::Manifest = place {
            let mut text = Vec::new();
            entry.take(LONGEST).read_to_end(&mut text)?;
            manifest = Some(parse(&text)?);
        } else if entry.header().entry_type().is_file() {
            let size = entry.size();
            let mut data = Hashed { inner: entry, hash: Sha256::new() };
            io::copy(&mut data, &mut io::sink())?;
            found.insert(path, File { size, sha256: hex(data.hash) });
        }
        Ok(())
    })?;
    let manifest = manifest.ok_or_else(|| ArchiveError::Damaged("it ends early".to_owned()))?;
    let differs = found.iter().find(|(path, file)| manifest.files.get(*path) != Some(file));
    let missing = manifest.files.keys().find(|path| !found.contains_key(*path));
    match differs.map(|(path, _)| path).or(missing) {
        Some(path) => Err(ArchiveError::Damaged(format!("{} is not what it was", crate::inert::inert(path)))),
        None => Ok(manifest),
    }
}

fn parse(text: &[u8]) -> Result<Manifest, ArchiveError> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
        version: String,
    }
    let damaged = |e: serde_json::Error| ArchiveError::Damaged(e.to_string());
    let form: Form = serde_json::from_slice(text).map_err(damaged)?;
    if form.format > FORMAT {
        return Err(ArchiveError::Newer(crate::inert::inert(&form.version)));
    }
    serde_json::from_slice(text).map_err(damaged)
}

/// Hands over each file of the stack's folder: its name, mode and content.
pub(super) fn settings(
    from: impl Read,
    mut each_file: impl FnMut(&Path, u32, &[u8]) -> io::Result<()>,
) -> Result<(), ArchiveError> {
    each(from, |place, entry| {
        let Place::Setting(name) = place else { return Ok(()) };
        let mode = entry.header().mode()?;
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        Ok(each_file(&name, mode, &data)?)
    })
}

/// Hands over each volume as a tar of its own, to be unpacked in the volume's folder: `open` is told a volume's
/// name and says where its tar goes.
pub(super) fn volumes<W: Write>(
    from: impl Read,
    mut open: impl FnMut(&str) -> io::Result<W>,
) -> Result<(), ArchiveError> {
    let mut current: Option<(String, tar::Builder<W>)> = None;
    each(from, |place, entry| {
        let Place::Volume { key, path } = place else { return Ok(()) };
        if current.as_ref().is_none_or(|(open, _)| *open != key) {
            close(current.take())?;
            current = Some((key.clone(), tar::Builder::new(open(&key)?)));
        }
        let Some((_, tar)) = &mut current else { return Ok(()) };
        let mut header = entry.header().clone();
        let path = if path.as_os_str().is_empty() { PathBuf::from("./") } else { path };
        match header.entry_type() {
            EntryType::Link | EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                tar.append_link(&mut header, path, target)?;
            }
            _ => tar.append_data(&mut header, path, entry)?,
        }
        Ok(())
    })?;
    Ok(close(current)?)
}

fn close<W: Write>(open: Option<(String, tar::Builder<W>)>) -> io::Result<()> {
    open.map_or(Ok(()), |(_, tar)| tar.into_inner()?.flush())
}

/// What an entry is.
enum Place {
    Setting(PathBuf),
    Volume { key: String, path: PathBuf },
    Manifest,
}

impl Place {
    /// `None` for what is no part of a backup; nothing leads out of its folder.
    fn of(path: &Path) -> Option<Place> {
        let names: Option<Vec<&str>> = path
            .components()
            .map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
            .collect();
        let names = names?;
        let (&TOP, rest) = names.split_first()? else { return None };
        match rest {
            [MANIFEST] => Some(Place::Manifest),
            [SETTINGS, name @ ..] if !name.is_empty() => Some(Place::Setting(name.iter().collect())),
            [VOLUMES, key, path @ ..] => {
                Some(Place::Volume { key: (*key).to_owned(), path: path.iter().collect() })
            }
            _ => None,
        }
    }
}

fn each<R: Read>(
    from: R,
    mut look: impl FnMut(Place, &mut tar::Entry<'_, GzDecoder<R>>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut archive = tar::Archive::new(GzDecoder::new(from));
    let (mut any, mut all) = (false, archive.entries()?);
    loop {
        let mut entry = match all.next() {
            None if any => break,
            None => return Err(ArchiveError::Foreign),
            Some(Ok(entry)) => entry,
            Some(Err(error)) if any => return Err(ArchiveError::Damaged(error.to_string())),
            Some(Err(_)) => return Err(ArchiveError::Foreign),
        };
        let place = Place::of(&entry.path()?).ok_or(ArchiveError::Foreign)?;
        any = true;
        look(place, &mut entry).map_err(|error| match error {
            ArchiveError::Io(error) if is_damage(&error) => ArchiveError::Damaged(error.to_string()),
            other => other,
        })?;
    }
    // The end of a tar is not the end of gzip, where its own checksum of everything stands.
    let rest = io::copy(&mut archive.into_inner(), &mut io::sink());
    rest.map(drop).map_err(|error| ArchiveError::Damaged(error.to_string()))
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// A path without its first folder.
fn below(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).skip(1).collect()
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(if kind.is_file() { size } else { 0 });
    header
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(to)?;
        self.hash.update(&to[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
