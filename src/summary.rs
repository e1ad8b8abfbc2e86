//! What a session did: a pure fold over its journal.
//!
//! Everything a client says is bounded here: names beyond [`NAMES`] count as `other`, series beyond
//! [`SERIES`] are not followed, invented sequence numbers leave the figures as they are.
//!
//! Claude Code's events are log records whose attributes hold everything; numbers come as integers, doubles
//! or text, so all three are read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::{
    api::Totals,
    event,
    journal::{Entry, Kind},
    spec::Budget,
};

pub mod attributes;
mod completeness;
mod life;
mod metrics;
mod usage;

pub use completeness::Completeness;
pub use life::Life;
pub use usage::{Of, Row, Usage, Used, Work, day_of};

use attributes::Attributes;
use completeness::Processes;
use metrics::Series;

/// Most different names (of models, tools, Claude sessions) that are told apart.
const NAMES: usize = 256;
/// Most metric series that are followed.
const SERIES: usize = 4096;

/// The fold's state, and its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Frames by kind.
    pub frames: BTreeMap<String, u64>,
    /// Prompts.
    pub turns: u64,
    /// What each model used, as the client says.
    pub models: BTreeMap<String, Use>,
    /// What each model used, as the gateway saw.
    pub gateway: BTreeMap<String, Use>,
    /// Calls that the gateway refused.
    pub refused_calls: u64,
    /// What each tool did.
    pub tools: BTreeMap<String, ToolUse>,
    /// Errors of the model API, after the client's retries.
    pub api_errors: u64,
    /// Hooks asked.
    pub hooks: u64,
    /// Hooks that denied.
    pub denials: u64,
    /// MCP messages.
    pub mcp_messages: u64,
    /// Connections let out.
    pub egress_allowed: u64,
    /// Connections refused.
    pub egress_denied: u64,
    /// Log records received.
    pub log_records: u64,
    /// Metric points received.
    pub metric_points: u64,
    /// Spans received.
    pub spans: u64,
    /// The client's own session ids: it takes a new one at `/clear` and for a fork.
    pub claude_sessions: BTreeSet<String>,
    /// Counts that the client sends as metrics, by name: lines, commits, active seconds, …
    pub counters: Series,
    /// Where it stands in its life.
    pub life: Life,
    /// What it used, day by day.
    pub usage: Usage,
    processes: Processes,
    tool_hooks: u64,
    /// When its client was last seen at work by the gateway, and when its events last came; in µs since the epoch.
    worked_at: u64,
    told_at: u64,
    /// A request that would not decode: the gateway lets none pass.
    undecodable: u64,
}

/// What calls of one model used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// Calls.
    pub calls: u64,
    /// Input tokens, not cached.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the cache.
    pub cache_creation_tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
}

/// What one tool did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolUse {
    /// Uses.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Milliseconds, added up.
    pub duration_ms: u64,
}

/// What telemetry says: decoding it is the slow part of counting it, and needs no summary.
#[derive(Debug)]
pub enum Said {
    /// Log records.
    Logs(ExportLogsServiceRequest),
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
    /// So many spans.
    Spans(u64),
    /// It would not decode.
    Nonsense,
    /// The frame is none of telemetry.
    Other,
}

impl Use {
    /// Adds what others count, and may have invented.
    pub fn add(&mut self, more: &Use) {
        self.calls = self.calls.saturating_add(more.calls);
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(more.cache_read_tokens);
        self.cache_creation_tokens = self.cache_creation_tokens.saturating_add(more.cache_creation_tokens);
        if (self.cost_usd + more.cost_usd).is_finite() {
            self.cost_usd += more.cost_usd;
        }
    }
}

impl ToolUse {
    /// The same.
    pub fn add(&mut self, more: &ToolUse) {
        self.calls = self.calls.saturating_add(more.calls);
        self.failures = self.failures.saturating_add(more.failures);
        self.duration_ms = self.duration_ms.saturating_add(more.duration_ms);
    }
}

