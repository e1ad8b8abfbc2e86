//! What of the people's own words leaves this machine: attributes are dropped or hashed, by what they hold.
//!
//! A hash is BLAKE3 keyed with a secret of this daemon, so that the same value can be counted and joined and nobody
//! can try out what it was. The journal keeps everything: this is about one destination.

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    resource::v1::Resource,
};
use prost::Message;

use super::points;
use crate::{
    config::{Keep, Privacy},
    signal::Signal,
    summary::attributes::Attributes,
};

/// Attributes that hold what was asked and answered (Claude Code 2.1, and OpenTelemetry's conventions for models).
const PROMPTS: &[&str] = &[
    "prompt",
    "prompt_text",
    "response",
    "user_prompt",
    "body",
    "system_prompt",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
];
/// Attributes that say who.
const USERS: &[&str] = &[
    "user.email",
    "user.name",
    "user.id",
    "user.account_uuid",
    "user.account_id",
    "sandbox.user",
    "enduser.id",
];
/// Attributes that hold what tools were given and said.
const TOOLS: &[&str] = &[
    "tool_input",
    "tool_parameters",
    "full_command",
    "file_path",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    // Why a hook says no names what the tool was given.
    "hook.reason",
];
/// The same, of a record of a tool only: elsewhere it says what went wrong with the model.
const TOOL_ERROR: &str = "error";
/// What records of tools have, each of them at least one.
const OF_A_TOOL: &[&str] =
    &["tool_name", "tool_use_id", "gen_ai.tool.name", "gen_ai.tool.call.id", "server_name"];
/// The event of a span whose every attribute is a tool's content.
const TOOL_EVENT: &str = "tool.output";

/// What is done to requests for one destination.
pub(super) struct Filter {
    privacy: Privacy,
    key: [u8; 32],
}

impl Filter {
    /// `secret` is this daemon's; what is hashed under another cannot be joined.
    pub(super) fn new(privacy: &Privacy, secret: &str) -> Filter {
        let key = blake3::derive_key("sandboxctl 2026 forwarded attributes", secret.as_bytes());
        Filter { privacy: privacy.clone(), key }
    }

    /// What it holds back.
    pub(super) fn privacy(&self) -> &Privacy {
        &self.privacy
    }

    /// The request as it may leave; `None` where it cannot be read, and so may not.
    pub(super) fn apply(&self, signal: Signal, request: Bytes) -> Option<Bytes> {
        if self.privacy == Privacy::default() {
            return Some(request);
        }
        Some(match signal {
            Signal::Traces => {
                let mut all = ExportTraceServiceRequest::decode(request).ok()?;
                for of in &mut all.resource_spans {
                    self.resource(of.resource.as_mut());
                    for span in of.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                        if let Some(status) = &mut span.status
                            && self.privacy.tools != Keep::Keep
                            && is_of_a_tool(&span.attributes)
                        {
                            // The code beside it says enough.
                            status.message.clear();
                        }
                        self.attributes(&mut span.attributes);
                        for event in &mut span.events {
                            if event.name == TOOL_EVENT {
                                self.each(&mut event.attributes, |_| self.privacy.tools);
                            } else {
                                self.attributes(&mut event.attributes);
                            }
                        }
                        span.links.iter_mut().for_each(|link| self.attributes(&mut link.attributes));
                    }
                }
                all.encode_to_vec().into()
            }
            Signal::Logs => {
                let mut all = ExportLogsServiceRequest::decode(request).ok()?;
                for of in &mut all.resource_logs {
                    self.resource(of.resource.as_mut());
                    for record in of.scope_logs.iter_mut().flat_map(|scope| &mut scope.log_records) {
                        // Claude Code's records say their event's name there, which is no secret. What others say may be.
                        if !is_its_name(record) {
                            record.body =
                                record.body.take().and_then(|body| self.value(self.privacy.prompts, body));
                        }
                        self.attributes(&mut record.attributes);
                    }
                }
                all.encode_to_vec().into()
            }
            Signal::Metrics => {
                let mut all = ExportMetricsServiceRequest::decode(request).ok()?;
                for of in &mut all.resource_metrics {
                    self.resource(of.resource.as_mut());
                    for metric in of.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
                        let held = |attributes: &mut Vec<KeyValue>| self.attributes(attributes);
                        metric.data.iter_mut().for_each(|data| points::each(data, held));
                    }
                }
                all.encode_to_vec().into()
            }
        })
    }

    fn resource(&self, resource: Option<&mut Resource>) {
        if let Some(resource) = resource {
            self.attributes(&mut resource.attributes);
        }
    }

    fn attributes(&self, attributes: &mut Vec<KeyValue>) {
        let of_tool = is_of_a_tool(attributes);
        self.each(attributes, |key| match key {
            TOOL_ERROR if of_tool => self.privacy.tools,
            key if PROMPTS.contains(&key) => self.privacy.prompts,
            key if USERS.contains(&key) => self.privacy.users,
            key if TOOLS.contains(&key) => self.privacy.tools,
            _ => Keep::Keep,
        });
    }

    fn each(&self, attributes: &mut Vec<KeyValue>, keep: impl Fn(&str) -> Keep) {
        attributes.retain_mut(|attribute| match (keep(&attribute.key), attribute.value.take()) {
            (Keep::Drop, _) => false,
            (keep, value) => {
                attribute.value = value.and_then(|value| self.value(keep, value));
                true
            }
        });
    }

    fn value(&self, keep: Keep, value: AnyValue) -> Option<AnyValue> {
        match keep {
            Keep::Keep => Some(value),
            Keep::Hash => Some(self.hash(&value)),
            Keep::Drop => None,
        }
    }

    fn hash(&self, value: &AnyValue) -> AnyValue {
        let hash = match &value.value {
            Some(Value::StringValue(text)) => blake3::keyed_hash(&self.key, text.as_bytes()),
            _ => blake3::keyed_hash(&self.key, &value.encode_to_vec()),
        };
        // Half of it is unique enough, and fits a label.
        let short = hash.to_hex()[..32].to_owned();
        AnyValue { value: Some(Value::StringValue(short)) }
    }
}

fn is_of_a_tool(attributes: &[KeyValue]) -> bool {
    attributes.iter().any(|attribute| OF_A_TOOL.contains(&attribute.key.as_str()))
}

/// Whether a record's body is the name of its event, as in `claude_code.user_prompt`.
fn is_its_name(record: &LogRecord) -> bool {
    let name = Attributes(&record.attributes).text("event.name").unwrap_or(&record.event_name);
    let body = record.body.as_ref().and_then(|body| body.value.as_ref());
    matches!(body, Some(Value::StringValue(body)) if !name.is_empty() && body.rsplit('.').next() == Some(name))
}

#[cfg(test)]
mod tests;
