//! Follows the client's own transcripts, `*.jsonl` files that grow, and records what is added to them.
//!
//! The thread acts as the user, so a link leads nowhere that the user could not go; links are passed over all
//! the same, since what they lead to is no transcript. Lines are recorded whole, except at the last pass and
//! where one is longer than a record.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::libc;
use sandbox_guest::{
    complain,
    frame::Kind,
    wire::{FilePiece, join_head},
};

use crate::{
    identity::{STACK, User},
    relay::Relay,
    spool::{Closed, Spool},
};

/// Between two passes.
const PERIOD: Duration = Duration::from_secs(1);

/// The longest piece of one record.
const PIECE: usize = 256 << 10; // bytes

/// Folders below the root are looked into so deep.
const DEPTH: usize = 6;

/// Files beyond this number are not followed.
const FILES: usize = 2000;

/// The follower, running.
pub struct Transcripts {
    last: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Transcripts {
    /// Starts following everything below `root`, which need not be there yet.
    pub fn follow(root: PathBuf, user: User, spool: Arc<Spool>) -> io::Result<Transcripts> {
        let (last, wait) = sync_channel(1);
        let spool = Relay::start(spool)?;
        let thread = thread::Builder::new().name("transcripts".into()).stack_size(STACK);
        let thread = thread.spawn(move || match user.assume() {
            Ok(()) => run(Follower { root, spool, seen: HashMap::new() }, &wait),
            Err(error) => complain!("sandbox-guest: transcripts cannot be read as the user: {error}"),
        })?;
        Ok(Transcripts { last, thread })
    }

    /// Makes a last pass, which takes unfinished lines too, and ends.
    pub fn finish(self) {
        drop(self.last);
        // It panics only if the process does.
        self.thread.join().unwrap_or_default();
    }
}

fn run(mut follower: Follower, last: &Receiver<()>) {
    use std::sync::mpsc::RecvTimeoutError::Timeout;
    while last.recv_timeout(PERIOD) == Err(Timeout) {
        if follower.pass(false).is_err() {
            return;
        }
    }
    // A closed spool has no use for the rest.
    follower.pass(true).unwrap_or_default();
}

struct Follower {
    root: PathBuf,
    spool: Relay,
    /// Bytes recorded, by path below the root.
    seen: HashMap<PathBuf, u64>,
}

impl Follower {
    fn pass(&mut self, last: bool) -> Result<(), Closed> {
        let mut found = Vec::new();
        walk(&self.root, DEPTH, &mut found);
        for path in found {
            let Ok(below) = path.strip_prefix(&self.root).map(Path::to_owned) else { continue };
            if !self.seen.contains_key(&below) && self.seen.len() >= FILES {
                continue;
            }
            let Ok(file) = open(&path) else { continue };
            self.take(&file, below, last)?;
        }
        Ok(())
    }

    fn take(&mut self, file: &File, below: PathBuf, last: bool) -> Result<(), Closed> {
        let len = file.metadata().map_or(0, |m| m.len());
        let path = below.to_string_lossy().into_owned();
        let seen = self.seen.entry(below).or_default();
        if len < *seen {
            *seen = 0; // It was rewritten.
        }
        // No further than it reached when we looked, or a file that grows fast enough would hold us here.
        while *seen < len {
            let mut piece = vec![0; PIECE.min((len - *seen) as usize)];
            let Ok(read) = file.read_at(&mut piece, *seen) else { break };
            piece.truncate(read);
            let whole = piece.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
            match whole {
                _ if read == 0 => break,
                Some(end) => piece.truncate(end),
                None if read == PIECE || last => {}
                None => break,
            }
            let Ok(record) = join_head(&FilePiece { path: path.clone(), offset: *seen }, &piece) else {
                break;
            };
            self.spool.append(Kind::Transcript, record)?;
            *seen += piece.len() as u64;
        }
        Ok(())
    }
}

/// Without following a link, and without waiting where a named pipe has the name of a transcript.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if kind.is_dir() && depth > 1 {
            walk(&path, depth - 1, found);
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "jsonl") && found.len() < FILES {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests;
