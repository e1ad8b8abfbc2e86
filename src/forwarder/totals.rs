//! Sums over sessions: how metrics leave where nobody asked for a label for each session.
//!
//! A session's counters begin at nothing and end with it, and a series for each would fill any backend. So what each
//! adds is added here to a series that the sessions share, which counts on for as long as this daemon's state lives,
//! as the counters of a process do that never restarts:
//!
//! ```text
//!   session A  tokens{model="m", session.id="…"}   3 ▸ 7 ──┐  +4
//!   session B  tokens{model="m", session.id="…"}   9 ▸ 9 ──┴─▶ tokens{model="m"}  12 ▸ 16
//! ```
//!
//! Only differences are added, so a sum never falls by a rounding, which a backend would take for a restart. What has
//! been added of each source, and the sums, are kept together with the cursors that say how far they go. Gauges,
//! summaries and exponential histograms cannot be added up and pass with the session's own labels taken off: of
//! several sessions the last one tells.
//!
//! A session can invent names. Of its sources at most [`PER_SESSION`] are followed, those of processes that have ended
//! make room. One person's series are at most [`PER_PERSON`], all series [`SERIES`]: beyond, those make room that have
//! stood still for a day. Where there is no room, a new one is counted in one series for them all, with
//! `otel.metric.overflow` (as in OpenTelemetry's metrics SDK).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point::Value,
    },
};
use serde::{Deserialize, Serialize};

use super::points;
use crate::id::SessionId;

mod requests;
mod series;

use requests::Builder;
pub(in crate::forwarder) use requests::{halves, honest};
use series::{Descriptor, Person, Shape};
pub(in crate::forwarder) use series::{Key, Series};

/// Most sources of one session that are followed.
const PER_SESSION: usize = 512;
/// How long a source says nothing that has ended: who lives says its counts again every minute at the latest.
const SILENCE: u64 = 180_000_000_000; // ns
/// Most series of one person in a profile.
const PER_PERSON: usize = SERIES / 8;
/// Most series that leave.
const SERIES: usize = 20_000;
/// Most points of a request that are looked at.
const POINTS: usize = 20_000;
/// Longest point that passes as it is.
const POINT: usize = 16 << 10; // bytes
/// From here on adding one changes nothing (2^53).
const LARGEST: f64 = 9_007_199_254_740_992.0;
/// How long a series may have stood still that makes room for another when there are too many.
const IDLE: u64 = 24 * 3600 * 1_000_000; // µs
/// How long before its first value a series is sent as zero: who looks for what has been added finds its beginning.
const ZERO_BEFORE: u64 = 10_000_000; // µs

/// What a counter or a histogram counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::forwarder) struct Amount {
    /// The counter's value, or the sum of what the histogram saw.
    #[serde(rename = "v")]
    value: f64,
    /// What else a histogram has: how many it saw, and how many in each bucket.
    #[serde(rename = "b", skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<u64>,
}

impl Amount {
    fn add(&mut self, more: &Amount) {
        self.value += more.value;
        if self.buckets.len() < more.buckets.len() {
            self.buckets.resize(more.buckets.len(), 0);
        }
        for (sum, more) in self.buckets.iter_mut().zip(&more.buckets) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// What came on top of `before`; `None` where it counts from the beginning again.
    fn since(&self, before: &Amount) -> Option<Amount> {
        let fell = self.value < before.value
            || self.buckets.len() != before.buckets.len()
            || self.buckets.iter().zip(&before.buckets).any(|(now, before)| now < before);
        (!fell).then(|| Amount {
            value: self.value - before.value,
            buckets: self.buckets.iter().zip(&before.buckets).map(|(now, before)| now - before).collect(),
        })
    }
}

/// What has been added of each of a session's sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::forwarder) struct Parts(BTreeMap<String, Part>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    #[serde(flatten)]
    amount: Amount,
    /// The time of the point that it is from, in ns: one that comes later and is older says nothing new.
    #[serde(rename = "t", default)]
    at: u64,
    /// The series that a level is taken out of again when its session has ended.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    level: Option<Key>,
}

