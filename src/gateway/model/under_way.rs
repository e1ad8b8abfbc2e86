//! The calls of one session that are under way: how many, and those that their client has left.
//!
//! A call is paid for from when the upstream has it. A client that hangs up before the answer has told what it costs does
//! not end it, or whoever hangs up early would spend past any budget: it is read on for that.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Calls that one session may have under way; more wait.
const LIMIT: usize = 64;

/// They end with the session.
pub(crate) struct UnderWay {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl UnderWay {
    /// None yet. `cancel` ends them all.
    pub(crate) fn new(cancel: CancellationToken) -> UnderWay {
        UnderWay { places: Arc::new(Semaphore::new(LIMIT)), tasks: TaskTracker::new(), cancel }
    }

    /// Waits for the right to one call; `None` when the session ends.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Goes on whether or not somebody waits, up to the session's end.
    pub(super) fn spawn(&self, run: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            cancel.run_until_cancelled(run).await;
        });
    }

    /// Waits until all have ended.
    pub(crate) async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
