//! Export: a session's journal, read once, becomes a bundle.
//!
//! ```text
//!   journal ─▶ frames ─▶ folds ─▶ stages ─▶ packer ─▶ unnamed temporary file ─▶ tar.gz ─▶ out
//!              (this thread)         (size and hash known at the end)              ▲
//!                 │    └─▶ cast, text: a thread each                               │
//!                 └─▶ summary ─▶ manifest, signed: the first file of the tar ──────┘
//! ```
//!
//! A tar wants each file's size before its content, and the manifest wants every file's hash; so what the
//! folds make goes to disk first, packed already, and not to memory, which does not grow with the session. For an ended session the same
//! bytes come out every time: the moments in the archive are the session's own.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    api::Session,
    bundle::{self, FileEntry, JournalEntry, Manifest},
    clock, inert,
    journal::{self, JournalError, Kind, Reader, Seal},
    keys::SigningKey,
    lifecycle::Phase,
    prometheus::Answers,
    redact::Redactor,
    spec::Spec,
    summary::Summary,
};

mod files;
mod folds;
mod report;
mod terminal;

use files::{Gzip, Packed, Packer, Staged};
use folds::Folds;

/// What is exported.
pub struct Source<'a> {
    /// The session as it is.
    pub session: Session,
    /// What it was asked to be.
    pub spec: Spec,
    /// Its journal.
    pub journal: PathBuf,
    /// The last frame to read: the head when the export began.
    pub through: u64,
    /// Where temporary files may lie.
    pub scratch: PathBuf,
    /// Signs the manifest.
    pub key: &'a SigningKey,
    /// Masks secrets.
    pub redactor: Redactor,
    /// The workspace as a tar, if it was asked for. It goes in as it is: nothing in it is masked.
    pub workspace: Option<File>,
    /// What a Prometheus said of the session's time, if one is configured.
    pub prometheus: Option<Answers>,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A temporary file, or whoever reads the bundle.
    #[error("the export could not be written: {0}")]
    Io(#[from] io::Error),
    /// Something that was recorded does not decode.
    #[error("frame {seq} cannot be exported: {problem}")]
    Frame {
        /// Which.
        seq: u64,
        /// Why.
        problem: String,
    },
}

/// Writes a bundle. Blocks: it belongs on a thread of its own.
pub fn write_bundle(mut source: Source<'_>, out: impl Write) -> Result<Manifest, ExportError> {
    source.session = masked(&source.session, &source.redactor)?;
    let workspace = source.workspace.take();
    let source = &source;
    let mut packer = Packer::start(&source.scratch)?;
    let staged = stage(source, workspace, &mut packer);
    // If the packer failed, it knows why, and the stages only that it did.
    let packed = packer.finish()?;
    let (manifest, files) = staged?;
    archive(source, &manifest, &files, packed, out)?;
    Ok(manifest)
}

