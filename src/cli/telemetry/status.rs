//! `telemetry status`: every variable of telemetry's that Claude Code will see, and where it comes from.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use super::{Check, check, file::SettingsFile};
use crate::{
    cli::{args::telemetry::Status, code, json, say},
    config::Protocol,
    inert::inert,
    inject, settings,
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
    /// Whether the collector takes each signal; absent where that was not tried.
    checks: Option<Vec<Check>>,
}

#[derive(Clone, Serialize)]
struct Variable {
    value: String,
    /// A file, or the environment.
    from: String,
}

/// `sandboxctl telemetry status`.
pub(super) async fn status(args: &Status) -> anyhow::Result<ExitCode> {
    let file = SettingsFile::find(args.settings.as_deref())?;
    let mut problems = Vec::new();
    let all = variables(file.path(), &mut problems);
    let get = |key: &str| all.get(key).map(|variable| variable.value.as_str());
    let enabled = get("CLAUDE_CODE_ENABLE_TELEMETRY").is_some_and(|on| matches!(on, "1" | "true"));
    let endpoint = get("OTEL_EXPORTER_OTLP_ENDPOINT");
    let checks = match endpoint {
        Some(endpoint) if enabled && !args.no_check => {
            let grpc = get("OTEL_EXPORTER_OTLP_PROTOCOL") == Some("grpc");
            let headers = headers(get("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default(), grpc);
            Some(check(endpoint, if grpc { Protocol::Grpc } else { Protocol::Http }, &headers).await)
        }
        _ => None,
    };
    let good = enabled && checks.iter().flatten().all(|check| check.taken);
    let found = Found {
        enabled,
        settings: file.path().to_owned(),
        by_us: file.note()?.is_some(),
        checks,
        problems,
        variables: all.into_iter().map(|(key, variable)| masked(key, variable)).collect(),
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
    for check in found.checks.iter().flatten() {
        say(&format!("{:<8}{}", check.signal.name(), check.said))?;
    }
    Ok(())
}

/// What counts, from the weakest to the strongest: a later one takes an earlier one's place.
fn variables(user: &Path, problems: &mut Vec<String>) -> BTreeMap<String, Variable> {
    let mut all: BTreeMap<String, Variable> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| inject::is_telemetry(key))
        .map(|(key, value)| (key, Variable { value, from: "environment".to_owned() }))
        .collect();
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
    files.extend(fragments);
    for path in files {
        let from = path.display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => match settings::variables(&text) {
                Ok(set) => all.extend(
                    set.into_iter()
                        .filter(|(key, _)| inject::is_telemetry(key))
                        .map(|(key, value)| (key, Variable { value, from: from.clone() })),
                ),
                Err(error) => problems.push(format!("{from}: {error}")),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.push(format!("{from}: {error}")),
        }
    }
    all
}

/// The headers as the client reads them.
fn headers(list: &str, grpc: bool) -> Vec<(String, String)> {
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    let value =
        |text: &str| if grpc { text.replace("%20", " ").replace("%25", "%") } else { text.to_owned() };
    pairs.map(|(name, text)| (name.trim().to_owned(), value(text.trim()))).collect()
}

/// The values of headers are nobody's business.
fn masked(key: String, mut variable: Variable) -> (String, Variable) {
    if key.ends_with("_HEADERS") {
        let names: Vec<String> =
            headers(&variable.value, false).into_iter().map(|(name, _)| format!("{name}=…")).collect();
        variable.value = names.join(",");
    }
    (key, variable)
}
