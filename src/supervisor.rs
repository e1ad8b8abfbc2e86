//! Keeps all sessions: admits new ones, finds the living, remembers the dead.
//!
//! ```text
//!   http, admin socket ──▶ Supervisor ──▶ store (rows)
//!                              │     └──▶ engine (containers), journals (folders)
//!                              ├── live: id → SessionHandle        (each task tracked, joined at the end)
//!                              ├── spares: warm containers         (spares.rs)
//!                              └── reconcile: rows against the engine, at start and now and then
//! ```
//!
//! Nothing is only in memory: `live` can be rebuilt from the store and the engine, and is, at every start.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::sys::statvfs::{FsFlags, statvfs};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api,
    config::Config,
    engine::{Engine, Unit},
    gateway::model::Upstream,
    id::{InstanceId, SessionId},
    keys::SigningKey,
    lifecycle::{self, Denied, Reason, Request},
    metrics::Metrics,
    session::SessionHandle,
    spec::{Spec, User},
    store::Store,
};

mod access;
mod admit;
mod adopt;
mod doctor;
mod export;
mod folder;
mod launch;
mod observe;
mod reconcile;
mod refusal;
mod report;
mod spares;
mod track;

pub use refusal::Refusal;

/// Least free space in the state folder for a new session.
const LEAST_FREE: u64 = 64 << 20; // bytes

/// Asks for sessions. Clones are cheap.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    instance: InstanceId,
    engine: Arc<dyn Engine>,
    store: Store,
    key: Arc<SigningKey>,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    guest: PathBuf,
    live: Mutex<HashMap<SessionId, SessionHandle>>,
    spares: spares::Spares,
    /// Sessions that exist and are not on record yet, or are spares: no orphans.
    in_the_making: Mutex<HashSet<SessionId>>,
    /// Sessions on record that could not be taken over yet, with the reason.
    waiting: Mutex<BTreeMap<SessionId, String>>,
    changes: watch::Sender<u64>,
    /// Held by whoever keeps what a session used that has ended, and by whoever removes one.
    filling: tokio::sync::Mutex<()>,
    /// Users' own keys that sessions of this daemon were given: in memory only, to mask them in exports.
    handed_out: Mutex<Vec<String>>,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

/// What a supervisor is made of.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Whose containers are whose.
    pub instance: InstanceId,
    /// Runs containers.
    pub engine: Arc<dyn Engine>,
    /// Remembers.
    pub store: Store,
    /// Signs records.
    pub key: Arc<SigningKey>,
    /// Answers the model API.
    pub upstream: Arc<Upstream>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The guest's binary.
    pub guest: PathBuf,
}

impl Supervisor {
    /// A supervisor over a store and an engine. It does nothing until [`Supervisor::run`].
    pub fn new(parts: Parts) -> Supervisor {
        Supervisor {
            inner: Arc::new(Inner {
                config: parts.config,
                instance: parts.instance,
                engine: parts.engine,
                store: parts.store,
                key: parts.key,
                upstream: parts.upstream,
                metrics: parts.metrics,
                guest: parts.guest,
                live: Mutex::default(),
                spares: spares::Spares::default(),
                in_the_making: Mutex::default(),
                waiting: Mutex::default(),
                changes: watch::Sender::new(0),
                filling: tokio::sync::Mutex::default(),
                handed_out: Mutex::default(),
                tracker: TaskTracker::new(),
                cancel: CancellationToken::new(),
            }),
        }
    }

    /// Takes over what an earlier daemon left, then keeps order until [`Supervisor::rest`].
    pub async fn run(&self) -> Result<(), Refusal> {
        self.take_over().await?;
        let [order, spares] = [self.clone(), self.clone()];
        let cancel = self.inner.cancel.clone();
        self.inner.tracker.spawn(cancel.run_until_cancelled_owned(async move {
            let called = Notify::new();
            tokio::join!(order.hear_news(&called), order.keep_order(&called));
        }));
        self.inner.tracker.spawn(async move { spares.keep_spares().await });
        let (usage, cancel) = (self.clone(), self.inner.cancel.clone());
        self.inner.tracker.spawn(cancel.run_until_cancelled_owned(async move {
            if let Err(error) = usage.fill_usage().await {
                tracing::warn!(error = error.why(), "what earlier sessions used could not be kept yet");
            }
        }));
        Ok(())
    }

    /// Comes to rest: refuses new sessions, lets every task commit and stop, leaves the sessions running.
    pub async fn rest(&self) {
        self.inner.cancel.cancel();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }

    /// Closes the store; nothing can be asked after it.
    pub async fn close(&self) {
        self.inner.store.close().await;
    }