impl Parts {
    /// Makes room for a source that speaks at `now` (ns); false where there is none. The one that has been silent for
    /// longest goes, if it has ended: one that lives would count all it has once more. So stays one whose level is still to
    /// be taken out again.
    fn make_room(&mut self, source: &str, now: u64) -> bool {
        if self.0.len() < PER_SESSION || self.0.contains_key(source) {
            return true;
        }
        let silent = self.0.iter().filter(|(_, part)| part.level.is_none()).min_by_key(|(_, part)| part.at);
        let ended = silent.filter(|(_, part)| part.at == 0 || part.at.saturating_add(SILENCE) < now);
        let ended = ended.map(|(source, _)| source.clone());
        ended.is_some_and(|source| self.0.remove(&source).is_some())
    }
}

/// What is to be kept after a step.
#[derive(Debug, Default)]
pub(in crate::forwarder) struct Changes {
    /// Series that changed.
    pub series: Vec<(Key, Series)>,
    /// Sessions of which something was added, and what has been in all.
    pub parts: Vec<(SessionId, Parts)>,
    /// Series that made room for others.
    pub gone: Vec<Key>,
}

/// The sums of one destination.
#[derive(Debug, Default)]
pub(in crate::forwarder) struct Totals {
    /// This daemon, of whose series a backend may see several.
    instance: String,
    series: BTreeMap<Key, Series>,
    parts: HashMap<SessionId, Parts>,
    /// How many series each person has.
    persons: HashMap<Person, usize>,
    changed: BTreeSet<Key>,
    /// Persons for a series of whom there was no room; `None` where there was none for anybody's.
    crowded: BTreeSet<Option<Person>>,
    touched: BTreeSet<SessionId>,
    gone: Vec<Key>,
    /// What cannot be added up, on its way out: of several the last.
    passing: BTreeMap<Key, ResourceMetrics>,
    /// Of what series a session has had such.
    passed: HashMap<SessionId, BTreeSet<Key>>,
}

impl Totals {
    /// The sums as they were kept.
    pub fn new(instance: String, series: Vec<(Key, Series)>, parts: Vec<(SessionId, Parts)>) -> Totals {
        let mut totals = Totals { instance, parts: parts.into_iter().collect(), ..Totals::default() };
        for (key, series) in series {
            *totals.persons.entry(series.of.resource.person()).or_default() += 1;
            totals.series.insert(key, series);
        }
        totals
    }

    /// Series were given up: no part knows of a level in them.
    pub fn forget_levels(&mut self, gone: impl Fn(&Key) -> bool) {
        for (id, parts) in &mut self.parts {
            let before = parts.0.len();
            parts.0.retain(|_, part| !part.level.as_ref().is_some_and(&gone));
            if parts.0.len() < before {
                self.touched.insert(*id);
            }
        }
    }

    /// Adds what a session's request tells.
    pub fn add(&mut self, session: SessionId, request: ExportMetricsServiceRequest) {
        let mut left = POINTS;
        let mut one_more = || {
            let is_left = left > 0;
            left = left.saturating_sub(1);
            is_left
        };
        for of in request.resource_metrics {
            let resource = of.resource.unwrap_or_default();
            if series::is_daemons(&resource) {
                continue;
            }
            let origin = series::origin(&resource);
            let resource = series::resource(resource, &self.instance);
            for scope in of.scope_metrics {
                let name = series::scope(scope.scope);
                for metric in scope.metrics.into_iter().filter(series::is_fit) {
                    let mut of = Descriptor {
                        resource: resource.clone(),
                        scope: name.clone(),
                        name: metric.name.clone(),
                        unit: metric.unit.clone(),
                        description: metric.description.clone(),
                        shape: Shape::Counter,
                        attributes: Vec::new(),
                        origin,
                    };
                    match metric.data {
                        Some(Data::Sum(sum)) => {
                            let delta = sum.aggregation_temporality == AggregationTemporality::Delta as i32;
                            of.shape = if sum.is_monotonic { Shape::Counter } else { Shape::Level };
                            for point in sum.data_points.into_iter().take_while(|_| one_more()) {
                                let Some(amount) = number(&point) else { continue };
                                let when = (point.start_time_unix_nano, point.time_unix_nano);
                                self.take(session, &of, point.attributes, (!delta).then_some(when), amount);
                            }
                        }
                        Some(Data::Histogram(all)) => {
                            let delta = all.aggregation_temporality == AggregationTemporality::Delta as i32;
                            for point in all.data_points.into_iter().take_while(|_| one_more()) {
                                if !series::is_whole(&point) {
                                    continue;
                                }
                                of.shape = Shape::Histogram { bounds: point.explicit_bounds };
                                let amount = Amount {
                                    value: point.sum.unwrap_or(0.0),
                                    buckets: std::iter::once(point.count)
                                        .chain(point.bucket_counts)
                                        .collect(),
                                };
                                let when = (point.start_time_unix_nano, point.time_unix_nano);
                                self.take(session, &of, point.attributes, (!delta).then_some(when), amount);
                            }
                        }
                        Some(data) => {
                            for point in points::single(data).take_while(|_| one_more()) {
                                self.pass(session, &of, point);
                            }
                        }
                        None => {}
                    }
                }
            }
        }
    }

