//! The client's counters: cumulative series, of which the last value counts, added up by name.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, NumberDataPoint, metric::Data, number_data_point::Value},
};
use serde::{Deserialize, Serialize};

use super::attributes::Attributes;

/// Attributes by which counters are told apart in the summary, beside their name.
const SPLIT: [&str; 2] = ["type", "decision"];

/// Counters by name, such as `claude_code.lines_of_code.count added`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    series: BTreeMap<u64, (String, f64)>,
}

impl Series {
    /// Takes a request into account, following at most `most` series; says how many points it had, and tells
    /// `grown` by how much each counter's sum changed, where it did.
    pub(super) fn apply(
        &mut self,
        request: &ExportMetricsServiceRequest,
        most: usize,
        mut grown: impl FnMut(&str, Attributes<'_>, f64),
    ) -> u64 {
        let mut points = 0;
        let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
        for metric in scopes.flat_map(|s| &s.metrics) {
            let (data, delta) = match &metric.data {
                Some(Data::Sum(sum)) => {
                    let delta = sum.aggregation_temporality == AggregationTemporality::Delta as i32;
                    (&sum.data_points, delta)
                }
                Some(Data::Gauge(gauge)) => (&gauge.data_points, false),
                _ => continue,
            };
            for point in data {
                points += 1;
                // What is told again unchanged is no sign of work: an idle client tells it every few seconds.
                let more = self.point(&metric.name, point, delta, most).filter(|more| *more != 0.0);
                if let Some(more) = more {
                    grown(&metric.name, Attributes(&point.attributes), more);
                }
            }
        }
        points
    }

    /// Takes a point into account; says by how much the sum changed, if it counts at all.
    fn point(&mut self, name: &str, point: &NumberDataPoint, delta: bool, most: usize) -> Option<f64> {
        let value = match point.value {
            Some(Value::AsDouble(value)) if value.is_finite() => value,
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            Some(Value::AsInt(value)) => value as f64,
            _ => return None,
        };
        let key = identity(name, point, delta);
        if let Some((_, last)) = self.series.get_mut(&key) {
            let before = std::mem::replace(last, if delta { *last + value } else { value });
            Some(*last - before)
        } else if self.series.len() < most {
            let said = Attributes(&point.attributes);
            let mut shown: String = name.chars().take(128).collect();
            for split in SPLIT.iter().filter_map(|key| said.text(key)) {
                shown.push(' ');
                shown.extend(split.chars().take(32));
            }
            self.series.insert(key, (crate::inert::inert(&shown), value));
            Some(value)
        } else {
            None
        }
    }

    /// The sum of each counter.
    pub fn sums(&self) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for (name, value) in self.series.values() {
            *sums.entry(name.as_str()).or_insert(0.0) += value;
        }
        sums
    }
}

/// A series is a name, attributes and, where it is cumulative, the moment that it counts from: a process
/// that restarts begins a new one.
fn identity(name: &str, point: &NumberDataPoint, delta: bool) -> u64 {
    let mut attributes: Vec<(&str, String)> =
        point.attributes.iter().map(|a| (a.key.as_str(), format!("{:?}", a.value))).collect();
    attributes.sort_unstable();
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    attributes.hash(&mut hasher);
    if !delta {
        point.start_time_unix_nano.hash(&mut hasher);
    }
    hasher.finish()
}
