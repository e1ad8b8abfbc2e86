//! Rows of sessions, and of the workspaces that outlive them.

use super::{Store, StoreError, session_id, usage};
use crate::{api, clock, id::SessionId, spec::Spec, summary::Row};

/// A session to be put on record.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// The session as it begins.
    pub view: &'a api::Session,
    /// What it was asked to be.
    pub spec: &'a Spec,
    /// The name of its volumes.
    pub volume: &'a str,
}

impl Store {
    /// Puts a session on record.
    pub async fn insert(&self, new: NewSession<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sessions (id, email, created_at, volume, spec, view) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(new.view.id.to_string())
        .bind(&new.view.user.email)
        .bind(clock::micros(new.view.created_at).cast_signed())
        .bind(new.volume)
        .bind(serde_json::to_string(new.spec)?)
        .bind(serde_json::to_string(new.view)?)
        .execute(&self.pool)
        .await?;
        if new.view.workspace.is_some() {
            sqlx::query("UPDATE workspaces SET session = ? WHERE volume = ?")
                .bind(new.view.id.to_string())
                .bind(new.volume)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// Keeps a live session as it is seen now.
    pub async fn save_view(&self, view: &api::Session) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET view = ? WHERE id = ? AND ended_at IS NULL")
            .bind(serde_json::to_string(view)?)
            .bind(view.id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Keeps a session as it ended, with what it used. Where that is not known it can be kept later: see
    /// [`Store::without_usage`].
    pub async fn set_ended(&self, view: &api::Session, used: Option<&[Row]>) -> Result<(), StoreError> {
        let ended = view.ended_at.map_or_else(clock::now, clock::micros);
        let mut transaction = self.pool.begin().await?;
        if let Some(rows) = used {
            usage::put(&mut transaction, view, rows).await?;
        }
        sqlx::query("UPDATE sessions SET view = ?, ended_at = ? WHERE id = ?")
            .bind(serde_json::to_string(view)?)
            .bind(ended.cast_signed())
            .bind(view.id.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Removes a session's rows, but for what it used.
    pub async fn delete(&self, id: SessionId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE id = ?").bind(id.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// A session as last seen.
    pub async fn view(&self, id: SessionId) -> Result<Option<api::Session>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT view FROM sessions WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(view,)| serde_json::from_str(&view)).transpose()?)
    }

    /// Every session as last seen, newest first.
    pub async fn views(&self) -> Result<Vec<api::Session>, StoreError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT view FROM sessions ORDER BY created_at DESC, id DESC")
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|(view,)| Ok(serde_json::from_str(view)?)).collect()
    }

    /// What a session was asked to be.
    pub async fn spec(&self, id: SessionId) -> Result<Option<Spec>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT spec FROM sessions WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(spec,)| serde_json::from_str(&spec)).transpose()?)
    }

    /// The name of a session's volumes.
    pub async fn volume(&self, id: SessionId) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT volume FROM sessions WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(volume,)| volume))
    }

    /// Sessions that have not ended, oldest first.
    pub async fn live(&self) -> Result<Vec<SessionId>, StoreError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM sessions WHERE ended_at IS NULL ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|(id,)| session_id(id)).collect()
    }

    /// Every session that is on record.
    pub async fn all(&self) -> Result<Vec<SessionId>, StoreError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM sessions ORDER BY id").fetch_all(&self.pool).await?;
        rows.iter().map(|(id,)| session_id(id)).collect()
    }

    /// How many sessions live: in all, and of this e-mail address.
    pub async fn count_live(&self, email: &str) -> Result<(usize, usize), StoreError> {
        let (all, theirs): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(email = ?), 0) FROM sessions WHERE ended_at IS NULL",
        )
        .bind(email)
        .fetch_one(&self.pool)
        .await?;
        Ok((usize::try_from(all).unwrap_or(0), usize::try_from(theirs).unwrap_or(0)))
    }

    /// Ids that begin with `prefix` (hexadecimal and dashes), at most `limit`.
    pub async fn find_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<SessionId>, StoreError> {
        // A range over the primary key; 'g' follows every hexadecimal digit.
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT id FROM sessions WHERE id >= ? AND id < ? ORDER BY id LIMIT ?")
                .bind(prefix)
                .bind(format!("{prefix}g"))
                .bind(limit)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|(id,)| session_id(id)).collect()
    }

    /// Gives a user's workspace to a session that is about to be put on record; its volume's name, or a
    /// sentence on why not. One session at a time.
    pub async fn claim_workspace(
        &self,
        name: &str,
        email: &str,
        session: SessionId,
    ) -> Result<Result<String, String>, StoreError> {
        let fresh = format!("sandbox-ws-{session}");
        sqlx::query("INSERT INTO workspaces (name, email, volume) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(email)
            .bind(&fresh)
            .execute(&self.pool)
            .await?;
        let (volume, holder): (String, Option<String>) =
            sqlx::query_as("SELECT volume, session FROM workspaces WHERE email = ? AND name = ?")
                .bind(email)
                .bind(name)
                .fetch_one(&self.pool)
                .await?;
        if let Some(holder) = holder {
            let live: Option<(String,)> =
                sqlx::query_as("SELECT id FROM sessions WHERE id = ? AND ended_at IS NULL")
                    .bind(&holder)
                    .fetch_optional(&self.pool)
                    .await?;
            if live.is_some() {
                return Ok(Err(format!("session {holder} uses it; end that one first, or use another name")));
            }
        }
        Ok(Ok(volume))
    }

    /// Frees the workspace that a session used.
    pub async fn release_workspace(&self, session: SessionId) -> Result<(), StoreError> {
        sqlx::query("UPDATE workspaces SET session = NULL WHERE session = ?")
            .bind(session.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
