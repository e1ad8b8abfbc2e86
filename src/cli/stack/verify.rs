//! `stack verify`: a marked signal of each kind, through a session's own path, found again in each backend.
//!
//! ```text
//!   session ──▶ journal ──▶ forwarder ──▶ collector ──┬─▶ Prometheus
//!   (the guest emits)                                 ├─▶ Loki
//!                                                     └─▶ Jaeger
//! ```
//!
//! Each arrow's end is a hop. What is found at the end vouches for the hops before it; what is missing is looked
//! for along the way, and the first hop without it is the one to be mended.

use std::{path::Path, process::ExitCode, time::Duration};

use reqwest::Method;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    compose::Compose,
    layout::COMPOSE,
    pipelines,
    ps::{self, Condition},
    settings::Settings,
};
use crate::{
    api::{Check, CheckState, Destination, Session, StartRequest},
    cli::{args::stack::Verify, doctor, export, json, say, wait_for},
    client::{Client, ClientError},
    config::Config,
    engine::GUEST,
    lifecycle::Reason,
    signal::Signal,
};

mod backends;

use backends::{Backend, Backends, Look};

/// Between two looks at the backends.
const LOOK: Duration = Duration::from_secs(1);
/// How long a session that sends three requests may live.
const TTL: u64 = 300; // seconds

/// What `verify --json` prints.
#[derive(Serialize)]
struct Report {
    mark: String,
    session: Option<String>,
    /// The hop to be mended, if any.
    failed: Option<String>,
    hops: Vec<Check>,
}

/// `stack verify`.
pub(super) async fn verify(
    args: &Verify,
    dir: &Path,
    client: &Client,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let (settings, there) = (Settings::read(dir), there(dir, config).await);
    let is_there = |part: &str| there.as_ref().is_none_or(|there| there.iter().any(|t| t == part));
    let sends_to = |part: &str| pipelines::sends_to(&settings, part, is_there);
    let backends = Backends::new(args, &settings, &mark, sends_to)?;
    let mut report = Report { mark, session: None, failed: None, hops: Vec::new() };
    follow(args, client, &backends, &mut report).await;
    report.failed =
        report.hops.iter().find(|hop| hop.state == CheckState::Failed).map(|hop| hop.name.clone());
    match (&report.failed, &report.session) {
        // Only what has arrived may go: a record that is removed is sent to nobody.
        (None, Some(id)) => client.delete(&format!("/api/v1/sessions/{id}?purge=true")).await?,
        (Some(_), Some(id)) if !args.json => {
            super::note(&format!("the session is kept for a look: sandboxctl events {id}"));
        }
        _ => {}
    }
    if args.json {
        json(&report)?;
    } else {
        doctor::show(&report.hops)?;
        say(&match &report.failed {
            None => "every signal arrived where the collector sends it".to_owned(),
            Some(hop) => format!("the first hop to mend: {hop}"),
        })?;
    }
    Ok(if report.failed.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts that were started and not removed since; one that has ended is still sent to. `None` where nobody can
/// say, or where no collector is among them: then this stack is not the one to go by.
async fn there(dir: &Path, config: &Config) -> Option<Vec<String>> {
    if !dir.join(COMPOSE).is_file() {
        return None;
    }
    let compose = Compose::find(dir, config).await.ok()?;
    let containers = ps::containers(&compose).await.ok()?;
    let started = containers.into_iter().filter(|(_, c)| c.condition() != Condition::Absent);
    let there: Vec<String> = started.map(|(part, _)| part).collect();
    there.iter().any(|part| part == pipelines::SENDER).then_some(there)
}

/// Sends, and looks along the way; what is behind a hop that failed for good is not looked at.
async fn follow(args: &Verify, client: &Client, backends: &Backends, report: &mut Report) {
    let before = match destination(args, client, backends).await {
        Ok(before) => before,
        Err(failed) => return report.hops.push(*failed),
    };
    let id = match send(args, client, &report.mark).await {
        Ok(id) => report.session.insert(id).clone(),
        Err(error) => {
            let remedy = "`sandboxctl doctor` checks what a session needs; --profile names another profile";
            return report.hops.push(failed("session", &error.to_string(), remedy));
        }
    };
    report.hops.push(ok("session", "it sent a span, a metric and a log record"));
    let journal = journal(client, &id, &report.mark).await;
    report.hops.push(journal);
    if report.hops.iter().any(|hop| hop.state == CheckState::Failed) {
        return;
    }
    let found = look(args, client, backends, &before).await;
    report.hops.extend(judge(&before, &found));
}

/// The destination that leads to the stack, before anything is sent.
async fn destination(args: &Verify, client: &Client, backends: &Backends) -> Result<Destination, Box<Check>> {
    let remedy = "start it with `sandboxctl serve`, or `./scripts/run --detach`";
    let all = client.get::<Vec<Destination>>("/api/v1/destinations").await;
    let all = all.map_err(|error| Box::new(failed("daemon", &error.to_string(), remedy)))?;
    choose(args.destination.as_deref(), all, &backends.ports).map_err(|found| {
        let remedy = format!(
            "add a [forward.stack] with endpoint = \"{}\" to the daemon's configuration and start it again; or name \
             one with --destination",
            backends.door
        );
        Box::new(failed("forwarder", &found, &remedy))
    })
}

/// By name; else by the collector's ports; else the only one.
fn choose(named: Option<&str>, mut all: Vec<Destination>, ports: &[u16]) -> Result<Destination, String> {
    let leads_here = |d: &Destination| {
        let url = reqwest::Url::parse(&d.endpoint).ok();
        url.and_then(|url| url.port_or_known_default()).is_some_and(|port| ports.contains(&port))
    };
    let at = match named {
        Some(name) => all.iter().position(|d| d.name == name),
        None => all.iter().position(leads_here).or((all.len() == 1).then_some(0)),
    };
    at.map(|at| all.swap_remove(at)).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|d| d.name.as_str()).collect();
        match (named, names.is_empty()) {
            (Some(name), _) => format!("the daemon has no destination {name}; it has: {}", names.join(", ")),
            (None, true) => "the daemon forwards nothing".to_owned(),
            (None, false) => format!("none of the daemon's destinations leads here: {}", names.join(", ")),
        }
    })
}

