//! What makes a generic container somebody's session: program, environment, files.
//!
//! Pure: a [`Spec`] in, a [`Start`] for the guest out. Telemetry, hooks, MCP servers and permissions go into
//! Claude Code's managed settings, which lie where its user cannot write, and which win over the user's own
//! settings, the command line and the environment. What the client does with each is in its documentation of
//! managed settings and of monitoring; the names are the client's.

use std::collections::BTreeMap;

use sandbox_guest::wire::{Existing, File, Listen, Owner, Start};
use serde_json::{Value, json};

use crate::{
    bounds,
    engine::{HOME, WORKSPACE},
    id::SessionId,
    spec::{Credential, Spec, is_gvisor},
};

mod outside;
mod settings;

pub use outside::Outside;
pub use settings::{hooked, is_telemetry};

/// The session's user in the container.
const UID: u32 = 1000;
/// Where Claude Code keeps its own files; below the home that may be kept.
const CONFIG_DIR: &str = "/home/agent/.claude";
/// Names the folder of transcripts below `projects`, whatever the working directory is.
const PROJECT: &str = "workspace";
/// What the spool may hold while the daemon is away.
const SPOOL_LIMIT: u64 = 256 << 20; // bytes
/// Search path of an image that names none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A start, and what of it may be shown.
#[derive(Clone, Debug)]
pub struct Injection {
    /// For the guest.
    pub start: Start,
    /// For the record: files and environment, secrets masked.
    pub masked: Value,
}

/// What a session is told to be. `image_env` is what the image brings; ours lies over it.
pub fn injection(
    spec: &Spec,
    id: SessionId,
    mcp_servers: &BTreeMap<String, Value>,
    api_key: Option<&str>,
    image_env: &BTreeMap<String, String>,
) -> Injection {
    let profile = &spec.profile;
    let start = Start {
        argv: argv(&profile.program, id),
        env: environment(spec, id, api_key, image_env).into_iter().collect(),
        cwd: WORKSPACE.to_owned(),
        uid: UID,
        gid: UID,
        cols: spec.cols,
        rows: spec.rows,
        privileges: profile.sudo,
        open_files: profile.limits.open_files,
        pids: is_gvisor(profile.runtime.as_deref()).then_some(profile.limits.pids),
        files: files(spec, id, mcp_servers, api_key),
        own: vec![HOME.to_owned(), WORKSPACE.to_owned()],
        transcripts: Some(format!("{CONFIG_DIR}/projects")),
        disk_limit: Some(profile.limits.disk.as_u64()),
        spool_limit: bounds::bytes("SANDBOXCTL_SPOOL_BYTES", SPOOL_LIMIT),
        listen: Listen::default(),
        request_key: String::new(),
    };
    let masked = masked(&start, api_key);
    Injection { start, masked }
}

/// Claude Code gets the session's id as its own, unless it is told to take up another conversation or is
/// not asked for one.
fn argv(program: &[String], id: SessionId) -> Vec<String> {
    const OTHER: [&str; 7] = ["--session-id", "--resume", "-r", "--continue", "-c", "--version", "--help"];
    const SUBCOMMANDS: [&str; 9] =
        ["mcp", "plugin", "doctor", "update", "install", "config", "auth", "agents", "setup-token"];
    let mut argv = program.to_vec();
    let is_claude = argv.first().is_some_and(|p| p.rsplit('/').next() == Some("claude"));
    let decided = argv.iter().skip(1).any(|a| OTHER.contains(&a.split('=').next().unwrap_or(a)));
    let subcommand = argv.get(1).is_some_and(|a| SUBCOMMANDS.contains(&a.as_str()));
    if is_claude && !decided && !subcommand {
        argv.splice(1..1, ["--session-id".to_owned(), id.to_string()]);
    }
    argv
}

