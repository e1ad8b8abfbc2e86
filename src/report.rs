//! Reports: what is asked, what a group is, and how parts are put together. Pure; SQL adds up what is stored.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date};

use crate::{
    api::{By, ReportGroup, ReportModels, ReportRow, ReportTools, ReportWork, Session},
    summary::{Of, Row, Used},
};

pub mod html;
pub mod text;

/// What can be added up by.
pub const ALL: [By; 8] = [By::User, By::Team, By::Model, By::Tool, By::Profile, By::Day, By::Week, By::Month];

/// Why a question makes no sense; each names the parameter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such thing to add up by.
    #[error(
        "'{0}' is nothing to add up by; give one or more of user, team, model, tool, profile, day, week and month"
    )]
    By(String),
    /// Tools have no models.
    #[error("what a tool does has no model: ask by model or by tool, and once more for the other")]
    ModelAndTool,
    /// No day.
    #[error("'{text}' is no day; give a date such as 2026-08-31, or 7d or 2w for so many days or weeks ago")]
    Day {
        /// The parameter.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// The days are the wrong way round.
    #[error("the last day ({until}) is before the first ({since}); change one of them")]
    Backwards {
        /// First.
        since: Date,
        /// Last.
        until: Date,
    },
}

impl AskError {
    /// The parameter that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            AskError::By(_) | AskError::ModelAndTool => "by",
            AskError::Day { field, .. } => field,
            AskError::Backwards { .. } => "until",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is added up by.
    pub by: Vec<By>,
    /// First day.
    pub since: Option<Date>,
    /// Last day.
    pub until: Date,
    /// Which rows of usage it is about.
    pub rows: Rows,
}

/// Kinds of rows of usage: each alone adds up to the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Of sessions.
    Sessions,
    /// Of models.
    Models,
    /// Of tools.
    Tools,
}

impl By {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            By::User => "user",
            By::Team => "team",
            By::Model => "model",
            By::Tool => "tool",
            By::Profile => "profile",
            By::Day => "day",
            By::Week => "week",
            By::Month => "month",
        }
    }

    /// Whether it is a span of time.
    pub fn is_time(self) -> bool {
        matches!(self, By::Day | By::Week | By::Month)
    }
}

/// What to add up by: names, comma-separated, each once.
pub fn parse_by(text: &str) -> Result<Vec<By>, AskError> {
    let mut all = Vec::new();
    for name in text.split(',').map(str::trim) {
        let by = ALL.into_iter().find(|by| by.name() == name);
        let by = by.ok_or_else(|| AskError::By(crate::inert::inert(name)))?;
        if !all.contains(&by) {
            all.push(by);
        }
    }
    if all.contains(&By::Model) && all.contains(&By::Tool) {
        return Err(AskError::ModelAndTool);
    }
    Ok(all)
}

/// A day: a date, or so many days or weeks before `today`; `field` is the parameter that says so.
pub fn parse_day(field: &'static str, text: &str, today: Date) -> Result<Date, AskError> {
    let no_day = || AskError::Day { field, text: crate::inert::inert(text) };
    let ago = text.strip_suffix('d').map(|n| (n, 1)).or_else(|| text.strip_suffix('w').map(|n| (n, 7)));
    let Some((number, days)) = ago else {
        // Dates only: what else jiff would take (times, zones) says more than a day.
        let is_date = text.len() == 10;
        return text.parse().ok().filter(|_| is_date).ok_or_else(no_day);
    };
    let is_number = number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit());
    let number: i32 = number.parse().ok().filter(|_| is_number).ok_or_else(no_day)?;
    today.checked_sub((number * days).days()).map_err(|_| no_day())
}