/// Everything but the archive: the files, and the manifest that tells of them.
fn stage(
    source: &Source<'_>,
    workspace: Option<File>,
    packer: &mut Packer,
) -> Result<(Manifest, Vec<Staged>), ExportError> {
    // What has ended is held to its seal first: a record that was cut short, or rewritten, is no record.
    if source.session.phase == Phase::Ended && journal::verify(&source.journal)?.seal.is_none() {
        let problem = "the session has ended, and the seal is missing: its end was cut off".to_owned();
        return Err(JournalError::Damaged { path: source.journal.clone(), at: 0, problem }.into());
    }
    let mut folds = Folds::new(source, packer)?;
    let mut summary = Summary::default();
    let mut seal = None;
    let mut frames = 0;
    for entry in Reader::open(&source.journal, 1) {
        let entry = entry?;
        if entry.seq > source.through {
            break;
        }
        frames = entry.seq;
        summary.apply(&entry);
        folds.apply(&entry, packer)?;
        if entry.kind == Kind::Seal {
            seal = serde_json::from_slice::<Seal>(&entry.payload).ok();
        }
    }
    let mut files = folds.finish(packer)?;
    let detail = summary.completeness_detail();
    let session = &source.session;
    let json = report::json(session, &summary, &detail);
    files.push(packer.text("summary.json", &json, &source.redactor)?);
    let page = report::markdown(session, &summary, &detail, source.prometheus.as_ref());
    files.push(packer.text("summary.md", &page, &source.redactor)?);
    for (name, content) in source.prometheus.iter().flat_map(|answers| &answers.files) {
        files.push(packer.text(&format!("prometheus/{name}"), &pretty(content), &source.redactor)?);
    }
    if let Some(workspace) = workspace {
        files.push(packer.whole("workspace.tar", workspace)?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut manifest = Manifest {
        schema_version: bundle::VERSION,
        sandboxctl_version: env!("CARGO_PKG_VERSION").to_owned(),
        session: session.clone(),
        files: files
            .iter()
            .map(|f| (f.path.clone(), FileEntry { size: f.size, sha256: f.sha256.clone() }))
            .collect(),
        frames: summary.frames.clone(),
        completeness: detail,
        journal: JournalEntry { frames, seal: seal.and_then(|s| serde_json::to_value(s).ok()) },
        public_key: source.key.public_hex(),
        signature: String::new(),
    };
    manifest.signature =
        crate::keys::hex(&source.key.sign(&manifest.signed_bytes().map_err(io::Error::from)?));
    Ok((manifest, files))
}

/// A session's view holds what its user said: the program's line may have a secret in it. Masks hold no
/// quotes, so masked JSON is JSON.
fn masked(session: &Session, redactor: &Redactor) -> io::Result<Session> {
    Ok(serde_json::from_slice(&redactor.redact(&serde_json::to_vec(session)?))?)
}

fn archive(
    source: &Source<'_>,
    manifest: &Manifest,
    files: &[Staged],
    mut packed: Packed,
    out: impl Write,
) -> io::Result<()> {
    let folder = format!("sandbox-session-{}", source.session.id);
    let moment = source.session.ended_at.unwrap_or(source.session.created_at);
    let mtime = clock::micros(moment) / 1_000_000;
    let mut gzip = Gzip::new(out)?;
    let text = inert::json(serde_json::to_string_pretty(manifest)?);
    gzip.write(&tar_head(&format!("{folder}/manifest.json"), text.len() as u64, mtime)?)?;
    gzip.write(text.as_bytes())?;
    gzip.write(tar_padding(text.len() as u64))?;
    for file in files {
        gzip.write(&tar_head(&format!("{folder}/{}", file.path), file.size, mtime)?)?;
        gzip.copy(file, &mut packed)?;
        gzip.write(tar_padding(file.size))?;
    }
    gzip.write(&[0; 2 * TAR_BLOCK])?;
    gzip.finish()
}

/// A tar consists of blocks of so many bytes, and ends with two that are empty (POSIX.1-2017, pax).
const TAR_BLOCK: usize = 512;

/// What stands before a file in a tar.
fn tar_head(path: &str, size: u64, mtime: u64) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(mtime);
    header.set_entry_type(tar::EntryType::Regular);
    let mut blocks = tar::Builder::new(Vec::new());
    // The content follows, packed.
    blocks.append_data(&mut header, path, io::empty())?;
    Ok(std::mem::take(blocks.get_mut()))
}

/// What fills a file's last block.
fn tar_padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; TAR_BLOCK] = [0; TAR_BLOCK];
    &ZEROS[..(TAR_BLOCK - (size % TAR_BLOCK as u64) as usize) % TAR_BLOCK]
}

/// Where a transcript goes: its own name, made safe. No way leads out of the folder.
fn safe_path(path: &str) -> String {
    let parts = Path::new(path).components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let clean = |name: std::borrow::Cow<'_, str>| -> String {
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .take(100)
            .collect()
    };
    let joined = parts.map(clean).collect::<Vec<_>>().join("/");
    if joined.is_empty() { "unnamed".to_owned() } else { joined }
}

/// A JSON value as pretty text that ends with a newline.
fn pretty(value: &Value) -> String {
    inert::json(serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

#[cfg(test)]
mod tests;
