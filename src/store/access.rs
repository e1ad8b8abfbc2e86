//! Rows of who may come in: the admin's token, logins, invites, seats. Hashes only.

use super::{Store, StoreError, session_id};
use crate::id::SessionId;

/// An invite that is still good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteRow {
    /// Profile of the sessions it starts.
    pub profile: String,
    /// Sessions it may still start.
    pub uses: u32,
    /// When it expires, in µs since the Unix epoch.
    pub expires_at: u64,
}

impl Store {
    /// The admin token's hash, once there is one.
    pub async fn admin_token_hash(&self) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE key = 'admin_token'")
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(hash,)| hash))
    }

    /// Replaces the admin token's hash, and logs every browser out.
    pub async fn set_admin_token_hash(&self, hash: &str) -> Result<(), StoreError> {
        let mut change = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('admin_token', ?)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(hash)
        .execute(&mut *change)
        .await?;
        sqlx::query("DELETE FROM logins").execute(&mut *change).await?;
        Ok(change.commit().await?)
    }

    /// Logs a browser in.
    pub async fn insert_browser_session(&self, hash: &str, expires_at: u64) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO logins (hash, expires_at) VALUES (?, ?)")
            .bind(hash)
            .bind(expires_at.cast_signed())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether a browser is logged in.
    pub async fn has_browser_session(&self, hash: &str, now: u64) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT expires_at FROM logins WHERE hash = ? AND expires_at > ?")
                .bind(hash)
                .bind(now.cast_signed())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.is_some())
    }

    /// Logs a browser out.
    pub async fn delete_browser_session(&self, hash: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM logins WHERE hash = ?").bind(hash).execute(&self.pool).await?;
        Ok(())
    }

    /// Adds an invite.
    pub async fn insert_invite(
        &self,
        hash: &str,
        profile: &str,
        uses: u32,
        expires_at: u64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO invites (hash, profile, uses, expires_at) VALUES (?, ?, ?, ?)")
            .bind(hash)
            .bind(profile)
            .bind(uses)
            .bind(expires_at.cast_signed())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// An invite that is neither used up nor expired.
    pub async fn peek_invite(&self, hash: &str, now: u64) -> Result<Option<InviteRow>, StoreError> {
        let row: Option<(String, u32, i64)> = sqlx::query_as(
            "SELECT profile, uses, expires_at FROM invites WHERE hash = ? AND uses > 0 AND expires_at > ?",
        )
        .bind(hash)
        .bind(now.cast_signed())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(invite))
    }

    /// Uses an invite up by one: exact, however many ask at once. As it is afterwards.
    pub async fn take_invite(&self, hash: &str, now: u64) -> Result<Option<InviteRow>, StoreError> {
        let row: Option<(String, u32, i64)> = sqlx::query_as(
            "UPDATE invites SET uses = uses - 1 WHERE hash = ? AND uses > 0 AND expires_at > ?
             RETURNING profile, uses, expires_at",
        )
        .bind(hash)
        .bind(now.cast_signed())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(invite))
    }

    /// Gives back a use whose session did not come to be.
    pub async fn give_back_invite(&self, hash: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE invites SET uses = uses + 1 WHERE hash = ?")
            .bind(hash)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Adds a seat: a secret that drives one session.
    pub async fn insert_seat(&self, hash: &str, session: SessionId) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO seats (hash, session) VALUES (?, ?)")
            .bind(hash)
            .bind(session.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The session that a seat drives.
    pub async fn session_of_seat(&self, hash: &str) -> Result<Option<SessionId>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT session FROM seats WHERE hash = ?")
            .bind(hash)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|(id,)| session_id(&id)).transpose()
    }

    /// Removes what has expired.
    pub async fn delete_expired(&self, now: u64) -> Result<(), StoreError> {
        for table in [
            "DELETE FROM invites WHERE expires_at <= ? OR uses = 0",
            "DELETE FROM logins WHERE expires_at <= ?",
        ] {
            sqlx::query(table).bind(now.cast_signed()).execute(&self.pool).await?;
        }
        Ok(())
    }
}

fn invite((profile, uses, expires_at): (String, u32, i64)) -> InviteRow {
    InviteRow { profile, uses, expires_at: expires_at.cast_unsigned() }
}
