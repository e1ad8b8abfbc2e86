//! `stack up` and `stack restart`: from nothing, or from whatever is there, to parts that are well.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde::Serialize;

use super::{
    compose::Compose,
    layout::{self, Laid},
    pipelines,
    plan::{Address, Plan},
    ports,
    ps::{self, Condition, Container},
    settings::{self, ENV, Settings},
    wait::{self, Trouble},
};
use crate::{
    api::Destination,
    cli::{args::stack::Up, json, say},
    client::Client,
    config::Config,
};

/// Switches every part on.
const ALL: [&str; 2] = ["--profile", "all"];
/// In `.env`: the parts that `up` starts when it is told of none.
const PROFILES: &str = "COMPOSE_PROFILES";

/// What `up --json` and `restart --json` print.
#[derive(Serialize)]
struct Report<'a> {
    dir: &'a Path,
    well: bool,
    /// Files that somebody changed, with a new version beside them.
    kept: &'a [String],
    parts: Vec<PartReport<'a>>,
}

#[derive(Serialize)]
struct PartReport<'a> {
    name: &'a str,
    state: Condition,
    addresses: &'a [Address],
    /// What is wrong, where something is.
    found: Option<&'a str>,
}

/// `stack up`.
pub(super) async fn up(args: &Up, dir: &Path, client: &Client, config: &Config) -> anyhow::Result<ExitCode> {
    let compose = Compose::find(dir, config).await?;
    let laid = lay_out(dir, config)?;
    let plan = Plan::of(&compose).await?;
    plan.check(&args.parts)?;
    let before = ps::containers(&compose).await?;
    let runs = |part: &String| before.get(part).is_some_and(Container::is_up);
    let mut wanted = wanted(&compose, &plan, &args.parts).await?;
    let will_run = |part: &str| wanted.iter().any(|w| w == part) || runs(&part.to_owned());
    let sends = will_run(pipelines::SENDER);
    let compose = compose.with(pipelines::without_absent(&Settings::read(dir), will_run));
    // It may have to be told of a backend that is new.
    if sends
        && wanted.iter().any(|part| pipelines::is_backend(part))
        && !wanted.iter().any(|p| p == pipelines::SENDER)
    {
        wanted.push(pipelines::SENDER.to_owned());
    }
    let stopped: Vec<String> = wanted.iter().filter(|part| !runs(part)).cloned().collect();
    let taken = ports::taken(&plan, &stopped);
    if !taken.is_empty() {
        let lines: Vec<String> = taken.iter().map(|t| format!("  {t}")).collect();
        anyhow::bail!(
            "these ports are not free:\n{}\n→ end who uses them, or set other ports (STACK_PORT_…) in {}",
            lines.join("\n"),
            dir.join(ENV).display()
        );
    }
    let mut start = ALL.to_vec();
    start.extend(["up", "--detach", "--quiet-pull"]);
    start.extend(wanted.iter().map(String::as_str));
    let started = compose.run("starting the stack", &start).await;
    if started.is_ok() {
        let pending = layout::pending(dir);
        let stale: Vec<&str> =
            wanted.iter().filter(|p| runs(p) && pending.contains(*p)).map(String::as_str).collect();
        if !stale.is_empty() {
            let again = [&ALL[..], &["restart"], stale.as_slice()].concat();
            compose.run("starting parts again whose files are new", &again).await?;
        }
        layout::settle(dir, &wanted)?;
    }
    // A part that others wait for may be why it failed: then it says more than Compose does.
    let patience = if started.is_ok() { args.wait } else { std::time::Duration::ZERO };
    let troubles = wait::until_well(&compose, &plan, &wanted, patience).await?;
    if let Err(error) = started
        && troubles.iter().all(|t| t.said.is_empty())
    {
        return Err(error.into());
    }
    tell(args.json, &compose, &plan, &wanted, &laid.kept, &troubles).await?;
    if troubles.is_empty() && !args.json {
        if wanted.iter().any(|part| part == "grafana") {
            tell_password(dir)?;
        }
        tell_forwarding(client, &plan).await?;
    }
    Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `stack restart`.
pub(super) async fn restart(args: &Up, dir: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let compose = Compose::find(&super::laid_out(dir)?, config).await?;
    let plan = Plan::of(&compose).await?;
    plan.check(&args.parts)?;
    let there = started(&plan, &ps::containers(&compose).await?);
    let wanted = if args.parts.is_empty() { there.clone() } else { args.parts.clone() };
    if let Some(part) = wanted.iter().find(|part| !there.contains(part)) {
        anyhow::bail!("{part} was not started yet; `sandboxctl stack up {part}` starts it");
    }
    if wanted.is_empty() {
        anyhow::bail!("no part was started yet; `sandboxctl stack up` starts them");
    }
    let mut again = ALL.to_vec();
    again.push("restart");
    again.extend(wanted.iter().map(String::as_str));
    compose.run("starting parts again", &again).await?;
    layout::settle(dir, &wanted)?;
    let troubles = wait::until_well(&compose, &plan, &wanted, args.wait).await?;
    tell(args.json, &compose, &plan, &wanted, &[], &troubles).await?;
    Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts that were started at some time. A step on a part's way has a container too, and is none.
fn started(plan: &Plan, containers: &BTreeMap<String, Container>) -> Vec<String> {
    let was = |part: &&String| plan.condition(part, containers.get(*part)) != Condition::Absent;
    plan.parts.keys().filter(was).cloned().collect()
}

/// Lays the files out and tells what somebody's changes kept.
pub(super) fn lay_out(dir: &Path, config: &Config) -> anyhow::Result<Laid> {
    let guest = match &config.guest {
        Some(guest) => guest.clone(),
        None => std::env::current_exe()?.with_file_name(layout::GUEST),
    };
    if !guest.is_file() {
        anyhow::bail!(
            "the guest binary {} is not there, which checks the parts' health: install it beside sandboxctl, or set \
             `guest` in the configuration",
            guest.display()
        );
    }
    let laid = layout::lay_out(dir, &guest)?;
    settings::generate(dir, &layout::example())
        .map_err(|e| anyhow::anyhow!("{} cannot be read or written: {e}", dir.join(ENV).display()))?;
    if laid.first {
        super::note(&format!("the stack's files and settings are in {}", dir.display()));
    }
    for file in &laid.kept {
        super::note(&format!(
            "{file} was changed by you and is kept; the new version is beside it, {file}.new"
        ));
    }
    Ok(laid)
}

/// The parts that are meant: those named, else those that the settings switch on, else all.
async fn wanted(compose: &Compose, plan: &Plan, named: &[String]) -> anyhow::Result<Vec<String>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    if Settings::read(compose.dir()).get(PROFILES).is_none() {
        return Ok(plan.parts.keys().cloned().collect());
    }
    let text = compose.output("reading the stack's files", &["config", "--services"]).await?;
    let on: Vec<&str> = text.lines().map(str::trim).collect();
    Ok(plan.parts.keys().filter(|part| on.contains(&part.as_str())).cloned().collect())
}

async fn tell(
    as_json: bool,
    compose: &Compose,
    plan: &Plan,
    parts: &[String],
    kept: &[String],
    troubles: &[Trouble],
) -> anyhow::Result<()> {
    let wrong: BTreeMap<&str, &str> = troubles.iter().map(|t| (t.part.as_str(), t.found.as_str())).collect();
    if as_json {
        let containers = ps::containers(compose).await?;
        let report = |name: &'_ String| {
            let (name, part) = plan.parts.get_key_value(name)?;
            let state = plan.condition(name, containers.get(name));
            Some(PartReport {
                name,
                state,
                addresses: &part.addresses,
                found: wrong.get(name.as_str()).copied(),
            })
        };
        let parts = parts.iter().filter_map(report).collect();
        json(&Report { dir: compose.dir(), well: troubles.is_empty(), kept, parts })?;
    } else {
        for part in parts.iter().filter(|part| !wrong.contains_key(part.as_str())) {
            for address in plan.parts.get(part).iter().flat_map(|p| &p.addresses) {
                say(format!("{part:<13} {:<26} {}", address.shown(), address.what).trim_end())?;
            }
        }
    }
    for Trouble { part, found, said } in troubles {
        super::note(&format!("\n{part}: {found}"));
        for line in said {
            super::note(&format!("  │ {line}"));
        }
        super::note(&format!(
            "  → see `sandboxctl stack logs {part}`; after a change in {}: `sandboxctl stack restart {part}`",
            compose.dir().display()
        ));
    }
    Ok(())
}

