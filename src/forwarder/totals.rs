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
//! A session can invent names: beyond [`PER_SESSION`] sources of its own nothing of it is counted, beyond [`SERIES`]
//! series a new one is counted as its metric's series with `otel.metric.overflow` (OpenTelemetry's metrics SDK has the
//! same).

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

use crate::id::SessionId;

mod series;

use series::{Descriptor, Shape};
pub(in crate::forwarder) use series::{Key, Series};

/// Most sources of one session that are followed.
const PER_SESSION: usize = 2048;
/// Most series that leave.
const SERIES: usize = 20_000;
/// Points of one request.
const POINTS: usize = 2000;
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
    /// The series that a level is taken out of again when its session has ended.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    level: Option<Key>,
}

/// What is to be kept after a step.
#[derive(Debug, Default)]
pub(in crate::forwarder) struct Changes {
    /// Series that changed.
    pub series: Vec<(Key, Series)>,
    /// Sessions of which something was added, and what has been in all.
    pub parts: Vec<(SessionId, Parts)>,
}

/// The sums of one destination.
#[derive(Debug, Default)]
pub(in crate::forwarder) struct Totals {
    /// This daemon, of whose series a backend may see several.
    instance: String,
    series: BTreeMap<Key, Series>,
    parts: HashMap<SessionId, Parts>,
    changed: BTreeSet<Key>,
    touched: BTreeSet<SessionId>,
    /// What cannot be added up, on its way out.
    passing: Vec<ResourceMetrics>,
}

impl Totals {
    /// The sums as they were kept.
    pub fn new(instance: String, series: Vec<(Key, Series)>, parts: Vec<(SessionId, Parts)>) -> Totals {
        Totals {
            instance,
            series: series.into_iter().collect(),
            parts: parts.into_iter().collect(),
            ..Totals::default()
        }
    }

    /// Adds what a session's request tells.
    pub fn add(&mut self, session: SessionId, request: ExportMetricsServiceRequest) {
        for of in request.resource_metrics {
            let resource = series::resource(of.resource.unwrap_or_default(), &self.instance);
            for scope in of.scope_metrics {
                let name = scope.scope.map(|scope| (scope.name, scope.version)).unwrap_or_default();
                for metric in scope.metrics.into_iter().filter(|metric| !series::is_ours(&metric.name)) {
                    let mut of = Descriptor {
                        resource: resource.clone(),
                        scope: name.clone(),
                        name: metric.name.clone(),
                        unit: metric.unit.clone(),
                        description: metric.description.clone(),
                        shape: Shape::Counter,
                        attributes: Vec::new(),
                    };
                    match metric.data {
                        Some(Data::Sum(sum)) => {
                            let delta = sum.aggregation_temporality == AggregationTemporality::Delta as i32;
                            of.shape = if sum.is_monotonic { Shape::Counter } else { Shape::Level };
                            for point in sum.data_points {
                                let Some(amount) = number(&point) else { continue };
                                let start = if delta { None } else { Some(point.start_time_unix_nano) };
                                self.take(session, &of, point.attributes, start, amount);
                            }
                        }
                        Some(Data::Histogram(all)) => {
                            let delta = all.aggregation_temporality == AggregationTemporality::Delta as i32;
                            for point in all.data_points {
                                of.shape = Shape::Histogram { bounds: point.explicit_bounds };
                                let amount = Amount {
                                    value: point.sum.unwrap_or(0.0),
                                    buckets: std::iter::once(point.count)
                                        .chain(point.bucket_counts)
                                        .collect(),
                                };
                                let start = if delta { None } else { Some(point.start_time_unix_nano) };
                                self.take(session, &of, point.attributes, start, amount);
                            }
                        }
                        _ => self.pass(of, metric),
                    }
                }
            }
        }
    }

