//! A session's task, from its first breath to its last: in the map of the living, counted, told of.

use std::time::Duration;

use tokio::time::sleep;

use super::{Supervisor, observe};
use crate::session::SessionHandle;

/// Most often that `changes` changes.
const CHANGES_EVERY: Duration = Duration::from_millis(250);

impl Supervisor {
    /// Runs a session's task to its end.
    pub(super) fn track(&self, handle: SessionHandle, task: impl Future<Output = ()> + Send + 'static) {
        let id = handle.id;
        self.inner.metrics.begun(id, observe::work(&handle));
        self.live_lock().insert(id, handle.clone());
        self.changed();
        let supervisor = self.clone();
        self.inner.tracker.spawn(async move {
            let mut view = handle.watch();
            let mut began = handle.view().started_at.is_some();
            let watching = async {
                while view.changed().await.is_ok() {
                    let now = view.borrow_and_update().clone();
                    if let (Some(started), false) = (now.started_at, began) {
                        began = true;
                        let took = started.duration_since(now.created_at).unsigned_abs();
                        supervisor.inner.metrics.start_took(supervisor.engine_name(), took);
                    }
                    supervisor.changed();
                    sleep(CHANGES_EVERY).await;
                }
            };
            tokio::select! {
                () = task => {}
                () = watching => {}
            }
            // Not on shutdown: the sessions live on, and whoever asks until the end still sees them.
            if !supervisor.inner.cancel.is_cancelled() {
                // First: who looks in between sees it in one place, and not in none.
                supervisor.inner.metrics.over(id, &handle.spec.profile_name, observe::work(&handle));
                supervisor.live_lock().remove(&id);
                if let Some(reason) = &handle.view().reason {
                    supervisor.inner.metrics.ended(reason);
                }
            }
            supervisor.changed();
        });
    }
}
