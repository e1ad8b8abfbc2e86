//! Summed metrics to one destination: read by time, added up, sent, kept.
//!
//! Sums, what was added to them, and the cursors change together on the disk, and then they are sent: what a destination
//! has heard never has to be taken back. A daemon that is killed in between says where all sums stand when it is back.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tokio::time::sleep;

use super::{
    Backoff, LOOK, Shared,
    deliver::Patience,
    door::Outcome,
    merge::{Merge, Step},
    totals::{self, Changes, Key, Totals},
};
use crate::{
    clock,
    id::SessionId,
    signal::Signal,
    store::{ALL_SENT, StoreError, Sums, SumsStep},
};

/// How often one looks for more when all is up to date.
const TICK: Duration = Duration::from_secs(1);
/// How often everything is sent again: a backend takes for gone what it does not hear of for five minutes.
const AGAIN: Duration = Duration::from_secs(60);
/// From how far back on one does not linger.
const BEHIND: u64 = 10_000_000; // µs
/// How long one may spend on the pieces of requests that a destination cannot bear.
const APART: Duration = Duration::from_secs(60);
/// So many pieces may fail in a row: a request of 2000 points is taken apart to one of them in fewer steps.
const IN_A_ROW: u32 = 16;
/// Between two tries at the store.
const PAUSE: Duration = Duration::from_secs(5);

