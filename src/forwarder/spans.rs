//! Spans of what the gateway saw: model calls, hooks, MCP calls, connections; and of each session as a whole.
//!
//! ```text
//!   session                                 trace id = the session's id, made when it has ended
//!    ├─ hook UserPromptSubmit
//!    ├─ mcp tools/call search               from the question to its answer
//!    ├─ egress registry.example.org:443
//!    └─ chat MODEL                          below the client's own span where the client named one (traceparent)
//! ```
//!
//! They are made from the journal and from nothing else, with ids that follow from the session and the frame: sent
//! twice they are the same spans. `claude -p` takes the session's span for its parent (`TRACEPARENT`), so its turns hang
//! below it; turns of an interactive client have traces of their own, to which the session's span links.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for generative AI and for MCP, where there
//! are any.

use std::{borrow::Cow, collections::VecDeque};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    api, event,
    id::SessionId,
    journal::{Entry, Kind},
    metrics::otlp::SERVICE,
    summary::attributes::{number, pair, text},
};

mod root;

pub(super) use root::Turns;

/// Questions to MCP servers that may wait for their answers; of more the oldest are forgotten.
const QUESTIONS: usize = 256;

/// Makes spans of one session's frames.
#[derive(Clone)]
pub(super) struct Spans {
    id: SessionId,
    resource: Resource,
    made: Vec<Span>,
    /// Questions to MCP servers: server and id, when, and what was asked.
    questions: VecDeque<Question>,
}

#[derive(Clone)]
struct Question {
    server: String,
    id: String,
    asked: u64,
    method: String,
    tool: Option<String>,
}

impl Spans {
    /// The frames that spans are made of.
    pub const KINDS: [Kind; 4] = [Kind::Model, Kind::Hook, Kind::Mcp, Kind::Egress];

    /// Makes spans of this session, for the daemon `instance`.
    pub fn new(session: &api::Session, instance: &str) -> Spans {
        Spans {
            id: session.id,
            resource: resource(session, instance),
            made: Vec::new(),
            questions: VecDeque::new(),
        }
    }

    /// Takes one more frame into account.
    pub fn see(&mut self, entry: &Entry) {
        let made = match entry.kind {
            Kind::Model => self.model(entry),
            Kind::Hook => self.hook(entry),
            Kind::Mcp => self.mcp(entry),
            Kind::Egress => self.egress(entry),
            _ => None,
        };
        self.made.extend(made);
    }

    /// The spans that have been made, as an `ExportTraceServiceRequest`.
    pub fn take(&mut self) -> Option<Bytes> {
        let spans = std::mem::take(&mut self.made);
        (!spans.is_empty()).then(|| request(self.resource.clone(), spans))
    }

