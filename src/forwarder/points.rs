//! A metric's points, whatever kind they are of.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{ExponentialHistogram, Gauge, Histogram, Sum, Summary, metric::Data},
};

/// Goes through the points' attributes. Exemplars, which can hold anything, go.
pub(super) fn each(data: &mut Data, mut of: impl FnMut(&mut Vec<KeyValue>)) {
    match data {
        Data::Gauge(all) => all.data_points.iter_mut().for_each(|point| {
            point.exemplars.clear();
            of(&mut point.attributes);
        }),
        Data::Sum(all) => all.data_points.iter_mut().for_each(|point| {
            point.exemplars.clear();
            of(&mut point.attributes);
        }),
        Data::Histogram(all) => all.data_points.iter_mut().for_each(|point| {
            point.exemplars.clear();
            of(&mut point.attributes);
        }),
        Data::ExponentialHistogram(all) => all.data_points.iter_mut().for_each(|point| {
            point.exemplars.clear();
            of(&mut point.attributes);
        }),
        Data::Summary(all) => all.data_points.iter_mut().for_each(|point| of(&mut point.attributes)),
    }
}

/// The same data as so many of one point each.
pub(super) fn single(data: Data) -> Box<dyn Iterator<Item = Data>> {
    match data {
        Data::Gauge(Gauge { data_points }) => {
            Box::new(data_points.into_iter().map(|p| Data::Gauge(Gauge { data_points: vec![p] })))
        }
        Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic }) => Box::new(
            data_points
                .into_iter()
                .map(move |p| Data::Sum(Sum { data_points: vec![p], aggregation_temporality, is_monotonic })),
        ),
        Data::Histogram(Histogram { data_points, aggregation_temporality }) => Box::new(
            data_points
                .into_iter()
                .map(move |p| Data::Histogram(Histogram { data_points: vec![p], aggregation_temporality })),
        ),
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality }) => {
            Box::new(data_points.into_iter().map(move |p| {
                let data_points = vec![p];
                Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
            }))
        }
        Data::Summary(Summary { data_points }) => {
            Box::new(data_points.into_iter().map(|p| Data::Summary(Summary { data_points: vec![p] })))
        }
    }
}
