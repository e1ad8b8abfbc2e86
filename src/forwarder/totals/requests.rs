//! Requests with metrics: put together of series, taken apart when a destination refuses them, and cleaned of what a
//! session forged.

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
};
use prost::Message;

use super::series::{self, Key, Series};
use crate::{forwarder::points, signal::Signal};

/// Points of one request,
const POINTS: usize = 2000;
/// and about so many bytes.
const BYTES: usize = 1 << 20;

/// Requests in the making; series come in the order of their keys, so what belongs together comes together.
#[derive(Default)]
pub(super) struct Builder {
    requests: Vec<ExportMetricsServiceRequest>,
    points: usize,
    bytes: usize,
    last: Option<Key>,
}

impl Builder {
    /// Adds the series as it stands, as of `now` (µs).
    pub fn push(&mut self, key: Key, series: &Series, now: u64) {
        if self.requests.is_empty() || self.points == POINTS || self.bytes >= BYTES {
            self.requests.push(ExportMetricsServiceRequest::default());
            (self.points, self.bytes, self.last) = (0, 0, None);
        }
        self.points += 1;
        self.bytes += series.weight();
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

    /// Adds the beginning of a series: nothing, at the time from which it counts. A level has none.
    pub fn push_zero(&mut self, key: Key, series: &Series) {
        if let Some(zero) = series.zero() {
            self.push(key, &zero, series.since);
        }
    }

    /// What has been put together.
    pub fn requests(self) -> Vec<ExportMetricsServiceRequest> {
        self.requests
    }
}

/// Requests with these, of no more than so many bytes each, but for a single one's.
pub(super) fn together(all: impl Iterator<Item = ResourceMetrics>) -> Vec<ExportMetricsServiceRequest> {
    let mut requests: Vec<ExportMetricsServiceRequest> = Vec::new();
    let mut bytes = BYTES;
    for of in all {
        if bytes >= BYTES {
            requests.push(ExportMetricsServiceRequest::default());
            bytes = 0;
        }
        bytes += of.encoded_len();
        if let Some(request) = requests.last_mut() {
            request.resource_metrics.push(of);
        }
    }
    requests
}

/// A session's request without metrics that call themselves the daemon's, and without what a point says of whom the
/// resource names with authority; other signals are as they are.
pub(in crate::forwarder) fn honest(signal: Signal, request: Bytes) -> Option<Bytes> {
    if signal != Signal::Metrics {
        return Some(request);
    }
    let mut all = ExportMetricsServiceRequest::decode(request).ok()?;
    all.resource_metrics.retain(|of| !of.resource.as_ref().is_some_and(series::is_daemons));
    for scope in all.resource_metrics.iter_mut().flat_map(|of| &mut of.scope_metrics) {
        scope.metrics.retain(|metric| !series::is_ours(&metric.name));
        for data in scope.metrics.iter_mut().filter_map(|metric| metric.data.as_mut()) {
            points::each(data, |attributes| attributes.retain(|a| !series::is_of_the_resource(&a.key)));
        }
    }
    Some(all.encode_to_vec().into())
}

/// A request in two, by metrics or, of one metric, by points; `None` where it has one point.
pub(in crate::forwarder) fn halves(
    request: ExportMetricsServiceRequest,
) -> Option<[ExportMetricsServiceRequest; 2]> {
    let mut each: Vec<ExportMetricsServiceRequest> = Vec::new();
    for of in request.resource_metrics {
        for scope in of.scope_metrics {
            for metric in scope.metrics {
                for metric in by_point(metric) {
                    let scope_metrics = vec![ScopeMetrics {
                        scope: scope.scope.clone(),
                        metrics: vec![metric],
                        schema_url: String::new(),
                    }];
                    let resource_metrics = vec![ResourceMetrics {
                        resource: of.resource.clone(),
                        scope_metrics,
                        schema_url: String::new(),
                    }];
                    each.push(ExportMetricsServiceRequest { resource_metrics });
                }
            }
        }
    }
    if each.len() < 2 {
        return None;
    }
    let second = each.split_off(each.len() / 2);
    Some([each, second].map(|half| ExportMetricsServiceRequest {
        resource_metrics: half.into_iter().flat_map(|one| one.resource_metrics).collect(),
    }))
}

/// A metric as so many of one point each.
fn by_point(mut metric: Metric) -> Vec<Metric> {
    let Some(data) = metric.data.take() else { return vec![metric] };
    points::single(data).map(|data| Metric { data: Some(data), ..metric.clone() }).collect()
}
