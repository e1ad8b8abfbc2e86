//! What a session finds when it begins: its folders and its injected files.
//!
//! A kept workspace may have been prepared by whoever used it last, with symlinks in the most interesting
//! places. So the user's files are written by a thread that acts as the user, and a hostile link leads only
//! where the user may go anyway; root's files are written only where every folder on the way is root's. Each
//! file appears whole: it is written beside its place and then renamed over it.

use std::{
    fs::{self, DirBuilder, File as FsFile, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown},
    path::{Component, Path, PathBuf},
};

use nix::{libc, unistd::geteuid};
use sandbox_guest::wire::{Existing, File, Owner, Start};
use serde_json::{Map, Value};

use crate::identity::User;

/// The longest file that is merged with.
const MERGE_LIMIT: u64 = 16 << 20; // bytes

/// Why a session's folders or files are not as ordered.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system refused.
    #[error("{path}: {what}: {source}")]
    Io {
        /// On what.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Not an absolute path without `..`.
    #[error("{0}: an injected path has to be absolute and plain")]
    NotPlain(String),
    /// A mount point behind a link.
    #[error("{0}: there is a link on the way to this mount point, so it is not given to the user")]
    Link(String),
    /// A file of root's where the user could replace it.
    #[error("{path}: a file of root's cannot stand here, since {folder} is not root's alone")]
    NotRoots {
        /// The file.
        path: String,
        /// The folder on the way.
        folder: String,
    },
    /// `Merge`, and ours is no object.
    #[error("{0}: only a JSON object can be merged into a file")]
    NotAnObject(String),
}

/// Does all that `start` asks of the file system.
pub fn prepare(start: &Start, user: User) -> Result<(), FilesError> {
    for dir in &start.own {
        own(Path::new(dir), user)?;
    }
    for file in &start.files {
        write(file, user)?;
    }
    make_dirs(Path::new(&start.cwd), Owner::User, user)
}

/// Gives the user a mount point, but nothing below it.
fn own(dir: &Path, user: User) -> Result<(), FilesError> {
    make_dirs(dir, Owner::User, user)?;
    let meta = fs::symlink_metadata(dir).map_err(io_error(dir, "cannot be looked at"))?;
    if user.differs() && meta.uid() != user.uid {
        // Root gives away what stands here and nothing that a link leads to.
        if fs::canonicalize(dir).is_ok_and(|real| real != dir) {
            return Err(FilesError::Link(dir.display().to_string()));
        }
        lchown(dir, Some(user.uid), Some(user.gid)).map_err(io_error(dir, "cannot be given to the user"))?;
    }
    Ok(())
}

fn write(file: &File, user: User) -> Result<(), FilesError> {
    let path = Path::new(&file.path);
    let parent = plain(path)?;
    make_dirs(parent, file.owner, user)?;
    match file.owner {
        Owner::Root => {
            if user.differs() {
                roots_alone(path, parent)?;
            }
            place(file, path, parent)
        }
        Owner::User => as_user(path, user, || place(file, path, parent))?,
    }
}

/// Puts the file in its place, as whoever the thread is.
fn place(file: &File, path: &Path, parent: &Path) -> Result<(), FilesError> {
    let there = fs::symlink_metadata(path).is_ok();
    let content = match file.existing {
        Existing::Keep if there => return Ok(()),
        Existing::Merge if there => merged(file, path)?,
        _ => file.content.clone(),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".{name}.sandbox-new"));
    fs::remove_file(&beside).or_else(absent).map_err(io_error(&beside, "is in the way"))?;
    let written = create(&beside, file.mode, content.as_bytes()).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        fs::remove_file(&beside).unwrap_or_default();
        io_error(path, "cannot be written")(error)
    })
}

fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode & 0o7777))
}

fn merged(file: &File, path: &Path) -> Result<String, FilesError> {
    let Ok(Value::Object(ours)) = serde_json::from_str(&file.content) else {
        return Err(FilesError::NotAnObject(file.path.clone()));
    };
    // What cannot be read as an object is of no use to its reader either, and is replaced.
    let Some(Value::Object(mut all)) = read_json(path) else {
        return Ok(file.content.clone());
    };
    merge(&mut all, ours);
    Ok(serde_json::to_string_pretty(&Value::Object(all)).unwrap_or_else(|_| file.content.clone()))
}

fn read_json(path: &Path) -> Option<Value> {
    // Non-blocking, or a named pipe in its place would hold up the session for ever.
    let file: FsFile = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut text = Vec::new();
    if file.metadata().ok()?.is_file() {
        file.take(MERGE_LIMIT).read_to_end(&mut text).ok()?;
    }
    serde_json::from_slice(&text).ok()
}

/// Lays `ours` over `all`; objects in both are merged in turn.
fn merge(all: &mut Map<String, Value>, ours: Map<String, Value>) {
    for (key, value) in ours {
        match (all.get_mut(&key), value) {
            (Some(Value::Object(theirs)), Value::Object(ours)) => merge(theirs, ours),
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
}

/// Makes the folders that are missing, for this owner.
fn make_dirs(path: &Path, owner: Owner, user: User) -> Result<(), FilesError> {
    plain(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|p| fs::symlink_metadata(p).is_err()).collect();
    for dir in missing.into_iter().rev() {
        let failed = io_error(dir, "cannot be made");
        let make = || DirBuilder::new().mode(0o755).create(dir);
        if owner == Owner::Root {
            if user.differs() {
                roots_alone(dir, dir.parent().unwrap_or(dir))?;
            }
            make().map_err(failed)?;
            continue;
        }
        match as_user(dir, user, make)? {
            Err(error) if user.differs() && error.kind() == io::ErrorKind::PermissionDenied => {
                // The first folder below one of root's: root makes it and gives it away. Only where nobody
                // else can have had a hand in the way there.
                roots_alone(dir, dir.parent().unwrap_or(dir))?;
                make().and_then(|()| chown(dir, Some(user.uid), Some(user.gid))).map_err(failed)?;
            }
            // A folder that root may not look into, and the user may, is not missing.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed)?,
        }
    }
    Ok(())
}

/// Fails unless root alone decides what stands at `path`: every folder on the way to `parent` is root's,
/// and nobody else may replace what is in it.
fn roots_alone(path: &Path, parent: &Path) -> Result<(), FilesError> {
    let root = geteuid().as_raw();
    for folder in parent.ancestors() {
        let meta = fs::symlink_metadata(folder).map_err(io_error(folder, "cannot be looked at"))?;
        let sticky = meta.mode() & libc::S_ISVTX != 0;
        let shared = !meta.is_symlink() && meta.mode() & 0o022 != 0 && !sticky;
        if meta.uid() != root || shared {
            let (path, folder) = (path.display().to_string(), folder.display().to_string());
            return Err(FilesError::NotRoots { path, folder });
        }
    }
    Ok(())
}

fn as_user<T: Send>(path: &Path, user: User, act: impl FnOnce() -> T + Send) -> Result<T, FilesError> {
    user.run(act).map_err(io_error(path, "cannot be reached as the user"))
}

/// The parent of an absolute path without `.` and `..`.
fn plain(path: &Path) -> Result<&Path, FilesError> {
    let is_plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    let not_plain = || FilesError::NotPlain(path.display().to_string());
    if path.is_absolute() && is_plain { Ok(path.parent().unwrap_or(path)) } else { Err(not_plain()) }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn io_error(path: &Path, what: &'static str) -> impl Fn(io::Error) -> FilesError + use<> {
    let path: PathBuf = path.to_owned();
    move |source| FilesError::Io { path: path.display().to_string(), what, source }
}

#[cfg(test)]
mod tests;
