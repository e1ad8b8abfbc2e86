//! From a spec to a running session task.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{Refusal, Supervisor, folder, spares::Spare};
use crate::{
    api, clock,
    engine::Unit,
    event::Lifecycle,
    gateway::Context,
    id::SessionId,
    inject::{self, Injection},
    journal::{Index, Journal, JournalError, Kind},
    lifecycle::Phase,
    recorder::Recorder,
    screen::Screen,
    session::{Launch, Origin, SessionHandle},
    spec::Spec,
    store::NewSession,
    summary::{Life, Summary},
};
use sandbox_guest::wire;

impl Supervisor {
    /// Puts a session on record and starts its task, in a spare if one fits.
    pub(super) async fn launch(
        &self,
        spec: Spec,
        image_env: &BTreeMap<String, String>,
        api_key: Option<String>,
    ) -> Result<SessionHandle, Refusal> {
        let began = Instant::now();
        let spare = if spec.workspace.is_none() { self.inner.spares.take(&spec) } else { None };
        let making;
        let (id, origin, unit, control, gateway) = match spare {
            Some(Spare { making: of_spare, id, unit, control, gateway, .. }) => {
                making = of_spare;
                (id, Origin::Spare, unit, control, gateway)
            }
            None => {
                let id = SessionId::new();
                making = self.making(id);
                let volume = self.volume(id, &spec).await?;
                let unit = self.unit(id, &spec, volume);
                folder::make_private(&unit.folder)?;
                let (control, gateway) = folder::doors(&unit.folder)?;
                (id, Origin::Fresh, unit, control, gateway)
            }
        };
        let view = first_view(id, &spec);
        let row = NewSession { view: &view, spec: &spec, volume: &unit.volume };
        if let Err(error) = self.inner.store.insert(row).await {
            self.abandon(&unit).await;
            return Err(error.into());
        }
        let injection = self.injection(id, &spec, api_key.as_deref(), image_env);
        let launched = self.begin(origin, unit.clone(), Arc::new(spec), injection, view, control, gateway);
        if launched.is_err() {
            self.abandon(&unit).await;
            self.inner.store.delete(id).await?;
            folder::remove(&self.session_dir(id))?;
        }
        drop(making);
        tracing::info!(session = %id, ?origin, duration_ms = began.elapsed().as_millis(), "session requested");
        launched
    }

    #[expect(clippy::too_many_arguments, reason = "each is one thing that the caller has just made")]
    fn begin(
        &self,
        origin: Origin,
        unit: Unit,
        spec: Arc<Spec>,
        injection: Injection,
        view: api::Session,
        control: tokio::net::UnixListener,
        gateway: tokio::net::UnixListener,
    ) -> Result<SessionHandle, Refusal> {
        let id = unit.session;
        let dir = self.session_dir(id);
        folder::make_private(&dir)?;
        let journal = Journal::create(&dir.join("journal"), id)?;
        let recorder = Recorder::new(journal, 0, Summary::default(), clock::now());
        write_beginning(&recorder, &spec, &injection)?;
        let context = self.context(id, &spec, &recorder)?;
        let screen = Screen::new(spec.cols, spec.rows);
        let index = Index::open(&dir)?;
        Ok(self.run_task(Launch {
            origin,
            keep_volume: spec.workspace.is_some(),
            spec,
            unit,
            injection: Some(injection),
            life: Life::default(),
            engine: Arc::clone(&self.inner.engine),
            store: self.inner.store.clone(),
            key: Arc::clone(&self.inner.key),
            recorder,
            index,
            dir,
            screen,
            last_record: 0,
            control,
            gateway,
            context,
            view,
        }))
    }

    pub(super) fn run_task(&self, launch: Launch) -> SessionHandle {
        let cancel: CancellationToken = self.inner.cancel.child_token();
        let (handle, task) = launch.run(cancel);
        self.track(handle.clone(), task);
        handle
    }

    /// What the container is told to be. The image's own environment lies under ours.
    pub(super) fn injection(
        &self,
        id: SessionId,
        spec: &Spec,
        api_key: Option<&str>,
        image_env: &BTreeMap<String, String>,
    ) -> Injection {
        let mut injection = inject::injection(spec, id, &self.inner.config.mcp_servers, api_key, image_env);
        injection.start.request_key = self.request_key(id);
        injection
    }

    /// What this session's guest proves itself with; the same after a restart, and worth nothing elsewhere.
    fn request_key(&self, id: SessionId) -> String {
        self.inner.key.derive(&format!("request numbers of session {id}"))
    }

    pub(super) fn context(
        &self,
        id: SessionId,
        spec: &Arc<Spec>,
        recorder: &Recorder,
    ) -> Result<Arc<Context>, Refusal> {
        let upstream = Arc::clone(&self.inner.upstream);
        let metrics = Arc::clone(&self.inner.metrics);
        let key = self.request_key(id);
        let context = Context::new(id, Arc::clone(spec), recorder.clone(), upstream, metrics, key);
        Ok(Arc::new(context.map_err(|e| super::admit::invalid("profile", e.to_string()))?))
    }

    async fn volume(&self, id: SessionId, spec: &Spec) -> Result<String, Refusal> {
        match &spec.workspace {
            None => Ok(format!("sandbox-{id}")),
            Some(name) => self
                .inner
                .store
                .claim_workspace(name, &spec.user.email, id)
                .await?
                .map_err(|problem| super::admit::invalid("workspace", problem)),
        }
    }

    /// Undoes what was made for a session that did not come to be.
    pub(super) async fn abandon(&self, unit: &Unit) {
        self.inner.store.release_workspace(unit.session).await.ok();
        let removed = async {
            self.inner.engine.remove(unit.session).await?;
            if unit.volume == format!("sandbox-{}", unit.session) {
                self.inner.engine.remove_volume(&unit.volume).await?;
            }
            Ok::<_, crate::engine::EngineError>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(session = %unit.session, %error, "an abandoned container lingers until reconciled");
        }
        folder::remove(&unit.folder).ok();
    }
}

/// The frames that every journal begins with.
pub(super) fn write_beginning(
    recorder: &Recorder,
    spec: &Spec,
    injection: &Injection,
) -> Result<(), JournalError> {
    recorder.event(Kind::Lifecycle, &Lifecycle::Phase { phase: Phase::Requested, reason: None })?;
    recorder.event(Kind::Injected, &injection.masked)?;
    let size = wire::encode_size(spec.cols, spec.rows).to_vec();
    recorder.append(clock::now(), 0, Kind::Resize, size.into()).map(drop)
}

fn first_view(id: SessionId, spec: &Spec) -> api::Session {
    let now = clock::now();
    let ttl = u64::try_from(spec.profile.ttl.as_micros()).unwrap_or(u64::MAX);
    api::Session {
        id,
        user: spec.user.clone(),
        team: spec.team.clone(),
        profile: spec.profile_name.clone(),
        credential: spec.profile.credential,
        image: spec.profile.image.clone(),
        program: spec.profile.program.clone(),
        workspace: spec.workspace.clone(),
        phase: Phase::Requested,
        reason: None,
        exit_code: None,
        created_at: clock::timestamp(now),
        started_at: None,
        ended_at: None,
        expires_at: Some(clock::timestamp(now.saturating_add(ttl))),
        active_at: None,
        cols: spec.cols,
        rows: spec.rows,
        title: String::new(),
        viewers: 0,
        warning: None,
        recorded_bytes: 0,
        totals: api::Totals::default(),
        completeness: None,
    }
}