    /// A point: `start` is when it began to count, `None` where it tells what came since the one before.
    fn take(
        &mut self,
        session: SessionId,
        of: &Descriptor,
        attributes: Vec<KeyValue>,
        start: Option<u64>,
        amount: Amount,
    ) {
        // A counter that fell below zero is none; backends would take each step for a restart.
        if !amount.value.is_finite() || (of.shape == Shape::Counter && amount.value < 0.0) {
            return;
        }
        let parts = self.parts.entry(session).or_default();
        let source = of.source(&attributes, start);
        if parts.0.len() >= PER_SESSION && !parts.0.contains_key(&source) {
            return;
        }
        let of = Descriptor { attributes: series::shared(attributes), ..of.clone() };
        let mut key = of.key();
        let of = if self.series.len() >= SERIES && !self.series.contains_key(&key) {
            let over = of.overflow();
            key = over.key();
            over
        } else {
            of
        };
        let part = parts.0.entry(source).or_default();
        let more = match (start, &of.shape) {
            (None, _) => amount,
            (Some(_), Shape::Level) => {
                let more = Amount { value: amount.value - part.amount.value, buckets: Vec::new() };
                *part = Part { amount, level: Some(key) };
                more
            }
            (Some(_), _) => {
                let more = amount.since(&part.amount).unwrap_or_else(|| amount.clone());
                part.amount = amount;
                more
            }
        };
        self.touched.insert(session);
        self.changed.insert(key);
        self.series.entry(key).or_insert_with(|| Series::new(of)).amount.add(&more);
    }

    /// What cannot be added up: on, but for what is of the session alone.
    fn pass(&mut self, of: Descriptor, metric: Metric) {
        self.passing.push(ResourceMetrics {
            resource: Some(of.resource.to_proto()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(of.scope()),
                metrics: vec![series::shared_points(metric)],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        });
    }

    /// A session is over and all of it is here: only its levels end with it.
    pub fn end(&mut self, session: SessionId) {
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
        let mut zeros = Builder::default();
        let mut points = Builder::default();
        let mut changes = Changes::default();
        for key in keys {
            let Some(series) = self.series.get_mut(&key) else { continue };
            if series.since == 0 {
                series.since = now.saturating_sub(ZERO_BEFORE);
                if series.of.shape != Shape::Level {
                    zeros.push(key, &Series { amount: series.zero(), ..series.clone() }, series.since);
                }
            }
            points.push(key, series, now);
            changes.series.push((key, series.clone()));
        }
        let touched = std::mem::take(&mut self.touched);
        changes.parts =
            touched.into_iter().filter_map(|id| Some((id, self.parts.get(&id)?.clone()))).collect();
        let mut requests = zeros.requests();
        requests.extend(points.requests());
        let passing = std::mem::take(&mut self.passing);
        if !passing.is_empty() {
            requests.push(ExportMetricsServiceRequest { resource_metrics: passing });
        }
        (requests, changes)
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

/// Requests in the making; series come in the order of their keys, so what belongs together comes together.
#[derive(Default)]
struct Builder {
    requests: Vec<ExportMetricsServiceRequest>,
    points: usize,
    last: Option<Key>,
}

impl Builder {
    fn push(&mut self, key: Key, series: &Series, now: u64) {
        if self.points.is_multiple_of(POINTS) {
            self.requests.push(ExportMetricsServiceRequest::default());
            self.last = None;
        }
        self.points += 1;
        let Some(request) = self.requests.last_mut() else { return };
        let last = self.last.replace(key);
        if last.is_none_or(|last| !last.same_resource(&key)) {
            request.resource_metrics.push(ResourceMetrics {
                resource: Some(series.of.resource.to_proto()),
                ..ResourceMetrics::default()
            });
        }
        let Some(of) = request.resource_metrics.last_mut() else { return };
        if last.is_none_or(|last| !last.same_metric(&key)) || of.scope_metrics.is_empty() {
            of.scope_metrics.push(ScopeMetrics {
                scope: Some(series.of.scope()),
                metrics: vec![series.of.metric()],
                schema_url: String::new(),
            });
        }
        if let Some(metric) = of.scope_metrics.last_mut().and_then(|scope| scope.metrics.last_mut()) {
            series.point(metric, now);
        }
    }

    fn requests(self) -> Vec<ExportMetricsServiceRequest> {
        self.requests
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
