//! What the types of a configuration cannot say: ranges, forms, and what must fit together. Looks at nothing
//! outside; what only shows there, the daemon says when it starts, and `doctor`.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    Config, ConfigError, Forward,
    error::{instead_of, nearest},
    teams,
};
use crate::{
    detach::DetachKey,
    spec::{Credential, Profile},
};

/// The longest time that can be chosen: beyond it clocks overflow, and nobody waits.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The shortest that a session can be given.
const SHORTEST: Duration = Duration::from_secs(1);
/// Processors: what an engine can tell from none, and more than any machine has.
const MIN_CPUS: f64 = 0.01;
const MAX_CPUS: f64 = 10_000.0;
/// What an engine starts a container with at least.
const MIN_MEMORY: u64 = 6 << 20; // bytes
/// Longest path of a state folder: below it lie unix sockets.
const STATE_DIR_LIMIT: usize = 48; // bytes
/// Longest path of a unix socket (`sun_path`, without its end).
const SOCKET_LIMIT: usize = 107; // bytes
/// Longest program line, arguments together.
const PROGRAM_LIMIT: usize = 128 << 10; // bytes
/// What Claude Code may be told to begin in. Its other modes go around questions, and are switched off.
const MODES: [&str; 4] = ["default", "acceptEdits", "plan", "dontAsk"];

type Checked = Result<(), ConfigError>;

/// Refuses with a key and a sentence unless something is so.
fn must(so: bool, key: &str, problem: &str) -> Checked {
    if so { Ok(()) } else { Err(ConfigError::value(key, problem)) }
}

/// The whole of it.
pub(super) fn config(config: &Config) -> Checked {
    if let Some(url) = &config.public_url {
        must(is_url(url), "public_url", "give a URL such as https://sandbox.example.org")?;
    }
    must(config.state_dir.is_absolute(), "state_dir", "give an absolute path")?;
    let problem = "give a path of at most 48 bytes: unix sockets lie below it";
    must(bytes(&config.state_dir) <= STATE_DIR_LIMIT, "state_dir", problem)?;
    socket("admin_socket", &config.admin_socket)?;
    socket("docker.socket", &config.docker.socket)?;
    must(config.admin_group.as_deref() != Some(""), "admin_group", "give a group's name, or leave it out")?;
    must(config.max_sessions > 0, "max_sessions", "give 1 or more")?;
    must(config.max_sessions_per_user > 0, "max_sessions_per_user", "give 1 or more")?;
    must(config.max_connections > 0, "max_connections", "give 1 or more")?;
    if let Err(problem) = config.detach_key.parse::<DetachKey>() {
        return Err(ConfigError::value("detach_key", problem.to_string()));
    }
    must(is_url(&config.model.url), "model.url", "give a URL such as https://api.anthropic.com")?;
    for (name, price) in &config.model.prices {
        for (key, price) in [
            ("input", price.input),
            ("output", price.output),
            ("cache_read", price.cache_read),
            ("cache_write", price.cache_write),
            ("cache_write_1h", price.cache_write_1h.unwrap_or_default()),
        ] {
            let key = format!("model.prices.{name}.{key}");
            must(is_amount(price), &key, "give an amount of dollars, zero or more")?;
        }
    }
    if let Some(prometheus) = &config.prometheus {
        must(is_url(&prometheus.url), "prometheus.url", "give a URL such as http://127.0.0.1:9090")?;
    }
    config.forward.iter().try_for_each(|(name, forward)| self::forward(name, forward))?;
    let pushgateway = config.pushgateway.as_ref().is_none_or(|push| is_url(&push.url));
    must(pushgateway, "pushgateway.url", "give a URL such as http://127.0.0.1:9091")?;
    config.teams.iter().try_for_each(|(name, addresses)| team(name, addresses))?;
    for (name, server) in &config.mcp_servers {
        mcp_server(&format!("mcp_servers.{name}"), name, server)?;
    }
    let names: Vec<&str> = config.profiles.keys().map(String::as_str).collect();
    if !names.contains(&config.default_profile.as_str()) {
        let instead = instead_of(&config.default_profile, &names);
        let problem = format!("there is no such profile ({instead}); name another, or add [profiles.NAME]");
        return Err(ConfigError::value("default_profile", problem));
    }
    config.profiles.iter().try_for_each(|(name, profile)| self::profile(config, name, profile))
}

