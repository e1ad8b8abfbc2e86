//! The stack's files, out of this binary and into its folder.
//!
//! What was laid out is remembered by its hash, so that a later version can tell its own files, which it replaces,
//! from those that somebody changed, which it keeps. Of a changed file the new version is put beside as `.new`,
//! once for each version.
//!
//! | on disk | ours is new | ours is as before |
//! |---|---|---|
//! | nothing | written | written |
//! | what we laid out | replaced | left |
//! | something else | kept; ours beside it | kept |
//! | what we laid out, and ours is gone | removed | |

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use io::Write as _;
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The file that makes a folder a stack's.
pub(super) const COMPOSE: &str = "compose.yaml";
/// The settings that a new stack begins with.
const EXAMPLE: &str = ".env.example";
/// The health check of the stack's containers, in the folder so that it can be mounted from there.
pub(super) const GUEST: &str = "sandbox-guest";
/// What was laid out.
const RECORD: &str = ".laid-out.json";

/// The files of `compose/`; not what a stack that somebody ran there has of its own, passwords among it.
#[derive(RustEmbed)]
#[folder = "compose/"]
#[exclude = ".env"]
#[exclude = "sandbox-guest"]
#[exclude = "compose.override.yaml"]
#[exclude = ".laid-out.json"]
struct Files;

/// What was laid out, and who has not seen it yet.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    /// Hashes by path.
    files: BTreeMap<String, String>,
    /// Parts that have new files and were not started again since.
    #[serde(default)]
    pending: BTreeSet<String>,
}

impl Record {
    fn read(dir: &Path) -> Record {
        let text = fs::read(dir.join(RECORD)).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn write(&self, dir: &Path) -> Result<(), LayoutError> {
        let (path, text) = (dir.join(RECORD), serde_json::to_vec_pretty(self).unwrap_or_default());
        write(&path, &text, 0o644).map_err(|error| LayoutError { path, error })
    }
}

/// What laying out did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Laid {
    /// Files that are new or replaced, or that were removed.
    pub changed: Vec<String>,
    /// Files that somebody changed, with a new version beside them.
    pub kept: Vec<String>,
    /// Whether there was no stack here before.
    pub first: bool,
}

/// Why the files cannot be laid out.
#[derive(Debug, thiserror::Error)]
#[error("the stack's file {} cannot be written: {error}; check the folder, or name another with --dir", path.display())]
pub(super) struct LayoutError {
    path: PathBuf,
    error: io::Error,
}

/// Lays out this binary's files, with the guest among them. The folder is made if it is missing.
pub(super) fn lay_out(dir: &Path, guest: &Path) -> Result<Laid, LayoutError> {
    let mut laid = lay_out_files(dir, &ours())?;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| LayoutError { path, error }
    };
    let ours = fs::read(guest).map_err(at(guest))?;
    let to = dir.join(GUEST);
    if fs::read(&to).ok().as_ref() != Some(&ours) {
        write(&to, &ours, 0o755).map_err(at(&to))?;
        laid.changed.push(GUEST.to_owned());
    }
    Ok(laid)
}

/// The text that a new `.env` is made from.
pub(super) fn example() -> String {
    Files::get(EXAMPLE).map(|f| String::from_utf8_lossy(&f.data).into_owned()).unwrap_or_default()
}

/// What belongs into a folder: neither what the files are made with nor their tests.
fn ours() -> BTreeMap<String, Cow<'static, [u8]>> {
    let files = Files::iter().filter(|path| !path.split('/').any(|part| matches!(part, "make" | "tests")));
    files.filter_map(|path| Some((path.to_string(), Files::get(&path)?.data))).collect()
}

fn lay_out_files(dir: &Path, ours: &BTreeMap<String, Cow<'static, [u8]>>) -> Result<Laid, LayoutError> {
    let fail = |path: PathBuf| move |error| LayoutError { path, error };
    make(dir).map_err(fail(dir.to_owned()))?;
    let before = Record::read(dir);
    let mut after = Record { pending: before.pending, ..Record::default() };
    let mut laid = Laid { first: !dir.join(COMPOSE).exists(), ..Laid::default() };
    for (name, data) in ours {
        let path = dir.join(name);
        let new = hash(data);
        let old = before.files.get(name);
        match fs::read(&path).map(|found| hash(&found)) {
            Ok(found) if found == new => {}
            Ok(found) if Some(&found) != old => {
                if old != Some(&new) {
                    let beside = dir.join(format!("{name}.new"));
                    write(&beside, data, 0o644).map_err(fail(beside))?;
                    laid.kept.push(name.clone());
                }
            }
            // Ours as it was, or nothing at all.
            _ => {
                write(&path, data, 0o644).map_err(fail(path))?;
                laid.changed.push(name.clone());
            }
        }
        after.files.insert(name.clone(), new);
    }
    for (name, old) in before.files.iter().filter(|(name, _)| !ours.contains_key(*name)) {
        let path = dir.join(name);
        if fs::read(&path).is_ok_and(|found| hash(&found) == *old) {
            fs::remove_file(&path).map_err(fail(path))?;
            laid.changed.push(name.clone());
        }
    }
    after.pending.extend(laid.changed.iter().filter_map(|file| part(file)).map(str::to_owned));
    after.write(dir)?;
    Ok(laid)
}

/// The part that a file is of: each has its files in a folder of its name. Compose sees only its own file.
fn part(file: &str) -> Option<&str> {
    file.split_once('/').map(|(part, _)| part)
}

/// Parts that have new files and were not started again since.
pub(super) fn pending(dir: &Path) -> BTreeSet<String> {
    Record::read(dir).pending
}

