//! Delivering: a request to the door, for as long as it takes.
//!
//! Whoever waits is in nobody's way. A session's request that keeps failing gives its place to another session and
//! stands aside, as far as there is room to. Sums, of which the next request tells what this one does, are passed over
//! when the destination takes everything but them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{sync::SemaphorePermit, time::sleep};

use super::{Backoff, Shared, door::Outcome};
use crate::signal::Signal;

/// So many tries a request holds its place.
const TRIES: u32 = 3;
/// So often a request of sums may fail while others of its signal arrive.
const STRIKES: u32 = 2;

/// A session's turn to send.
pub(super) struct Turn<'a> {
    of: &'a Shared,
    place: Option<SemaphorePermit<'a>>,
    aside: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    /// Waits before the next try; from the third on in no other session's way.
    async fn wait(&mut self, tries: u32, wait: Duration) {
        if tries >= TRIES && self.aside.is_none() {
            self.aside = self.of.aside.try_acquire().ok();
        }
        if self.aside.is_some() {
            self.place = None;
        }
        sleep(wait).await;
        if self.place.is_none() {
            self.place = self.of.places.acquire().await.ok();
        }
    }
}

/// What tells a request that the destination cannot bear from a destination that is away.
#[derive(Default)]
pub(super) struct Patience {
    strikes: u32,
    failed: Option<Instant>,
}

impl Patience {
    /// A request failed, and another of its signal last arrived at `taken`: whether it is the request's own matter.
    fn ends(&mut self, now: Instant, taken: Option<Instant>) -> bool {
        let others = self.failed.replace(now).is_some_and(|failed| taken.is_some_and(|at| at > failed));
        self.strikes += u32::from(others);
        others && self.strikes >= STRIKES
    }
}

impl Shared {
    /// Waits for a turn; `None` when there will be none.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let place = self.places.acquire().await.ok()?;
        Some(Turn { of: self, place: Some(place), aside: None })
    }

    /// Sends a session's request, protobuf as the signal's `Export…ServiceRequest`, again and again until the
    /// destination has taken it. An error is why it never will. `of` says what the request is of; it holds nothing that
    /// is to stay here.
    pub(super) async fn deliver(
        &self,
        of: &str,
        signal: Signal,
        request: Bytes,
        turn: &mut Turn<'_>,
    ) -> Result<(), String> {
        let mut backoff = Backoff::default();
        let mut tries = 0;
        loop {
            match self.attempt(of, signal, request.clone()).await {
                Outcome::Sent { .. } => return Ok(()),
                Outcome::Refused(why) => return Err(why),
                Outcome::Later(_, asked) => {
                    tries += 1;
                    turn.wait(tries, backoff.next(asked)).await;
                }
            }
        }
    }

    /// The same with a request of sums, which goes on failing while others arrive only until `patience` ends.
    pub(super) async fn deliver_sums(
        &self,
        of: &str,
        request: Bytes,
        patience: &mut Patience,
    ) -> Result<(), String> {
        let mut backoff = Backoff::default();
        loop {
            match self.attempt(of, Signal::Metrics, request.clone()).await {
                Outcome::Sent { .. } => return Ok(()),
                Outcome::Refused(why) => return Err(why),
                Outcome::Later(why, asked) => {
                    if patience.ends(Instant::now(), self.status.taken(Signal::Metrics)) {
                        return Err(why);
                    }
                    sleep(backoff.next(asked)).await;
                }
            }
        }
    }

    /// One try, noted.
    async fn attempt(&self, of: &str, signal: Signal, request: Bytes) -> Outcome {
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
