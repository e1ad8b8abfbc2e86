//! `telemetry status`: every variable of telemetry's that Claude Code will see, and where it comes from.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use super::{Check, check, file::SettingsFile, route};
use crate::{
    cli::{args::telemetry::Status, code, json, say},
    config::Protocol,
    inert::{self, inert},
    inject,
    settings::{self, SettingsError},
    signal::Signal,
};

/// Where an administrator's settings lie; fragments are in the folder beside, later names over earlier.
const MANAGED: &str = "/etc/claude-code/managed-settings.json";

/// What is found.
#[derive(Serialize)]
struct Found {
    /// Whether the client sends anything.
    enabled: bool,
    /// The file that `enable` and `disable` change.
    settings: PathBuf,
    /// Whether `enable` has changed it.
    by_us: bool,
    /// Each variable that counts, with the values of headers left out.
    variables: BTreeMap<String, Variable>,
    /// Files that cannot be read.
    problems: Vec<String>,
    /// Whether each signal is taken where it goes; none where telemetry is off.
    checks: Vec<Check>,
}

/// What the client sees.
pub(super) struct Seen {
    variables: BTreeMap<String, Variable>,
    /// A program makes the headers.
    helper: bool,
}

#[derive(Clone, Serialize)]
pub(super) struct Variable {
    pub(super) value: String,
    /// A file, or the environment.
    pub(super) from: String,
    /// It is an administrator's.
    #[serde(skip)]
    pub(super) managed: bool,
}

/// `sandboxctl telemetry status`.
pub(super) async fn status(args: &Status) -> anyhow::Result<ExitCode> {
    let file = SettingsFile::find(args.settings.as_deref())?;
    let mut problems = Vec::new();
    let seen = seen(file.path(), &mut problems);
    let enabled = seen.get("CLAUDE_CODE_ENABLE_TELEMETRY").is_some_and(route::is_true);
    let checks = if enabled { seen.checks(args.no_check).await } else { Vec::new() };
    let good = enabled && checks.iter().all(|check| check.taken != Some(false));
    let found = Found {
        enabled,
        settings: file.path().to_owned(),
        by_us: file.note()?.is_some(),
        checks,
        problems,
        variables: seen.variables.into_iter().map(|(key, variable)| masked(key, variable)).collect(),
    };
    if args.json {
        json(&found)?
    } else {
        show(&found)?
    }
    Ok(ExitCode::from(if good { code::DONE } else { code::FAILED }))
}

fn show(found: &Found) -> anyhow::Result<()> {
    let by = if found.by_us { ", set by `sandboxctl telemetry enable`" } else { "" };
    say(&format!(
        "telemetry is {}{by}: {}",
        if found.enabled { "on" } else { "off" },
        found.settings.display()
    ))?;
    let widest = found.variables.keys().map(String::len).max().unwrap_or(0);
    for (key, variable) in &found.variables {
        say(&format!("  {key:<widest$}  {}  ({})", inert(&variable.value), variable.from))?;
    }
    for problem in &found.problems {
        say(&format!("  {problem}"))?;
    }
    for Check { signal, endpoint, said, .. } in &found.checks {
        let to = endpoint.as_ref().map(|endpoint| format!("  ({endpoint})")).unwrap_or_default();
        say(&format!("{:<8}{said}{to}", signal.name()))?;
    }
    Ok(())
}

/// What counts, from the weakest to the strongest: a later one takes an earlier one's place.
pub(super) fn seen(user: &Path, problems: &mut Vec<String>) -> Seen {
    let variables = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| inject::is_telemetry(key))
        .map(|(key, value)| (key, Variable { value, from: "environment".to_owned(), managed: false }))
        .collect();
    let mut seen = Seen { variables, helper: false };
    let here = |name: &str| Path::new(".claude").join(name);
    let mut files =
        vec![user.to_owned(), here("settings.json"), here("settings.local.json"), PathBuf::from(MANAGED)];
    let mut fragments: Vec<PathBuf> = fs::read_dir(Path::new(MANAGED).with_extension("d"))
        .map(|dir| {
            dir.flatten()
                .map(|entry| entry.path())
                .filter(|p| p.extension().is_some_and(|e| e == "json"))
                .collect()
        })
        .unwrap_or_default();
    fragments.sort();
    let managed = files.len() - 1;
    files.extend(fragments);
    for (n, path) in files.iter().enumerate() {
        let from = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => {
                if let Err(error) = seen.read(&text, &from, n >= managed) {
                    problems.push(format!("{from}: {error}"));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.push(format!("{from}: {error}")),
        }
    }
    route::drop_claimed(&mut seen.variables);
    seen
}

impl Seen {
    /// Whether each signal is taken where it goes.
    pub(super) async fn checks(&self, no_check: bool) -> Vec<Check> {
        let mut checks = Vec::new();
        for signal in Signal::ALL {
            checks.push(match route::of(signal, |key| self.get(key)) {
                Err(why) => Check { signal, endpoint: None, taken: Some(false), said: why },
                Ok(route) if no_check => Check::none(&route, "not checked"),
                // Over gRPC the client runs no helper.
                Ok(route) if self.helper && route.protocol == Protocol::Http => {
                    Check::none(&route, "not checked: a helper makes the headers")
                }
                Ok(route) => check(&route).await,
            });
        }
        checks
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.variables.get(key).map(|variable| variable.value.as_str())
    }

    /// Takes a stronger file's settings.
    fn read(&mut self, text: &str, from: &str, managed: bool) -> Result<(), SettingsError> {
        let set = settings::variables(text)?.into_iter().filter(|(key, _)| inject::is_telemetry(key));
        let variable = |value| Variable { value, from: from.to_owned(), managed };
        self.variables.extend(set.map(|(key, value)| (key, variable(value))));
        if let Some(helper) = settings::text(text, "otelHeadersHelper")? {
            self.helper = !helper.trim().is_empty();
        }
        Ok(())
    }
}

/// The values of headers are nobody's business, nor are names and passwords in addresses.
fn masked(key: String, mut variable: Variable) -> (String, Variable) {
    if key.ends_with("_ENDPOINT") {
        variable.value = inert::endpoint(&variable.value);
    }
    if key.ends_with("_HEADERS") {
        let names: Vec<String> =
            route::headers(&variable.value, false).into_iter().map(|(name, _)| format!("{name}=…")).collect();
        variable.value = names.join(",");
    }
    (key, variable)
}
