//! Making frames durable: many callers, one sync.
//!
//! Whoever finds nobody syncing does it for all; the others wait for the result. A sync that failed is
//! final for the journal: the kernel may have dropped the pages, and a later sync would say yes without
//! having written them.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

use super::JournalError;

/// Least time between two syncs of one journal.
const EVERY: Duration = Duration::from_millis(2);

pub(super) struct Committer {
    /// The last frame that is on disk.
    done: watch::Sender<u64>,
    turn: Mutex<Turn>,
}

struct Turn {
    last: Instant,
    failed: Option<String>,
}

impl Committer {
    pub(super) fn new() -> Committer {
        Committer {
            done: watch::Sender::new(0),
            turn: Mutex::new(Turn { last: Instant::now(), failed: None }),
        }
    }

    /// Waits until `through` is on disk. `source` tells the file to sync and the last frame in it.
    pub(super) async fn commit(
        &self,
        through: u64,
        source: impl Fn() -> (Arc<File>, u64, PathBuf),
    ) -> Result<(), JournalError> {
        if *self.done.borrow() >= through {
            return Ok(());
        }
        let mut turn = self.turn.lock().await;
        // Somebody may have done it while this caller waited for its turn.
        if *self.done.borrow() >= through {
            return Ok(());
        }
        let (_, _, path) = source();
        if let Some(error) = &turn.failed {
            return Err(JournalError::Broken { path, error: error.clone() });
        }
        sleep_until(turn.last + EVERY).await;
        let (file, last, path) = source();
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        turn.last = Instant::now();
        match synced {
            Ok(Ok(())) => {
                self.done.send_if_modified(|done| {
                    last > *done && {
                        *done = last;
                        true
                    }
                });
                Ok(())
            }
            Ok(Err(error)) => {
                turn.failed = Some(error.to_string());
                Err(JournalError::io(&path, error))
            }
            Err(error) => Err(JournalError::Broken { path, error: error.to_string() }),
        }
    }
}
