use super::*;
use serde_json::json;
use tempfile::TempDir;

/// Somebody who is not root; the one who tests, if that is not root either.
fn user() -> User {
    if geteuid().is_root() {
        User { uid: 1234, gid: 1234 }
    } else {
        User { uid: geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }
}

/// A folder that the user owns.
fn home() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    own(dir.path(), user()).expect("the user's");
    dir
}

fn file(path: &Path, owner: Owner, existing: Existing, content: &str) -> File {
    let path = path.to_string_lossy().into_owned();
    File { path, content: content.to_owned(), owner, mode: 0o640, existing }
}

#[test]
fn files_and_missing_folders_belong_to_their_owner() {
    let home = home();
    let path = home.path().join("a/b/settings.json");
    write(&file(&path, Owner::User, Existing::Replace, "{}"), user()).expect("written");
    for at in [&*path, path.parent().expect("b"), &home.path().join("a")] {
        let meta = fs::symlink_metadata(at).expect("it is there");
        assert_eq!((meta.uid(), meta.gid()), (user().uid, user().gid), "{}", at.display());
    }
    assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(path.parent().expect("b")).expect("a folder").count(), 1, "nothing is left over");
}

#[test]
fn what_exists_is_replaced_kept_or_merged() {
    let home = home();
    let path = home.path().join("f.json");
    let after = |existing, content: &str| {
        write(&file(&path, Owner::User, existing, content), user())
            .map(|()| fs::read_to_string(&path).expect("text"))
    };
    assert_eq!(after(Existing::Keep, "first").expect("written"), "first");
    assert_eq!(after(Existing::Keep, "second").expect("kept"), "first");
    assert_eq!(after(Existing::Merge, r#"{"a":1}"#).expect("replaced: it was no object"), r#"{"a":1}"#);
    let theirs = r#"{"theirs":true,"both":{"theirs":1,"same":1},"list":[1]}"#;
    assert_eq!(after(Existing::Replace, theirs).expect("replaced"), theirs);
    let ours = r#"{"ours":true,"both":{"ours":2,"same":2},"list":[2]}"#;
    let merged: Value = serde_json::from_str(&after(Existing::Merge, ours).expect("merged")).expect("JSON");
    let both = json!({"theirs": 1, "ours": 2, "same": 2});
    assert_eq!(merged, json!({"theirs": true, "ours": true, "both": both, "list": [2]}));
    assert!(matches!(after(Existing::Merge, "[]"), Err(FilesError::NotAnObject(_))));
}

#[test]
fn a_hostile_link_gains_nothing() {
    if !geteuid().is_root() {
        return; // There is nothing to gain.
    }
    let (home, roots) = (home(), tempfile::tempdir().expect("a folder"));
    let precious = roots.path().join("precious");
    fs::write(&precious, "precious").expect("a file");
    // In place of the file: the link itself is replaced.
    let link = home.path().join("f");
    std::os::unix::fs::symlink(&precious, &link).expect("a link");
    write(&file(&link, Owner::User, Existing::Replace, "{}"), user()).expect("written");
    assert!(!fs::symlink_metadata(&link).expect("there").is_symlink());
    // In place of a folder: the user may not go there, and nobody goes for them.
    let dir = home.path().join("d");
    std::os::unix::fs::symlink(roots.path(), &dir).expect("a link");
    for path in ["new", "precious", "sub/new"] {
        let hostile = file(&dir.join(path), Owner::User, Existing::Replace, "hostile");
        assert!(write(&hostile, user()).is_err(), "{path}");
        let hostile = file(&dir.join(path), Owner::Root, Existing::Replace, "hostile");
        assert!(write(&hostile, user()).is_err(), "{path}, for root");
    }
    assert!(own(&dir.join("sub"), user()).is_err());
    assert_eq!(fs::read_to_string(&precious).expect("text"), "precious");
    assert_eq!(fs::read_dir(roots.path()).expect("a folder").count(), 1);
    // A mount point that is a link is not followed either.
    assert!(matches!(own(&dir, user()), Err(FilesError::Link(_))));
    assert_eq!(fs::metadata(roots.path()).expect("there").uid(), 0);
}

#[test]
fn roots_files_stand_only_where_root_alone_decides() {
    if !geteuid().is_root() {
        return; // Everything is one person's.
    }
    let (home, roots) = (home(), tempfile::tempdir().expect("a folder"));
    let managed = |dir: &Path| file(&dir.join("etc/managed.json"), Owner::Root, Existing::Replace, "{}");
    write(&managed(roots.path()), user()).expect("root's own");
    assert!(matches!(write(&managed(home.path()), user()), Err(FilesError::NotRoots { .. })));
}

#[test]
fn the_users_folder_is_made_below_one_of_roots() {
    let roots = tempfile::tempdir().expect("a folder");
    fs::set_permissions(roots.path(), Permissions::from_mode(0o755)).expect("chmod");
    let cwd = roots.path().join("home/work");
    make_dirs(&cwd, Owner::User, user()).expect("made");
    assert_eq!(fs::metadata(&cwd).expect("there").uid(), user().uid);
    assert!(matches!(make_dirs(&cwd.join("../x"), Owner::User, user()), Err(FilesError::NotPlain(_))));
    assert!(matches!(make_dirs(Path::new("x"), Owner::User, user()), Err(FilesError::NotPlain(_))));
}

#[test]
fn a_named_pipe_holds_nobody_up() {
    let home = home();
    let path = home.path().join("f.json");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a pipe");
    write(&file(&path, Owner::User, Existing::Merge, "{}"), user()).expect("replaced");
    assert!(fs::metadata(&path).expect("there").is_file());
}
