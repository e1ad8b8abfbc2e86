//! How much terminal output may be on its way to one viewer: what was sent and not yet acknowledged.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Most that is unacknowledged, but for a single snapshot that is larger by itself.
pub(super) const LIMIT: usize = 256 << 10; // bytes
/// Most that one message of output holds.
pub(super) const MESSAGE: usize = 64 << 10; // bytes

/// One viewer's window. The half that sends waits for room; the half that hears acknowledgements makes it.
#[derive(Default)]
pub(super) struct Window {
    flight: Mutex<Flight>,
    freed: Notify,
}

/// What was sent and not yet acknowledged, oldest first.
#[derive(Default)]
struct Flight {
    sent: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Flight {
    fn has_room(&self) -> bool {
        self.bytes == 0 || self.bytes + MESSAGE <= LIMIT
    }

    fn sent(&mut self, seq: u64, bytes: usize) {
        self.sent.push_back((seq, bytes));
        self.bytes += bytes;
    }

    fn acknowledge(&mut self, seq: u64) {
        while let Some((_, bytes)) = self.sent.pop_front_if(|(sent, _)| *sent <= seq) {
            self.bytes -= bytes;
        }
    }
}

impl Window {
    /// Waits until another message may be sent. Cancel-safe.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.lock().has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Notes that everything up to `seq`, `bytes` more, is on its way.
    pub(super) fn sent(&self, seq: u64, bytes: usize) {
        self.lock().sent(seq, bytes);
    }

    /// Notes that everything up to `seq` has arrived.
    pub(super) fn acknowledge(&self, seq: u64) {
        self.lock().acknowledge(seq);
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plain model: a list of what was sent, filtered by the highest acknowledgement.
        #[test]
        fn the_window_counts_what_is_unacknowledged(
            steps in proptest::collection::vec((any::<bool>(), 0..40u64, 0..=MESSAGE), 1..80)
        ) {
            let mut flight = Flight::default();
            let mut all: Vec<(u64, usize)> = Vec::new();
            let (mut seq, mut acknowledged) = (0, 0);
            for (send, n, bytes) in steps {
                if send && flight.has_room() {
                    seq += 1;
                    flight.sent(seq, bytes);
                    all.push((seq, bytes));
                } else if !send {
                    flight.acknowledge(n);
                    // Acknowledging what was never sent changes nothing about what is sent later.
                    acknowledged = acknowledged.max(n.min(seq));
                }
                let open: usize = all.iter().filter(|(s, _)| *s > acknowledged).map(|(_, b)| b).sum();
                prop_assert_eq!(flight.bytes, open);
                prop_assert!(flight.bytes <= LIMIT);
            }
        }
    }

    #[test]
    fn a_snapshot_larger_than_the_window_still_goes_alone() {
        let mut flight = Flight::default();
        flight.sent(7, 3 * LIMIT);
        assert!(!flight.has_room());
        flight.acknowledge(6);
        assert!(!flight.has_room());
        flight.acknowledge(7);
        assert!(flight.has_room());
    }

    #[tokio::test]
    async fn who_waits_for_room_is_woken_by_an_acknowledgement() {
        let window = Window::default();
        window.sent(1, LIMIT);
        let ((), ()) = tokio::join!(window.room(), async { window.acknowledge(1) });
    }
}
