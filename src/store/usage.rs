//! What sessions used, kept after their records are gone; and its sums, for reports.

use std::collections::BTreeMap;

use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError, session_id};
use crate::{
    api::{self, By, ReportGroup},
    id::SessionId,
    report::{self, Payer, Question, Sums},
    summary::{Of, Row, ToolUse, Use, Work},
};

/// Every sum of a report, by whatever is asked: what is not asked by is NULL in all rows, and one group.
const SUMS: &str = "
    SELECT CASE WHEN ?1 THEN p.email END, CASE WHEN ?2 THEN p.team END, CASE WHEN ?3 THEN p.profile END,
           CASE WHEN ?4 THEN u.name END, CASE WHEN ?5 THEN u.name END,
           CASE WHEN ?6 THEN u.day END,
           CASE WHEN ?7 THEN MAX((u.day + 3) / 7 * 7 - 3, 0) END,
           CASE WHEN ?8 THEN strftime('%Y-%m', u.day * 86400, 'unixepoch') END,
           COUNT(DISTINCT u.session),
           TOTAL(u.turns), TOTAL(u.lines_added), TOTAL(u.lines_removed), TOTAL(u.commits),
           TOTAL(u.pull_requests), TOTAL(u.active_s),
           TOTAL(CASE u.kind WHEN 'model' THEN u.calls END),
           TOTAL(u.input_tokens), TOTAL(u.output_tokens), TOTAL(u.cache_read_tokens),
           TOTAL(u.cache_creation_tokens), TOTAL(u.cost_usd), TOTAL(u.gateway_calls), TOTAL(u.gateway_cost_usd),
           TOTAL(CASE u.kind WHEN 'tool' THEN u.calls END), TOTAL(u.failures), TOTAL(u.duration_ms)
    FROM usage u JOIN payers p USING (session)
    WHERE u.day BETWEEN ?9 AND ?10
      AND CASE u.kind WHEN 'session' THEN ?11 WHEN 'model' THEN ?12 ELSE ?13 END
      AND u.session NOT IN (SELECT value FROM json_each(?14))
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8";

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

    /// The sums of what is kept, without these sessions.
    pub async fn usage(
        &self,
        question: &Question,
        without: &[SessionId],
    ) -> Result<BTreeMap<ReportGroup, Sums>, StoreError> {
        let by = |by: By| question.by.contains(&by);
        let (first, last) = question.span();
        let without: Vec<String> = without.iter().map(SessionId::to_string).collect();
        let rows = sqlx::query(SUMS)
            .bind(by(By::User))
            .bind(by(By::Team))
            .bind(by(By::Profile))
            .bind(by(By::Model))
            .bind(by(By::Tool))
            .bind(by(By::Day))
            .bind(by(By::Week))
            .bind(by(By::Month))
            .bind(first)
            .bind(last)
            .bind(question.parts.work)
            .bind(question.parts.models)
            .bind(question.parts.tools)
            .bind(serde_json::to_string(&without)?)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok((group(row)?, sums(row)?))).collect()
    }
}

fn group(row: &sqlx::sqlite::SqliteRow) -> Result<ReportGroup, sqlx::Error> {
    let day = |day: u32| report::date(day).to_string();
    Ok(ReportGroup {
        user: row.try_get(0)?,
        team: row.try_get(1)?,
        profile: row.try_get(2)?,
        model: row.try_get(3)?,
        tool: row.try_get(4)?,
        day: row.try_get::<Option<u32>, _>(5)?.map(day),
        week: row.try_get::<Option<u32>, _>(6)?.map(day),
        month: row.try_get(7)?,
    })
}

fn sums(row: &sqlx::sqlite::SqliteRow) -> Result<Sums, sqlx::Error> {
    let sessions: i64 = row.try_get(8)?;
    let mut amounts = [0.0; 17];
    for (n, amount) in amounts.iter_mut().enumerate() {
        *amount = row.try_get(9 + n)?;
    }
    let [a, b, c, d, e, f, calls, input, output, read, written, cost, gw_calls, gw_cost, uses, failures, ms] =
        amounts;
    Ok(Sums {
        sessions: sessions.cast_unsigned(),
        work: [a, b, c, d, e, f],
        model: [calls, input, output, read, written],
        cost_usd: cost,
        gateway_calls: gw_calls,
        gateway_cost_usd: gw_cost,
        tool: [uses, failures, ms],
    })
}

/// Puts a session's rows in place of those that are there.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    view: &api::Session,
    rows: &[Row],
) -> Result<(), sqlx::Error> {
    let id = view.id.to_string();
    let payer = Payer::of(view);
    // What is there goes along with it.
    sqlx::query("DELETE FROM payers WHERE session = ?").bind(&id).execute(&mut *connection).await?;
    sqlx::query("INSERT INTO payers (session, email, team, profile) VALUES (?, ?, ?, ?)")
        .bind(&id)
        .bind(payer.email)
        .bind(payer.team)
        .bind(payer.profile)
        .execute(&mut *connection)
        .await?;
    for row in rows {
        let (kind, name) = match &row.of {
            Of::Session(_) => ("session", ""),
            Of::Model(name, ..) => ("model", name.as_str()),
            Of::Tool(name, _) => ("tool", name.as_str()),
        };
        let (mut work, mut client, mut gateway, mut tool) =
            (Work::default(), Use::default(), Use::default(), ToolUse::default());
        match &row.of {
            Of::Session(done) => work = *done,
            Of::Model(_, said, seen) => (client, gateway) = (said.clone(), seen.clone()),
            Of::Tool(_, used) => tool = used.clone(),
        }
        let counts = [client.calls + tool.calls, client.input_tokens, client.output_tokens];
        sqlx::query(
            "INSERT INTO usage (session, day, kind, name, turns, lines_added, lines_removed, commits,
                 pull_requests, active_s, calls, input_tokens, output_tokens, cache_read_tokens,
                 cache_creation_tokens, cost_usd, gateway_calls, gateway_cost_usd, failures, duration_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(row.day)
        .bind(kind)
        .bind(name)
        .bind(real(work.turns))
        .bind(work.lines_added)
        .bind(work.lines_removed)
        .bind(work.commits)
        .bind(work.pull_requests)
        .bind(work.active_s)
        .bind(real(counts[0]))
        .bind(real(counts[1]))
        .bind(real(counts[2]))
        .bind(real(client.cache_read_tokens))
        .bind(real(client.cache_creation_tokens))
        .bind(client.cost_usd)
        .bind(real(gateway.calls))
        .bind(gateway.cost_usd)
        .bind(real(tool.failures))
        .bind(real(tool.duration_ms))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 were made up")]
fn real(n: u64) -> f64 {
    n as f64
}
