//! The span of a session as a whole.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{
        Span,
        span::{Link, SpanKind},
    },
};
use prost::Message;

use super::{Spans, fail, request};
use crate::{
    api, clock,
    id::SessionId,
    journal::{Entry, Kind},
    lifecycle::Reason,
    summary::attributes::{number, pair, text},
};

/// Most turns that a session's span links to (the default limit of OpenTelemetry's SDKs).
const LINKS: usize = 128;

/// The turns of a client that has traces of its own.
pub(in crate::forwarder) struct Turns {
    id: SessionId,
    links: Vec<Link>,
}

impl Turns {
    /// The frames that tell of them.
    pub const KINDS: [Kind; 1] = [Kind::Traces];

    /// None yet, of this session.
    pub fn new(id: SessionId) -> Turns {
        Turns { id, links: Vec::new() }
    }

    /// Takes one more frame into account.
    pub fn see(&mut self, entry: &Entry) {
        if self.links.len() >= LINKS {
            return;
        }
        let Ok(request) = ExportTraceServiceRequest::decode(entry.payload.clone()) else { return };
        let spans = request.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        let roots =
            spans.filter(|span| span.parent_span_id.is_empty() && span.trace_id != self.id.trace_id());
        let roots = roots.filter(|span| (span.trace_id.len(), span.span_id.len()) == (16, 8));
        self.links.extend(roots.map(|span| Link {
            trace_id: span.trace_id,
            span_id: span.span_id,
            ..Link::default()
        }));
        self.links.truncate(LINKS);
    }
}

impl Spans {
    /// The span of the whole session, which has ended, as an `ExportTraceServiceRequest`.
    pub fn root(&self, session: &api::Session, turns: Turns) -> bytes::Bytes {
        let t = &session.totals;
        let mut attributes = vec![
            text("session.id", &session.id.to_string()),
            text("container.image.name", &session.image),
            text("process.command", session.program.first().map_or("", String::as_str)),
            number("sandbox.turns", t.turns),
            number("sandbox.tools", t.tools),
            number("sandbox.errors", t.errors),
            number("gen_ai.usage.input_tokens", t.input_tokens),
            number("gen_ai.usage.output_tokens", t.output_tokens),
            number("gen_ai.usage.cache_read.input_tokens", t.cache_read_tokens),
            number("gen_ai.usage.cache_creation.input_tokens", t.cache_creation_tokens),
            pair("sandbox.cost_usd", Value::DoubleValue(t.cost_usd)),
            pair("sandbox.gateway_cost_usd", Value::DoubleValue(t.gateway_cost_usd)),
            number("sandbox.recorded_bytes", session.recorded_bytes),
        ];
        attributes.extend(session.completeness.map(|c| pair("sandbox.completeness", Value::DoubleValue(c))));
        attributes
            .extend(session.exit_code.map(|c| pair("process.exit.code", Value::IntValue(i64::from(c)))));
        attributes.extend(session.reason.as_ref().map(|reason| text("sandbox.end_reason", reason.name())));
        let began = clock::micros(session.created_at);
        let ended = session.ended_at.map_or(began, clock::micros);
        let mut span = Span {
            trace_id: session.id.trace_id().to_vec(),
            span_id: session.id.span_id().to_vec(),
            name: "session".to_owned(),
            kind: SpanKind::Internal as i32,
            start_time_unix_nano: began.saturating_mul(1000),
            end_time_unix_nano: ended.saturating_mul(1000),
            attributes,
            links: turns.links,
            ..Span::default()
        };
        let failed = session.reason.as_ref().filter(|reason| !matches!(reason, Reason::Exited { code: 0 }));
        fail(&mut span, failed.map(Reason::phrase));
        request(self.resource.clone(), vec![span])
    }
}
