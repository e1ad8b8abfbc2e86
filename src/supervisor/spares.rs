//! Spares: containers that run and wait, so that a session starts without one being made.
//!
//! A spare has drawn its session's id already, and is otherwise nobody's: everything that makes it a
//! session arrives with `Start`. It fits any session of its profile that wants the same container (image,
//! runtime, limits, privileges) and no kept workspace. Spares are cheap to lose, so they are not on record:
//! a daemon that starts removes those of the one before and makes its own. Until a spare is a session on record, it counts
//! as in the making, so that nobody takes it for an orphan.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::UnixListener, sync::Notify, time::timeout};

use super::{Making, Supervisor, folder};
use crate::{
    engine::{EngineError, Unit},
    id::SessionId,
    spec::{Profile, Spec, User},
};

/// How often the number of spares is looked at when nobody takes one.
const LOOK: Duration = Duration::from_secs(10);

/// A warm container.
pub(super) struct Spare {
    pub(super) making: Making,
    pub(super) id: SessionId,
    pub(super) profile_name: String,
    pub(super) unit: Unit,
    pub(super) control: UnixListener,
    pub(super) gateway: UnixListener,
}

/// The warm containers there are.
#[derive(Default)]
pub(super) struct Spares {
    warm: Mutex<Vec<Spare>>,
    taken: Notify,
}

impl Spares {
    /// Takes one that fits.
    pub(super) fn take(&self, spec: &Spec) -> Option<Spare> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        let at = warm.iter().position(|spare| fits(spare, spec))?;
        let spare = warm.swap_remove(at);
        self.taken.notify_one();
        Some(spare)
    }

    fn count(&self, profile: &str) -> usize {
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        warm.iter().filter(|spare| spare.profile_name == profile).count()
    }

    /// Forgets one whose container died.
    pub(super) fn lost(&self, id: SessionId) -> Option<Spare> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        let at = warm.iter().position(|spare| spare.id == id)?;
        Some(warm.swap_remove(at))
    }

    /// Forgets those whose containers do not run.
    pub(super) fn lost_but(&self, running: &HashSet<SessionId>) -> Vec<Spare> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        warm.extract_if(.., |spare| !running.contains(&spare.id)).collect()
    }

    fn all(&self) -> Vec<Spare> {
        std::mem::take(&mut self.warm.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn fits(spare: &Spare, spec: &Spec) -> bool {
    let profile = &spec.profile;
    spare.profile_name == spec.profile_name
        && spare.unit.image == profile.image
        && spare.unit.runtime == profile.runtime
        && spare.unit.limits == profile.limits
        && spare.unit.sudo == profile.sudo
}

impl Supervisor {
    /// How many containers are warm.
    pub fn spares(&self) -> u64 {
        self.inner.spares.warm.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Keeps as many spares as each profile asks for; removes them at the end.
    pub(super) async fn keep_spares(&self) {
        let inner = &self.inner;
        while !inner.cancel.is_cancelled() {
            for (name, profile) in &inner.config.profiles {
                while inner.spares.count(name) < profile.spares && !inner.cancel.is_cancelled() {
                    if let Err(error) = self.warm_one(name, profile).await {
                        tracing::warn!(profile = name, %error, "no spare could be made");
                        break;
                    }
                }
            }
            inner.cancel.run_until_cancelled(timeout(LOOK, inner.spares.taken.notified())).await;
        }
        for spare in inner.spares.all() {
            self.abandon(&spare.unit).await;
        }
    }

    async fn warm_one(&self, name: &str, profile: &Profile) -> Result<(), EngineError> {
        let id = SessionId::new();
        let making = self.making(id);
        let nobody = User { name: String::new(), email: String::new() };
        let spec = Spec {
            user: nobody,
            team: None,
            profile_name: name.to_owned(),
            profile: profile.clone(),
            workspace: None,
            own_key: false,
            cols: 80,
            rows: 24,
        };
        let unit = self.unit(id, &spec, format!("sandbox-{id}"));
        let bound = folder::make_private(&unit.folder).and_then(|()| folder::doors(&unit.folder));
        let (control, gateway) = bound
            .map_err(|e| EngineError::Failed { doing: "making a spare's folder", error: e.to_string() })?;
        if let Err(error) = self.inner.engine.start(&unit).await {
            self.abandon(&unit).await;
            return Err(error);
        }
        let spare = Spare { making, id, profile_name: name.to_owned(), unit, control, gateway };
        self.inner.spares.warm.lock().unwrap_or_else(PoisonError::into_inner).push(spare);
        Ok(())
    }
}
