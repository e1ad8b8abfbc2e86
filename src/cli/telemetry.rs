//! `telemetry`: Claude Code outside a sandbox sends to a collector, or no longer, or is asked whether it does.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::{
    args::telemetry::{Disable, Enable, Speaks, Telemetry},
    code, json, say, usage,
};
use crate::{
    config::Forward,
    forwarder::{Door, Outcome},
    inert,
    inject::Outside,
    signal::Signal,
    spec,
};

mod file;
mod route;
mod status;

use file::SettingsFile;
use route::Route;

/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `sandboxctl telemetry`.
pub(super) async fn telemetry(verb: &Telemetry) -> anyhow::Result<ExitCode> {
    match verb {
        Telemetry::Enable(args) if args.enterprise => fleet(args),
        Telemetry::Enable(args) => enable(args).await,
        Telemetry::Disable(args) => disable(args),
        Telemetry::Status(args) => status::status(args).await,
    }
}

fn fleet(args: &Enable) -> anyhow::Result<ExitCode> {
    if args.headers_helper.is_some() && args.protocol == Speaks::Grpc {
        return Err(usage(
            "--headers-helper: the client runs no helper over gRPC; leave --protocol grpc out".to_owned(),
        ));
    }
    if !args.headers.is_empty() {
        eprintln!(
            "sandboxctl: warning: everybody on a machine can read its managed settings, and the value of --header in \
             them; --headers-helper keeps tokens out"
        );
    }
    json(&outside(args).managed(args.headers_helper.as_deref()))?;
    Ok(ExitCode::SUCCESS)
}

async fn enable(args: &Enable) -> anyhow::Result<ExitCode> {
    let outside = outside(args);
    let file = SettingsFile::find(args.settings.as_deref())?;
    let done = file.enable(|there| outside.over(there))?;
    let path = file.path().display();
    let to = inert::endpoint(&outside.endpoint);
    if done.changed {
        say(&format!("Claude Code sends its telemetry to {to} from its next start: {path}"))?;
        if let Some(backup) = done.backup {
            say(&format!("what was there before: {}", backup.display()))?;
        }
    } else {
        say(&format!("nothing to do: {path} says so already"))?;
    }
    let has_secret = !outside.headers.is_empty() || outside.endpoint.contains('@');
    if has_secret && file.is_open() {
        eprintln!(
            "sandboxctl: warning: {path} holds a secret now, and others on this machine can read it: chmod 600 {path}"
        );
    }
    if !args.no_check {
        // What the client will see here: the environment and others' settings may say otherwise.
        let checks = status::seen(file.path(), &mut Vec::new()).checks(false).await;
        let problems: Vec<String> = checks.iter().filter_map(|check| problem(check, &to)).collect();
        for problem in &problems {
            eprintln!("sandboxctl: warning: {problem}");
        }
        if problems.is_empty() {
            say("traces, metrics and logs are taken there")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a signal is not taken where it should go.
fn problem(check: &Check, to: &str) -> Option<String> {
    let (signal, said) = (check.signal.name(), &check.said);
    match &check.endpoint {
        None => Some(format!("{signal}: {said}")),
        Some(at) if !at.starts_with(to) => {
            Some(format!("{signal} go to {at}; `sandboxctl telemetry status` shows what says so"))
        }
        Some(at) if check.taken == Some(false) => Some(format!("{at} does not take {signal}: {said}")),
        Some(_) if check.taken.is_none() => Some(format!("{signal}: {said}")),
        Some(_) => None,
    }
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
    /// Where it goes, if anywhere.
    endpoint: Option<String>,
    /// None where it was not tried.
    taken: Option<bool>,
    /// What came of it.
    said: String,
}

impl Check {
    /// Of a signal that is sent without anybody having tried.
    fn none(route: &Route, why: &str) -> Check {
        let endpoint = Some(inert::endpoint(&route.endpoint));
        Check { signal: route.signal, endpoint, taken: None, said: why.to_owned() }
    }
}

/// Sends an empty request.
async fn check(route: &Route) -> Check {
    let config = Forward { protocol: route.protocol, timeout: PATIENCE, ..Forward::to(&route.endpoint) };
    let sent: HeaderMap = route
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let door = Door::new("telemetry", &config).map(|door| door.with_headers(sent));
    let (taken, said) = match door.map(|door| if route.whole { door.as_it_is() } else { door }) {
        Err(error) => (false, error.to_string()),
        Ok(door) => match door.send(route.signal, Bytes::new()).await {
            Outcome::Sent { .. } => (true, "taken".to_owned()),
            Outcome::Refused(why) | Outcome::Later(why, _) => (false, why),
        },
    };
    Check { signal: route.signal, endpoint: Some(inert::endpoint(&route.endpoint)), taken: Some(taken), said }
}
