//! Who gets a session: a request checked field by field, limits, the resolved spec.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use super::{Refusal, Supervisor, somebody};
use crate::{
    api::StartRequest,
    config::{Config, is_image, is_program},
    engine::EngineError,
    metrics::Start,
    session::SessionHandle,
    spec::{Credential, Spec, User, UserError},
};

/// Terminal size of a session that names none.
const SIZE: (u16, u16) = (120, 36);

impl Supervisor {
    /// Starts a session. Returns as soon as it is on record, with its container on the way.
    pub async fn start(&self, request: StartRequest, caller: Option<User>) -> Result<SessionHandle, Refusal> {
        let api_key = request.api_key.clone();
        let engine = self.engine_name();
        let admitted = self.admit(request, caller).await;
        let (spec, image_env) = admitted.inspect_err(|_| self.inner.metrics.start(engine, Start::Refused))?;
        if let Some(key) = &api_key {
            self.inner.handed_out.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
        }
        let started = self.launch(spec, &image_env, api_key).await;
        self.inner.metrics.start(engine, if started.is_ok() { Start::Started } else { Start::Failed });
        started
    }

    /// What the session is to be, and its image's environment.
    async fn admit(
        &self,
        request: StartRequest,
        caller: Option<User>,
    ) -> Result<(Spec, BTreeMap<String, String>), Refusal> {
        if self.inner.cancel.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        let spec = resolve(&self.inner.config, request, caller)?;
        if let Some(runtime) = &spec.profile.runtime {
            let known = self.inner.engine.health().await?.runtimes;
            if !known.contains(runtime) {
                let missing = EngineError::NoRuntime { runtime: runtime.clone(), known: known.join(", ") };
                return Err(invalid("profile", missing.to_string()));
            }
        }
        let image_env = self.inner.engine.image_env(&spec.profile.image).await.map_err(|e| match e {
            EngineError::NoImage(_) => invalid("image", e.to_string()),
            other => other.into(),
        })?;
        self.check_space()?;
        let limits = &self.inner.config;
        let (all, theirs) = self.inner.store.count_live(&spec.user.email).await?;
        if all >= limits.max_sessions {
            return Err(Refusal::Limit(format!(
                "{all} sessions are alive, as many as max_sessions allows; end one, or raise it"
            )));
        }
        if theirs >= limits.max_sessions_per_user {
            return Err(Refusal::Limit(format!(
                "{} has {theirs} sessions alive, as many as max_sessions_per_user allows; end one first",
                spec.user.email
            )));
        }
        Ok((spec, image_env))
    }
}

/// Lays a request over its profile, checking each field.
fn resolve(config: &Config, request: StartRequest, caller: Option<User>) -> Result<Spec, Refusal> {
    let profiles = &config.profiles;
    let name = request.profile.unwrap_or_else(|| config.default_profile.clone());
    let mut profile = profiles.get(&name).cloned().ok_or_else(|| {
        let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
        invalid("profile", format!("there is none of this name; there are {}", known.join(", ")))
    })?;
    let user = somebody(request.user, caller);
    let user = User::new(&user.name, &user.email).map_err(|error| {
        let field = if error == UserError::Email { "user.email" } else { "user.name" };
        invalid(field, error.to_string())
    })?;
    if let Some(image) = request.image {
        if !is_image(&image) {
            return Err(invalid("image", "give an image reference such as debian:bookworm-slim".to_owned()));
        }
        profile.image = image;
    }
    if !request.program.is_empty() {
        if !is_program(&request.program) {
            return Err(invalid(
                "program",
                "give a program and arguments, at most 128 KiB, without NUL".to_owned(),
            ));
        }
        profile.program = request.program;
    }
    if let Some(ttl) = request.ttl_s {
        let most = profile.ttl.as_secs();
        if ttl == 0 || ttl > most {
            return Err(invalid(
                "ttl_s",
                format!("give 1 to {most} seconds, the most that profile {name} allows"),
            ));
        }
        profile.ttl = Duration::from_secs(ttl);
    }
    if let Some(workspace) = &request.workspace
        && !is_workspace_name(workspace)
    {
        let problem = "give 1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit";
        return Err(invalid("workspace", problem.to_owned()));
    }
    let size = |field, asked: Option<u16>, usual| match asked {
        Some(n) if !(1..=1000).contains(&n) => Err(invalid(field, "give 1 to 1000".to_owned())),
        n => Ok(n.unwrap_or(usual)),
    };
    if let Some(key) = &request.api_key {
        if profile.credential != Credential::User {
            let problem = format!("profile {name} brings its own credential; leave the key out");
            return Err(invalid("api_key", problem));
        }
        if key.is_empty() || key.len() > 1024 || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err(invalid("api_key", "give a key such as sk-ant-…, without spaces".to_owned()));
        }
    }
    Ok(Spec {
        team: config.team(&user.email).map(str::to_owned),
        user,
        profile_name: name,
        cols: size("cols", request.cols, SIZE.0)?,
        rows: size("rows", request.rows, SIZE.1)?,
        profile,
        workspace: request.workspace,
        own_key: request.api_key.is_some(),
    })
}