/// Runs the guest's `emit` as a session's program; the session's id.
async fn send(args: &Verify, client: &Client, mark: &str) -> Result<String, ClientError> {
    let request = StartRequest {
        profile: Some(args.profile.clone()),
        program: [GUEST, "emit", mark].map(str::to_owned).to_vec(),
        ttl_s: Some(TTL),
        ..StartRequest::default()
    };
    let started: Session = client.json(Method::POST, "/api/v1/sessions", Some(&request)).await?;
    let ended = wait_for(client, &started.id.to_string()).await?;
    match ended.reason {
        Some(Reason::Exited { code: 0 }) => Ok(started.id.to_string()),
        reason => {
            let why = reason.map_or_else(|| "for no reason".to_owned(), |r| r.phrase());
            let id = started.id;
            Err(ClientError::Broken(format!("session {id}, which was to send, ended: {why}")))
        }
    }
}

/// Whether each signal is in the record.
async fn journal(client: &Client, id: &str, mark: &str) -> Check {
    let mut bundle = Vec::new();
    if let Err(error) = export::fetch(client, id, false, &mut bundle).await {
        return failed("journal", &error.to_string(), "see the daemon's log for this session");
    }
    let holds = |signal: &Signal| {
        let file = format!("telemetry/{}.jsonl", signal.name());
        export::member(bundle.as_slice(), &file)
            .is_ok_and(|text| memchr::memmem::find(&text, mark.as_bytes()).is_some())
    };
    let missing: Vec<&str> = Signal::ALL.iter().filter(|s| !holds(s)).map(|s| s.name()).collect();
    if missing.is_empty() {
        ok("journal", "holds all three")
    } else {
        let found = format!("it does not hold the marked {}", missing.join(", "));
        failed("journal", &found, "see `sandboxctl events` of the session, and the daemon's log")
    }
}

/// What was found by the end.
struct Found {
    /// The destination now; `None` where the daemon does not say.
    destination: Option<Destination>,
    collector: Result<(), String>,
    backends: Vec<(&'static Backend, Look)>,
}

impl Found {
    /// What is not where it is to be: in its backend or, if none is asked, on its way.
    fn missing(&self, before: &Destination) -> Vec<&'static Backend> {
        let any_asked = self.backends.iter().any(|(_, look)| *look != Look::Skipped);
        let is_sent = |backend: &Backend| {
            self.destination
                .as_ref()
                .is_some_and(|now| sent(now, backend.signal) > sent(before, backend.signal))
        };
        let is_missing = |(backend, look): &&(&'static Backend, Look)| match look {
            Look::Found => false,
            Look::Skipped => !any_asked && !is_sent(backend),
            Look::Missing | Look::Away(_) => true,
        };
        self.backends.iter().filter(is_missing).map(|(backend, _)| *backend).collect()
    }
}

