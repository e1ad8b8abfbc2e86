//! The same families as an OTLP request.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{InstrumentationScope, KeyValue},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
    },
    resource::v1::Resource,
};

use super::{Data, Family, Sample};
use crate::summary::attributes::text;

/// The service that these metrics are of.
pub const SERVICE: &str = "sandboxctl";

/// The families as of `now`, counted since `since` (both in µs since the epoch), of the daemon `instance`. Names stay
/// as Prometheus has them: a backend that appends a unit or `_total` finds it there already.
pub fn request(families: &[Family], instance: &str, since: u64, now: u64) -> ExportMetricsServiceRequest {
    let resource = Resource {
        attributes: vec![
            text("service.name", SERVICE),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
        ],
        ..Resource::default()
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let scope = InstrumentationScope { name: SERVICE.to_owned(), version, ..InstrumentationScope::default() };
    let times = (since.saturating_mul(1000), now.saturating_mul(1000));
    let metrics = families.iter().filter(|f| !f.samples.is_empty()).map(|f| metric(f, times)).collect();
    let scopes = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let of =
        ResourceMetrics { resource: Some(resource), scope_metrics: scopes, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![of] }
}

fn metric(family: &Family, times: (u64, u64)) -> Metric {
    let aggregation_temporality = AggregationTemporality::Cumulative as i32;
    let numbers = || family.samples.iter().map(|sample| number(sample, times)).collect();
    let data = match family.data {
        Data::Counter => {
            metric::Data::Sum(Sum { data_points: numbers(), aggregation_temporality, is_monotonic: true })
        }
        Data::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Data::Histogram { bounds } => {
            let data_points = family.samples.iter().map(|sample| histogram(sample, bounds, times)).collect();
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality })
        }
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(sample: &Sample, (since, now): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(sample: &Sample, bounds: &[f64], (since, now): (u64, u64)) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: sample.buckets.iter().sum(),
        sum: Some(sample.value),
        bucket_counts: sample.buckets.clone(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    sample.labels.iter().map(|(key, value)| text(key, value)).collect()
}