    /// A point: `when` is when it began to count and when it stood there (ns), `None` where it tells what came since the
    /// one before.
    fn take(
        &mut self,
        session: SessionId,
        of: &Descriptor,
        attributes: Vec<KeyValue>,
        when: Option<(u64, u64)>,
        amount: Amount,
    ) {
        // A counter below zero is none, and backends would take each step of it for a restart; and a number that JSON
        // does not have could not be kept.
        let grows = of.shape != Shape::Level;
        let is_number = amount.value.is_finite() && amount.value.abs() < LARGEST;
        if !is_number || (grows && amount.value < 0.0) || !series::are_fit(&attributes) {
            return;
        }
        let parts = self.parts.entry(session).or_default();
        let source = of.source(&attributes, when.map(|(start, _)| start));
        if !parts.make_room(&source, when.map_or(0, |(_, at)| at)) {
            return;
        }
        let of = Descriptor { attributes: series::shared(attributes), ..of.clone() };
        let mut key = of.key();
        let full = if self.series.contains_key(&key) { None } else { self.full(of.resource.person()) };
        let of = if let Some(of_whom) = full {
            self.crowded.insert(of_whom);
            // Of histograms with other bounds nothing common could be told.
            let Some(over) = of.overflow() else { return };
            key = over.key();
            over
        } else {
            of
        };
        let part = self.parts.entry(session).or_default().0.entry(source).or_default();
        let level = (!grows).then_some(key);
        let more = match when {
            None => {
                if level.is_some() {
                    part.amount.value += amount.value;
                }
                part.level = level;
                amount
            }
            Some((_, at)) if at < part.at => return,
            Some((_, at)) => {
                let more = match level {
                    Some(_) => Amount { value: amount.value - part.amount.value, buckets: Vec::new() },
                    None => amount.since(&part.amount).unwrap_or_else(|| amount.clone()),
                };
                *part = Part { amount, at, level };
                more
            }
        };
        self.touched.insert(session);
        self.changed.insert(key);
        let series = self.series.entry(key).or_insert_with(|| {
            *self.persons.entry(of.resource.person()).or_default() += 1;
            Series::new(of)
        });
        if (series.amount.value + more.value).abs() >= LARGEST {
            // It begins anew, as after a restart.
            *series = Series::new(series.of.clone());
        }
        series.amount.add(&more);
    }

    /// Whether there is no room for a series of this person's: of whom there are too many, or of all.
    fn full(&self, person: Person) -> Option<Option<Person>> {
        if self.series.len() >= SERIES {
            return Some(None);
        }
        (self.persons.get(&person).is_some_and(|series| *series >= PER_PERSON)).then_some(Some(person))
    }

    /// A point that cannot be added up: on, but for what is of the session alone.
    fn pass(&mut self, session: SessionId, of: &Descriptor, mut data: Data) {
        let mut attributes = Vec::new();
        points::each(&mut data, |of| {
            *of = series::shared(std::mem::take(of));
            attributes.clone_from(of);
        });
        if !series::are_fit(&attributes) || data.encoded_len() > POINT {
            return;
        }
        let of = Descriptor { attributes, ..of.clone() };
        let (key, known) = (of.key(), self.passed.entry(session).or_default());
        if known.len() >= PER_SESSION && !known.contains(&key) {
            return;
        }
        known.insert(key);
        let metric = Metric { data: Some(data), ..of.metric() };
        let scope =
            ScopeMetrics { scope: Some(of.scope()), metrics: vec![metric], ..ScopeMetrics::default() };
        let resource = Some(of.resource.to_proto());
        let of = ResourceMetrics { resource, scope_metrics: vec![scope], ..ResourceMetrics::default() };
        self.passing.insert(key, of);
    }