impl Question {
    /// A question as it was put, on this day.
    pub fn new(
        by: &str,
        since: Option<&str>,
        until: Option<&str>,
        today: Date,
    ) -> Result<Question, AskError> {
        let by = parse_by(by)?;
        let day = |field, text: Option<&str>| text.map(|text| parse_day(field, text, today)).transpose();
        let (since, until) = (day("since", since)?, day("until", until)?.unwrap_or(today));
        if let Some(since) = since.filter(|since| *since > until) {
            return Err(AskError::Backwards { since, until });
        }
        let rows = match (by.contains(&By::Model), by.contains(&By::Tool)) {
            (true, _) => Rows::Models,
            (_, true) => Rows::Tools,
            _ => Rows::Sessions,
        };
        Ok(Question { by, since, until, rows })
    }

    /// The first and the last day, as days since the Unix epoch.
    pub fn span(&self) -> (u32, u32) {
        (self.since.map_or(0, epoch_day), epoch_day(self.until))
    }
}

/// Days since the Unix epoch; 0 before it.
pub fn epoch_day(date: Date) -> u32 {
    let since = Date::constant(1970, 1, 1).until(date).map_or(0, |span| span.get_days());
    u32::try_from(since).unwrap_or(0)
}

/// The day of a number of days since the Unix epoch.
pub fn date(epoch_day: u32) -> Date {
    let days = i32::try_from(epoch_day).unwrap_or(i32::MAX);
    Date::constant(1970, 1, 1).checked_add(days.days()).unwrap_or(Date::MAX)
}

/// The Monday of a day's week.
fn monday(day: u32) -> u32 {
    // The epoch began on a Thursday.
    ((day + 3) / 7 * 7).saturating_sub(3)
}

/// Whose usage it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payer {
    /// E-mail address.
    pub email: String,
    /// Team.
    pub team: Option<String>,
    /// Profile.
    pub profile: String,
}

impl Payer {
    /// Whose a session is.
    pub fn of(view: &Session) -> Payer {
        Payer { email: view.user.email.clone(), team: view.team.clone(), profile: view.profile.clone() }
    }
}

/// How many amounts there are: those of [`amounts`].
pub const AMOUNTS: usize = 17;

