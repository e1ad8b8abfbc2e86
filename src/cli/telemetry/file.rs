//! A settings file on the disk: read, kept, replaced at once or not at all.
//!
//! ```text
//!   settings.json                       the file; where it is a link, what that leads to
//!   settings.json.20260831T120000Z      what was there before, byte for byte
//!   settings.json.sandboxctl            what was set and what to put back; gone again after `disable`
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    keys::hex,
    settings::{self, Undo},
};

/// The file.
pub(super) struct SettingsFile {
    path: PathBuf,
}

/// What `enable` did.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    undo: Undo,
    /// SHA-256 of what it wrote.
    wrote: String,
    /// The file with what was there before; none where there was no file.
    backup: Option<PathBuf>,
}

/// What became of the file.
pub(super) struct Changed {
    /// Whether anything had to be.
    pub(super) changed: bool,
    /// Where what was there before is.
    pub(super) backup: Option<PathBuf>,
}

impl SettingsFile {
    /// The one that was named, or the user's own.
    pub(super) fn find(named: Option<&Path>) -> anyhow::Result<SettingsFile> {
        let path = match (named, std::env::var_os("CLAUDE_CONFIG_DIR"), std::env::home_dir()) {
            (Some(path), ..) => path.to_owned(),
            (None, Some(dir), _) if !dir.is_empty() => Path::new(&dir).join("settings.json"),
            (None, _, Some(home)) => home.join(".claude/settings.json"),
            (None, _, None) => bail!("there is no home folder; name the file with --settings"),
        };
        // A link stays one: what it leads to is changed.
        Ok(SettingsFile { path: fs::canonicalize(&path).unwrap_or(path) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; none where there is no file.
    pub(super) fn read(&self) -> anyhow::Result<Option<String>> {
        read(&self.path)
    }

    /// What `enable` noted, if it was here.
    pub(super) fn note(&self) -> anyhow::Result<Option<Note>> {
        let path = self.beside("sandboxctl");
        let Some(text) = read(&path)? else { return Ok(None) };
        let note = serde_json::from_str(&text);
        note.map(Some).with_context(|| format!("{} makes no sense; remove it to begin anew", path.display()))
    }

    /// Sets variables, in place of those that were set before.
    pub(super) fn enable(&self, variables: &BTreeMap<String, String>) -> anyhow::Result<Changed> {
        let (now, note) = (self.read()?, self.note()?);
        let before = self.before(now.as_deref(), note.as_ref())?;
        let text = before.as_deref().unwrap_or_default();
        let (wanted, undo) = settings::set(text, variables).with_context(|| self.shown())?;
        if now.as_deref() == Some(&wanted) && note.is_some() {
            return Ok(Changed { changed: false, backup: note.and_then(|note| note.backup) });
        }
        let backup = match (&before, note.and_then(|note| note.backup)) {
            (None, _) => None,
            (Some(text), Some(kept)) if read(&kept)?.as_ref() == Some(text) => Some(kept),
            (Some(text), _) => Some(self.back_up(text)?),
        };
        let note = Note { undo, wrote: hash(&wanted), backup };
        // The note first: one that speaks of what was never set undoes nothing.
        self.replace(&self.beside("sandboxctl"), &serde_json::to_string_pretty(&note)?, Some(0o600))?;
        self.write(now.as_deref(), &wanted)?;
        Ok(Changed { changed: true, backup: note.backup })
    }

    /// Puts back what was there.
    pub(super) fn disable(&self) -> anyhow::Result<Changed> {
        let (now, note) = (self.read()?, self.note()?);
        let Some(note) = note else { return Ok(Changed { changed: false, backup: None }) };
        match self.before(now.as_deref(), Some(&note))? {
            Some(text) if now.as_deref() == Some(&text) => {}
            Some(text) => self.write(now.as_deref(), &text)?,
            None => gone(fs::remove_file(&self.path)).with_context(|| self.shown())?,
        }
        gone(fs::remove_file(self.beside("sandboxctl")))?;
        Ok(Changed { changed: true, backup: note.backup })
    }

    /// What would be there had `enable` never been: the very bytes, where nobody else has changed the file since.
    fn before(&self, now: Option<&str>, note: Option<&Note>) -> anyhow::Result<Option<String>> {
        let (Some(now), Some(note)) = (now, note) else { return Ok(now.map(str::to_owned)) };
        if hash(now) == note.wrote {
            match &note.backup {
                None => return Ok(None),
                Some(backup) => {
                    if let Some(text) = read(backup)? {
                        return Ok(Some(text));
                    }
                }
            }
        }
        let text = settings::restore(now, &note.undo).with_context(|| self.shown())?;
        let was_made = note.backup.is_none();
        Ok(if was_made && settings::is_empty(&text)? { None } else { Some(text) })
    }

    fn back_up(&self, text: &str) -> anyhow::Result<PathBuf> {
        let moment = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let names = (1..).map(|n| if n == 1 { moment.clone() } else { format!("{moment}-{n}") });
        let free = names.map(|name| self.beside(&name)).find(|path| !path.exists());
        let path = free.context("there is a backup of every name")?;
        self.replace(&path, text, None)?;
        Ok(path)
    }

    /// Replaces the file, unless somebody else has done so meanwhile.
    fn write(&self, was: Option<&str>, text: &str) -> anyhow::Result<()> {
        if self.read()?.as_deref() != was {
            bail!("{} was changed by somebody else meanwhile; try again", self.path.display());
        }
        self.replace(&self.path, text, None)
    }

    /// Replaces a file at once, with the mode and owner of the settings file; 0600 where there is none.
    fn replace(&self, path: &Path, text: &str, mode: Option<u32>) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(text.as_bytes())?;
            if let Ok(like) = fs::metadata(&self.path) {
                let mode = mode.unwrap_or(like.mode() & 0o7777);
                file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
                let mine = file.as_file().metadata()?;
                if (mine.uid(), mine.gid()) != (like.uid(), like.gid()) {
                    std::os::unix::fs::fchown(file.as_file(), Some(like.uid()), Some(like.gid()))?;
                }
            }
            file.as_file().sync_all()?;
            file.persist(path)?;
            fs::File::open(dir)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(end);
        PathBuf::from(name)
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!("{} cannot be read; name a settings file with --settings", path.display())
        }),
    }
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