/// These parts were started with the files that are there.
pub(super) fn settle(dir: &Path, parts: &[String]) -> Result<(), LayoutError> {
    let mut record = Record::read(dir);
    let before = record.pending.len();
    record.pending.retain(|part| !parts.contains(part));
    if record.pending.len() == before { Ok(()) } else { record.write(dir) }
}

/// Makes the stack's own folder, as open as the caller's umask has it: what is mounted is below.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Writes a file under another name first: whoever mounts or reads it sees it whole. Folders on the way to it are made,
/// in the stack's own, which is there.
pub(super) fn write(path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        open_folder(parent)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    // A leftover may have another mode.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    // The mode that a file is opened with is subject to the caller's umask; containers' users read these.
    file.set_permissions(PermissionsExt::from_mode(mode))?;
    file.write_all(data)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

/// Makes a folder, and those above it that are missing, for containers' users to read, whatever the caller's umask is.
fn open_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        open_folder(above)?;
    }
    fs::create_dir(path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o755))
}

pub(super) fn hash(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(files: &[(&str, &str)]) -> BTreeMap<String, Cow<'static, [u8]>> {
        files.iter().map(|(name, text)| ((*name).to_owned(), Cow::Owned(text.as_bytes().to_vec()))).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn ours_are_replaced_and_those_that_somebody_changed_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        let one = version(&[(COMPOSE, "one"), ("loki/config.yaml", "one"), ("old.yaml", "one")]);
        let laid = lay_out_files(dir.path(), &one).expect("laid out");
        assert!(laid.first);
        assert_eq!(laid.changed, names(&[COMPOSE, "loki/config.yaml", "old.yaml"]));
        assert_eq!(lay_out_files(dir.path(), &one).expect("again"), Laid::default(), "nothing to do");

        fs::write(dir.path().join("loki/config.yaml"), "mine").expect("written");
        assert_eq!(lay_out_files(dir.path(), &one).expect("again"), Laid::default(), "ours is not new");

        let two = version(&[(COMPOSE, "two"), ("loki/config.yaml", "two"), ("new.yaml", "two")]);
        let laid = lay_out_files(dir.path(), &two).expect("laid out");
        assert_eq!(laid.changed, names(&[COMPOSE, "new.yaml", "old.yaml"]));
        assert_eq!(laid.kept, names(&["loki/config.yaml"]));
        assert_eq!(read(COMPOSE).as_deref(), Some("two"));
        assert_eq!(read("loki/config.yaml").as_deref(), Some("mine"));
        assert_eq!(read("loki/config.yaml.new").as_deref(), Some("two"));
        assert_eq!(read("old.yaml"), None, "ours, and no longer wanted");
        assert_eq!(lay_out_files(dir.path(), &two).expect("again"), Laid::default(), "it was said once");

        fs::rename(dir.path().join("loki/config.yaml.new"), dir.path().join("loki/config.yaml"))
            .expect("taken over");
        let three = version(&[(COMPOSE, "two"), ("loki/config.yaml", "three"), ("new.yaml", "two")]);
        let laid = lay_out_files(dir.path(), &three).expect("laid out");
        assert_eq!(laid.changed, names(&["loki/config.yaml"]), "it is ours again");
    }

    #[test]
    fn a_part_with_new_files_is_remembered_until_it_was_started_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let pending = || pending(dir.path()).into_iter().collect::<Vec<_>>();
        let one =
            version(&[(COMPOSE, "one"), ("loki/config.yaml", "one"), ("grafana/boards/cost.json", "one")]);
        lay_out_files(dir.path(), &one).expect("laid out");
        lay_out_files(dir.path(), &one).expect("again");
        assert_eq!(pending(), names(&["grafana", "loki"]), "nobody was started in between");
        settle(dir.path(), &names(&["loki", "prometheus"])).expect("noted");
        assert_eq!(pending(), names(&["grafana"]));
        assert_eq!(
            lay_out_files(dir.path(), &one).expect("again"),
            Laid::default(),
            "the files are known still"
        );

        // As it was written before there was such a list.
        fs::write(dir.path().join(RECORD), r#"{"files": {}}"#).expect("written");
        assert_eq!(pending(), names(&[]));
    }

    #[test]
    fn a_lost_record_costs_nobody_their_changes() {
        let dir = tempfile::tempdir().expect("a folder");
        lay_out_files(dir.path(), &version(&[(COMPOSE, "one"), ("a", "one")])).expect("laid out");
        fs::remove_file(dir.path().join(RECORD)).expect("lost");
        let laid = lay_out_files(dir.path(), &version(&[(COMPOSE, "one"), ("a", "two")])).expect("laid out");
        assert_eq!((laid.changed, laid.kept), (vec![], names(&["a"])));
    }

    #[test]
    fn what_this_binary_holds_is_a_stack_that_containers_can_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let guest = dir.path().join("guest");
        fs::write(&guest, "static").expect("written");
        let to = dir.path().join("stack");
        let laid = lay_out(&to, &guest).expect("laid out");
        assert!(laid.changed.contains(&COMPOSE.to_owned()) && laid.changed.contains(&GUEST.to_owned()));
        let mode = |name: &str| fs::metadata(to.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(COMPOSE), mode(GUEST)), (0o644, 0o755));
        assert!(!example().is_empty());
        for own in [".env", GUEST, "compose.override.yaml", RECORD] {
            assert!(!ours().contains_key(own), "{own} is its owner's");
        }
        assert_eq!(lay_out(&to, &guest).expect("again"), Laid::default());
    }

    #[test]
    fn where_nothing_can_be_written_the_sentence_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("stack"), "a file").expect("written");
        let error =
            lay_out_files(&dir.path().join("stack"), &version(&[(COMPOSE, "one")])).expect_err("a file");
        assert!(error.to_string().contains("--dir"), "{error}");
    }
}