fn environment(
    spec: &Spec,
    id: SessionId,
    api_key: Option<&str>,
    image_env: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    env.extend(image_env.clone());
    env.extend(spec.profile.env.clone());
    env.retain(|name, _| !settings::is_telemetry(name));
    let mut set = |key: &str, value: &str| env.insert(key.to_owned(), value.to_owned());
    set("HOME", HOME);
    set("USER", "agent");
    set("LOGNAME", "agent");
    set("SHELL", "/bin/bash");
    set("TERM", "xterm-256color");
    set("COLORTERM", "truecolor");
    set("LANG", "C.UTF-8");
    set("SANDBOX_SESSION_ID", &id.to_string());
    // `claude -p` and whatever else heeds it hangs what it traces below the session's span.
    set("TRACEPARENT", &id.traceparent());
    set("CLAUDE_CONFIG_DIR", CONFIG_DIR);
    set("CLAUDE_CODE_PROJECT_DIR_NAME", PROJECT);
    set("NO_PROXY", "127.0.0.1,localhost");
    set("no_proxy", "127.0.0.1,localhost");
    if !spec.profile.egress.is_empty() {
        let proxy = format!("http://127.0.0.1:{}", Listen::default().proxy);
        for key in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            set(key, &proxy);
        }
    }
    // The child processes of the client see these too; none is worth anything outside this session.
    if let Some(base) = base_url(spec, api_key) {
        set("ANTHROPIC_BASE_URL", &base);
        set("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1");
        match api_key {
            Some(key) => set("ANTHROPIC_API_KEY", key),
            None => set("ANTHROPIC_AUTH_TOKEN", &format!("sandbox-{id}")),
        };
    }
    // Telemetry's own names are ours alone, whatever image and profile say: see `settings::telemetry`.
    env.extend(settings::telemetry(spec, id));
    env
}

/// Where the model API is, from inside; `None` where Claude Code signs in by itself and goes through the
/// egress proxy.
fn base_url(spec: &Spec, api_key: Option<&str>) -> Option<String> {
    let gateway = format!("http://127.0.0.1:{}", Listen::default().gateway);
    match spec.profile.credential {
        Credential::User if api_key.is_none() => None,
        _ => Some(gateway),
    }
}

fn files(
    spec: &Spec,
    id: SessionId,
    mcp_servers: &BTreeMap<String, Value>,
    api_key: Option<&str>,
) -> Vec<File> {
    let root = |name: &str, content: &Value| File {
        path: format!("{}/{name}", crate::engine::SETTINGS),
        content: pretty(content),
        owner: Owner::Root,
        mode: 0o644,
        existing: Existing::Replace,
    };
    let mut own = json!({
        "hasCompletedOnboarding": true,
        "projects": { WORKSPACE: { "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true } },
    });
    if let Some(key) = api_key {
        // The dialog on a key that it finds in the environment knows it by its end.
        let from = key.len().saturating_sub(20);
        own["customApiKeyResponses"] = json!({ "approved": [&key[from..]], "rejected": [] });
    }
    vec![
        root("managed-settings.json", &settings::managed(spec, id)),
        root("managed-mcp.json", &settings::mcp(mcp_servers)),
        File {
            path: format!("{CONFIG_DIR}/.claude.json"),
            content: pretty(&own),
            owner: Owner::User,
            mode: 0o600,
            existing: Existing::Merge,
        },
    ]
}

/// Files and environment as they may be shown: what looks like a secret by its name, and the key by its
/// value, are masked.
fn masked(start: &Start, api_key: Option<&str>) -> Value {
    const MASK: &str = "[masked]";
    let hide = |text: &str| match api_key {
        Some(key) => text.replace(key, MASK).replace(&key[key.len().saturating_sub(20)..], MASK),
        None => text.to_owned(),
    };
    let is_secret = |name: &str| {
        let name = name.to_ascii_uppercase();
        let told =
            ["TOKEN", "SECRET", "PASSW", "PASSPHRASE", "API_KEY", "CREDENTIAL", "AUTHORIZATION", "COOKIE"];
        let ends = ["_KEY", "_PAT", "-KEY"];
        (told.iter().any(|w| name.contains(w)) || ends.iter().any(|w| name.ends_with(w)))
            && !name.starts_with("OTEL_")
            && !name.starts_with("CLAUDE_CODE_OTEL")
    };
    let env: BTreeMap<&str, String> = start
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), if is_secret(name) { MASK.to_owned() } else { hide(value) }))
        .collect();
    let mut files: BTreeMap<String, Value> = start
        .files
        .iter()
        .map(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default().trim_start_matches('.').to_owned();
            let mut content = serde_json::from_str(&hide(&file.content)).unwrap_or(Value::Null);
            mask_values(&mut content, &is_secret);
            (name, content)
        })
        .collect();
    files.insert("environment.json".to_owned(), json!(env));
    files.insert("program.json".to_owned(), json!(start.argv));
    json!(files)
}

fn mask_values(value: &mut Value, is_secret: &impl Fn(&str) -> bool) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if is_secret(name) && field.is_string() {
                    *field = json!("[masked]");
                } else {
                    mask_values(field, is_secret);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask_values(item, is_secret)),
        _ => {}
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
