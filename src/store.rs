//! The store: rows that outlive a daemon, in SQLite. All SQL is here and in the children, in named methods.
//!
//! What a session did is in its journal; the store knows that there is one, for whom, and how it stood
//! last. A row is written before what it speaks of is made, and removed after that is gone.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

use crate::id::{InstanceId, SessionId};

mod access;
mod forward;
mod sessions;
mod usage;

pub use access::InviteRow;
pub use forward::{ALL_SENT, Sums, SumsStep, Unsent};
pub use sessions::NewSession;

/// How long to wait for another connection's write.
const BUSY: Duration = Duration::from_secs(10);
/// Connections. There is one, which has the file to itself (`lock` keeps other daemons out): so SQLite needs no
/// shared memory. That is a mapped file, and to touch one on a disk that is full or read-only kills the process.
const CONNECTIONS: u32 = 1;

/// Why the store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space is left.
    #[error("the database cannot grow: no space left on the disk")]
    Full,
    /// The disk takes no writes at all.
    #[error("the database cannot be written: the disk is read-only")]
    ReadOnly,
    /// The file is damaged, or is none of ours.
    #[error(
        "the database {path} cannot be used: {error}; restore it from a backup, or move it away to begin anew"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: String,
    },
    /// A row does not read back as what was written.
    #[error("the database holds a row that makes no sense: {0}")]
    Row(String),
    /// Something else.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        const FULL: u32 = 13; // SQLITE_FULL
        const READ_ONLY: u32 = 8; // SQLITE_READONLY
        let code = match &error {
            sqlx::Error::Database(e) => e.code().and_then(|code| code.parse::<u32>().ok()),
            _ => None,
        };
        // What extends a code stands above its lowest byte.
        match code.map(|code| code & 0xff) {
            Some(FULL) => StoreError::Full,
            Some(READ_ONLY) => StoreError::ReadOnly,
            _ => StoreError::Database(error),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> StoreError {
        StoreError::Row(error.to_string())
    }
}

/// The daemon's rows. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database, making it (mode 0600) or bringing it up to date as needed.
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let corrupt = |error: String| StoreError::Corrupt { path: path.to_owned(), error };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(|e| corrupt(e.to_string()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|e| corrupt(e.to_string()))?;
        sqlx::migrate!().run(&pool).await.map_err(|e| corrupt(e.to_string()))?;
        Ok(Store { pool })
    }

    /// Writes out what is pending and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// This daemon's instance, drawn when the database was made.
    pub async fn instance_id(&self) -> Result<InstanceId, StoreError> {
        let drawn = InstanceId::new().to_string();
        sqlx::query("INSERT INTO meta (key, value) VALUES ('instance', ?) ON CONFLICT DO NOTHING")
            .bind(drawn)
            .execute(&self.pool)
            .await?;
        let (id,): (String,) =
            sqlx::query_as("SELECT value FROM meta WHERE key = 'instance'").fetch_one(&self.pool).await?;
        id.parse().map_err(|_| StoreError::Row(format!("instance {id}")))
    }
}

fn session_id(text: &str) -> Result<SessionId, StoreError> {
    SessionId::from_str(text).map_err(|_| StoreError::Row(format!("session id {text}")))
}

#[cfg(test)]
mod tests;
