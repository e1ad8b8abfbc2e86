//! Watches how much the user's folders hold, and says so once when the limit is near and once when it is
//! passed. What follows is for the daemon to decide.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sandbox_guest::{complain, frame::Kind, wire::GuestEvent};

use crate::{
    identity::{STACK, User},
    relay::Relay,
    spool::Spool,
};

/// The shortest time between two passes.
const PERIOD: Duration = Duration::from_secs(10);

/// A pass may cost this part of the time that goes by: a pause is a hundred times as long as the pass.
const SHARE: u32 = 100;

/// Percentages of the limit that are reported.
const MARKS: [u64; 2] = [90, 100];

/// Starts watching; the thread ends with the process.
pub fn watch(dirs: Vec<String>, limit: u64, user: User, spool: Arc<Spool>) -> io::Result<()> {
    let spool = Relay::start(spool)?;
    thread::Builder::new().name("disk".into()).stack_size(STACK).spawn(move || {
        if let Err(error) = user.assume() {
            complain!("sandbox-guest: the user's folders cannot be measured: {error}");
            return;
        }
        let mut reported = 0;
        loop {
            let began = Instant::now();
            let used = usage(dirs.iter().map(Path::new));
            let reached = reached(used, limit);
            if reached > reported {
                reported = reached;
                let event = serde_json::to_vec(&GuestEvent::DiskUsage { used, limit }).unwrap_or_default();
                if spool.append(Kind::Lifecycle, event).is_err() {
                    return;
                }
            }
            if reported == MARKS.len() {
                return;
            }
            thread::sleep(PERIOD.max(began.elapsed() * SHARE));
        }
    })?;
    Ok(())
}

/// How many of the marks are reached.
fn reached(used: u64, limit: u64) -> usize {
    MARKS.iter().filter(|mark| u128::from(used) * 100 >= u128::from(limit) * u128::from(**mark)).count()
}

/// Bytes on disk below these folders; what has several names counts once. Without recursion, so that no
/// tree is too deep.
fn usage<'a>(dirs: impl Iterator<Item = &'a Path>) -> u64 {
    let mut waiting: Vec<PathBuf> = dirs.map(Path::to_owned).collect();
    let mut linked = HashSet::new();
    let mut bytes = 0;
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue }; // of a link, not of what it leads to
            if meta.is_dir() {
                waiting.push(entry.path());
            }
            if meta.is_dir() || meta.nlink() == 1 || linked.insert((meta.dev(), meta.ino())) {
                bytes += meta.blocks() * 512;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_blocks_once_and_follows_no_link() {
        let (dir, elsewhere) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("another"));
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).expect("a folder");
        fs::write(at("sub/file"), vec![1; 100_000]).expect("a file");
        let once = usage([dir.path()].into_iter());
        assert!(once >= 100_000, "{once}");
        fs::hard_link(at("sub/file"), at("again")).expect("a second name");
        fs::write(elsewhere.path().join("big"), vec![1; 500_000]).expect("a file");
        std::os::unix::fs::symlink(elsewhere.path(), at("link")).expect("a link");
        assert!(usage([dir.path()].into_iter()) < once + 100_000);
    }

    #[test]
    fn each_mark_is_reached_where_it_stands() {
        assert_eq!([reached(89, 100), reached(90, 100), reached(99, 100), reached(100, 100)], [0, 1, 1, 2]);
        assert_eq!(reached(u64::MAX, u64::MAX), 2);
    }
}