    /// The configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner.config)
    }

    /// Which daemon this is.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The key that signs records.
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.inner.key
    }

    /// The id that this full id or unique prefix names.
    pub async fn resolve(&self, prefix: &str) -> Result<SessionId, Refusal> {
        let prefix = prefix.trim().to_ascii_lowercase();
        let known = prefix.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if prefix.is_empty() || !known {
            return Err(Refusal::NotFound(crate::inert::inert(&prefix)));
        }
        let ids = self.inner.store.find_prefix(&prefix, 16).await?;
        match ids.as_slice() {
            [] => Err(Refusal::NotFound(prefix)),
            [id] => Ok(*id),
            _ => Err(Refusal::Ambiguous { prefix, count: ids.len() }),
        }
    }

    /// A live session.
    pub fn live(&self, id: SessionId) -> Option<SessionHandle> {
        self.live_lock().get(&id).cloned()
    }

    /// Every live session.
    pub fn all_live(&self) -> Vec<SessionHandle> {
        self.live_lock().values().cloned().collect()
    }

    /// A session, live or ended.
    pub async fn session(&self, id: SessionId) -> Result<api::Session, Refusal> {
        if let Some(handle) = self.live(id) {
            return Ok(handle.view());
        }
        let stored = self.inner.store.view(id).await?.ok_or_else(|| Refusal::NotFound(id.to_string()))?;
        Ok(self.as_it_waits(stored))
    }

    /// A live session to do something with.
    pub fn handle(&self, id: SessionId) -> Result<SessionHandle, Refusal> {
        match (self.live(id), self.waiting_lock().get(&id)) {
            (Some(handle), _) => Ok(handle),
            (None, Some(why)) => Err(Refusal::NotYet(why.clone())),
            (None, None) => Err(Refusal::Denied(Denied::Ended)),
        }
    }

    /// What is stored of a session that could not be taken over does not say so.
    fn as_it_waits(&self, mut stored: api::Session) -> api::Session {
        if let Some(why) = self.waiting_lock().get(&stored.id) {
            stored.warning = Some(format!("not taken over yet: {why}"));
        }
        stored
    }

    /// What a session was asked to be.
    pub async fn spec(&self, id: SessionId) -> Result<Spec, Refusal> {
        self.inner.store.spec(id).await?.ok_or_else(|| Refusal::NotFound(id.to_string()))
    }

    /// The live sessions, and the ended ones too if `all`; newest first.
    pub async fn list(&self, all: bool) -> Result<Vec<api::Session>, Refusal> {
        let mut sessions: Vec<api::Session> = self.live_lock().values().map(SessionHandle::view).collect();
        let waiting: Vec<SessionId> = self.waiting_lock().keys().copied().collect();
        for id in waiting.into_iter().filter(|_| !all) {
            sessions.extend(self.inner.store.view(id).await?.map(|stored| self.as_it_waits(stored)));
        }
        if all {
            let live: Vec<SessionId> = sessions.iter().map(|s| s.id).collect();
            let stored = self.inner.store.views().await?;
            sessions
                .extend(stored.into_iter().filter(|s| !live.contains(&s.id)).map(|s| self.as_it_waits(s)));
        }
        sessions.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(b.id.cmp(&a.id)));
        Ok(sessions)
    }

    /// Changes whenever any session's view does, at most every 250 ms.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Asks a session to end; returns it as it is then.
    pub async fn stop(&self, id: SessionId, note: Option<String>) -> Result<api::Session, Refusal> {
        if note.as_ref().is_some_and(|n| n.chars().count() > 200 || n.chars().any(char::is_control)) {
            let problem = "give at most 200 characters, without control characters".to_owned();
            return Err(Refusal::Invalid { field: "note", problem });
        }
        match self.handle(id) {
            Ok(handle) => {
                if lifecycle::decide(handle.view().phase, Request::Stop)? {
                    handle.stop(Reason::Operator { note }).await;
                }
            }
            Err(Refusal::Denied(Denied::Ended)) => {}
            Err(refusal) => return Err(refusal),
        }
        self.session(id).await
    }

    /// Removes the record of an ended session; what it used stays.
    pub async fn purge(&self, id: SessionId) -> Result<(), Refusal> {
        lifecycle::decide(self.session(id).await?.phase, Request::Purge)?;
        if self.live(id).is_some() {
            return Err(Denied::Alive.into());
        }
        // Nobody reads the journal meanwhile.
        let filling = self.inner.filling.lock().await;
        self.keep_usage(&filling, id).await?;
        folder::remove(&self.session_dir(id))?;
        self.inner.store.delete(id).await?;
        self.changed();
        Ok(())
    }

    /// Where a session's journal lies.
    pub fn journal_dir(&self, id: SessionId) -> PathBuf {
        self.session_dir(id).join("journal")
    }

    /// Where a session's record lies.
    fn session_dir(&self, id: SessionId) -> PathBuf {
        self.inner.config.state_dir.join("sessions").join(id.to_string())
    }

    /// Where a session's sockets and spool lie, while it lives.
    fn run_dir(&self, id: SessionId) -> PathBuf {
        self.inner.config.state_dir.join("run").join(id.to_string())
    }

    fn unit(&self, id: SessionId, spec: &Spec, volume: String) -> Unit {
        Unit {
            session: id,
            generation: 1,
            image: spec.profile.image.clone(),
            runtime: spec.profile.runtime.clone(),
            limits: spec.profile.limits.clone(),
            sudo: spec.profile.sudo,
            folder: self.run_dir(id),
            volume,
        }
    }

    /// Says that some session's view has changed.
    fn changed(&self) {
        self.inner.changes.send_modify(|n| *n += 1);
    }

    fn live_lock(&self) -> MutexGuard<'_, HashMap<SessionId, SessionHandle>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting_lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, String>> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that this session is in the making, for as long as the guard lives.
    fn making(&self, id: SessionId) -> Making {
        let making = Making { id, inner: Arc::clone(&self.inner) };
        making.lock().insert(id);
        making
    }

    fn check_space(&self) -> Result<(), Refusal> {
        let stat = statvfs(&self.inner.config.state_dir).map_err(std::io::Error::from)?;
        if stat.flags().contains(FsFlags::ST_RDONLY) {
            return Err(Refusal::ReadOnly);
        }
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        if free < LEAST_FREE { Err(Refusal::Full) } else { Ok(()) }
    }
}

/// A session that exists and is on no record yet.
struct Making {
    id: SessionId,
    inner: Arc<Inner>,
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.inner.in_the_making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.lock().remove(&self.id);
    }
}

/// The user of a request that names none, called by somebody who is not known either.
fn somebody(user: Option<User>, caller: Option<User>) -> User {
    user.or(caller)
        .unwrap_or_else(|| User { name: "Operator".to_owned(), email: "operator@localhost".to_owned() })
}
