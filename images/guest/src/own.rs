//! `sandbox-guest own UID:GID FOLDER`: gives a folder to a user, and keeps it from others.
//!
//! A new volume of the stack is root's, and the services that write to it are not root. Before the first of them
//! starts, a container with nothing but this binary, the volume and `CAP_CHOWN` runs it. What is in the folder stays
//! as it is: its service made that.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::ExitCode,
};

use sandbox_guest::complain;

/// The verb.
pub fn run(owner: &str, folder: &str) -> ExitCode {
    let Some((user, group)) = parse(owner) else {
        complain!("sandbox-guest own: '{owner}' is no owner; give two numbers, UID:GID");
        return ExitCode::from(2);
    };
    match own(Path::new(folder), user, group) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("sandbox-guest own: {folder} cannot be given to {owner}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(owner: &str) -> Option<(u32, u32)> {
    let (user, group) = owner.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// The mode first: afterwards the folder is another's, and changing it would need a capability more.
fn own(folder: &Path, user: u32, group: u32) -> io::Result<()> {
    let now = fs::metadata(folder)?;
    if (now.uid(), now.gid()) == (user, group) {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o750))?;
    chown(folder, Some(user), Some(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_two_numbers() {
        assert_eq!(parse("10001:0"), Some((10001, 0)));
        for bad in ["", "10001", "a:b", "1:2:3", "-1:0", ":"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_folder_that_is_owned_already_stays_as_it_is() {
        let folder = std::env::temp_dir().join(format!("own-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).expect("its mode");
        let now = fs::metadata(&folder).expect("it is there");
        own(&folder, now.uid(), now.gid()).expect("nothing to do");
        assert_eq!(fs::metadata(&folder).expect("it is there").permissions().mode() & 0o777, 0o711);
        fs::remove_dir(&folder).expect("it is removed");
        assert!(own(&folder, now.uid(), now.gid()).is_err(), "one that is not there is said");
    }
}
