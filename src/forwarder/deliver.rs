//! Delivering: a request to the door, for as long as it takes.

use bytes::Bytes;
use tokio::time::sleep;

use super::{Backoff, Shared, door::Outcome};
use crate::signal::Signal;

impl Shared {
    /// Sends a request, protobuf as the signal's `Export…ServiceRequest`, again and again until the destination has
    /// taken it. An error is why it never will. `of` says what the request is of; it holds nothing that is to stay here.
    pub(super) async fn deliver(&self, of: &str, signal: Signal, request: Bytes) -> Result<(), String> {
        let mut backoff = Backoff::default();
        let mut told = false;
        loop {
            match self.door.send(signal, request.clone()).await {
                Outcome::Sent { rejected, why } => {
                    if rejected > 0 {
                        let destination = &self.name;
                        tracing::error!(
                            of,
                            destination,
                            rejected,
                            why,
                            "the destination turned records away"
                        );
                    }
                    self.status.sent(signal, rejected, &why);
                    return Ok(());
                }
                Outcome::Refused(why) => return Err(why),
                Outcome::Later(why, asked) => {
                    if !std::mem::replace(&mut told, true) {
                        let destination = &self.name;
                        tracing::warn!(
                            destination,
                            why,
                            "the destination takes nothing; everything waits for it"
                        );
                    }
                    self.status.later(&why);
                    sleep(backoff.next(asked)).await;
                }
            }
        }
    }

    /// Notes that a request is passed over, since the destination will never take it.
    pub(super) fn refused(&self, of: &str, why: &str) {
        self.status.refused(why);
        tracing::error!(of, destination = self.name, why, "the destination refused a request for good");
    }
}
