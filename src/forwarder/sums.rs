//! Summed metrics to one destination: read by time, added up, sent, kept.
//!
//! Sums, what was added to them, and the cursors change together on the disk, and only after the destination has the
//! step. A daemon that is killed in between adds the same to the same again, and sends what the destination has already.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tokio::time::sleep;

use super::{
    LOOK, Shared,
    merge::{Merge, Step},
    totals::{Changes, Totals},
};
use crate::{
    clock,
    signal::Signal,
    store::{StoreError, Sums, SumsStep},
};

/// How often one looks for more when all is up to date.
const TICK: Duration = Duration::from_secs(1);
/// How often everything is sent again: a backend takes for gone what it does not hear of for five minutes.
const AGAIN: Duration = Duration::from_secs(60);
/// Between two tries at the store.
const PAUSE: Duration = Duration::from_secs(5);

impl Shared {
    /// Sends sums for ever.
    pub(super) async fn sums(&self) {
        let cursor = format!("{}/metrics", self.name);
        let mut totals = loop {
            match self.kept().await {
                Ok(totals) => break totals,
                Err(error) => {
                    tracing::error!(destination = self.name, %error, "the sums of metrics cannot be read");
                    sleep(PAUSE).await;
                }
            }
        };
        let mut merge = Merge::default();
        let mut looked: Option<Instant> = None;
        let mut again = Instant::now();
        // Time only goes on, also for what comes late: a sum cannot have been larger before.
        let mut time = 0;
        let mut changes = self.supervisor.changes();
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) || changes.has_changed().unwrap_or(false) {
                changes.mark_unchanged();
                match merge.look(self, &cursor).await {
                    Ok(()) => looked = Some(Instant::now()),
                    Err(error) => {
                        tracing::warn!(%error, "the forwarder cannot tell which sessions there are")
                    }
                }
            }
            let step = merge.step(self).await;
            if step.entries.is_empty() && step.over.is_empty() {
                if again.elapsed() >= AGAIN {
                    time = time.max(clock::now());
                    self.send_sums(totals.all(time)).await;
                    again = Instant::now();
                }
                sleep(TICK).await;
                continue;
            }
            time = step.entries.iter().map(|(_, entry)| entry.time).fold(time, u64::max);
            if time == 0 {
                time = clock::now();
            }
            self.take(&mut totals, step, time, &cursor).await;
        }
    }

    async fn kept(&self) -> Result<Totals, StoreError> {
        let Sums { series, parts } = self.supervisor.store().sums(&self.name).await?;
        let series: Vec<_> = series
            .into_iter()
            .map(|(key, state)| {
                let key = key.try_into().map_err(|e: &str| StoreError::Row(e.to_owned()))?;
                Ok((key, serde_json::from_str(&state)?))
            })
            .collect::<Result<_, StoreError>>()?;
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(id, state)| Ok((id, serde_json::from_str(&state)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(Totals::new(self.supervisor.instance().to_string(), series, parts))
    }

    /// Adds a step, sends what came of it as of `time` (µs), and keeps it.
    async fn take(&self, totals: &mut Totals, step: Step, time: u64, cursor: &str) {
        let mut cursors = std::collections::BTreeMap::new();
        for (id, entry) in step.entries {
            // Before it is added up: what is left out or hashed may be what series are told apart by.
            let request = self.filter.apply(Signal::Metrics, entry.payload);
            match request.and_then(|request| ExportMetricsServiceRequest::decode(request).ok()) {
                Some(request) => totals.add(id, request),
                None => tracing::error!(session = %id, seq = entry.seq, "a request cannot be read"),
            }
            cursors.insert(id, entry.seq);
        }
        for id in &step.over {
            totals.end(*id);
            cursors.insert(*id, crate::store::ALL_SENT);
            self.status.waiting_metrics(*id, None);
        }
        let (requests, Changes { series, parts }) = totals.step(time);
        self.send_sums(requests).await;
        let kept = SumsStep {
            sums: Sums {
                series: series.iter().map(|(key, series)| (String::from(*key), json(series))).collect(),
                parts: parts.iter().map(|(id, parts)| (*id, json(parts))).collect(),
            },
            cursors: cursors.into_iter().collect(),
            over: step.over,
        };
        while let Err(error) = self.supervisor.store().keep_sums(&self.name, cursor, &kept).await {
            // Going on without would add some of it twice after a restart.
            tracing::error!(destination = self.name, %error, "the sums of metrics cannot be kept; they wait");
            sleep(PAUSE).await;
        }
    }

    async fn send_sums(&self, requests: Vec<ExportMetricsServiceRequest>) {
        for request in requests {
            if let Err(why) =
                self.deliver("sums of metrics", Signal::Metrics, request.encode_to_vec().into()).await
            {
                self.refused("sums of metrics", &why);
            }
        }
    }
}

/// These are plain data, of which JSON can always be made.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
