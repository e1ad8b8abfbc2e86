//! The folders of sessions, and the sockets in them.

use std::{
    fs::{DirBuilder, remove_dir_all, remove_file},
    io::{ErrorKind, Result},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use tokio::net::UnixListener;

/// Makes a folder that nobody else may enter, if it is not there.
pub fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    unless_gone(remove_dir_all(path))
}

/// A session's two doors, `control.sock` and `gateway.sock`; those left by an earlier daemon make way.
pub fn doors(folder: &Path) -> Result<(UnixListener, UnixListener)> {
    let bind = |name: &str| {
        let path = folder.join(name);
        unless_gone(remove_file(&path))?;
        UnixListener::bind(path)
    };
    Ok((bind("control.sock")?, bind("gateway.sock")?))
}

fn unless_gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