fn tell_password(dir: &Path) -> anyhow::Result<()> {
    let at = dir.join(ENV);
    if Settings::read(dir).get("GRAFANA_ADMIN_PASSWORD").is_some() {
        say(&format!(
            "\nGrafana's user is admin; the password is GRAFANA_ADMIN_PASSWORD in {}, as it was at Grafana's first \
             start; `grafana cli admin reset-admin-password` in its container sets another",
            at.display()
        ))?;
    }
    Ok(())
}

/// Without a destination in the daemon's configuration, the stack stays empty.
async fn tell_forwarding(client: &Client, plan: &Plan) -> anyhow::Result<()> {
    let Some(collector) = plan.parts.get("collector") else { return Ok(()) };
    let Some(door) = collector.addresses.iter().find(|a| a.what == "OTLP over HTTP") else { return Ok(()) };
    let destinations = client.get::<Vec<Destination>>("/api/v1/destinations").await;
    let lead_here = |d: &Destination| {
        let url = reqwest::Url::parse(&d.endpoint).ok();
        let port = url.and_then(|url| url.port());
        collector.addresses.iter().any(|a| a.what.starts_with("OTLP") && Some(a.port) == port)
    };
    let why = match destinations {
        Ok(found) if found.iter().any(lead_here) => return Ok(()),
        Ok(_) => "The daemon sends nothing here yet. Add this to its configuration and start it again:",
        Err(_) => "The daemon does not answer. To have it send here, its configuration needs this:",
    };
    say(&format!("\n{why}\n\n  [forward.stack]\n  endpoint = \"{}\"", door.shown()))?;
    say("\nThen `sandboxctl stack verify` shows that everything arrives.")?;
    Ok(())
}
