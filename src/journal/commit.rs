//! Making frames durable: many callers, one sync.
//!
//! Whoever finds nobody syncing does it for all; the others wait for the result. What a failed sync means for
//! the bytes is the business of [`super::tail`].

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::{Instant, sleep_until},
};

/// Least time between two syncs of one journal.
const EVERY: Duration = Duration::from_millis(2);

/// The one turn at syncing that there is at a time.
pub(super) struct Turns {
    /// The last frame that is on disk.
    done: watch::Sender<u64>,
    last: Arc<Mutex<Instant>>,
}

/// It is this caller's. The turn goes along to the thread that syncs, so that a caller who is dropped
/// meanwhile lets nobody else begin before the result is noted.
pub(super) struct Turn {
    done: watch::Sender<u64>,
    last: OwnedMutexGuard<Instant>,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns { done: watch::Sender::new(0), last: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits for a turn; `None` when somebody has brought `through` to the disk meanwhile. With `again`,
    /// takes a turn even so.
    pub(super) async fn take(&self, through: u64, again: bool) -> Option<Turn> {
        let is_done = || *self.done.borrow() >= through && !again;
        if is_done() {
            return None;
        }
        let last = Arc::clone(&self.last).lock_owned().await;
        // Somebody may have done it while this caller waited.
        if is_done() {
            return None;
        }
        sleep_until(*last + EVERY).await;
        Some(Turn { done: self.done.clone(), last })
    }
}

impl Turn {
    /// Everything up to this frame is on disk, if anything is told.
    pub(super) fn end(mut self, through: Option<u64>) {
        *self.last = Instant::now();
        if let Some(last) = through {
            self.done.send_if_modified(|done| {
                last > *done && {
                    *done = last;
                    true
                }
            });
        }
    }
}
