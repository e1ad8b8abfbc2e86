//! `stack`: the shared collector and its backends, driven through Docker Compose.
//!
//! ```text
//!   this binary ── lays out ──▶ folder: compose.yaml, configuration, .env    (layout, settings)
//!        │                         │
//!        └── runs Compose ─────────┴──▶ containers, volumes                  (compose, plan, wait)
//! ```
//!
//! The folder is the operator's as much as ours: a file that somebody changed is kept, and `.env` is written once.
//! Nothing else is remembered: what runs, Compose says; what is healthy, the containers' own checks say; how far
//! the telemetry is, the daemon says.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    args::{Stack, stack::StackVerb},
    usage,
};
use crate::{client::Client, config::Config};

mod archive;
mod backup;
mod compose;
mod layout;
mod pipelines;
mod plan;
mod ports;
mod ps;
mod restore;
mod settings;
mod status;
mod up;
mod verify;
mod wait;

use compose::Compose;
use plan::Plan;

/// `sandboxctl stack`.
pub(super) async fn stack(args: Stack, client: &Client, config: &Config) -> anyhow::Result<ExitCode> {
    let dir = folder(args.dir, config)?;
    match args.verb {
        StackVerb::Up(up) => up::up(&up, &dir, client, config).await,
        StackVerb::Restart(again) => up::restart(&again, &dir, config).await,
        StackVerb::Down => down(&dir, config).await,
        StackVerb::Status(shown) => status::status(shown.json, &dir, client, config).await,
        StackVerb::Logs(logs) => {
            let compose = Compose::find(&laid_out(&dir)?, config).await?;
            if let Some(part) = &logs.part {
                Plan::of(&compose).await?.check(std::slice::from_ref(part))?;
            }
            compose.logs(&logs)
        }
        StackVerb::Reset(sure) => reset(sure.yes, &dir, config).await,
        StackVerb::Backup(backup) => backup::backup(&backup, &laid_out(&dir)?, config).await,
        StackVerb::Restore(restore) => restore::restore(&restore, &dir, config).await,
        StackVerb::Verify(verify) => verify::verify(&verify, &dir, client, config).await,
    }
}

async fn down(dir: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let compose = Compose::find(&laid_out(dir)?, config).await?;
    compose.run("stopping the stack", &["--profile", "all", "down"]).await?;
    super::say("the stack is stopped; its data is kept, and `sandboxctl stack up` starts it again")?;
    Ok(ExitCode::SUCCESS)
}

async fn reset(sure: bool, dir: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let compose = Compose::find(&laid_out(dir)?, config).await?;
    let plan = Plan::of(&compose).await?;
    let volumes: Vec<&str> = plan.volumes.values().map(String::as_str).collect();
    let question = format!(
        "This removes every metric, trace, log and dashboard setting that the stack holds:\n  {}\n\
         (`sandboxctl stack backup FILE` keeps them.)",
        volumes.join("\n  ")
    );
    if !sure && !confirmed(&question)? {
        super::say("nothing was removed")?;
        return Ok(ExitCode::FAILURE);
    }
    compose.run("removing the stack and its data", &["--profile", "all", "down", "--volumes"]).await?;
    super::say(
        "the stack and its data are removed; `sandboxctl stack up` begins anew with the same settings",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Where the stack's files are. Bind mounts need a whole path.
fn folder(asked: Option<PathBuf>, config: &Config) -> anyhow::Result<PathBuf> {
    let dir = asked.unwrap_or_else(|| config.state_dir.join("stack"));
    std::path::absolute(&dir).map_err(|e| usage(format!("--dir {}: {e}; name a folder", dir.display())))
}

/// The folder, if there is a stack in it.
fn laid_out(dir: &Path) -> anyhow::Result<PathBuf> {
    if dir.join(layout::COMPOSE).is_file() {
        return Ok(dir.to_owned());
    }
    Err(usage(format!(
        "there is no stack in {}; `sandboxctl stack up` makes one, and --dir names another folder",
        dir.display()
    )))
}

/// Tells a person beside what is printed. A terminal that was closed takes nothing more, and must not end what has to be
/// finished.
fn note(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// Asks a person. Without one, nothing is as dangerous as an answer that nobody gave.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(usage(
            "this asks first, and there is no terminal to ask at; give --yes if you are sure".into(),
        ));
    }
    let mut err = io::stderr().lock();
    write!(err, "{question}\nType yes to go on: ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