    /// Sessions of which something has been added, and that are not over.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.parts.keys().copied().collect()
    }

    /// A session is over and all of it is here: only its levels end with it.
    pub fn end(&mut self, session: SessionId) {
        self.passed.remove(&session);
        let Some(parts) = self.parts.remove(&session) else { return };
        for part in parts.0.into_values() {
            if let Some(key) = part.level
                && let Some(series) = self.series.get_mut(&key)
            {
                series.amount.value -= part.amount.value;
                self.changed.insert(key);
            }
        }
    }

    /// Requests with what has changed, as of `now` (µs), and what is to be kept once they have arrived. A series that
    /// is new is sent as zero first.
    pub fn step(&mut self, now: u64) -> (Vec<ExportMetricsServiceRequest>, Changes) {
        let keys = std::mem::take(&mut self.changed);
        let crowded = std::mem::take(&mut self.crowded);
        if !crowded.is_empty() {
            // What comes back after a day begins anew, as after a restart.
            let makes_room = |(key, series): &(&Key, &Series)| {
                let of_them = || crowded.contains(&Some(series.of.resource.person()));
                !keys.contains(key) && series.at + IDLE < now && (crowded.contains(&None) || of_them())
            };
            let gone: BTreeSet<Key> = self.series.iter().filter(makes_room).map(|(key, _)| *key).collect();
            for series in gone.iter().filter_map(|key| self.series.remove(key)) {
                if let Some(left) = self.persons.get_mut(&series.of.resource.person()) {
                    *left = left.saturating_sub(1);
                }
            }
            self.forget_levels(|key| gone.contains(key));
            self.gone.extend(gone);
            self.persons.retain(|_, left| *left > 0);
        }
        let mut zeros = Builder::default();
        let mut points = Builder::default();
        let mut changes = Changes::default();
        for key in keys {
            let Some(series) = self.series.get_mut(&key) else { continue };
            if series.since == 0 {
                series.since = now.saturating_sub(ZERO_BEFORE);
                zeros.push_zero(key, series);
            }
            series.at = now;
            points.push(key, series, now);
            changes.series.push((key, series.clone()));
        }
        let touched = std::mem::take(&mut self.touched);
        changes.parts =
            touched.into_iter().filter_map(|id| Some((id, self.parts.get(&id)?.clone()))).collect();
        changes.gone = std::mem::take(&mut self.gone);
        let mut requests = zeros.requests();
        requests.extend(points.requests());
        requests.extend(requests::together(std::mem::take(&mut self.passing).into_values()));
        (requests, changes)
    }

    /// Requests with everything as it was kept, as of `time` (µs), for the last step may not have been sent: zeros of the
    /// series that began with it among them.
    pub fn once_more(&self, time: u64) -> Vec<ExportMetricsServiceRequest> {
        let mut zeros = Builder::default();
        let new = |series: &Series| series.at == time && series.since + ZERO_BEFORE == time;
        self.series
            .iter()
            .filter(|(_, series)| new(series))
            .for_each(|(key, series)| zeros.push_zero(*key, series));
        let mut requests = zeros.requests();
        requests.extend(self.all(time));
        requests
    }

    /// Requests with everything, as of `now` (µs): a series that nobody hears of for minutes is taken for gone.
    pub fn all(&self, now: u64) -> Vec<ExportMetricsServiceRequest> {
        let mut points = Builder::default();
        for (key, series) in self.series.iter().filter(|(_, series)| series.since > 0) {
            points.push(*key, series, now);
        }
        points.requests()
    }
}

fn number(point: &NumberDataPoint) -> Option<Amount> {
    let value = match point.value? {
        Value::AsDouble(value) => value,
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        Value::AsInt(value) => value as f64,
    };
    Some(Amount { value, buckets: Vec::new() })
}

#[cfg(test)]
mod tests;
