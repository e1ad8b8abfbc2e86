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
    metrics::v1::metric::Data,
    resource::v1::Resource,
};
use prost::Message;

use crate::{
    config::{Keep, Privacy},
    signal::Signal,
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
];
/// The same, beside [`TOOL_NAME`] only: elsewhere it says what went wrong with the model.
const TOOL_ERROR: &str = "error";
/// What a record of a tool has.
const TOOL_NAME: &str = "tool_name";
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
                        metric.data.iter_mut().for_each(|data| self.points(data));
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

    fn points(&self, data: &mut Data) {
        match data {
            Data::Gauge(gauge) => {
                gauge.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes))
            }
            Data::Sum(sum) => sum.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes)),
            Data::Histogram(all) => {
                all.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes))
            }
            Data::ExponentialHistogram(all) => {
                all.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes));
            }
            Data::Summary(all) => all.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes)),
        }
    }

    fn attributes(&self, attributes: &mut Vec<KeyValue>) {
        let of_tool = attributes.iter().any(|attribute| attribute.key == TOOL_NAME);
        self.each(attributes, |key| match key {
            TOOL_ERROR if of_tool => self.privacy.tools,
            key if PROMPTS.contains(&key) => self.privacy.prompts,
            key if USERS.contains(&key) => self.privacy.users,
            key if TOOLS.contains(&key) => self.privacy.tools,
            _ => Keep::Keep,
        });
    }

    fn each(&self, attributes: &mut Vec<KeyValue>, keep: impl Fn(&str) -> Keep) {
        attributes.retain_mut(|attribute| match keep(&attribute.key) {
            Keep::Keep => true,
            Keep::Drop => false,
            Keep::Hash => {
                attribute.value = attribute.value.as_ref().map(|value| self.hash(value));
                true
            }
        });
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

#[cfg(test)]
mod tests;
