//! How the session stands: looked at by the clock, entered into the records, shown to everybody.

use super::task::Task;
use crate::{
    api, clock,
    event::Lifecycle,
    lifecycle::{Phase, Reason, Tick, Times, tick},
};

impl Task {
    pub(super) async fn tick(&mut self) {
        if self.phase == Phase::Running {
            let now = clock::now();
            let profile = &self.shared.spec.profile;
            let started = self.view.started_at.map_or(now, clock::micros);
            let times = Times {
                started,
                active: self.shared.recorder.active(),
                ttl: profile.ttl,
                idle: profile.idle,
                warn: profile.warn,
            };
            let spent = self.shared.recorder.with_summary(|s| s.is_over(&profile.budget));
            let over_since = spent.then(|| *self.over_budget_at.get_or_insert(now));
            match tick(&times, over_since, now) {
                Tick::Quiet { .. } => {
                    if self.warned.take().is_some() {
                        self.notice(None);
                    }
                }
                Tick::Warn { reason, at } => self.warn(reason, at.saturating_sub(now)).await,
                Tick::End(reason) => self.stop(reason).await,
            }
        }
        self.record.keep(false).await;
        self.shared.feed.settle();
        self.show();
    }

    async fn warn(&mut self, reason: Reason, in_us: u64) {
        let minutes = in_us.div_ceil(60_000_000);
        self.notice(Some(format!("ends in {minutes} min: {}", reason.phrase())));
        if self.warned.as_ref() != Some(&reason) {
            let event = Lifecycle::Warned { reason: reason.clone(), in_ms: in_us / 1000 };
            self.record.event(&event);
            self.warned = Some(reason);
        }
    }

    pub(super) fn notice(&mut self, text: Option<String>) {
        self.said = text;
    }

    /// Enters a phase: in the journal first, then in the store, then for everybody to see.
    pub(super) async fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.view.phase = phase;
        self.view.reason.clone_from(&self.reason);
        self.record.event(&Lifecycle::Phase { phase, reason: self.reason.clone() });
        self.show();
        self.save().await;
    }

    /// Puts the session as it is now into the store.
    pub(super) async fn save(&self) {
        if let Err(error) = self.store.save_view(&self.view).await {
            tracing::error!(session = %self.shared.id, %error, "the session's state could not be stored");
        }
    }

    /// Shows everybody how the session stands.
    pub(super) fn show(&mut self) {
        let mut view = self.view.clone();
        self.fill(&mut view);
        view.viewers = u32::try_from(self.shared.viewers.count()).unwrap_or(u32::MAX);
        view.warning = self.record.problem().map(str::to_owned).or_else(|| self.said.clone());
        self.view = view;
        let (view, warning) = (&self.view, &self.view.warning);
        self.shared.notice.send_if_modified(|now| {
            now != warning && {
                now.clone_from(warning);
                true
            }
        });
        self.shared.view.send_if_modified(|seen| {
            seen != view && {
                view.clone_into(seen);
                true
            }
        });
    }

    /// Fills in what the record tells.
    pub(super) fn fill(&self, view: &mut api::Session) {
        let recorder = &self.shared.recorder;
        view.totals = recorder.with_summary(|s| s.totals());
        view.completeness = recorder.with_summary(|s| s.completeness());
        view.active_at = Some(clock::timestamp(recorder.active()));
        view.recorded_bytes = recorder.journal().bytes();
        (view.cols, view.rows) = self.record.size();
        self.record.title().clone_into(&mut view.title);
    }
}
