//! The files of /etc that say who and where a container is. An engine writes them for its networks; for no network
//! they are the same for every session, and show nothing of the host.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What a container calls itself.
pub(super) const HOSTNAME: &str = "sandbox";

const FILES: [(&str, &str); 3] = [
    ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("hostname", "sandbox\n"),
    ("resolv.conf", "nameserver 127.0.0.1\nsearch .\n"),
];

/// The folder that they lie in, on the engine's host.
pub(super) struct Etc(PathBuf);

impl Etc {
    pub(super) fn new(folder: &Path) -> Etc {
        Etc(folder.to_owned())
    }

    /// Writes those that are not there, or not right: the engine makes a folder of what is missing.
    pub(super) fn write(&self) -> io::Result<()> {
        for (name, text) in FILES {
            let path = self.0.join(name);
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            fs::create_dir_all(&self.0)?;
            // Not written over: a container may show the old one.
            let new = self.0.join(format!(".{name}"));
            fs::write(&new, text)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
            fs::rename(&new, &path)?;
        }
        Ok(())
    }

    /// As mounts for a container.
    pub(super) fn binds(&self) -> impl Iterator<Item = String> {
        FILES.iter().map(|(name, _)| format!("{}:/etc/{name}:ro", self.0.join(name).display()))
    }
}