impl Shared {
    /// Sends sums for ever.
    pub(super) async fn sums(&self) {
        let cursor = format!("{}/metrics", self.name);
        let (mut totals, mut time) = loop {
            match self.kept(&cursor).await {
                Ok(kept) => break kept,
                Err(error) => {
                    tracing::error!(destination = self.name, %error, "the sums of metrics cannot be read");
                    sleep(PAUSE).await;
                }
            }
        };
        let mut patience = Patience::default();
        // What was kept last may not have been sent.
        self.send_sums(totals.once_more(time), &mut patience).await;
        let mut merge = Merge::default();
        let mut looked: Option<Instant> = None;
        let mut again = Instant::now();
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
            let behind = step.entries.last().is_some_and(|(_, entry)| entry.time + BEHIND < clock::now());
            if !step.entries.is_empty() || !step.over.is_empty() {
                // Time only goes on, also for what comes late: a sum cannot have been larger before.
                time = step.entries.iter().map(|(_, entry)| entry.time).fold(time, u64::max);
                let waiting = step.entries.first().map(|(_, first)| (step.entries.len() as u64, first.time));
                self.status.sums(waiting);
                let requests = self.take(&mut totals, step, time, &cursor).await;
                self.send_sums(requests, &mut patience).await;
                self.status.sums(None);
            }
            if !behind {
                if again.elapsed() >= AGAIN {
                    time = time.max(clock::now());
                    self.send_sums(totals.all(time), &mut patience).await;
                    again = Instant::now();
                }
                sleep(TICK).await;
            }
        }
    }

    /// The sums as they were kept, and the time of the last step. A row that makes no sense is given up: its series
    /// begins anew.
    async fn kept(&self, cursor: &str) -> Result<(Totals, u64), StoreError> {
        let store = self.supervisor.store();
        // What was kept before more was to be held back would go on telling it.
        let forgotten = store.keep_under(&self.name, &json(self.filter.privacy())).await?;
        if forgotten {
            tracing::warn!(
                destination = self.name,
                "what may leave has changed: the sums of metrics begin anew"
            );
        }
        let Sums { series, parts, time } = store.sums(&self.name).await?;
        let told = |what: &str| {
            tracing::error!(destination = self.name, what, "a sum of metrics makes no sense and is given up")
        };
        let series = series.into_iter().filter_map(|(key, state)| {
            let read = Key::try_from(key.clone()).ok().zip(serde_json::from_str(&state).ok());
            if read.is_none() {
                told(&key);
            }
            read
        });
        let parts = parts.into_iter().filter_map(|(id, state)| {
            let read = serde_json::from_str(&state).ok();
            if read.is_none() {
                told(&id.to_string());
            }
            Some((id, read?))
        });
        let instance = self.supervisor.instance().to_string();
        let mut totals = Totals::new(instance, series.collect(), parts.collect());
        if forgotten {
            totals.forget_levels(|_| true);
        }
        // Those that were purged meanwhile are over.
        let there: HashSet<SessionId> = store.unsent(cursor).await?.into_iter().map(|of| of.id).collect();
        totals.sessions().into_iter().filter(|id| !there.contains(id)).for_each(|id| totals.end(id));
        Ok((totals, time))
    }

    /// Adds a step and keeps what came of it: what is to be sent then, as of `time` (µs).
    async fn take(
        &self,
        totals: &mut Totals,
        step: Step,
        time: u64,
        cursor: &str,
    ) -> Vec<ExportMetricsServiceRequest> {
        let mut cursors = BTreeMap::new();
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
            cursors.insert(*id, ALL_SENT);
            self.status.waiting_metrics(*id, None);
        }
        let (requests, Changes { series, parts, gone }) = totals.step(time);
        let kept = SumsStep {
            sums: Sums {
                series: series.iter().map(|(key, series)| (String::from(*key), json(series))).collect(),
                parts: parts.iter().map(|(id, parts)| (*id, json(parts))).collect(),
                time,
            },
            gone: gone.into_iter().map(String::from).collect(),
            cursors: cursors.into_iter().collect(),
            over: step.over,
        };
        while let Err(error) = self.supervisor.store().keep_sums(&self.name, cursor, &kept).await {
            // Going on without would add some of it twice after a restart.
            tracing::error!(destination = self.name, %error, "the sums of metrics cannot be kept; they wait");
            sleep(PAUSE).await;
        }
        requests
    }

    /// Sends requests; one that the destination refuses is taken apart, so that only what it cannot take is lost. So is
    /// one that goes on failing while others arrive: its pieces have one try each and are passed over, since the next
    /// request says what they do.
    async fn send_sums(&self, requests: Vec<ExportMetricsServiceRequest>, patience: &mut Patience) {
        const OF: &str = "sums of metrics";
        let mut waiting: VecDeque<ExportMetricsServiceRequest> = requests.into();
        let (mut whole, mut apart) = (true, None);
        // Whether the first one failed before, and how many have since one arrived.
        let (mut again, mut failed) = (false, 0);
        let mut backoff = Backoff::default();
        while let Some(request) = waiting.pop_front() {
            let why = match self.attempt(OF, Signal::Metrics, request.encode_to_vec().into()).await {
                Outcome::Sent { .. } => {
                    if std::mem::take(&mut again) {
                        *patience = Patience::default();
                    }
                    (backoff, failed) = (Backoff::default(), 0);
                    continue;
                }
                Outcome::Refused(why) => why,
                Outcome::Later(why, asked) => {
                    failed += 1;
                    let others = patience.failed(Instant::now(), self.status.taken(Signal::Metrics));
                    if failed > IN_A_ROW {
                        // It is away after all.
                        (apart, *patience) = (None, Patience::default());
                    }
                    if apart.is_none() && !(others && patience.is_out()) {
                        again = true;
                        waiting.push_front(request);
                        sleep(backoff.next(asked)).await;
                        continue;
                    }
                    let began = *apart.get_or_insert_with(Instant::now);
                    if began.elapsed() > APART {
                        return self.refused(OF, &why);
                    }
                    sleep(asked.unwrap_or_default()).await;
                    why
                }
            };
            (whole, again) = (false, false);
            match totals::halves(request) {
                Some([first, second]) => {
                    waiting.push_front(second);
                    waiting.push_front(first);
                }
                None => self.refused(OF, &why),
            }
        }
        if whole {
            *patience = Patience::default();
        }
    }
}

/// These are plain data, of which JSON can always be made.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