impl Said {
    /// Reads a frame's payload.
    pub fn read(kind: Kind, payload: &Bytes) -> Said {
        let payload = payload.clone();
        let read = match kind {
            Kind::Logs => ExportLogsServiceRequest::decode(payload).map(Said::Logs),
            Kind::Metrics => ExportMetricsServiceRequest::decode(payload).map(Said::Metrics),
            Kind::Traces => ExportTraceServiceRequest::decode(payload).map(|request| {
                let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
                Said::Spans(scopes.map(|s| s.spans.len() as u64).sum())
            }),
            _ => return Said::Other,
        };
        read.unwrap_or(Said::Nonsense)
    }
}

impl Summary {
    /// Takes one more frame into account.
    pub fn apply(&mut self, entry: &Entry) {
        self.count(entry, &Said::read(entry.kind, &entry.payload));
    }

    /// The same, of a frame that has been read.
    pub fn count(&mut self, entry: &Entry, said: &Said) {
        match self.frames.get_mut(entry.kind.name()) {
            Some(count) => *count += 1,
            None => drop(self.frames.insert(entry.kind.name().to_owned(), 1)),
        }
        match said {
            Said::Logs(request) => self.logs(request, entry.time),
            Said::Metrics(request) => {
                let usage = &mut self.usage;
                self.metric_points += self.counters.apply(request, SERIES, |name, said, more| {
                    usage.counter(entry.time, name, said, more);
                });
            }
            Said::Spans(spans) => self.spans += spans,
            Said::Nonsense => self.undecodable += 1,
            Said::Other => {}
        }
        match entry.kind {
            Kind::Model | Kind::Hook => self.worked_at = self.worked_at.max(entry.time),
            Kind::Logs => self.told_at = self.told_at.max(entry.time),
            _ => {}
        }
        match entry.kind {
            Kind::Model => self.model(entry),
            Kind::Hook => self.hook(entry),
            Kind::Mcp => self.mcp_messages += 1,
            Kind::Lifecycle => self.life.apply(entry),
            Kind::Egress => {
                if let Ok(event) = serde_json::from_slice::<event::Egress>(&entry.payload) {
                    *(if event.allowed { &mut self.egress_allowed } else { &mut self.egress_denied }) += 1;
                }
            }
            _ => {}
        }
    }

