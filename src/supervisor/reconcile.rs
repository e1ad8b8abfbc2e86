//! What should be against what is: at start, on every death the engine tells of, when the engine is back, and now
//! and then.
//!
//! | on record | on the engine | then |
//! |---|---|---|
//! | alive | running | adopted |
//! | alive | not there, or dead | adopted too: its task takes the spool and ends it with a reason |
//! | not | ours | removed, with its volumes |
//! | – | another instance's | not even seen |

use std::{collections::HashSet, fs, sync::PoisonError, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout_at},
};

use super::{Refusal, Supervisor, folder};
use crate::{
    engine::{EngineError, News},
    id::SessionId,
};

/// Between two looks at the engine.
const EVERY: Duration = Duration::from_secs(30);
/// The same, while sessions wait to be taken over.
const SOON: Duration = Duration::from_secs(2);
/// News that wait to be told; when it is full, the engine's events wait.
const NEWS: usize = 64;

impl Supervisor {
    /// Takes over what an earlier daemon left.
    pub(super) async fn take_over(&self) -> Result<(), Refusal> {
        for id in self.inner.store.live().await? {
            self.try_to_adopt(id).await;
        }
        self.remove_orphans().await;
        Ok(())
    }

    /// Adopts a session, or notes that it waits: its record stays as it is, its guest's spool keeps what it says.
    async fn try_to_adopt(&self, id: SessionId) {
        match self.adopt(id).await {
            Ok(()) => {
                self.waiting_lock().remove(&id);
            }
            Err(error) => {
                let why = error.why();
                if self.waiting_lock().insert(id, why.clone()).as_ref() != Some(&why) {
                    tracing::error!(session = %id, error = why, "the session cannot be taken over yet");
                }
            }
        }
    }

    /// Removes our containers, volumes and folders that are nobody's.
    async fn remove_orphans(&self) {
        let folders: HashSet<SessionId> = match fs::read_dir(self.inner.config.state_dir.join("run")) {
            Ok(entries) => entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect(),
            Err(error) => {
                tracing::warn!(%error, "the sessions' folders cannot be looked at");
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
        // Asked last: what has come to be since is not among the found.
        let on_record: HashSet<SessionId> = match self.inner.store.live().await {
            Ok(ids) => ids.into_iter().collect(),
            Err(error) => {
                tracing::error!(%error, "the store does not say who lives; nothing is removed");
                return;
            }
        };
        let making = self.inner.in_the_making.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known =
            |id: &SessionId| on_record.contains(id) || making.contains(id) || self.live(*id).is_some();
        let orphans: HashSet<SessionId> = found.into_iter().map(|f| f.session).chain(folders).collect();
        for id in orphans.into_iter().filter(|id| !known(id)) {
            match self.remove_orphan(id).await {
                Ok(()) => tracing::info!(session = %id, "removed what was nobody's"),
                Err(error) => tracing::warn!(session = %id, %error, "what is nobody's cannot be removed yet"),
            }
        }
    }

    async fn remove_orphan(&self, id: SessionId) -> Result<(), EngineError> {
        self.inner.engine.remove(id).await?;
        self.inner.engine.remove_volume(&format!("sandbox-{id}")).await?;
        if let Err(error) = folder::remove(&self.run_dir(id)) {
            return Err(EngineError::Failed { doing: "removing its folder", error: error.to_string() });
        }
        Ok(())
    }

    /// Passes the engine's deaths on to the sessions they are about.
    pub(super) async fn hear_news(&self, order: &Notify) {
        let (send, mut news) = mpsc::channel(NEWS);
        let hear = async {
            while let Some(news) = news.recv().await {
                match news {
                    News::Died { session } => {
                        if let Some(handle) = self.live(session) {
                            handle.died();
                        } else if let Some(spare) = self.inner.spares.lost(session) {
                            self.abandon(&spare.unit).await;
                        }
                    }
                    News::Back => order.notify_one(),
                }
            }
        };
        tokio::join!(self.inner.engine.watch(send), hear);
    }

    /// Looks now and then, and when the engine is back, whether a death went unheard, an orphan came to be, or a
    /// session waits to be taken over.
    pub(super) async fn keep_order(&self, order: &Notify) {
        let mut look_at = Instant::now() + EVERY;
        loop {
            let waiting: Vec<SessionId> = self.waiting_lock().keys().copied().collect();
            let wake = if waiting.is_empty() { look_at } else { look_at.min(Instant::now() + SOON) };
            let called = timeout_at(wake, order.notified()).await.is_ok();
            for id in waiting {
                self.try_to_adopt(id).await;
            }
            if !called && Instant::now() < look_at {
                continue;
            }
            look_at = Instant::now() + EVERY;
            self.look().await;
        }
    }

    async fn look(&self) {
        let Ok(found) = self.inner.engine.list().await else { return };
        let running: HashSet<SessionId> = found.iter().filter(|f| f.running).map(|f| f.session).collect();
        for handle in self.all_live().into_iter().filter(|h| !running.contains(&h.id)) {
            handle.died();
        }
        for spare in self.inner.spares.lost_but(&running) {
            self.abandon(&spare.unit).await;
        }
        self.remove_orphans().await;
        if let Err(error) = self.inner.store.delete_expired(crate::clock::now()).await {
            tracing::warn!(%error, "expired invites and logins could not be removed");
        }
    }
}
