//! `telemetry`: Claude Code outside a sandbox sends to a collector, or no longer, or is asked whether it does.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::{
    args::telemetry::{Disable, Enable, Speaks, Telemetry},
    code, json, say,
};
use crate::{
    config::{Forward, Protocol},
    forwarder::{Door, Outcome},
    inject::Outside,
    signal::Signal,
    spec,
};

mod file;
mod status;

use file::SettingsFile;

/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `sandboxctl telemetry`.
pub(super) async fn telemetry(verb: &Telemetry) -> anyhow::Result<ExitCode> {
    match verb {
        Telemetry::Enable(args) if args.enterprise => {
            json(&outside(args).managed(args.headers_helper.as_ref()))?;
            Ok(ExitCode::SUCCESS)
        }
        Telemetry::Enable(args) => enable(args).await,
        Telemetry::Disable(args) => disable(args),
        Telemetry::Status(args) => status::status(args).await,
    }
}

async fn enable(args: &Enable) -> anyhow::Result<ExitCode> {
    let outside = outside(args);
    let file = SettingsFile::find(args.settings.as_deref())?;
    let done = file.enable(&outside.variables())?;
    let path = file.path().display();
    if done.changed {
        say(&format!("Claude Code sends its telemetry to {} from its next start: {path}", outside.endpoint))?;
        if let Some(backup) = done.backup {
            say(&format!("what was there before: {}", backup.display()))?;
        }
    } else {
        say(&format!("nothing to do: {path} says so already"))?;
    }
    if !args.no_check {
        let checks = check(&outside.endpoint, outside.protocol, &outside.headers).await;
        for check in checks.iter().filter(|check| !check.taken) {
            eprintln!(
                "sandboxctl: warning: {} does not take {}: {}",
                outside.endpoint,
                check.signal.name(),
                check.said
            );
        }
        if checks.iter().all(|check| check.taken) {
            say("traces, metrics and logs are taken there")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn disable(args: &Disable) -> anyhow::Result<ExitCode> {
    let file = SettingsFile::find(args.settings.as_deref())?;
    let path = file.path().display();
    if file.disable()?.changed {
        say(&format!("{path} is as it was before"))?;
    } else {
        say(&format!("nothing to do: `sandboxctl telemetry enable` has set nothing in {path}"))?;
    }
    Ok(ExitCode::from(code::DONE))
}

fn outside(args: &Enable) -> Outside {
    let usual = match args.protocol {
        Speaks::Http => "http://127.0.0.1:4318",
        Speaks::Grpc => "http://127.0.0.1:4317",
    };
    let team = args.team.iter().map(|team| ("team".to_owned(), team.clone()));
    Outside {
        endpoint: args.endpoint.clone().unwrap_or_else(|| usual.to_owned()),
        protocol: args.protocol.into(),
        headers: args.headers.clone(),
        attributes: team.chain(args.attributes.iter().cloned()).collect(),
        telemetry: spec::Telemetry {
            prompts: args.prompts,
            tool_details: args.tool_details,
            tool_content: args.tool_content,
        },
    }
}

/// Whether a collector takes a signal.
#[derive(Debug, Serialize)]
struct Check {
    signal: Signal,
    taken: bool,
    /// What came of it.
    said: String,
}

/// Sends an empty request of each signal.
async fn check(endpoint: &str, protocol: Protocol, headers: &[(String, String)]) -> Vec<Check> {
    let config = Forward { protocol, timeout: PATIENCE, ..Forward::to(endpoint) };
    let sent: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let door = Door::new("telemetry", &config).map(|door| door.with_headers(sent));
    let mut checks = Vec::new();
    for signal in Signal::ALL {
        let (taken, said) = match &door {
            Err(error) => (false, error.to_string()),
            Ok(door) => match door.send(signal, Bytes::new()).await {
                Outcome::Sent { .. } => (true, "taken".to_owned()),
                Outcome::Refused(why) | Outcome::Later(why, _) => (false, why),
            },
        };
        checks.push(Check { signal, taken, said });
    }
    checks
}
