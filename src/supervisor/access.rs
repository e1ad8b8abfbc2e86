//! Who may come in: the admin's token, browser logins, invites and seats. Secrets are stored hashed.

use std::time::Duration;

use super::{Refusal, Supervisor, admit::invalid};
use crate::{
    api::{Invitation, Invite, InviteRequest, JoinRequest, Session, StartRequest},
    clock,
    id::SessionId,
    keys::{hash_secret, same_hash, secret},
    spec::{Profile, User},
};

/// How long a browser stays logged in.
const LOGIN: u64 = 12 * 3_600_000_000; // µs
/// How long an invite is good unless it says otherwise.
const INVITE: Duration = Duration::from_secs(24 * 3600);
/// Longest life of an invite.
const INVITE_MOST: Duration = Duration::from_secs(90 * 24 * 3600);

impl Supervisor {
    /// Makes an invite; returns its secret, which is in its link and nowhere else.
    pub async fn invite(&self, request: InviteRequest) -> Result<(String, Invite), Refusal> {
        let config = &self.inner.config;
        let profile = request.profile.unwrap_or_else(|| config.default_profile.clone());
        if !config.profiles.contains_key(&profile) {
            return Err(invalid(
                "profile",
                format!(
                    "there is no profile '{}'; there are {}",
                    crate::inert::inert(&profile),
                    config.profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
        let uses = request.uses.unwrap_or(1);
        if !(1..=10_000).contains(&uses) {
            return Err(invalid("uses", "give 1 to 10000".to_owned()));
        }
        let lasts = request.expires_s.map_or(INVITE, Duration::from_secs);
        if lasts.is_zero() || lasts > INVITE_MOST {
            return Err(invalid("expires_s", "give 1 second to 90 days".to_owned()));
        }
        let expires = clock::now() + lasts.as_secs() * 1_000_000;
        let token = secret("inv");
        self.inner.store.insert_invite(&hash_secret(&token), &profile, uses, expires).await?;
        let url = format!("{}/join/{token}", self.public_url());
        Ok((token, Invite { url, profile, uses, expires_at: clock::timestamp(expires) }))
    }

    /// What an invite offers.
    pub async fn invitation(&self, token: &str) -> Result<Invitation, Refusal> {
        let found = self.inner.store.peek_invite(&hash_secret(token), clock::now()).await?;
        let invite = found.ok_or(Refusal::Invite)?;
        let profile = self.inner.config.profiles.get(&invite.profile).ok_or(Refusal::Invite)?;
        Ok(Invitation {
            credential: profile.credential,
            ttl_s: profile.ttl.as_secs(),
            recorded: recorded(profile),
            profile: invite.profile,
            expires_at: clock::timestamp(invite.expires_at),
        })
    }

    /// Uses an invite up by one and starts its session. Returns a seat: a secret that drives this session.
    pub async fn join(&self, token: &str, request: JoinRequest) -> Result<(Session, String), Refusal> {
        if !request.consent {
            return Err(invalid(
                "consent",
                "the session is recorded; it starts only if you agree".to_owned(),
            ));
        }
        let user = User::new(&request.name, &request.email).map_err(|error| {
            let field = if error == crate::spec::UserError::Email { "email" } else { "name" };
            invalid(field, error.to_string())
        })?;
        let hash = hash_secret(token);
        let invite = self.inner.store.take_invite(&hash, clock::now()).await?.ok_or(Refusal::Invite)?;
        let start = StartRequest {
            user: Some(user),
            profile: Some(invite.profile),
            cols: request.cols,
            rows: request.rows,
            api_key: request.api_key.filter(|key| !key.is_empty()),
            ..StartRequest::default()
        };
        let handle = match self.start(start, None).await {
            Ok(handle) => handle,
            Err(refusal) => {
                self.inner.store.give_back_invite(&hash).await?;
                return Err(refusal);
            }
        };
        let seat = secret("seat");
        self.inner.store.insert_seat(&hash_secret(&seat), handle.id).await?;
        Ok((handle.view(), seat))
    }

    /// The session that a seat drives.
    pub async fn seat(&self, secret: &str) -> Option<SessionId> {
        self.inner.store.session_of_seat(&hash_secret(secret)).await.ok().flatten()
    }

    /// Whether this is the admin's token.
    pub async fn is_admin_token(&self, token: &str) -> bool {
        match self.inner.store.admin_token_hash().await {
            Ok(Some(hash)) => same_hash(&hash, &hash_secret(token)),
            _ => false,
        }
    }

    /// Makes a new admin token; the one before it no longer works, nor does any browser's login.
    pub async fn rotate_token(&self) -> Result<String, Refusal> {
        let token = secret("sbx");
        self.inner.store.set_admin_token_hash(&hash_secret(&token)).await?;
        Ok(token)
    }

    /// Logs a browser in; whoever asks has shown the token. Returns the cookie's secret.
    pub async fn open_browser_session(&self) -> Result<String, Refusal> {
        let secret = secret("web");
        self.inner.store.insert_browser_session(&hash_secret(&secret), clock::now() + LOGIN).await?;
        Ok(secret)
    }

    /// Whether a cookie's secret is logged in.
    pub async fn is_browser_session(&self, secret: &str) -> bool {
        self.inner.store.has_browser_session(&hash_secret(secret), clock::now()).await.unwrap_or(false)
    }

    /// Logs a browser out.
    pub async fn close_browser_session(&self, secret: &str) {
        if let Err(error) = self.inner.store.delete_browser_session(&hash_secret(secret)).await {
            tracing::warn!(%error, "a browser's login could not be removed");
        }
    }

    /// How the page is reached.
    pub fn public_url(&self) -> String {
        let config = &self.inner.config;
        config.public_url.as_deref().map_or_else(
            || format!("http{}://{}", if config.tls.is_some() { "s" } else { "" }, config.listen),
            |url| url.trim_end_matches('/').to_owned(),
        )
    }
}

/// What a session of this profile records, a sentence each.
fn recorded(profile: &Profile) -> Vec<String> {
    let mut said = vec![
        "Everything that the terminal shows is recorded, byte for byte.".to_owned(),
        "Claude Code's telemetry is recorded: which tools ran, how long they took, tokens and cost."
            .to_owned(),
        "Your name and e-mail address are recorded with it.".to_owned(),
    ];
    if profile.telemetry.prompts {
        said.push("The text of your prompts and of the answers is recorded.".to_owned());
    }
    if profile.telemetry.tool_content {
        said.push("What tools read and write is recorded.".to_owned());
    }
    said.push(
        if profile.record_input {
            "What you type is recorded, passwords included."
        } else {
            "What you type is not recorded beyond what the terminal shows."
        }
        .to_owned(),
    );
    said.push(
        "The operator, and people they invite, can watch the session live and export the record.".to_owned(),
    );
    said
}