/// Turns, lines added and removed, commits, pull requests, seconds at work; calls, input, output, cache read and
/// written, cost, calls and cost at the gateway; tools, their failures and milliseconds. Counts too have a fraction:
/// what clients make up has no other bound.
pub fn amounts(used: &Used) -> [f64; AMOUNTS] {
    let Used { work, client, gateway, tool } = used;
    [
        count(work.turns),
        work.lines_added,
        work.lines_removed,
        work.commits,
        work.pull_requests,
        work.active_s,
        count(client.calls),
        count(client.input_tokens),
        count(client.output_tokens),
        count(client.cache_read_tokens),
        count(client.cache_creation_tokens),
        client.cost_usd,
        count(gateway.calls),
        gateway.cost_usd,
        count(tool.calls),
        count(tool.failures),
        count(tool.duration_ms),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 were made up")]
fn count(n: u64) -> f64 {
    n as f64
}

/// Sums of some rows of usage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Sessions.
    pub sessions: u64,
    /// Of each of [`amounts`].
    pub amounts: [f64; AMOUNTS],
}

impl Sums {
    /// Adds the sums of other sessions.
    pub fn add(&mut self, more: &Sums) {
        self.sessions += more.sessions;
        self.take(&more.amounts);
    }

    fn take(&mut self, more: &[f64; AMOUNTS]) {
        self.amounts.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
}

/// Adds up one session's rows, group by group.
pub fn add_up(question: &Question, payer: &Payer, rows: &[Row]) -> BTreeMap<ReportGroup, Sums> {
    let (first, last) = question.span();
    let mut groups: BTreeMap<ReportGroup, Sums> = BTreeMap::new();
    for row in rows.iter().filter(|row| (first..=last).contains(&row.day)) {
        let (model, tool) = match (&row.of, question.rows) {
            (Of::Session, Rows::Sessions) => (None, None),
            (Of::Model(name), Rows::Models) => (Some(name), None),
            (Of::Tool(name), Rows::Tools) => (None, Some(name)),
            _ => continue,
        };
        let sums = groups.entry(group(&question.by, payer, row.day, model, tool)).or_default();
        sums.sessions = 1;
        sums.take(&amounts(&row.used));
    }
    groups
}

/// All groups together; a session may be in several, so whoever adds them up says how many there are.
pub fn total<'a>(groups: impl IntoIterator<Item = &'a Sums>, sessions: u64) -> Sums {
    let mut total = Sums::default();
    groups.into_iter().for_each(|sums| total.take(&sums.amounts));
    Sums { sessions, ..total }
}

fn group(by: &[By], payer: &Payer, day: u32, model: Option<&String>, tool: Option<&String>) -> ReportGroup {
    let mut group = ReportGroup::default();
    for by in by {
        match by {
            By::User => group.user = Some(payer.email.clone()),
            By::Team => group.team.clone_from(&payer.team),
            By::Profile => group.profile = Some(payer.profile.clone()),
            By::Model => group.model = model.cloned(),
            By::Tool => group.tool = tool.cloned(),
            By::Day => group.day = Some(date(day).to_string()),
            By::Week => group.week = Some(date(monday(day)).to_string()),
            By::Month => group.month = Some(date(day).strftime("%Y-%m").to_string()),
        }
    }
    group
}

/// The lines of a report, in their order: earlier ones first, then the dearer ones.
pub fn lines(question: &Question, groups: BTreeMap<ReportGroup, Sums>) -> Vec<ReportRow> {
    let mut rows: Vec<ReportRow> =
        groups.into_iter().map(|(group, sums)| line(question, group, &sums)).collect();
    let weight = |row: &ReportRow| {
        let cost = row.models.map_or(0.0, |m| m.cost_usd.max(m.gateway_cost_usd));
        (cost, row.tools.map_or(0, |t| t.calls))
    };
    rows.sort_by(|a, b| {
        let ((cost_a, calls_a), (cost_b, calls_b)) = (weight(a), weight(b));
        time(a)
            .cmp(&time(b))
            .then(cost_b.total_cmp(&cost_a))
            .then(calls_b.cmp(&calls_a))
            .then(a.group.cmp(&b.group))
    });
    rows
}

/// When a line is of, as far as it is of any time.
fn time(row: &ReportRow) -> [Option<&str>; 3] {
    let ReportGroup { month, week, day, .. } = &row.group;
    [month.as_deref(), week.as_deref(), day.as_deref()]
}

/// A line of a report.
pub fn line(question: &Question, group: ReportGroup, sums: &Sums) -> ReportRow {
    let (work, models, tools) = match question.rows {
        Rows::Sessions => (true, true, true),
        Rows::Models => (false, true, false),
        Rows::Tools => (false, false, true),
    };
    // A sum below zero, or beyond all numbers, is of a client that makes things up.
    let whole = |n: f64| n.round() as u64;
    let amount = |n: f64| if n.is_nan() { 0.0 } else { n.clamp(0.0, f64::MAX) };
    let [turns, added, removed, commits, pull_requests, active, model @ .., uses, failures, milliseconds] =
        sums.amounts;
    let [calls, input, output, read, written, cost, gateway_calls, gateway_cost] = model;
    ReportRow {
        group,
        sessions: sums.sessions,
        work: work.then(|| ReportWork {
            turns: whole(turns),
            lines_added: whole(added),
            lines_removed: whole(removed),
            commits: whole(commits),
            pull_requests: whole(pull_requests),
            active_s: whole(active),
        }),
        models: models.then(|| ReportModels {
            calls: whole(calls),
            input_tokens: whole(input),
            output_tokens: whole(output),
            cache_read_tokens: whole(read),
            cache_creation_tokens: whole(written),
            cost_usd: amount(cost),
            gateway_calls: whole(gateway_calls),
            gateway_cost_usd: amount(gateway_cost),
        }),
        tools: tools.then(|| ReportTools {
            calls: whole(uses),
            failures: whole(failures),
            duration_ms: whole(milliseconds),
        }),
    }
}

#[cfg(test)]
mod tests;
