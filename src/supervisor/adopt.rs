//! From a row in the store to a running session task: what an earlier daemon left is taken over.
//!
//! That daemon may have died between any two of its steps. What it had done is read from the journal, which it
//! wrote first, and from the engine; what it had begun is done again.
//!
//! | the journal says | the container | then |
//! |---|---|---|
//! | the program runs, or ran | whatever | its task goes on, or takes what is left and ends it |
//! | it never began | none, or dead | it is made (again) |
//! | | waits for its start | it gets it |
//! | damage | whatever | the session ends with that reason; nothing is added to such a record |

use std::{collections::BTreeMap, fs, sync::Arc};

use super::{Refusal, Supervisor, folder, launch::write_beginning};
use crate::{
    api, clock,
    engine::{EngineError, State, Unit},
    event::Lifecycle,
    id::SessionId,
    inject::Injection,
    lifecycle::{Phase, Reason},
    session::{Launch, Origin, Restored, spool_is_empty},
    spec::Spec,
    summary::Life,
};

impl Supervisor {
    /// Takes a session over from an earlier daemon. After an error it stays on record, and is tried again.
    pub(super) async fn adopt(&self, id: SessionId) -> Result<(), Refusal> {
        let spec = Arc::new(self.spec(id).await?);
        let mut view = self.inner.store.view(id).await?.ok_or_else(|| Refusal::NotFound(id.to_string()))?;
        let volume = self.inner.store.volume(id).await?.unwrap_or_default();
        let unit = self.unit(id, &spec, volume);
        let dir = self.session_dir(id);
        folder::make_private(&dir)?;
        // The folder is gone where only the end was left to do.
        folder::make_private(&unit.folder)?;
        let restored = match Restored::open(&dir, id, &spec).map_err(Refusal::from) {
            Err(Refusal::Damaged(error)) => return self.bury(view, &unit, error).await,
            restored => restored?,
        };
        let life = restored.recorder.with_summary(|summary| summary.life.clone());
        let began = life.started.is_some();
        let origin = if began { Origin::Adopted } else { self.origin(&unit, &life).await? };
        // A key is gone with the daemon that held it, and a program that begins without it is another one.
        let injection =
            if began || spec.own_key { None } else { Some(self.injection_anew(id, &spec).await?) };
        if life.phase < Some(Phase::Starting)
            && let Some(injection) = &injection
        {
            write_beginning(&restored.recorder, &spec, injection)?;
        }
        restored.note();
        let Restored { recorder, index, screen, last_record, .. } = restored;
        bring_up_to_date(&mut view, &life);
        let (control, gateway) = folder::doors(&unit.folder)?;
        let context = self.context(id, &spec, &recorder)?;
        self.run_task(Launch {
            origin,
            keep_volume: spec.workspace.is_some(),
            spec,
            unit,
            injection,
            life,
            engine: Arc::clone(&self.inner.engine),
            store: self.inner.store.clone(),
            key: Arc::clone(&self.inner.key),
            recorder,
            index,
            dir,
            screen,
            last_record,
            control,
            gateway,
            context,
            view,
        });
        Ok(())
    }

    /// What a container is told to be that has not begun. The image's own environment lies under ours.
    async fn injection_anew(&self, id: SessionId, spec: &Spec) -> Result<Injection, Refusal> {
        let image_env = match self.inner.engine.image_env(&spec.profile.image).await {
            // Its container is there, or will not come to be, which says so by itself.
            Err(EngineError::NoImage(_)) => BTreeMap::new(),
            env => env?,
        };
        Ok(self.injection(id, spec, None, &image_env))
    }

    /// How a container stands whose program has not begun, as far as the journal knows. It may have begun and
    /// even ended unseen: then its guest's spool says so, and the container is what it is.
    async fn origin(&self, unit: &Unit, life: &Life) -> Result<Origin, Refusal> {
        if life.phase > Some(Phase::Starting) || life.ended.is_some() || !spool_is_empty(&unit.folder) {
            return Ok(Origin::Adopted);
        }
        match self.inner.engine.state(unit.session).await? {
            State::Running if life.phase < Some(Phase::Starting) => Ok(Origin::Spare),
            State::Running => Ok(Origin::Adopted),
            State::Exited { .. } => {
                self.inner.engine.remove(unit.session).await?;
                Ok(Origin::Fresh)
            }
            State::Gone => Ok(Origin::Fresh),
        }
    }

    /// Ends a session whose record is damaged. The record stays as it is; what the guest had not delivered and
    /// the workspace are put beside it, for a human.
    async fn bury(&self, mut view: api::Session, unit: &Unit, error: String) -> Result<(), Refusal> {
        let (id, dir) = (view.id, self.session_dir(view.id));
        tracing::error!(session = %id, error, "the session's record is damaged; the session ends");
        let workspace = dir.join("workspace.tar");
        if !workspace.exists() {
            let mut to = tokio::fs::File::create(&workspace).await?;
            if let Err(error) = self.inner.engine.workspace(id, &unit.volume, &mut to).await {
                tracing::warn!(session = %id, %error, "its workspace could not be kept");
                fs::remove_file(&workspace)?;
            }
        }
        self.inner.engine.remove(id).await?;
        match fs::rename(unit.folder.join("spool"), dir.join("spool")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        view.phase = Phase::Ended;
        view.reason = Some(Reason::Damaged { error });
        view.ended_at = Some(clock::timestamp(clock::now()));
        (view.expires_at, view.warning) = (None, None);
        if let Some(reason) = &view.reason {
            self.inner.metrics.ended(reason);
        }
        self.inner.store.set_ended(&view, None).await?;
        if unit.volume == format!("sandbox-{id}") {
            self.inner.engine.remove_volume(&unit.volume).await?;
        } else {
            self.inner.store.release_workspace(id).await?;
        }
        folder::remove(&unit.folder)?;
        self.changed();
        Ok(())
    }
}

/// The store may be behind the journal. What has ended there is still to be completed.
fn bring_up_to_date(view: &mut api::Session, life: &Life) {
    view.phase = life.phase.unwrap_or(view.phase).min(Phase::Stopping);
    view.reason.clone_from(&life.reason);
    if view.started_at.is_none() {
        view.started_at = life.started.map(clock::timestamp);
    }
    if let Some(Lifecycle::ProgramExited { code, .. }) = life.ended {
        view.exit_code = Some(code);
    }
}
