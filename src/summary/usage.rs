//! What a session used, day by day: what reports and bills are made of.
//!
//! A day is one of UTC, by the frames' own times. Everything is a sum, so days, sessions and people can be added up.
//! It holds counts and names (of models, of tools) and nothing that anybody said: it outlives the record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ToolUse, Use, attributes::Attributes, named};

/// Microseconds of a day.
const DAY: u64 = 24 * 3600 * 1_000_000;
/// Most days that are told apart; what comes later counts for the last of them.
const DAYS: usize = 400;

/// The fold's state, and its result: days since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    days: BTreeMap<u32, Day>,
}

/// One day of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Day {
    work: Work,
    /// As the client says.
    models: BTreeMap<String, Use>,
    /// As the gateway saw.
    gateway: BTreeMap<String, Use>,
    tools: BTreeMap<String, ToolUse>,
}

/// What was done, whichever model and tool did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Prompts.
    pub turns: u64,
    /// Lines added; this and what follows as the client's metrics say.
    pub lines_added: f64,
    /// Lines removed.
    pub lines_removed: f64,
    /// Commits.
    pub commits: f64,
    /// Pull requests.
    pub pull_requests: f64,
    /// Seconds at work, the user's and the client's together.
    pub active_s: f64,
}

/// What was used: of all, of one model, or by one tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Used {
    /// What was done.
    pub work: Work,
    /// What models used, as the client says.
    pub client: Use,
    /// The same, as the gateway saw.
    pub gateway: Use,
    /// What tools did.
    pub tool: ToolUse,
}

/// What a row of usage is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The session, all of its models and tools together.
    Session,
    /// A model.
    Model(String),
    /// A tool.
    Tool(String),
}

/// One day's use of one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Days since the Unix epoch.
    pub day: u32,
    /// Of what.
    pub of: Of,
    /// How much.
    pub used: Used,
}

/// The UTC day of a moment in µs since the Unix epoch.
pub fn day_of(micros: u64) -> u32 {
    u32::try_from(micros / DAY).unwrap_or(u32::MAX)
}

impl Usage {
    /// What was used, in rows. There is always one of the session itself on the day it was asked for (`created`, in µs
    /// since the Unix epoch), so that a session which used nothing counts too.
    pub fn rows(&self, created: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        let born = day_of(created);
        if !self.days.contains_key(&born) {
            rows.push(Row { day: born, of: Of::Session, used: Used::default() });
        }
        for (&day, used) in &self.days {
            let mut all = Used { work: used.work, ..Used::default() };
            let mut parts = Vec::new();
            let mut models: Vec<&String> = used.models.keys().chain(used.gateway.keys()).collect();
            models.sort_unstable();
            models.dedup();
            for name in models {
                let of = |side: &BTreeMap<String, Use>| side.get(name).cloned().unwrap_or_default();
                let used = Used { client: of(&used.models), gateway: of(&used.gateway), ..Used::default() };
                all.client.add(&used.client);
                all.gateway.add(&used.gateway);
                parts.push(Row { day, of: Of::Model(name.clone()), used });
            }
            for (name, tool) in &used.tools {
                all.tool.add(tool);
                let used = Used { tool: tool.clone(), ..Used::default() };
                parts.push(Row { day, of: Of::Tool(name.clone()), used });
            }
            rows.push(Row { day, of: Of::Session, used: all });
            rows.append(&mut parts);
        }
        rows
    }

    pub(super) fn turn(&mut self, time: u64) {
        self.day(time).work.turns += 1;
    }

    pub(super) fn model(&mut self, time: u64, name: &str, used: &Use) {
        named(&mut self.day(time).models, name).add(used);
    }

    pub(super) fn gateway(&mut self, time: u64, name: &str, used: &Use) {
        named(&mut self.day(time).gateway, name).add(used);
    }

    pub(super) fn tool(&mut self, time: u64, name: &str, used: &ToolUse) {
        named(&mut self.day(time).tools, name).add(used);
    }

    /// A counter of the client's has grown by so much.
    pub(super) fn counter(&mut self, time: u64, name: &str, said: Attributes<'_>, more: f64) {
        let pick: fn(&mut Work) -> &mut f64 = match (name, said.text("type")) {
            ("claude_code.lines_of_code.count", Some("added")) => |work| &mut work.lines_added,
            ("claude_code.lines_of_code.count", Some("removed")) => |work| &mut work.lines_removed,
            ("claude_code.commit.count", _) => |work| &mut work.commits,
            ("claude_code.pull_request.count", _) => |work| &mut work.pull_requests,
            ("claude_code.active_time.total", _) => |work| &mut work.active_s,
            _ => return,
        };
        let sum = pick(&mut self.day(time).work);
        // Sums of what others made up stay numbers.
        if (*sum + more).is_finite() {
            *sum += more;
        }
    }

    fn day(&mut self, time: u64) -> &mut Day {
        let mut day = day_of(time);
        if self.days.len() >= DAYS && !self.days.contains_key(&day) {
            day = self.days.keys().next_back().copied().unwrap_or(day);
        }
        self.days.entry(day).or_default()
    }
}
