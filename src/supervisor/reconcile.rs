//! What should be against what is: at start, on every death the engine tells of, and now and then.
//!
//! | on record | on the engine | then |
//! |---|---|---|
//! | alive | running | adopted |
//! | alive | not there, or dead | adopted too: its task takes the spool and ends it with a reason |
//! | not | ours | removed |
//! | – | another instance's | not even seen |

use std::{collections::HashSet, fs, time::Duration};

use tokio::{sync::mpsc, time::sleep};

use super::{Refusal, Supervisor, remove_dir};
use crate::{engine::Died, id::SessionId};

/// Between two looks at the engine.
const EVERY: Duration = Duration::from_secs(30);
/// Deaths that wait to be told; when it is full, the engine's events wait.
const DEATHS: usize = 64;

impl Supervisor {
    /// Takes over what an earlier daemon left.
    pub(super) async fn take_over(&self) -> Result<(), Refusal> {
        for id in self.inner.store.live().await? {
            if let Err(error) = self.adopt(id).await {
                // Its record stays as it is, for a human; the others go on.
                tracing::error!(session = %id, %error, "the session could not be taken over");
            }
        }
        self.remove_orphans().await;
        Ok(())
    }

    /// Removes our containers and folders that are nobody's.
    async fn remove_orphans(&self) {
        let known = |id: SessionId| self.live(id).is_some() || self.inner.spares.has(id);
        let on_record: HashSet<SessionId> = match self.inner.store.live().await {
            Ok(ids) => ids.into_iter().collect(),
            Err(error) => {
                tracing::error!(%error, "the store does not say who lives; nothing is removed");
                return;
            }
        };
        let found = match self.inner.engine.list().await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the engine does not say what runs");
                return;
            }
        };
        for orphan in found.iter().filter(|f| !known(f.session) && !on_record.contains(&f.session)) {
            let id = orphan.session;
            tracing::info!(session = %id, "removing a container of ours that is nobody's");
            if let Err(error) = self.inner.engine.remove(id).await {
                tracing::warn!(session = %id, %error, "it could not be removed");
                continue;
            }
            self.inner.engine.remove_volume(&format!("sandbox-{id}")).await.ok();
            remove_dir(&self.run_dir(id)).ok();
        }
        let Ok(folders) = fs::read_dir(self.inner.config.state_dir.join("run")) else { return };
        for folder in folders.flatten() {
            let id = folder.file_name().to_str().and_then(|name| name.parse::<SessionId>().ok());
            if let Some(id) = id
                && !known(id)
                && !on_record.contains(&id)
            {
                remove_dir(&folder.path()).ok();
            }
        }
    }

    /// Passes the engine's deaths on to the sessions they are about.
    pub(super) async fn hear_deaths(&self) {
        let (send, mut deaths) = mpsc::channel(DEATHS);
        let hear = async {
            while let Some(Died { session }) = deaths.recv().await {
                if let Some(handle) = self.live(session) {
                    handle.died();
                } else if let Some(spare) = self.inner.spares.lost(session) {
                    self.abandon(&spare.unit).await;
                }
            }
        };
        tokio::join!(self.inner.engine.watch(send), hear);
    }

    /// Looks now and then whether a death went unheard or an orphan came to be.
    pub(super) async fn keep_order(&self) {
        loop {
            sleep(EVERY).await;
            let Ok(found) = self.inner.engine.list().await else { continue };
            let running: HashSet<SessionId> = found.iter().filter(|f| f.running).map(|f| f.session).collect();
            for handle in self.all_live().into_iter().filter(|h| !running.contains(&h.id)) {
                handle.died();
            }
            if let Err(error) = self.inner.store.delete_expired(crate::clock::now()).await {
                tracing::warn!(%error, "expired invites and logins could not be removed");
            }
        }
    }
}
