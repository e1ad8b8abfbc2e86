//! `doctor`: the daemon's own checks, and a round trip through a real session.

use std::{process::ExitCode, time::Instant};

use reqwest::Method;

use super::{args::Doctor, json, say, wait_for};
use crate::{
    api::{Check, CheckState, Session, StartRequest},
    client::{Client, ClientError},
    lifecycle::Reason,
};

/// What the round trip's program prints, and what must come back in its record.
const WORD: &str = "sandboxctl-doctor-was-here";

pub(super) async fn doctor(args: &Doctor, client: &Client) -> anyhow::Result<ExitCode> {
    let mut checks = match client.get::<Vec<Check>>("/api/v1/doctor").await {
        Ok(mut checks) => {
            checks.insert(0, check("daemon", CheckState::Ok, "answers".to_owned(), None));
            checks
        }
        Err(error) => {
            let remedy = "start it with `sandboxctl serve`, or `./scripts/run --detach`";
            vec![check("daemon", CheckState::Failed, error.to_string(), Some(remedy))]
        }
    };
    let sound = checks.iter().all(|c| c.state != CheckState::Failed);
    if sound && !args.no_session {
        checks.push(round_trip(client).await);
    }
    if args.json {
        json(&checks)?;
    } else {
        show(&checks)?;
    }
    let failed = checks.iter().any(|c| c.state == CheckState::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A line for each check, and one below with the remedy where something is wrong.
pub(super) fn show(checks: &[Check]) -> std::io::Result<()> {
    for check in checks {
        let mark = match check.state {
            CheckState::Ok => "ok     ",
            CheckState::Warning => "warning",
            CheckState::Failed => "FAILED ",
        };
        say(&format!("{mark}  {:<13} {}", check.name, check.found))?;
        if let Some(remedy) = &check.remedy {
            say(&format!("                        → {remedy}"))?;
        }
    }
    Ok(())
}

/// Starts a session that prints a word, waits for its end, finds the word in its record, removes it.
async fn round_trip(client: &Client) -> Check {
    let began = Instant::now();
    match try_round_trip(client).await {
        Ok(()) => check(
            "round trip",
            CheckState::Ok,
            format!("{} ms, start to end", began.elapsed().as_millis()),
            None,
        ),
        Err(error) => {
            let remedy = "see the daemon's log for this session";
            check("round trip", CheckState::Failed, error.to_string(), Some(remedy))
        }
    }
}

async fn try_round_trip(client: &Client) -> Result<(), ClientError> {
    let request = StartRequest {
        program: ["sh", "-c", &format!("echo {WORD}")].map(str::to_owned).to_vec(),
        ..StartRequest::default()
    };
    let started: Session = client.json(Method::POST, "/api/v1/sessions", Some(&request)).await?;
    let id = started.id.to_string();
    let ended = wait_for(client, &id).await?;
    let shown = super::export::terminal_text(client, &id).await;
    client.delete(&format!("/api/v1/sessions/{id}?purge=true")).await?;
    match (ended.reason, shown?) {
        (Some(Reason::Exited { code: 0 }), text) if text.contains(WORD) => Ok(()),
        (Some(Reason::Exited { code: 0 }), text) => Err(ClientError::Broken(format!(
            "the record does not hold what the program printed, but {text:?}"
        ))),
        (reason, _) => {
            let why = reason.map_or_else(|| "for no reason".to_owned(), |r| r.phrase());
            Err(ClientError::Broken(format!("the session ended: {why}")))
        }
    }
}

fn check(name: &str, state: CheckState, found: String, remedy: Option<&str>) -> Check {
    Check { name: name.to_owned(), state, found, remedy: remedy.map(str::to_owned) }
}
