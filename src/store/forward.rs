//! How far each destination has what it is to get, and the sums of metrics that go there.

use sqlx::SqliteConnection;

use super::{Store, StoreError, session_id};
use crate::id::SessionId;

/// The cursor of a session that is over and wholly there.
pub const ALL_SENT: u64 = i64::MAX.cast_unsigned();

/// A session of which a destination may still lack something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Which.
    pub id: SessionId,
    /// How far the destination has it.
    pub cursor: u64,
    /// Whether the session is over: all of it stands in its journal.
    pub ended: bool,
}

/// Sums over sessions as they are kept for one destination; the states are the forwarder's own JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Series by name.
    pub series: Vec<(String, String)>,
    /// What has been added of each session.
    pub parts: Vec<(SessionId, String)>,
    /// The time of the last step, in µs since the epoch.
    pub time: u64,
}

/// A step of the sums: all of it is kept, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumsStep {
    /// What changed.
    pub sums: Sums,
    /// Series that are given up.
    pub gone: Vec<String>,
    /// How far that goes in each session.
    pub cursors: Vec<(SessionId, u64)>,
    /// Sessions that are over: nothing more will be added of them.
    pub over: Vec<SessionId>,
}

impl Store {
    /// The sessions of which a destination may lack something, the oldest first.
    pub async fn unsent(&self, destination: &str) -> Result<Vec<Unsent>, StoreError> {
        let rows: Vec<(String, i64, bool)> = sqlx::query_as(
            "SELECT id, coalesce(seq, 0), ended_at IS NOT NULL FROM sessions
             LEFT JOIN cursors ON session = id AND destination = ?
             WHERE seq IS NULL OR seq < ? ORDER BY id",
        )
        .bind(destination)
        .bind(ALL_SENT.cast_signed())
        .fetch_all(&self.pool)
        .await?;
        let row = |(id, seq, ended): (String, i64, bool)| {
            Ok(Unsent { id: session_id(&id)?, cursor: seq.cast_unsigned(), ended })
        };
        rows.into_iter().map(row).collect()
    }

    /// Notes that a destination has a session's telemetry up to this frame. A session that was purged
    /// meanwhile has no cursor any more.
    pub async fn set_cursor(
        &self,
        destination: &str,
        session: SessionId,
        seq: u64,
    ) -> Result<(), StoreError> {
        set_cursor(&mut *self.pool.acquire().await?, destination, session, seq).await
    }

    /// The sums for a destination.
    pub async fn sums(&self, destination: &str) -> Result<Sums, StoreError> {
        let series = sqlx::query_as("SELECT series, state FROM forward_series WHERE destination = ?")
            .bind(destination)
            .fetch_all(&self.pool)
            .await?;
        let parts: Vec<(String, String)> =
            sqlx::query_as("SELECT session, state FROM forward_parts WHERE destination = ?")
                .bind(destination)
                .fetch_all(&self.pool)
                .await?;
        let parts = parts.into_iter().map(|(id, state)| Ok((session_id(&id)?, state)));
        let time: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE key = ?")
            .bind(time_of(destination))
            .fetch_optional(&self.pool)
            .await?;
        let time = time.and_then(|(time,)| time.parse().ok()).unwrap_or(0);
        Ok(Sums { series, parts: parts.collect::<Result<_, StoreError>>()?, time })
    }

    /// Sums for a destination are from now on kept under these terms; series that were kept under others are forgotten,
    /// which is said. Of a destination without terms, series stay.
    pub async fn keep_under(&self, destination: &str, terms: &str) -> Result<bool, StoreError> {
        let mut all = self.pool.begin().await?;
        let key = format!("terms of the sums for {destination}");
        let before: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE key = ?")
            .bind(&key)
            .fetch_optional(&mut *all)
            .await?;
        let mut forgotten = 0;
        if before.as_ref().is_some_and(|(before,)| before != terms) {
            let gone = sqlx::query("DELETE FROM forward_series WHERE destination = ?").bind(destination);
            forgotten = gone.execute(&mut *all).await?.rows_affected();
        }
        put(&mut all, &key, terms).await?;
        all.commit().await?;
        Ok(forgotten > 0)
    }

    /// Keeps a step of the sums for a destination, with its cursors under the name `cursor`.
    pub async fn keep_sums(
        &self,
        destination: &str,
        cursor: &str,
        step: &SumsStep,
    ) -> Result<(), StoreError> {
        let mut all = self.pool.begin().await?;
        for (series, state) in &step.sums.series {
            sqlx::query(
                "INSERT INTO forward_series (destination, series, state) VALUES (?, ?, ?)
                 ON CONFLICT (destination, series) DO UPDATE SET state = excluded.state",
            )
            .bind(destination)
            .bind(series)
            .bind(state)
            .execute(&mut *all)
            .await?;
        }
        for (session, state) in &step.sums.parts {
            sqlx::query(
                "INSERT INTO forward_parts (destination, session, state) VALUES (?, ?, ?)
                 ON CONFLICT (destination, session) DO UPDATE SET state = excluded.state",
            )
            .bind(destination)
            .bind(session.to_string())
            .bind(state)
            .execute(&mut *all)
            .await?;
        }
        for series in &step.gone {
            sqlx::query("DELETE FROM forward_series WHERE destination = ? AND series = ?")
                .bind(destination)
                .bind(series)
                .execute(&mut *all)
                .await?;
        }
        put(&mut all, &time_of(destination), &step.sums.time.to_string()).await?;
        for (session, seq) in &step.cursors {
            set_cursor(&mut all, cursor, *session, *seq).await?;
        }
        for session in &step.over {
            sqlx::query("DELETE FROM forward_parts WHERE destination = ? AND session = ?")
                .bind(destination)
                .bind(session.to_string())
                .execute(&mut *all)
                .await?;
        }
        Ok(all.commit().await?)
    }
}

/// Under what name in `meta` the time of a destination's last step stands.
fn time_of(destination: &str) -> String {
    format!("time of the sums for {destination}")
}

async fn put(on: &mut SqliteConnection, key: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(on)
    .await?;
    Ok(())
}

async fn set_cursor(
    on: &mut SqliteConnection,
    destination: &str,
    session: SessionId,
    seq: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO cursors (destination, session, seq) SELECT ?, id, ? FROM sessions WHERE id = ?
         ON CONFLICT (destination, session) DO UPDATE SET seq = excluded.seq",
    )
    .bind(destination)
    .bind(seq.cast_signed())
    .bind(session.to_string())
    .execute(on)
    .await?;
    Ok(())
}
