//! `stack`'s arguments.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

/// `stack`.
#[derive(Debug, Args)]
pub struct Stack {
    /// Folder of its files and settings [default: `stack` in the daemon's state_dir]
    #[arg(long, global = true, env = "SANDBOXCTL_STACK_DIR", value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: StackVerb,
}

/// What can be done with the stack.
#[derive(Debug, Subcommand)]
pub enum StackVerb {
    /// Start it, or some of its parts, and wait until they are healthy
    #[command(after_help = "\
Examples:
  sandboxctl stack up
  sandboxctl stack up collector prometheus

The first time, its files are laid out in its folder and passwords are generated into .env there.
Later, files that you changed are kept. Compose is `docker compose`, or what SANDBOXCTL_COMPOSE names.")]
    Up(Up),
    /// Stop it; the data is kept
    #[command(after_help = "Example:\n  sandboxctl stack down")]
    Down,
    /// Show its parts, and how far the daemon's destinations are
    #[command(
        after_help = "Examples:\n  sandboxctl stack status\n  sandboxctl stack status --json | jq '.destinations[].lag_s'"
    )]
    Status(Shown),
    /// Show what its parts say
    #[command(
        after_help = "Examples:\n  sandboxctl stack logs collector --follow\n  sandboxctl stack logs --tail 20"
    )]
    Logs(Logs),
    /// Start its parts again, after a change of their files
    #[command(after_help = "Example:\n  sandboxctl stack restart prometheus")]
    Restart(Up),
    /// Remove it with all of its data; its files and settings stay
    #[command(after_help = "Examples:\n  sandboxctl stack reset\n  sandboxctl stack reset --yes")]
    Reset(Sure),
    /// Write its settings and all of its data into one archive
    #[command(after_help = "\
Example:
  sandboxctl stack backup stack-2026-11-21.tar.gz

What runs is stopped meanwhile and started again afterwards; the daemon sends later what it cannot send now.
The archive holds passwords: it is readable by you alone.")]
    Backup(Backup),
    /// Bring back what `backup` wrote, here or on a new machine
    #[command(after_help = "\
Example:
  sandboxctl stack restore stack-2026-11-21.tar.gz && sandboxctl stack up

The whole archive is checked before anything is touched.")]
    Restore(Restore),
    /// Send a marked span, metric and log through a session, and find each again in its backend
    #[command(after_help = "\
Examples:
  sandboxctl stack verify
  sandboxctl stack verify --json | jq -r '.hops[] | select(.state == \"failed\")'

It says at which hop a signal was lost, and what to do there; then it exits with 1. A backend that the collector does
not send to is skipped, unless its address is given.")]
    Verify(Verify),
}

/// `stack up` and `stack restart`.
#[derive(Debug, Args)]
pub struct Up {
    /// Parts, such as grafana [default: all]
    #[arg(value_name = "PART")]
    pub parts: Vec<String>,
    /// How long a part may take to be healthy
    #[arg(long, value_parser = super::seconds, default_value = "3m", value_name = "TIME")]
    pub wait: Duration,
    /// The parts as JSON
    #[arg(long)]
    pub json: bool,
}

/// `stack status`.
#[derive(Debug, Args)]
pub struct Shown {
    /// The same as JSON
    #[arg(long)]
    pub json: bool,
}

/// `stack logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Part, such as grafana [default: all]
    #[arg(value_name = "PART")]
    pub part: Option<String>,
    /// Stay, and show what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last lines of each part
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
}

/// `stack reset`.
#[derive(Debug, Args)]
pub struct Sure {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `stack backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The archive to be written, a .tar.gz outside of the stack's folder
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `stack restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// An archive of `backup`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Do not ask before what is there is replaced
    #[arg(long, short)]
    pub yes: bool,
}

/// `stack verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Profile of the session that sends
    #[arg(long, short, default_value = "demo")]
    pub profile: String,
    /// The daemon's destination that leads to the stack [default: the one with the collector's address]
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// The collector's health check [default: by the stack's .env]
    #[arg(long, value_name = "URL", value_parser = super::url)]
    pub collector: Option<String>,
    /// Prometheus [default: by the stack's .env]
    #[arg(long, value_name = "URL", value_parser = super::url)]
    pub prometheus: Option<String>,
    /// Loki [default: by the stack's .env]
    #[arg(long, value_name = "URL", value_parser = super::url)]
    pub loki: Option<String>,
    /// Jaeger [default: by the stack's .env]
    #[arg(long, value_name = "URL", value_parser = super::url)]
    pub jaeger: Option<String>,
    /// How long the signals may take
    #[arg(long, value_parser = super::seconds, default_value = "90s", value_name = "TIME")]
    pub wait: Duration,
    /// The hops as JSON
    #[arg(long)]
    pub json: bool,
}