    /// The counts.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            turns: self.turns,
            tools: self.tools.values().map(|t| t.calls).sum(),
            errors: self.api_errors + self.tools.values().map(|t| t.failures).sum::<u64>(),
            // A sum of nothing is -0.0.
            gateway_cost_usd: self.gateway.values().map(|u| u.cost_usd).fold(0.0, |sum, cost| sum + cost),
            ..Totals::default()
        };
        for used in self.models.values() {
            add(&mut totals.input_tokens, used.input_tokens);
            add(&mut totals.output_tokens, used.output_tokens);
            add(&mut totals.cache_read_tokens, used.cache_read_tokens);
            add(&mut totals.cache_creation_tokens, used.cache_creation_tokens);
            totals.cost_usd += used.cost_usd;
        }
        totals
    }

    /// Whether the gateway has seen as much used as the budget allows.
    pub fn is_over(&self, budget: &Budget) -> bool {
        self.budget_used(budget).is_some_and(|share| share >= 1.0)
    }

    /// The share of the budget that the gateway has seen used, of dollars or of tokens, whichever is more; `None`
    /// where there is no budget.
    pub fn budget_used(&self, budget: &Budget) -> Option<f64> {
        let cost: f64 = self.gateway.values().map(|u| u.cost_usd).sum();
        let each = self.gateway.values().flat_map(|u| [u.input_tokens, u.output_tokens]);
        let tokens = each.fold(0, u64::saturating_add);
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        let tokens = budget.tokens.map(|most| if tokens >= most { 1.0 } else { tokens as f64 / most as f64 });
        let dollars = budget.usd.map(|most| if cost >= most { 1.0 } else { cost / most });
        dollars.into_iter().chain(tokens).reduce(f64::max)
    }

    /// Whether the client was seen at work more than `after` (µs) before `now`, and has told nothing of it since.
    pub fn is_dark(&self, now: u64, after: u64) -> bool {
        self.worked_at > self.told_at && now.saturating_sub(self.worked_at) > after
    }

    /// How much of what must have been sent has arrived.
    pub fn completeness_detail(&self) -> Completeness {
        Completeness {
            events_expected: self.processes.expected(),
            events_seen: self.processes.seen(),
            model_calls_at_gateway: self.gateway.values().map(|u| u.calls).sum(),
            model_calls_in_events: self.models.values().map(|u| u.calls).sum(),
            tools_at_hooks: self.tool_hooks,
            tools_in_events: self.tools.values().map(|t| t.calls).sum(),
            client_processes: self.processes.count(),
            records_lost: self.life.lost,
        }
    }

    /// Share of what must have been sent that has arrived, 0 to 1; `None` before there is any.
    pub fn completeness(&self) -> Option<f64> {
        self.completeness_detail().share()
    }

    fn logs(&mut self, request: &ExportLogsServiceRequest, time: u64) {
        for record in request.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records) {
            self.log_records += 1;
            let said = Attributes(&record.attributes);
            let name = said.text("event.name").unwrap_or_default();
            if let Some(sequence) = said.number("event.sequence") {
                self.processes.note(sequence, name == "managed_settings_resolved");
            }
            if let Some(id) = said.text("session.id")
                && self.claude_sessions.len() < NAMES
                && !self.claude_sessions.contains(id)
            {
                self.claude_sessions.insert(id.chars().take(64).collect());
            }
            match name {
                "user_prompt" => {
                    self.turns += 1;
                    self.usage.turn(time);
                }
                "api_error" => self.api_errors += 1,
                "api_request" => {
                    let used = Use {
                        calls: 1,
                        input_tokens: said.number("input_tokens").unwrap_or(0),
                        output_tokens: said.number("output_tokens").unwrap_or(0),
                        cache_read_tokens: said.number("cache_read_tokens").unwrap_or(0),
                        cache_creation_tokens: said.number("cache_creation_tokens").unwrap_or(0),
                        cost_usd: said.amount("cost_usd").unwrap_or(0.0),
                    };
                    let model = said.text("model").unwrap_or("unknown");
                    named(&mut self.models, model).add(&used);
                    self.usage.model(time, model, &used);
                }
                "tool_result" => {
                    let used = ToolUse {
                        calls: 1,
                        failures: u64::from(said.flag("success") == Some(false)),
                        duration_ms: said.number("duration_ms").unwrap_or(0),
                    };
                    let tool = said.text("tool_name").unwrap_or("unknown");
                    named(&mut self.tools, tool).add(&used);
                    self.usage.tool(time, tool, &used);
                }
                _ => {}
            }
        }
    }

    fn model(&mut self, entry: &Entry) {
        let Ok(call) = serde_json::from_slice::<event::Model>(&entry.payload) else { return };
        if call.refused.is_some() {
            self.refused_calls += 1;
        } else if call.status == 200 {
            let used = Use {
                calls: 1,
                input_tokens: call.input_tokens,
                output_tokens: call.output_tokens,
                cache_read_tokens: call.cache_read_tokens,
                cache_creation_tokens: call.cache_creation_tokens,
                cost_usd: call.cost_usd,
            };
            named(&mut self.gateway, &call.model).add(&used);
            self.usage.gateway(entry.time, &call.model, &used);
        }
    }

    fn hook(&mut self, entry: &Entry) {
        let Ok(hook) = serde_json::from_slice::<event::HookVerdict>(&entry.payload) else { return };
        self.hooks += 1;
        self.denials += u64::from(hook.decision == "deny");
        self.tool_hooks += u64::from(matches!(hook.event.as_str(), "PostToolUse" | "PostToolUseFailure"));
    }
}

/// Adds what others count, and may have invented.
fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// The entry of a name; the one of `other`, when there are too many.
fn named<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    let name: String = name.chars().take(128).collect();
    let key = if map.contains_key(&name) || map.len() < NAMES { name } else { "other".to_owned() };
    map.entry(key).or_default()
}

#[cfg(test)]
mod tests;
