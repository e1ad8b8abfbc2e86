//! How long to wait before a request is sent again.

use std::time::Duration;

/// Between two tries, at first and at most.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Waits of one request: each about twice as long as the one before, a random part of it.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(WAITS.0)
    }
}

impl Backoff {
    /// The next wait; longer, where the destination has `asked` for that.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let part = self.0.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.0 = (self.0 * 2).min(WAITS.1);
        part.max(asked.unwrap_or_default())
    }
}
