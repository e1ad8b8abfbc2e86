//! What a daemon begins with: every series that is known beforehand, at zero.
//!
//! A counter that first appears with a value has gained nothing, as far as Prometheus can tell: the first denial and
//! the first start that fails would be in no increase, on no dashboard and in no alert.

use super::{Metrics, Work, lock};
use crate::lifecycle::Reason;

impl Metrics {
    /// Counters of a daemon with this engine and these profiles, whose sessions have these hooks.
    pub fn begin<'a>(
        engine: &'static str,
        profiles: impl Iterator<Item = &'a String>,
        hooks: impl Iterator<Item = &'static str>,
    ) -> Metrics {
        let metrics = Metrics::default();
        metrics.starts.begin(["started", "refused", "failed"].map(|result| [engine, result]));
        lock(&metrics.start_times).entry(engine).or_default();
        metrics.ends.begin(Reason::NAMES.map(|reason| [reason]));
        let signals = ["traces", "metrics", "logs"].into_iter();
        metrics.otlp.begin(signals.flat_map(|signal| [[signal, "recorded"], [signal, "refused"]]));
        let decided = |event| ["allow", "deny", "observe"].map(|decision| [event, decision]);
        metrics.hooks.begin(hooks.chain(["other"]).flat_map(decided));
        metrics.model_calls.begin([["answered"], ["refused"]]);
        metrics.egress.begin([["allowed"], ["denied"]]);
        lock(&metrics.work).over.extend(profiles.map(|profile| (profile.clone(), Work::default())));
        metrics
    }
}