    fn model(&self, entry: &Entry) -> Option<Span> {
        let call: event::Model = serde_json::from_slice(&entry.payload).ok()?;
        let began = entry.time.saturating_sub(call.duration_ms.saturating_mul(1000));
        let mut attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "anthropic"),
            text("gen_ai.request.model", &call.model),
            number("gen_ai.usage.input_tokens", call.input_tokens),
            number("gen_ai.usage.output_tokens", call.output_tokens),
            number("gen_ai.usage.cache_read.input_tokens", call.cache_read_tokens),
            number("gen_ai.usage.cache_creation.input_tokens", call.cache_creation_tokens),
            number("http.response.status_code", u64::from(call.status)),
            pair("sandbox.cost_usd", Value::DoubleValue(call.cost_usd)),
        ];
        attributes.extend(call.request_id.as_deref().map(|id| text("gen_ai.response.id", id)));
        attributes.extend(call.claude_session_id.as_deref().map(|id| text("gen_ai.conversation.id", id)));
        let failed = match &call.refused {
            Some(why) => Some(format!("the gateway refused it: {why}")),
            None if call.status >= 400 => Some(format!("the model API answered {}", call.status)),
            None if call.status == 0 => Some("the client hung up".to_owned()),
            None => None,
        };
        if let Some(why) = &failed {
            attributes.push(text("error.type", call.refused.as_deref().unwrap_or("http")));
            attributes.push(text("error.message", why));
        }
        let name = if call.model.is_empty() { "chat".to_owned() } else { format!("chat {}", call.model) };
        let mut span = self.span(entry, name, SpanKind::Client, began, attributes);
        if let Some((trace, parent)) = call.traceparent.as_deref().and_then(parse) {
            (span.trace_id, span.parent_span_id) = (trace, parent);
        }
        fail(&mut span, failed);
        Some(span)
    }

    fn hook(&self, entry: &Entry) -> Option<Span> {
        let hook: event::HookVerdict = serde_json::from_slice(&entry.payload).ok()?;
        let mut attributes = vec![text("hook.event", &hook.event), text("hook.decision", &hook.decision)];
        attributes.extend(hook.tool.as_deref().map(|tool| text("gen_ai.tool.name", tool)));
        attributes.extend(hook.tool_use_id.as_deref().map(|id| text("gen_ai.tool.call.id", id)));
        attributes.extend(hook.reason.as_deref().map(|why| text("hook.reason", why)));
        let denied = (hook.decision == "deny").then(|| hook.reason.clone().unwrap_or_default());
        let name = format!("hook {}", hook.event);
        let mut span = self.span(entry, name, SpanKind::Internal, entry.time, attributes);
        fail(&mut span, denied);
        Some(span)
    }

    /// A question waits for its answer, and the two are a span.
    fn mcp(&mut self, entry: &Entry) -> Option<Span> {
        let said: event::Mcp = serde_json::from_slice(&entry.payload).ok()?;
        let rpc: Rpc<'_> = serde_json::from_str(said.message.get()).ok()?;
        let id = rpc.id?.get().chars().take(64).collect();
        if let Some(method) = rpc.method {
            if self.questions.len() == QUESTIONS {
                self.questions.pop_front();
            }
            let named = rpc.params.and_then(|params| serde_json::from_str::<Named>(params.get()).ok());
            let (method, tool) = (short(&method), named.map(|named| short(&named.name)));
            self.questions.push_back(Question { server: said.server, id, asked: entry.time, method, tool });
            return None;
        }
        let at = self.questions.iter().position(|q| q.server == said.server && q.id == id)?;
        let question = self.questions.remove(at)?;
        let mut attributes = vec![
            text("mcp.method.name", &question.method),
            text("mcp.server.name", &question.server),
            text("jsonrpc.request.id", &question.id),
        ];
        attributes.extend(question.tool.as_deref().map(|tool| text("gen_ai.tool.name", tool)));
        let name = match &question.tool {
            Some(tool) => format!("mcp {} {tool}", question.method),
            None => format!("mcp {}", question.method),
        };
        let mut span = self.span(entry, name, SpanKind::Client, question.asked, attributes);
        fail(&mut span, rpc.error.map(|_| "the server answered with an error".to_owned()));
        Some(span)
    }

    fn egress(&self, entry: &Entry) -> Option<Span> {
        let egress: event::Egress = serde_json::from_slice(&entry.payload).ok()?;
        let attributes = vec![
            text("server.address", &egress.host),
            number("server.port", u64::from(egress.port)),
            pair("egress.allowed", Value::BoolValue(egress.allowed)),
            number("egress.sent_bytes", egress.sent_bytes),
            number("egress.received_bytes", egress.received_bytes),
        ];
        let name = format!("egress {}:{}", egress.host, egress.port);
        let mut span = self.span(entry, name, SpanKind::Client, entry.time, attributes);
        fail(&mut span, (!egress.allowed).then(|| egress.reason.unwrap_or_default()));
        Some(span)
    }

    /// A span that ends with this frame, below the session's.
    fn span(
        &self,
        entry: &Entry,
        name: String,
        kind: SpanKind,
        began: u64,
        attributes: Vec<KeyValue>,
    ) -> Span {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.id.trace_id()).update(&entry.seq.to_le_bytes());
        Span {
            trace_id: self.id.trace_id().to_vec(),
            span_id: hasher.finalize().as_bytes()[..8].to_vec(),
            parent_span_id: self.id.span_id().to_vec(),
            name: short(&name),
            kind: kind as i32,
            start_time_unix_nano: began.saturating_mul(1000),
            end_time_unix_nano: entry.time.saturating_mul(1000),
            attributes,
            ..Span::default()
        }
    }
}

/// What of a JSON-RPC message is read.
#[derive(Deserialize)]
struct Rpc<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    error: Option<IgnoredAny>,
}

/// Of the parameters, the tool that is called.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// A name that a session says; it is no place for texts.
fn short(name: &str) -> String {
    name.chars().take(128).collect()
}

/// Trace and parent of a `traceparent` (W3C Trace Context); `None` where it is none.
fn parse(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = text.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = |hex: &str, length: usize| -> Option<Vec<u8>> {
        let plain = hex.len() == 2 * length && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let bytes: Option<Vec<u8>> = plain.then(|| {
            (0..length).filter_map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()).collect()
        });
        bytes.filter(|bytes| bytes.iter().any(|b| *b != 0))
    };
    (version.len() == 2 && version != "ff").then_some(())?;
    Some((bytes(trace, 16)?, bytes(span, 8)?))
}

fn resource(session: &api::Session, instance: &str) -> Resource {
    let mut attributes = vec![
        text("service.name", SERVICE),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
        text("sandbox.session.id", &session.id.to_string()),
        text("sandbox.user", &session.user.to_string()),
        text("sandbox.profile", &session.profile),
        text("user.name", &session.user.name),
        text("user.email", &session.user.email),
    ];
    attributes.extend(session.team.as_deref().map(|team| text("team", team)));
    Resource { attributes, ..Resource::default() }
}

fn request(resource: Resource, spans: Vec<Span>) -> Bytes {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let scope = InstrumentationScope { name: SERVICE.to_owned(), version, ..InstrumentationScope::default() };
    let scopes = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let of = ResourceSpans { resource: Some(resource), scope_spans: scopes, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![of] }.encode_to_vec().into()
}

fn fail(span: &mut Span, why: Option<String>) {
    if let Some(message) = why {
        span.status = Some(Status { message, code: StatusCode::Error as i32 });
    }
}

#[cfg(test)]
mod tests;
