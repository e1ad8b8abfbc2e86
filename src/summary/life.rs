//! Where a session stands in its life, as its journal tells it.
//!
//! The store says so too, and may be behind: a phase is in the journal first. A daemon that takes a session over
//! goes by this.

use serde::{Deserialize, Serialize};

use crate::{
    event::Lifecycle,
    journal::Entry,
    lifecycle::{Phase, Reason},
};

/// The fold over the events of kind `lifecycle`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// The last phase that it entered.
    pub phase: Option<Phase>,
    /// Why it ends, or ended, if that is known.
    pub reason: Option<Reason>,
    /// When its program began, in µs since the Unix epoch.
    pub started: Option<u64>,
    /// How its program ended, or failed to begin.
    pub ended: Option<Lifecycle>,
    /// Records that are known to be lost, the guest's and the daemon's.
    pub lost: u64,
}

impl Life {
    pub(super) fn apply(&mut self, entry: &Entry) {
        match serde_json::from_slice(&entry.payload) {
            Ok(Lifecycle::Phase { phase, reason }) => {
                self.phase = Some(phase);
                self.reason = reason.or(self.reason.take());
            }
            Ok(Lifecycle::ProgramStarted { .. }) => self.started = Some(entry.time),
            Ok(ended @ (Lifecycle::ProgramExited { .. } | Lifecycle::ProgramFailed { .. })) => {
                self.ended = Some(ended);
            }
            Ok(Lifecycle::RecordsLost { from, through } | Lifecycle::FramesLost { from, through }) => {
                self.lost = self.lost.saturating_add(through.saturating_sub(from).saturating_add(1));
            }
            _ => {}
        }
    }
}
