//! What sessions used, kept after their records are gone; and its sums, for reports.

use std::{collections::BTreeMap, ops::Range};

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{Store, StoreError, session_id};
use crate::{
    api::{self, By, ReportGroup},
    id::SessionId,
    report::{self, AMOUNTS, Payer, Question, Rows, Sums},
    summary::{Of, Row},
};

/// The columns of amounts, in the order of [`report::amounts`].
const COLUMNS: [&str; AMOUNTS] = [
    "turns",
    "lines_added",
    "lines_removed",
    "commits",
    "pull_requests",
    "active_s",
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "cost_usd",
    "gateway_calls",
    "gateway_cost_usd",
    "tools",
    "tool_failures",
    "tool_ms",
];

/// What is asked for is added up in two steps: for each session along the table, which lies in that order, and then over
/// sessions. All of it is made of words that stand here.
fn sums(question: &Question) -> String {
    let columns = &COLUMNS[columns(question.rows)];
    let mut inner = String::from("session");
    let mut keys = String::new();
    for by in &question.by {
        let (name, of_row) = match by {
            By::User => ("email", None),
            By::Team => ("team", None),
            By::Profile => ("profile", None),
            By::Model | By::Tool => ("name", Some("name")),
            By::Day => ("day", Some("day")),
            By::Week => ("week", Some("MAX((day + 3) / 7 * 7 - 3, 0)")),
            By::Month => ("month", Some("strftime('%Y-%m', day * 86400, 'unixepoch')")),
        };
        keys += &format!("{name}, ");
        inner += &of_row.map(|of_row| format!(", {of_row} AS {name}")).unwrap_or_default();
    }
    let each = |form: &dyn Fn(&str) -> String| columns.iter().map(|c| form(c)).collect::<Vec<_>>().join(", ");
    let within: Vec<String> = (1..=inner.split(" AS ").count()).map(|n| n.to_string()).collect();
    let over: Vec<String> = (1..=question.by.len()).map(|n| n.to_string()).collect();
    let group = if over.is_empty() { String::new() } else { format!("GROUP BY {}", over.join(", ")) };
    format!(
        "SELECT {keys}COUNT(*), {} FROM
             (SELECT {inner}, {} FROM usage WHERE {OF_ROWS} GROUP BY {})
             JOIN payers USING (session) {group}",
        each(&|c| format!("TOTAL({c})")),
        each(&|c| format!("TOTAL({c}) AS {c}")),
        within.join(", "),
    )
}

/// The rows that a question is about, without those of some sessions.
const OF_ROWS: &str =
    "kind = ?1 AND day BETWEEN ?2 AND ?3 AND session NOT IN (SELECT value FROM json_each(?4))";

/// What rows of a kind have amounts of.
fn columns(rows: Rows) -> Range<usize> {
    match rows {
        Rows::Sessions => 0..AMOUNTS,
        Rows::Models => 6..14,
        Rows::Tools => 14..AMOUNTS,
    }
}

fn kind(rows: Rows) -> &'static str {
    match rows {
        Rows::Sessions => "session",
        Rows::Models => "model",
        Rows::Tools => "tool",
    }
}

impl Store {
    /// Keeps what a session used, in place of what was kept of it.
    pub async fn keep_usage(&self, view: &api::Session, rows: &[Row]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        put(&mut transaction, view, rows).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Whether it is kept what a session used.
    pub async fn has_usage(&self, id: SessionId) -> Result<bool, StoreError> {
        let found: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM payers WHERE session = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Ended sessions of which it is not kept what they used: they ended under a daemon that kept none.
    pub async fn without_usage(&self) -> Result<Vec<SessionId>, StoreError> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM sessions WHERE ended_at IS NOT NULL AND id NOT IN (SELECT session FROM payers)
             ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|(id,)| session_id(id)).collect()
    }

    /// The sums of what is kept, without these sessions; and how many sessions there are in all of it.
    pub async fn usage(
        &self,
        question: &Question,
        without: &[SessionId],
    ) -> Result<(BTreeMap<ReportGroup, Sums>, u64), StoreError> {
        let (first, last) = question.span();
        let without: Vec<String> = without.iter().map(SessionId::to_string).collect();
        let without = serde_json::to_string(&without)?;
        let rows = sqlx::query(AssertSqlSafe(sums(question)))
            .bind(kind(question.rows))
            .bind(first)
            .bind(last)
            .bind(&without)
            .fetch_all(&self.pool)
            .await?;
        let mut groups = BTreeMap::new();
        for row in rows {
            let (group, sums) = group(question, &row)?;
            // Without anything to group by there is a row of nothing.
            if sums.sessions > 0 {
                groups.insert(group, sums);
            }
        }
        let (sessions,): (i64,) = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT COUNT(DISTINCT session) FROM usage WHERE {OF_ROWS}"
        )))
        .bind(kind(question.rows))
        .bind(first)
        .bind(last)
        .bind(&without)
        .fetch_one(&self.pool)
        .await?;
        Ok((groups, sessions.cast_unsigned()))
    }
}

fn group(question: &Question, row: &SqliteRow) -> Result<(ReportGroup, Sums), sqlx::Error> {
    let mut group = ReportGroup::default();
    for (n, by) in question.by.iter().enumerate() {
        let text = || row.try_get::<Option<String>, _>(n);
        let day = || row.try_get::<u32, _>(n).map(|day| Some(report::date(day).to_string()));
        match by {
            By::User => group.user = text()?,
            By::Team => group.team = text()?,
            By::Model => group.model = text()?,
            By::Tool => group.tool = text()?,
            By::Profile => group.profile = text()?,
            By::Day => group.day = day()?,
            By::Week => group.week = day()?,
            By::Month => group.month = text()?,
        }
    }
    let keys = question.by.len();
    let mut sums = Sums { sessions: row.try_get::<i64, _>(keys)?.cast_unsigned(), ..Sums::default() };
    for (n, amount) in sums.amounts[columns(question.rows)].iter_mut().enumerate() {
        *amount = row.try_get(keys + 1 + n)?;
    }
    Ok((group, sums))
}

/// Puts a session's rows in place of those that are there.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    view: &api::Session,
    rows: &[Row],
) -> Result<(), sqlx::Error> {
    let id = view.id.to_string();
    let payer = Payer::of(view);
    for statement in [
        "DELETE FROM payers WHERE session = ?",
        "DELETE FROM usage WHERE kind IN ('session', 'model', 'tool') AND session = ?",
    ] {
        sqlx::query(statement).bind(&id).execute(&mut *connection).await?;
    }
    sqlx::query("INSERT INTO payers (session, email, team, profile) VALUES (?, ?, ?, ?)")
        .bind(&id)
        .bind(payer.email)
        .bind(payer.team)
        .bind(payer.profile)
        .execute(&mut *connection)
        .await?;
    let values = vec!["?"; 4 + AMOUNTS].join(", ");
    let insert =
        format!("INSERT INTO usage (kind, session, name, day, {}) VALUES ({values})", COLUMNS.join(", "));
    for row in rows {
        let (rows, name) = match &row.of {
            Of::Session => (Rows::Sessions, ""),
            Of::Model(name) => (Rows::Models, name.as_str()),
            Of::Tool(name) => (Rows::Tools, name.as_str()),
        };
        let mut query =
            sqlx::query(AssertSqlSafe(insert.clone())).bind(kind(rows)).bind(&id).bind(name).bind(row.day);
        for amount in report::amounts(&row.used) {
            query = query.bind(amount);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
