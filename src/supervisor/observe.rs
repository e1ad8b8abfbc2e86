//! How the daemon is at this moment, for its metrics.

use nix::sys::statvfs::statvfs;

use super::Supervisor;
use crate::{
    api::Destination,
    clock,
    lifecycle::Phase,
    metrics::{Now, Process, Work},
    session::SessionHandle,
};

/// How long telemetry may be behind what its client does.
const DARK_AFTER: u64 = 60_000_000; // µs

impl Supervisor {
    /// How sessions, disk and process are now; `destinations` are the forwarder's.
    pub fn observed(&self, destinations: Vec<Destination>) -> Now {
        let mut now = Now { completeness: 1.0, destinations, process: Process::look(), ..Now::default() };
        now.sessions.insert(Phase::Spare, self.spares());
        now.disk = statvfs(&self.inner.config.state_dir).ok().map(|disk| {
            let block = disk.fragment_size();
            (disk.blocks_available().saturating_mul(block), disk.blocks().saturating_mul(block))
        });
        for session in self.all_live() {
            let view = session.view();
            *now.sessions.entry(view.phase).or_insert(0) += 1;
            now.viewers += u64::from(view.viewers);
            let completeness = view.completeness.unwrap_or(1.0);
            now.completeness = now.completeness.min(completeness);
            now.incomplete += u64::from(completeness < 1.0);
            let (dark, used) = session.recorder.with_summary(|summary| {
                (summary.is_dark(clock::now(), DARK_AFTER), summary.budget_used(&session.spec.profile.budget))
            });
            now.dark += u64::from(dark);
            now.budget_used = now.budget_used.max(used.unwrap_or(0.0));
            now.work.push((session.id, session.spec.profile_name.clone(), work(&session)));
        }
        now
    }

    /// The engine's name in metrics.
    pub(super) fn engine_name(&self) -> &'static str {
        self.inner.config.engine.name()
    }
}

/// What a session has done so far.
pub(super) fn work(session: &SessionHandle) -> Work {
    session.recorder.with_summary(|summary| Work {
        recorded_bytes: session.recorder.journal().bytes(),
        records: [summary.spans, summary.metric_points, summary.log_records],
        cost_nanos: (summary.totals().gateway_cost_usd * 1e9).round() as u64,
    })
}
