//! Export: a session's journal, read once, becomes a bundle.
//!
//! ```text
//!   journal ─▶ frames ─▶ folds ─▶ unnamed temporary files ─▶ tar ─▶ gzip ─▶ out
//!                          │            (size and hash known at the end)
//!                          └─▶ summary ─▶ manifest, signed: the first file of the tar
//! ```
//!
//! A tar wants each file's size before its content, and the manifest wants every file's hash; so the folds
//! go to disk first, not to memory, which does not grow with the session. For an ended session the same
//! bytes come out every time: the moments in the archive are the session's own.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use serde_json::Value;

use crate::{
    api::Session,
    bundle::{self, FileEntry, JournalEntry, Manifest},
    clock, inert,
    journal::{JournalError, Kind, Reader, Seal},
    keys::SigningKey,
    redact::Redactor,
    spec::Spec,
    summary::Summary,
};

mod files;
mod folds;
mod report;

use files::Staged;
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
    let mut folds = Folds::new(source)?;
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
        folds.apply(&entry)?;
        if entry.kind == Kind::Seal {
            seal = serde_json::from_slice::<Seal>(&entry.payload).ok();
        }
    }
    let mut files = folds.finish()?;
    let detail = summary.completeness_detail();
    let session = &source.session;
    let json = report::json(session, &summary, &detail);
    files.push(Staged::text(&source.scratch, "summary.json", &json, &source.redactor)?);
    let page = report::markdown(session, &summary, &detail);
    files.push(Staged::text(&source.scratch, "summary.md", &page, &source.redactor)?);
    if let Some(workspace) = workspace {
        files.push(Staged::whole("workspace.tar", workspace)?);
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
    archive(source, &manifest, files, out)?;
    Ok(manifest)
}

/// A session's view holds what its user said: the program's line may have a secret in it. Masks hold no
/// quotes, so masked JSON is JSON.
fn masked(session: &Session, redactor: &Redactor) -> io::Result<Session> {
    Ok(serde_json::from_slice(&redactor.redact(&serde_json::to_vec(session)?))?)
}

fn archive(source: &Source<'_>, manifest: &Manifest, files: Vec<Staged>, out: impl Write) -> io::Result<()> {
    let folder = format!("sandbox-session-{}", source.session.id);
    let moment = source.session.ended_at.unwrap_or(source.session.created_at);
    let mtime = clock::micros(moment) / 1_000_000;
    let gzip = GzBuilder::new().mtime(0).write(out, Compression::default());
    let mut tar = tar::Builder::new(gzip);
    let text = inert::json(serde_json::to_string_pretty(manifest)?);
    append(&mut tar, &format!("{folder}/manifest.json"), text.len() as u64, mtime, text.as_bytes())?;
    for file in files {
        append(&mut tar, &format!("{folder}/{}", file.path), file.size, mtime, file.content()?)?;
    }
    tar.into_inner()?.finish()?.flush()
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    mtime: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(mtime);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, path, content)
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