fn forward(name: &str, forward: &Forward) -> Checked {
    let at = |key: &str| format!("forward.{name}.{key}");
    let problem = "name a destination with 1 to 64 letters, digits, '-', '_' or '.'";
    must(is_name(name), &format!("forward.{name}"), problem)?;
    must(is_url(&forward.endpoint), &at("endpoint"), "give a URL such as http://127.0.0.1:4318")?;
    must(!forward.signals.is_empty(), &at("signals"), "give one or more of traces, metrics and logs")?;
    let helper = &forward.headers_helper;
    let problem = "give a program and its arguments, at most 128 KiB, without NUL";
    must(helper.is_empty() || is_program(helper), &at("headers_helper"), problem)?;
    let problem = "give `cert` and `key` together";
    must(forward.tls.cert.is_some() == forward.tls.key.is_some(), &at("tls.key"), problem)?;
    let fits = !forward.timeout.is_zero() && forward.timeout <= LONGEST;
    must(fits, &at("timeout"), "give more than 0s and at most 10 years")
}

fn team(name: &str, addresses: &[String]) -> Checked {
    let key = format!("teams.{name}");
    let problem = "name a team with 1 to 64 letters, digits, '-', '_' or '.'";
    must(is_name(name), &key, problem)?;
    let fits = |address: &String| !address.trim().is_empty() && teams::pattern(address).is_ok();
    let problem = "give e-mail addresses, or globs of them such as *@lab.example.org";
    must(addresses.iter().all(fits), &key, problem)
}

fn profile(config: &Config, name: &str, profile: &Profile) -> Checked {
    let at = |key: &str| format!("profiles.{name}.{key}");
    let problem = "name a profile with 1 to 64 letters, digits, '-', '_' or '.'";
    must(is_name(name), &format!("profiles.{name}"), problem)?;
    must(is_image(&profile.image), &at("image"), "give an image reference such as debian:bookworm-slim")?;
    let problem = "give a program and its arguments, at most 128 KiB, without NUL";
    must(is_program(&profile.program), &at("program"), problem)?;
    let problem = "give a runtime's name, such as runsc, or leave it out";
    must(profile.runtime.as_deref().is_none_or(is_name), &at("runtime"), problem)?;
    for (key, time, least) in [
        ("ttl", profile.ttl, SHORTEST),
        ("idle", profile.idle, SHORTEST),
        ("warn", profile.warn, Duration::ZERO),
        ("grace", profile.grace, Duration::ZERO),
    ] {
        let problem = format!("give {}s to 10 years", least.as_secs());
        must((least..=LONGEST).contains(&time), &at(key), &problem)?;
    }
    let most = config.max_sessions;
    let problem = format!("give 0 to {most}, as many as max_sessions allows to live at once");
    must(profile.spares <= most, &at("spares"), &problem)?;
    for (variable, value) in &profile.env {
        let key = at(&format!("env.{variable}"));
        must(is_variable(variable), &key, "name a variable with letters, digits and '_', no digit first")?;
        must(!value.contains('\0'), &key, "give a text without NUL")?;
    }
    limits(&at, profile)?;
    let policy = &profile.policy;
    let problem = format!("give one of {}", MODES.join(", "));
    must(MODES.contains(&policy.mode.as_str()), &at("policy.mode"), &problem)?;
    for (key, rules) in [
        ("policy.allow", &policy.allow),
        ("policy.ask", &policy.ask),
        ("policy.deny", &policy.deny),
        ("policy.deny_paths", &policy.deny_paths),
    ] {
        let problem = "an entry is empty; write a rule such as Bash(git status), or a glob such as **/.env";
        must(rules.iter().all(|rule| !rule.trim().is_empty()), &at(key), problem)?;
    }
    let amount = profile.budget.usd.is_none_or(is_amount);
    must(amount, &at("budget.usd"), "give an amount of dollars, zero or more")?;
    let has_key = profile.credential != Credential::Gateway || config.model.key_file.is_some();
    let problem =
        format!("profile {name} has credential = \"gateway\": name the file with the operator's key");
    must(has_key, "model.key_file", &problem)
}

