//! Delivering: one try of a request, and what to do when it fails.
//!
//! A destination that is away and a request that it cannot bear look the same to whoever sends it. What tells them apart
//! is whether others arrive meanwhile.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{sync::SemaphorePermit, time::sleep};

use super::{Shared, door::Outcome};
use crate::signal::Signal;

/// So often a request may fail while others of its signal arrive.
const STRIKES: u32 = 2;

/// How often a request failed while others arrived.
#[derive(Debug, Default)]
pub(super) struct Patience {
    strikes: u32,
    failed: Option<Instant>,
}

impl Patience {
    /// A request failed at `now`, and another of its signal last arrived at `taken`: whether that was since the failure
    /// before.
    pub fn failed(&mut self, now: Instant, taken: Option<Instant>) -> bool {
        let others = self.failed.replace(now).is_some_and(|failed| taken.is_some_and(|at| at > failed));
        self.strikes += u32::from(others);
        others
    }

    /// Whether it is the request's own matter.
    pub fn is_out(&self) -> bool {
        self.strikes >= STRIKES
    }
}

/// A request is to be sent again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Later {
    /// After so long.
    pub wait: Duration,
    /// Others arrive meanwhile.
    pub others: bool,
}

impl Later {
    /// Waits. As long as nobody's request arrives the place is kept meanwhile: whoever had it would ask in vain too.
    /// Afterwards it is the next one's in either case.
    pub async fn wait(self, place: SemaphorePermit<'_>) {
        let place = (!self.others).then_some(place);
        sleep(self.wait).await;
        drop(place);
    }
}

impl Shared {
    /// One try, noted. `of` says what the request is of; it holds nothing that is to stay here.
    pub(super) async fn attempt(&self, of: &str, signal: Signal, request: Bytes) -> Outcome {
        let outcome = self.door.send(signal, request).await;
        let destination = &self.name;
        match &outcome {
            Outcome::Sent { rejected, why } => {
                self.status.sent(signal, *rejected, why);
                if *rejected > 0 {
                    tracing::error!(of, destination, rejected, why, "the destination turned records away");
                }
            }
            Outcome::Later(why, _) => {
                if self.status.later(why) {
                    tracing::warn!(
                        of,
                        destination,
                        why,
                        "the destination does not take a request; it is sent again"
                    );
                }
            }
            Outcome::Refused(_) => {}
        }
        outcome
    }

    /// Notes that a request is passed over, since the destination will never take it.
    pub(super) fn refused(&self, of: &str, why: &str) {
        self.status.refused(why);
        tracing::error!(of, destination = self.name, why, "the destination refused a request for good");
    }
}

#[cfg(test)]
mod tests;
