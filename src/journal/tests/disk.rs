//! Disks that are full, and disks that fail. These mount file systems, so they want root.

use std::process::Command;

use super::*;

const SEGMENT: u64 = 64 << 20; // bytes: segments are never rolled

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().expect("it runs");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {error} (this test mounts things: run it as root)");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A file system in memory, for as long as the value lives.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Tmpfs {
        let dir = tempfile::tempdir().expect("a folder");
        let options = format!("size={size}");
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &dir.path().display().to_string()]);
        Tmpfs(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg(self.path()).status().ok();
    }
}

/// What does not fit is refused whole, and when there is room it goes on: in a segment, and where one ends.
#[test]
fn a_full_disk_refuses_frames_and_nothing_is_torn() {
    for limit in [SEGMENT, SMALL] {
        let disk = Tmpfs::mount("1m");
        let (path, id) = (disk.path().join("j"), SessionId::new());
        let journal = Journal::create_with(&path, id, limit).expect("created");
        for n in 0..40 {
            fs::write(disk.path().join(format!("ballast {n}")), [0; 12 << 10]).expect("written");
        }
        let mut written = 0;
        let mut fill = |journal: &Journal| loop {
            match journal.append(draft(&[b'x'; 700], 0)) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        for n in 0..40u64 {
            let full = fill(&journal);
            assert!(matches!(full, JournalError::Full { .. }), "{full}");
            fs::remove_file(disk.path().join(format!("ballast {n}"))).expect("removed");
            journal.append(draft(&n.to_le_bytes(), 0)).expect("there is room again");
        }
        assert_eq!(payloads(&path).len(), written + 40);
        verify(&path).expect("the chain holds");
        drop(journal);
        let (journal, recovered) = Journal::open_with(&path, id, limit).expect("opened again");
        assert_eq!((recovered.cut_bytes, recovered.last_seq), (0, *journal.head().borrow()));
    }
}

/// A disk whose blocks are promised and not there, as with thin provisioning: writes go well, and the sync
/// fails. The kernel then takes what it did not write for written; only the disk itself tells.
struct Thin {
    under: Tmpfs,
    device: String,
    at: tempfile::TempDir,
}

impl Thin {
    fn mount() -> Thin {
        let under = Tmpfs::mount("8m");
        let image = under.path().join("image").display().to_string();
        run("truncate", &["-s", "64M", &image]);
        run("mkfs.ext4", &["-q", "-O", "^has_journal", "-E", "nodiscard", &image]);
        let device = run("losetup", &["--find", "--show", &image]);
        let thin = Thin { under, device, at: tempfile::tempdir().expect("a folder") };
        run("mount", &["-o", "errors=continue", &thin.device, &thin.at.path().display().to_string()]);
        thin
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    /// The blocks are there now.
    fn grow(&self) {
        run("mount", &["-o", "remount,size=64m", &self.under.path().display().to_string()]);
    }

    /// What the kernel remembers is forgotten, and the disk is read.
    fn forget(&self) {
        let at = self.path().display().to_string();
        run("umount", &[&at]);
        run("mount", &[&self.device, &at]);
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        Command::new("umount").arg(self.path()).status().ok();
        Command::new("losetup").args(["--detach", &self.device]).status().ok();
    }
}

/// Appends and commits until that fails; how many frames are appended then.
async fn fill(journal: &Journal) -> (u64, JournalError) {
    for n in 1..500u64 {
        let seq = journal.append(draft(&vec![b'x'; 100_000], n)).expect("the disk promises room");
        if let Err(error) = journal.commit(seq).await {
            return (n, error);
        }
    }
    panic!("the disk never fails");
}

fn assert_whole(path: &Path, full: u64, rest: &[&[u8]]) {
    let payloads = payloads(path);
    let (filled, after) = payloads.split_at(usize::try_from(full).expect("small"));
    assert!(filled.iter().all(|p| p.len() == 100_000 && p.iter().all(|b| *b == b'x')));
    assert_eq!(after, rest);
    verify(path).expect("the chain holds");
}

#[tokio::test]
async fn what_a_failed_sync_left_in_doubt_is_written_anew() {
    let disk = Thin::mount();
    let path = disk.path().join("j");
    let journal = Journal::create(&path, SessionId::new()).expect("created");
    let (mut doubtful, mut reader) = (journal.doubtful(), journal.read(1));
    reader.next().expect("it is there").expect("a good frame");
    let (written, failed) = fill(&journal).await;
    assert!(matches!(failed, JournalError::Full { .. } | JournalError::Io { .. }), "{failed}");
    assert!(*doubtful.borrow_and_update());
    let refused = journal.append(draft(b"behind what is in doubt", 0));
    assert!(matches!(refused, Err(JournalError::Full { .. } | JournalError::Broken { .. })), "{refused:?}");
    assert!(journal.commit(written).await.is_err(), "it still is in doubt: a sync alone proves nothing");

    disk.grow();
    let head = *journal.head().borrow();
    journal.commit(head).await.expect("it is on the disk");
    assert!(!*doubtful.borrow_and_update());
    let last = journal.append(draft(b"after", written + 1)).expect("it goes on");
    journal.commit(last).await.expect("committed");
    let read = reader.by_ref().last().expect("more").expect("a good frame");
    assert_eq!(read.seq, last, "who was reading goes on in the new file");
    drop((journal, reader));
    disk.forget();
    assert_whole(&path, written, &[b"after"]);
}

#[tokio::test]
async fn doubt_outlives_the_daemon() {
    let disk = Thin::mount();
    let (path, id) = (disk.path().join("j"), SessionId::new());
    let (written, _) = fill(&Journal::create(&path, id).expect("created")).await;
    assert!(Journal::open(&path, id).is_err(), "another daemon knows, and does not go on either");
    disk.grow();
    let (journal, recovered) = Journal::open(&path, id).expect("the disk is well again");
    assert_eq!((recovered.last_record, recovered.cut_bytes), (written, 0));
    let last = journal.append(draft(b"after", written + 1)).expect("it goes on");
    journal.commit(last).await.expect("committed");
    drop(journal);
    disk.forget();
    assert_whole(&path, written, &[b"after"]);
}
