//! OpenTelemetry's three signals, and where each goes.

use sandbox_guest::frame::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All three.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// The path of OTLP/HTTP.
    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
            Signal::Logs => "/v1/logs",
        }
    }

    /// The path of OTLP/gRPC.
    pub fn service(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        self.kind().name()
    }

    /// The frames that hold it.
    pub fn kind(self) -> Kind {
        match self {
            Signal::Traces => Kind::Traces,
            Signal::Metrics => Kind::Metrics,
            Signal::Logs => Kind::Logs,
        }
    }

    /// The signal that a frame holds, if any.
    pub fn of(kind: Kind) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.kind() == kind)
    }
}
