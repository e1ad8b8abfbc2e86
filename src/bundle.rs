//! A bundle: what is in `sandbox-session-<id>.tar.gz`, and the check that it is whole and untouched.
//!
//! The first file is `manifest.json`: every other file with its size and SHA-256, and the daemon's Ed25519
//! signature over the manifest without that signature. Checking reads the archive once, with bounded
//! memory, and believes nothing in it before it is checked.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{api::Session, keys, summary::Completeness};

/// Version of the bundle's layout.
pub const VERSION: u32 = 1;
/// The longest manifest that is read.
const MANIFEST_LIMIT: u64 = 16 << 20; // bytes

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub schema_version: u32,
    /// Version of the daemon that wrote it.
    pub sandboxctl_version: String,
    /// The session, as it was.
    pub session: Session,
    /// Every other file, by its path below the bundle's folder.
    pub files: BTreeMap<String, FileEntry>,
    /// Frames of the journal by kind.
    pub frames: BTreeMap<String, u64>,
    /// How much of the telemetry has arrived.
    pub completeness: Completeness,
    /// The journal that it was made from.
    pub journal: JournalEntry,
    /// The daemon's public key, hexadecimal.
    pub public_key: String,
    /// Ed25519 signature over this manifest without this key, as compact JSON; hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// Hexadecimal.
    pub sha256: String,
}

/// What the journal said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The last frame that was read.
    pub frames: u64,
    /// The journal's seal, if the session had ended.
    pub seal: Option<Value>,
}

impl Manifest {
    /// What is signed.
    pub fn signed_bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Manifest { signature: String::new(), ..self.clone() })
    }
}

/// Why a bundle is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("the file is no bundle, or is cut off: {0}")]
    Archive(#[from] io::Error),
    /// The manifest makes no sense.
    #[error("manifest.json: {0}")]
    Manifest(String),
    /// The signature is not the key's.
    #[error("the signature does not match: the manifest was changed, or signed by another daemon")]
    Signature,
    /// Another daemon signed it.
    #[error("it was signed by {found}, not by {expected}")]
    Key {
        /// The key in the manifest.
        found: String,
        /// The one that was asked for.
        expected: String,
    },
    /// A file is not what the manifest says.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: String,
        /// How it differs.
        problem: String,
    },
}

/// What a good bundle is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The session's id.
    pub session: String,
    /// Whether it had ended.
    pub ended: bool,
    /// Files, the manifest included.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Who signed it.
    pub public_key: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.ended { "ended" } else { "live when it was exported" };
        write!(
            f,
            "good: session {} ({state}), {} files, {} bytes, signed by {}",
            self.session, self.files, self.bytes, self.public_key
        )
    }
}

/// Checks a bundle from its first byte to its last. `key` is the public key (hexadecimal) that must have
/// signed it; without one, the signature only says that nothing was changed since whoever signed it did.
pub fn verify(bundle: impl Read, key: Option<&str>) -> Result<Report, BundleError> {
    let mut archive = tar::Archive::new(GzDecoder::new(bundle));
    let mut entries = archive.entries()?;
    let first = entries.next().ok_or_else(|| BundleError::Manifest("the bundle is empty".to_owned()))??;
    let (folder, manifest) = manifest(first)?;
    if let Some(expected) = key
        && !expected.eq_ignore_ascii_case(&manifest.public_key)
    {
        return Err(BundleError::Key { found: manifest.public_key, expected: expected.to_owned() });
    }
    let signed = manifest.signed_bytes().map_err(|e| BundleError::Manifest(e.to_string()))?;
    if !keys::verify_hex(&manifest.public_key, &signed, &manifest.signature) {
        return Err(BundleError::Signature);
    }
    let mut missing = manifest.files.clone();
    let mut report = Report {
        session: manifest.session.id.to_string(),
        ended: manifest.session.ended_at.is_some(),
        files: 1,
        bytes: 0,
        public_key: manifest.public_key,
    };
    for entry in entries {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let wrong = |problem: &str| BundleError::File { path: path.clone(), problem: problem.to_owned() };
        let name = path.strip_prefix(&folder).ok_or_else(|| wrong("it lies outside the bundle's folder"))?;
        if !entry.header().entry_type().is_file() {
            return Err(wrong("it is no plain file"));
        }
        let said =
            missing.remove(name).ok_or_else(|| wrong("the manifest does not name it, or it comes twice"))?;
        let mut hash = Sha256::new();
        let size = io::copy(&mut entry, &mut HashWriter(&mut hash))?;
        if size != said.size {
            return Err(wrong(&format!("it has {size} bytes, the manifest says {}", said.size)));
        }
        if keys::hex(&hash.finalize()) != said.sha256 {
            return Err(wrong("its content was changed: the hash differs from the manifest's"));
        }
        report.files += 1;
        report.bytes += size;
    }
    match missing.into_keys().next() {
        Some(path) => Err(BundleError::File { path, problem: "it is missing".to_owned() }),
        None => Ok(report),
    }
}

/// The bundle's folder, with its slash, and the manifest in it.
fn manifest(entry: tar::Entry<'_, impl Read>) -> Result<(String, Manifest), BundleError> {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let wrong = |problem: String| BundleError::Manifest(problem);
    let folder = path
        .strip_suffix("manifest.json")
        .filter(|f| f.starts_with("sandbox-session-") && f.matches('/').count() == 1)
        .ok_or_else(|| wrong(format!("the first file is {}", crate::inert::inert(&path))))?;
    if entry.size() > MANIFEST_LIMIT {
        return Err(wrong(format!("it is longer than {MANIFEST_LIMIT} bytes")));
    }
    let mut text = Vec::new();
    entry.take(MANIFEST_LIMIT).read_to_end(&mut text)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    if manifest.schema_version != VERSION {
        return Err(wrong(format!(
            "its version is {}; this program knows {VERSION}",
            manifest.schema_version
        )));
    }
    Ok((folder.to_owned(), manifest))
}

/// Hashes what is written to it.
pub(crate) struct HashWriter<'a>(pub(crate) &'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
