//! Keeps all sessions (contract; the implementation is on its way).
use crate::{api, config::Config, id::SessionId, lifecycle::Denied, session::SessionHandle, spec::User};
use std::sync::Arc;
use tokio::sync::watch;

/// Asks for sessions. Clones are cheap.
#[derive(Clone)]
pub struct Supervisor {}

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
    /// A limit on the number of sessions is reached.
    #[error("{0}")]
    Limit(String),
    /// The link is unknown, used up or expired.
    #[error("this invite is not valid: it is unknown, used up or expired; ask for a new one")]
    Invite,
    /// The daemon is stopping.
    #[error("the daemon is stopping; try again in a moment")]
    Stopping,
    /// No space is left for new records.
    #[error("the disk of the state folder is full; free some space and try again")]
    Full,
    /// The engine does not work.
    #[error("the engine cannot start the session: {0}")]
    Engine(String),
    /// Something inside failed.
    #[error("something inside failed; the daemon's log says what")]
    Internal(#[source] anyhow::Error),
}

#[expect(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    reason = "the contract, until the module lands"
)]
impl Supervisor {
    pub fn config(&self) -> Arc<Config> {
        unimplemented!()
    }
    /// Starts a session; returns as soon as it is on record, with its container on the way.
    pub async fn start(
        &self,
        request: api::StartRequest,
        caller: Option<User>,
    ) -> Result<SessionHandle, Refusal> {
        unimplemented!()
    }
    /// The id that this full id or unique prefix names.
    pub async fn resolve(&self, prefix: &str) -> Result<SessionId, Refusal> {
        unimplemented!()
    }
    /// A live session.
    pub fn live(&self, id: SessionId) -> Option<SessionHandle> {
        unimplemented!()
    }
    /// A session, live or ended.
    pub async fn session(&self, id: SessionId) -> Result<api::Session, Refusal> {
        unimplemented!()
    }
    pub async fn list(&self, all: bool) -> Result<Vec<api::Session>, Refusal> {
        unimplemented!()
    }
    /// Changes whenever any session's view does (at most every 250 ms).
    pub fn changes(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }
    pub async fn stop(&self, id: SessionId, note: Option<String>) -> Result<api::Session, Refusal> {
        unimplemented!()
    }
    pub async fn purge(&self, id: SessionId) -> Result<(), Refusal> {
        unimplemented!()
    }
    /// Where a session's journal lies.
    pub fn journal_dir(&self, id: SessionId) -> std::path::PathBuf {
        unimplemented!()
    }
    pub async fn invite(&self, request: api::InviteRequest) -> Result<(String, api::Invite), Refusal> {
        unimplemented!()
    }
    pub async fn invitation(&self, token: &str) -> Result<api::Invitation, Refusal> {
        unimplemented!()
    }
    /// Uses an invite up by one and starts its session. Returns a seat: a secret that drives this session.
    pub async fn join(
        &self,
        token: &str,
        request: api::JoinRequest,
    ) -> Result<(api::Session, String), Refusal> {
        unimplemented!()
    }
    /// The session that a seat (from a cookie) drives.
    pub async fn seat(&self, secret: &str) -> Option<SessionId> {
        unimplemented!()
    }
    pub async fn is_admin_token(&self, token: &str) -> bool {
        unimplemented!()
    }
    pub async fn rotate_token(&self) -> Result<String, Refusal> {
        unimplemented!()
    }
    /// Exchanges nothing but the knowledge of the token for a browser session's secret.
    pub async fn open_browser_session(&self) -> Result<String, Refusal> {
        unimplemented!()
    }
    pub async fn is_browser_session(&self, secret: &str) -> bool {
        unimplemented!()
    }
    pub async fn close_browser_session(&self, secret: &str) {
        unimplemented!()
    }
    pub async fn doctor(&self) -> Vec<api::Check> {
        unimplemented!()
    }
    /// Ready to start sessions.
    pub async fn ready(&self) -> Result<(), String> {
        unimplemented!()
    }
}
