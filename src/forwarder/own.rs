//! The daemon's own metrics to one destination. What is late is not sent again: the next says it too.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::time::{MissedTickBehavior, interval};

use super::{Shared, Status, door::Outcome};
use crate::{clock, metrics::otlp, signal::Signal};

/// How often they are sent.
const EVERY: Duration = Duration::from_secs(15);

impl Shared {
    /// Sends them for ever; `all` is every destination, which they tell of.
    pub(super) async fn own_metrics(&self, all: Vec<Arc<Status>>) {
        let since = clock::now();
        let instance = self.supervisor.instance().to_string();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.supervisor.observed(all.iter().map(|status| status.report()).collect());
            let families = self.supervisor.metrics().gather(&now);
            let request = otlp::request(&families, &instance, since, clock::now());
            match self.door.send(Signal::Metrics, request.encode_to_vec().into()).await {
                Outcome::Sent { rejected: 0, .. } => self.status.sent(Signal::Metrics, 0, ""),
                Outcome::Sent { rejected, why } => self.status.sent(Signal::Metrics, rejected, &why),
                Outcome::Refused(why) => self.refused("the daemon's own metrics", &why),
                Outcome::Later(why, _) => drop(self.status.later(&why)),
            }
        }
    }
}