/// To an engine zero is no limit, and so is what comes to zero in its own units.
fn limits(at: &impl Fn(&str) -> String, profile: &Profile) -> Checked {
    let limits = &profile.limits;
    must(
        (MIN_CPUS..=MAX_CPUS).contains(&limits.cpus),
        &at("limits.cpus"),
        "give a number from 0.01 to 10000",
    )?;
    let memory = limits.memory.as_u64() >= MIN_MEMORY;
    must(memory, &at("limits.memory"), "give a size of at least \"6 MiB\"")?;
    must(limits.disk.as_u64() > 0, &at("limits.disk"), "give a size above zero, such as \"10 GiB\"")?;
    must(limits.tmp.as_u64() > 0, &at("limits.tmp"), "give a size above zero, such as \"512 MiB\"")?;
    must(limits.pids > 0, &at("limits.pids"), "give 1 or more")?;
    must(limits.open_files > 0, &at("limits.open_files"), "give 1 or more")
}

/// A server in Claude Code's own form. Keys that only it knows pass; slips of those we know do not.
fn mcp_server(key: &str, name: &str, server: &Value) -> Checked {
    const KNOWN: [&str; 6] = ["type", "command", "args", "env", "url", "headers"];
    const TYPES: [&str; 3] = ["stdio", "http", "sse"];
    let problem = "name a server with 1 to 64 letters, digits, '-', '_' or '.'";
    must(is_name(name), key, problem)?;
    let problem = "give a section with `command`, or with `type = \"http\"` and `url`";
    let Some(fields) = server.as_object() else { return Err(ConfigError::value(key, problem)) };
    for field in fields.keys().filter(|field| !KNOWN.contains(&field.as_str())) {
        if let Some(near) = nearest(field, &KNOWN) {
            let (key, place, remedy) = (format!("{key}.{field}"), String::new(), format!("is {near} meant?"));
            return Err(ConfigError::Unknown { key, place, remedy });
        }
    }
    must(fields.contains_key("command") != fields.contains_key("url"), key, problem)?;
    let at = |field: &str| format!("{key}.{field}");
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty() && !text.contains('\0'));
    for (field, value) in fields {
        let (fits, wanted) = match field.as_str() {
            "type" => (value.as_str().is_some_and(|t| TYPES.contains(&t)), "give stdio, http or sse"),
            "command" => (text(value), "give a program's name or path, in quotes"),
            "args" => {
                let list = value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
                (list, "give a list of texts, such as [\"--root\", \"/workspace\"]")
            }
            "url" => (value.as_str().is_some_and(is_url), "give a URL such as http://127.0.0.1:9000/mcp"),
            "env" | "headers" => {
                let Some(all) = value.as_object() else {
                    return Err(ConfigError::value(at(field), "give a section of names and texts in quotes"));
                };
                let wrong = all.iter().find(|(_, value)| !value.is_string());
                if let Some((name, _)) = wrong {
                    return Err(ConfigError::value(at(&format!("{field}.{name}")), "give a text in quotes"));
                }
                (true, "")
            }
            _ => (true, ""),
        };
        must(fits, &at(field), wanted)?;
    }
    let stdio = fields.get("type").and_then(Value::as_str).unwrap_or("stdio") == "stdio";
    must(
        stdio == fields.contains_key("command"),
        &at("type"),
        "give http or sse for a `url`, and stdio for a `command`",
    )
}

fn socket(key: &str, path: &Path) -> Checked {
    must(path.is_absolute(), key, "give an absolute path")?;
    let problem = "give a path of at most 107 bytes: the system takes no longer one for a unix socket";
    must(bytes(path) <= SOCKET_LIMIT, key, problem)
}

fn bytes(path: &Path) -> usize {
    path.as_os_str().len()
}

fn is_amount(dollars: f64) -> bool {
    dollars.is_finite() && dollars >= 0.0
}

/// A base URL, to which paths are appended.
fn is_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text can be an image's reference.
pub(crate) fn is_image(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
}

/// Whether a program and its arguments can be started.
pub(crate) fn is_program(program: &[String]) -> bool {
    program.first().is_some_and(|first| !first.is_empty())
        && program.iter().map(String::len).sum::<usize>() <= PROGRAM_LIMIT
        && !program.iter().any(|argument| argument.contains('\0'))
}