fn is_workspace_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

pub(super) fn invalid(field: &'static str, problem: String) -> Refusal {
    Refusal::Invalid { field, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: StartRequest) -> Result<Spec, Refusal> {
        let config = Config::parse("default_profile = \"demo\"\n[teams]\nlab = [\"*@lab.example.org\"]");
        resolve(&config.expect("a configuration"), request, None)
    }

    fn refused_field(request: StartRequest) -> &'static str {
        match ask(request) {
            Err(Refusal::Invalid { field, .. }) => field,
            other => panic!("expected a refused field, got {other:?}"),
        }
    }

    #[test]
    fn an_empty_request_is_the_profile() {
        let spec = ask(StartRequest::default()).expect("nothing is wrong with it");
        assert_eq!((spec.profile_name.as_str(), spec.cols, spec.rows), ("demo", 120, 36));
        assert_eq!(spec.profile.program, ["claude"]);
    }

    #[test]
    fn the_team_is_the_configurations_and_fixed_with_the_spec() {
        let of = |email: &str| {
            let user = Some(User { name: "Ada".to_owned(), email: email.to_owned() });
            ask(StartRequest { user, ..StartRequest::default() }).expect("nothing is wrong with it").team
        };
        assert_eq!(of("ada@lab.example.org").as_deref(), Some("lab"));
        assert_eq!(of("ada@example.org"), None);
    }

    #[test]
    fn each_bad_field_is_named() {
        let request = StartRequest::default;
        let user = User { name: String::new(), email: "a@b".to_owned() };
        assert_eq!(refused_field(StartRequest { user: Some(user), ..request() }), "user.name");
        assert_eq!(refused_field(StartRequest { profile: Some("x".into()), ..request() }), "profile");
        assert_eq!(refused_field(StartRequest { image: Some("a b".into()), ..request() }), "image");
        assert_eq!(refused_field(StartRequest { program: vec!["a\0".into()], ..request() }), "program");
        assert_eq!(refused_field(StartRequest { ttl_s: Some(0), ..request() }), "ttl_s");
        assert_eq!(refused_field(StartRequest { ttl_s: Some(u64::MAX), ..request() }), "ttl_s");
        assert_eq!(refused_field(StartRequest { workspace: Some("../x".into()), ..request() }), "workspace");
        assert_eq!(refused_field(StartRequest { workspace: Some("..".into()), ..request() }), "workspace");
        assert_eq!(refused_field(StartRequest { cols: Some(0), ..request() }), "cols");
        assert_eq!(refused_field(StartRequest { rows: Some(1001), ..request() }), "rows");
        assert_eq!(refused_field(StartRequest { api_key: Some("sk".into()), ..request() }), "api_key");
    }
}
