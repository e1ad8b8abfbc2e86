//! Files around a backup: the one that is written, and those of the stack's folder that go into it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::super::{archive::Writer, layout::GUEST};

/// What is longer is no setting.
const LARGEST: u64 = 16 << 20; // bytes
/// How the names end of files that are being written.
const PARTIAL: &str = "partial";

/// Whether a file that is to be written would be in this folder.
pub(super) fn is_inside(file: &Path, dir: &Path) -> bool {
    let above = std::path::absolute(file).ok().and_then(|whole| whole.parent()?.canonicalize().ok());
    above.zip(dir.canonicalize().ok()).is_some_and(|(above, dir)| above.starts_with(dir))
}

/// The file to write to, nobody else's to read. What a run left that was killed is taken over.
pub(super) fn begin(partial: &Path) -> io::Result<File> {
    if let Ok(left) = File::open(partial) {
        if matches!(left.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::Error::other("another backup is being written to it"));
        }
        fs::remove_file(partial)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
    // Where there are no locks, two at once are told by nobody.
    file.lock().ok();
    Ok(file)
}

/// The name that a file has until it is whole.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Everything in the stack's folder that can be a setting; what is not, comes back with the reason. The guest is ours,
/// and nobody misses it. Of a link, what it leads to is kept: the machine that this is restored on may not have it.
pub(super) fn settings<W: io::Write>(dir: &Path, writer: &mut Writer<W>) -> anyhow::Result<Vec<String>> {
    let mut left_out = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            if path == dir.join(GUEST) {
                continue;
            }
            let why = match fs::metadata(&path) {
                Err(error) => Some(format!("it leads nowhere: {error}")),
                Ok(found) if !found.is_file() => Some("it is no file".to_owned()),
                Ok(found) if found.len() > LARGEST => Some(format!(
                    "it is larger than {}, and no setting",
                    bytesize::ByteSize::b(LARGEST).display().iec()
                )),
                Ok(_) if path.extension().is_some_and(|ending| ending == PARTIAL) => {
                    Some("it was not written to its end".to_owned())
                }
                Ok(found) => {
                    let mode = found.permissions().mode() & 0o777;
                    writer.setting(path.strip_prefix(dir)?, mode, &fs::read(&path)?)?;
                    None
                }
            };
            left_out.extend(why.map(|why| format!("{} ({why})", path.display())));
        }
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::stack::archive;

    #[test]
    fn a_link_is_followed_and_what_is_no_setting_is_left_out_and_named() {
        let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let at = |name: &str| dir.path().join(name);
        fs::write(other.path().join("env"), "A=1").expect("written");
        fs::set_permissions(other.path().join("env"), fs::Permissions::from_mode(0o600)).expect("a mode");
        symlink(other.path().join("env"), at(".env")).expect("a link");
        symlink("nowhere", at("broken")).expect("a link");
        symlink(other.path(), at("folder")).expect("a link");
        fs::create_dir(at("loki")).expect("a folder");
        fs::write(at("loki/config.yaml"), "b").expect("written");
        fs::write(at("old.tar.gz.partial"), "half").expect("written");
        fs::write(at(GUEST), "static").expect("written");
        File::create(at("old.tar.gz")).and_then(|f| f.set_len(LARGEST + 1)).expect("written");
        let mut writer = Writer::new(Vec::new(), "now".to_owned());
        let left_out = settings(dir.path(), &mut writer).expect("written");
        let mut found = Vec::new();
        let whole = writer.finish().expect("an archive");
        let each = |name: &Path, mode, data: &[u8]| {
            found.push((name.display().to_string(), mode, data.to_vec()));
            Ok(())
        };
        archive::settings(whole.as_slice(), each).expect("read");
        let expected = [(".env", 0o600, "A=1"), ("loki/config.yaml", 0o644, "b")];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((name, mode, text), (found, has, data)) in expected.iter().zip(&found) {
            assert_eq!((*name, text.as_bytes()), (found.as_str(), data.as_slice()));
            assert!(*name != ".env" || mode == has, "as its owner's it stays");
        }
        for name in ["broken", "folder", "old.tar.gz.partial", "old.tar.gz (it is larger than 16"] {
            assert!(left_out.iter().any(|told| told.contains(name)), "{name}: {left_out:?}");
        }
        assert_eq!(left_out.len(), 4, "{left_out:?}");
    }

    #[test]
    fn what_a_killed_run_left_is_taken_over_and_what_another_writes_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = partial(&dir.path().join("stack.tar.gz"));
        fs::write(&path, "half").expect("written");
        let file = begin(&path).expect("taken over");
        assert_eq!(file.metadata().map(|m| (m.len(), m.permissions().mode() & 0o777)).ok(), Some((0, 0o600)));
        let refused = begin(&path).expect_err("it is written to").to_string();
        assert!(refused.contains("another backup"), "{refused}");
        drop(file);
        begin(&path).expect("nobody writes to it");
    }

    #[test]
    fn a_file_in_the_folder_is_told_from_one_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let stack = dir.path().join("stack");
        fs::create_dir_all(stack.join("below")).expect("a folder");
        symlink(&stack, dir.path().join("link")).expect("a link");
        for (file, inside) in
            [("stack/x", true), ("stack/below/x", true), ("link/x", true), ("x", false), ("stack.x", false)]
        {
            assert_eq!(is_inside(&dir.path().join(file), &stack), inside, "{file}");
        }
    }
}