/// Looks until everything is there, or time is up.
async fn look(args: &Verify, client: &Client, backends: &Backends, before: &Destination) -> Found {
    let deadline = Instant::now() + args.wait;
    let line = super::compose::step("looking for the signals");
    loop {
        let looks = backends.look().await;
        let all = client.get::<Vec<Destination>>("/api/v1/destinations").await.unwrap_or_default();
        let destination = all.into_iter().find(|d| d.name == before.name);
        let mut found = Found { destination, collector: Ok(()), backends: looks };
        let missing = found.missing(before).len();
        line.set_message(format!("{missing} not there yet"));
        if missing == 0 || Instant::now() >= deadline {
            line.finish_and_clear();
            found.collector = backends.collector().await;
            return found;
        }
        sleep(LOOK).await;
    }
}

/// The hops behind the journal.
fn judge(before: &Destination, found: &Found) -> Vec<Check> {
    let missing = found.missing(before);
    let arrived = missing.is_empty() && found.backends.iter().any(|(_, look)| *look == Look::Found);
    let mut hops = vec![forwarder(before, found.destination.as_ref(), &missing)];
    let blocked = hops[0].state == CheckState::Failed;
    hops.push(match &found.collector {
        Ok(()) => ok("collector", "answers"),
        // What is found behind it came through it.
        Err(error) if arrived => check(
            "collector",
            CheckState::Warning,
            format!("lets everything through, and its health check does not answer: {error}"),
            "see `sandboxctl stack logs collector`; --collector names another address",
        ),
        Err(error) => failed(
            "collector",
            error,
            "`sandboxctl stack up collector` starts it; see `sandboxctl stack logs collector`",
        ),
    });
    for (backend, look) in &found.backends {
        let name = backend.name;
        hops.push(match look {
            Look::Found => ok(name, &format!("has the {}", backend.what)),
            Look::Skipped => ok(
                name,
                &format!("skipped: the collector does not send there; --{name} asks it all the same"),
            ),
            Look::Missing if blocked => {
                failed(name, &format!("does not have the {}", backend.what), "mend the forwarder first")
            }
            Look::Missing => failed(
                name,
                &format!("answers, and does not have the {}", backend.what),
                &format!("see what `sandboxctl stack logs collector` and `… logs {name}` say of it"),
            ),
            Look::Away(error) => failed(
                name,
                error,
                &format!("`sandboxctl stack up {name}` starts it; --{name} names another address"),
            ),
        });
    }
    hops
}

fn forwarder(before: &Destination, now: Option<&Destination>, missing: &[&Backend]) -> Check {
    let Some(now) = now else {
        return failed("forwarder", "the daemon no longer answers", "see the daemon's log");
    };
    let unsent: Vec<&str> =
        missing.iter().filter(|b| sent(now, b.signal) <= sent(before, b.signal)).map(|b| b.what).collect();
    let error = now.last_error.as_ref().filter(|_| now.last_error_at > before.last_error_at || now.lag_s > 0);
    let said = error.map_or_else(String::new, |e| format!("; its last error: {}", crate::inert::inert(e)));
    let at = format!("{} ({})", now.name, now.endpoint);
    if unsent.is_empty() {
        return ok("forwarder", &format!("{at} took everything"));
    }
    let found = format!("{at} was sent no {}; {} frames wait{said}", unsent.join(", "), now.waiting_frames);
    let remedy = if said.is_empty() && now.waiting_frames == 0 {
        "look at `signals` of this destination in the daemon's configuration"
    } else {
        "see that the collector runs there, and takes what `headers_file` and `tls` of the destination say"
    };
    failed("forwarder", &found, remedy)
}

fn sent(destination: &Destination, signal: Signal) -> u64 {
    match signal {
        Signal::Traces => destination.sent_traces,
        Signal::Metrics => destination.sent_metrics,
        Signal::Logs => destination.sent_logs,
    }
}

fn check(name: &str, state: CheckState, found: String, remedy: &str) -> Check {
    Check { name: name.to_owned(), state, found, remedy: Some(remedy.to_owned()) }
}

fn ok(name: &str, found: &str) -> Check {
    Check { name: name.to_owned(), state: CheckState::Ok, found: found.to_owned(), remedy: None }
}

fn failed(name: &str, found: &str, remedy: &str) -> Check {
    check(name, CheckState::Failed, found.to_owned(), remedy)
}

#[cfg(test)]
mod tests;
