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
    settings::{self, SettingsError, Undo},
};

/// Most links that are followed, as by the kernel.
const LINKS: usize = 40;

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
        // A link stays one: what it leads to is changed, or made.
        let path = fs::canonicalize(&path).or_else(|_| led_to(path))?;
        Ok(SettingsFile { path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; none where there is no file.
    pub(super) fn read(&self) -> anyhow::Result<Option<String>> {
        read(&self.path)
    }

    /// Whether others than its owner can read it.
    pub(super) fn is_open(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.mode() & 0o044 != 0)
    }

    /// What `enable` noted, if it was here.
    pub(super) fn note(&self) -> anyhow::Result<Option<Note>> {
        let path = self.note_path();
        let Some(text) = read(&path)? else { return Ok(None) };
        let note = serde_json::from_str(&text);
        note.map(Some).with_context(|| format!("{} makes no sense; remove it to begin anew", path.display()))
    }

    /// Sets variables, in place of those that were set before: what is wanted over those that are there without ours.
    pub(super) fn enable(
        &self,
        wanted: impl FnOnce(&BTreeMap<String, String>) -> BTreeMap<String, String>,
    ) -> anyhow::Result<Changed> {
        let (now, note) = (self.read()?, self.note()?);
        let before = self.before(now.as_deref(), note.as_ref())?;
        let text = before.as_deref().unwrap_or_default();
        let variables = wanted(&variables(text).with_context(|| self.shown())?);
        let (wanted, undo) = settings::set(text, &variables).with_context(|| self.shown())?;
        if now.as_deref() == Some(&wanted) && note.is_some() {
            return Ok(Changed { changed: false, backup: note.and_then(|note| note.backup) });
        }
        let backup = match (&before, note.and_then(|note| note.backup)) {
            (None, _) => None,
            (Some(text), Some(kept)) if read(&kept)?.as_ref() == Some(text) => Some(kept),
            (Some(text), _) => Some(self.back_up(text)?),
        };
        let note = Note { undo, wrote: hash(&wanted), backup };
        let kept = read(&self.note_path())?;
        // The note first: one that speaks of what was never set undoes nothing.
        self.put_note(Some(&serde_json::to_string_pretty(&note)?))?;
        if let Err(error) = self.write(now.as_deref(), &wanted) {
            // What an earlier run has set is still there.
            self.put_note(kept.as_deref()).with_context(|| error.to_string())?;
            return Err(error);
        }
        Ok(Changed { changed: true, backup: note.backup })
    }

    /// Puts back what was there.
    pub(super) fn disable(&self) -> anyhow::Result<Changed> {
        let (now, note) = (self.read()?, self.note()?);
        let Some(note) = note else { return Ok(Changed { changed: false, backup: None }) };
        match self.before(now.as_deref(), Some(&note))? {
            Some(text) if now.as_deref() == Some(&text) => {}
            Some(text) => self.write(now.as_deref(), &text)?,
            None => self.remove(now.as_deref())?,
        }
        self.put_note(None)?;
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
        self.is_still(was)?;
        self.replace(&self.path, text, None)
    }

    /// Removes the file, unless somebody else has changed it meanwhile.
    fn remove(&self, was: Option<&str>) -> anyhow::Result<()> {
        self.is_still(was)?;
        gone(fs::remove_file(&self.path)).with_context(|| self.shown())
    }

    fn is_still(&self, was: Option<&str>) -> anyhow::Result<()> {
        if self.read()?.as_deref() != was {
            bail!("{} was changed by somebody else meanwhile; try again", self.path.display());
        }
        Ok(())
    }

    /// Replaces the note, or removes it.
    fn put_note(&self, text: Option<&str>) -> anyhow::Result<()> {
        match text {
            Some(text) => self.replace(&self.note_path(), text, Some(0o600)),
            None => gone(fs::remove_file(self.note_path())).with_context(|| self.shown()),
        }
    }

    fn note_path(&self) -> PathBuf {
        self.beside("sandboxctl")
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

/// Where a path leads, link by link: the end need not be there.
fn led_to(mut path: PathBuf) -> anyhow::Result<PathBuf> {
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    bail!("{}: its links lead nowhere; mend them, or name a settings file with --settings", path.display())
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

/// The environment of a text, which may be none yet.
fn variables(text: &str) -> Result<BTreeMap<String, String>, SettingsError> {
    if text.trim().is_empty() { Ok(BTreeMap::new()) } else { settings::variables(text) }
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("A".to_owned(), value.to_owned())])
    }

    #[test]
    fn what_somebody_changes_meanwhile_is_theirs_and_no_note_is_lost() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = SettingsFile { path: dir.path().join("settings.json") };
        let theirs = "{\"model\": \"opus\"}";
        let meanwhile = |file: &SettingsFile, text: &str| {
            file.enable(|_| {
                fs::write(file.path(), text).expect("written");
                variable("2")
            })
        };
        assert!(meanwhile(&file, theirs).is_err());
        assert!(file.note().expect("a note").is_none(), "nothing was set, so there is nothing to undo");
        file.enable(|_| variable("1")).expect("set");
        let (now, note) = (file.read().expect("a file"), read(&file.note_path()).expect("a note"));
        let changed = now.expect("a text").replace("opus", "haiku");
        assert!(meanwhile(&file, &changed).is_err());
        assert_eq!(read(&file.note_path()).expect("a note"), note);
        file.disable().expect("undone");
        assert_eq!(file.read().expect("a file").as_deref(), Some("{\"model\": \"haiku\"}"));
        assert!(file.remove(Some(theirs)).is_err(), "it is another by now");
        assert!(file.path().exists());
    }

    #[test]
    fn links_are_followed_to_where_nothing_is_yet() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("second", at("first")).expect("a link");
        std::os::unix::fs::symlink(at("dotfiles/settings.json"), at("second")).expect("a link");
        let file = SettingsFile::find(Some(&at("first"))).expect("a path");
        file.enable(|_| variable("1")).expect("set");
        assert!(fs::symlink_metadata(at("first")).expect("a link").is_symlink());
        assert_eq!(
            fs::canonicalize(at("first")).expect("a file"),
            fs::canonicalize(file.path()).expect("it")
        );
        file.disable().expect("undone");
        assert!(!at("dotfiles/settings.json").exists() && at("second").is_symlink());
        std::os::unix::fs::symlink("round", at("round")).expect("a link");
        assert!(SettingsFile::find(Some(&at("round"))).is_err());
    }
}
