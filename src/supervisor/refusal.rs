//! Why something asked of the supervisor is refused.

use crate::{
    engine::EngineError, export::ExportError, journal::JournalError, lifecycle::Denied, store::StoreError,
};

/// Why something asked of the supervisor is refused. `http` maps each to a status and a code.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A field of the request makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// No session has this id or prefix.
    #[error("no session '{0}'; `sandboxctl list --all` shows those there are")]
    NotFound(String),
    /// Several sessions have this prefix.
    #[error("'{prefix}' begins the ids of {count} sessions; give more of it")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// The session's phase does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The workspace of a session that has ended is asked for.
    #[error("the session has ended, and its workspace is gone or kept for the next; ask while it lives")]
    WorkspaceGone,
    /// A limit on the number of sessions is reached.
    #[error("{0}")]
    Limit(String),
    /// The link is unknown, used up or expired.
    #[error("this invite is not valid: it is unknown, used up or expired; ask for a new one")]
    Invite,
    /// The daemon is stopping.
    #[error("the daemon is stopping; try again in a moment")]
    Stopping,
    /// An earlier daemon's session that this one could not take over yet.
    #[error("the session is not taken over yet: {0}; it is tried again every few seconds")]
    NotYet(String),
    /// No space is left for new records.
    #[error("the disk of the state folder is full; free some space and try again")]
    Full,
    /// Nothing can be written.
    #[error("the state folder takes no writes; make its disk and the folder writable and try again")]
    ReadOnly,
    /// A record cannot be read to its end.
    #[error("the session's record is damaged: {0}")]
    Damaged(String),
    /// The engine does not work.
    #[error("the engine cannot start the session: {0}")]
    Engine(String),
    /// Something inside failed.
    #[error("something inside failed; the daemon's log says what")]
    Internal(#[source] anyhow::Error),
}

impl Refusal {
    /// The same for the log, with what failed inside.
    pub(super) fn why(&self) -> String {
        match self {
            Refusal::Internal(inner) => format!("{inner:#}"),
            other => other.to_string(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match error {
            StoreError::Full => Refusal::Full,
            StoreError::ReadOnly => Refusal::ReadOnly,
            other => Refusal::Internal(other.into()),
        }
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Refusal {
        match error {
            JournalError::Full { .. } => Refusal::Full,
            JournalError::ReadOnly { .. } => Refusal::ReadOnly,
            JournalError::Damaged { .. } => Refusal::Damaged(error.to_string()),
            other => Refusal::Internal(other.into()),
        }
    }
}

impl From<ExportError> for Refusal {
    fn from(error: ExportError) -> Refusal {
        match error {
            ExportError::Journal(error) => error.into(),
            ExportError::Io(error) => error.into(),
            ExportError::Frame { .. } => Refusal::Damaged(error.to_string()),
        }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Refusal {
        Refusal::Engine(error.to_string())
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Refusal::Full,
            // Root's daemon may write everywhere: what it may not is as good as read-only.
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                Refusal::ReadOnly
            }
            _ => Refusal::Internal(error.into()),
        }
    }
}
