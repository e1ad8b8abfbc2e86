//! The command line, as clap reads it. What `--help` says is written here.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{detach::DetachKey, spec::User};

pub mod import;
pub mod report;
pub mod stack;
pub mod telemetry;

pub use stack::Stack;

/// Recorded, attributed, hardened container sessions for Claude Code.
///
/// The daemon (`serve`) runs each person's session in a container of its own, records its terminal, its
/// telemetry and everything it does under the session's id, and bundles it all into one tar.gz.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// Configuration file [default: /etc/sandboxctl/config.toml, if it is there]
    #[arg(long, global = true, env = "SANDBOXCTL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Daemon to call over HTTP, in place of the local admin socket
    #[arg(long, global = true, env = "SANDBOXCTL_URL", value_name = "URL", value_parser = url)]
    pub url: Option<String>,
    /// Admin token for --url
    #[arg(long, global = true, env = "SANDBOXCTL_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no such session; 4 refused; 5 no daemon;
6 the daemon cannot start.
`start`, `attach` and `wait` exit with the program's own code once it has ended.";

/// What sandboxctl can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon, in the foreground
    #[command(after_help = "Example:\n  sandboxctl serve --config /etc/sandboxctl/config.toml")]
    Serve(Serve),
    /// Start a session and attach to it
    #[command(
        after_help = "Examples:\n  sandboxctl start --user 'Ada <ada@example.org>'\n  sandboxctl start --profile demo -- claude -p 'List the files'\n  id=$(sandboxctl start --detach)"
    )]
    Start(Start),
    /// List sessions
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  sandboxctl list --watch\n  sandboxctl list --all --json | jq '.sessions[].id'"
    )]
    List(List),
    /// Join a session's terminal; leave it with Ctrl-]
    #[command(after_help = "Example:\n  sandboxctl attach 019a9f3e-1b2c")]
    Attach(Attach),
    /// Watch a session's terminal without typing
    #[command(after_help = "Example:\n  sandboxctl watch 019a9f3e-1b2c")]
    Watch(Attach),
    /// Wait until a session has ended; exit with its program's code
    #[command(after_help = "Example:\n  sandboxctl wait 019a9f3e-1b2c && echo done")]
    Wait(Wait),
    /// End a session
    #[command(after_help = "Example:\n  sandboxctl stop 019a9f3e-1b2c --reason 'maintenance at noon'")]
    Stop(Stop),
    /// Remove an ended session's record for good; what it used stays for reports
    #[command(after_help = "Example:\n  sandboxctl rm 019a9f3e-1b2c")]
    Rm(Rm),
    /// Show a session's timeline
    #[command(
        after_help = "Examples:\n  sandboxctl events 019a9f3e-1b2c --follow\n  sandboxctl events 019a9f3e-1b2c --kind lifecycle,model --json"
    )]
    Events(Events),
    /// Bundle a session's record into one tar.gz
    #[command(
        after_help = "Examples:\n  sandboxctl export 019a9f3e-1b2c\n  sandboxctl export 019a9f3e-1b2c -o - | tar tz"
    )]
    Export(Export),
    /// Check a bundle: every file's hash, and the signature
    #[command(after_help = "Example:\n  sandboxctl verify sandbox-session-019a9f3e-….tar.gz")]
    Verify(Verify),
    /// Send a bundle's telemetry to an OTLP endpoint, with its original times
    #[command(after_help = import::EXAMPLES)]
    Import(import::Import),
    /// Play a session's terminal in this one
    #[command(
        after_help = "Examples:\n  sandboxctl replay 019a9f3e-1b2c --speed 4\n  sandboxctl replay bundle.tar.gz --from 10m"
    )]
    Replay(Replay),
    /// Add up what was used, by user, team, model, tool, profile, day, week or month
    #[command(after_help = report::EXAMPLES)]
    Report(report::Report),
    /// Claude Code outside a sandbox: let it send its telemetry to a collector
    #[command(subcommand)]
    Telemetry(telemetry::Telemetry),
    /// Make a link with which somebody starts a session in their browser
    #[command(after_help = "Example:\n  sandboxctl invite --profile demo --uses 5 --expires 7d")]
    Invite(Invite),
    /// The admin token
    #[command(subcommand)]
    Token(Token),
    /// End every session, before an upgrade of the machine
    #[command(after_help = "Example:\n  sandboxctl drain --reason 'the machine is replaced'")]
    Drain(Drain),
    /// Check the daemon and everything it stands on
    #[command(after_help = "Example:\n  sandboxctl doctor")]
    Doctor(Doctor),
    /// The shared collector and its backends, in Docker Compose: Prometheus, Loki, Jaeger, Grafana
    #[command(
        after_help = "Examples:\n  sandboxctl stack up\n  sandboxctl stack verify\n  sandboxctl stack backup stack.tar.gz"
    )]
    Stack(Stack),
    /// Print a shell's completions
    #[command(after_help = "Example:\n  sandboxctl completions bash > /etc/bash_completion.d/sandboxctl")]
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// Print the OpenAPI document, or the configuration's defaults
    #[command(hide = true)]
    Print {
        /// What.
        what: Printed,
    },
}

/// What `print` can print.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Printed {
    /// The HTTP API's document, JSON.
    Openapi,
    /// The configuration's defaults, TOML.
    Config,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Bind beyond loopback without TLS: a proxy in front of the daemon speaks TLS
    #[arg(long)]
    pub behind_proxy: bool,
    /// Log as JSON lines
    #[arg(long)]
    pub log_json: bool,
}

/// `start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Who it is for [default: you, as this machine knows you]
    #[arg(long, value_name = "NAME <MAIL>")]
    pub user: Option<User>,
    /// Profile [default: the configuration's]
    #[arg(long, short)]
    pub profile: Option<String>,
    /// Container image, in place of the profile's
    #[arg(long)]
    pub image: Option<String>,
    /// Time to live, such as 2h; at most the profile's
    #[arg(long, value_parser = seconds)]
    pub ttl: Option<Duration>,
    /// Keep home and workspace under this name for the user's next session
    #[arg(long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// File with the user's own API key, for profiles of credential `user`; handed to the session, not kept
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Key that leaves the terminal, as ctrl-] [default: the configuration's]
    #[arg(long, env = "SANDBOXCTL_DETACH_KEY", value_name = "KEY")]
    pub detach_key: Option<DetachKey>,
    /// Do not attach; print only the session's id
    #[arg(long, short)]
    pub detach: bool,
    /// Print the session as JSON (with --detach)
    #[arg(long, requires = "detach")]
    pub json: bool,
    /// Program and arguments [default: the profile's, claude]
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<String>,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Ended sessions too
    #[arg(long, short)]
    pub all: bool,
    /// Stay, and show changes as they happen
    #[arg(long, short)]
    pub watch: bool,
    /// JSON; with --watch, a line for each change
    #[arg(long)]
    pub json: bool,
}

/// `attach` and `watch`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Id, or a unique prefix of one
    pub session: String,
    /// Key that leaves the terminal, as ctrl-] [default: the configuration's]
    #[arg(long, env = "SANDBOXCTL_DETACH_KEY", value_name = "KEY")]
    pub detach_key: Option<DetachKey>,
}

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// Id, or a unique prefix of one
    pub session: String,
    /// Print the ended session as JSON
    #[arg(long)]
    pub json: bool,
}

/// `stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Ids, or unique prefixes
    #[arg(required = true)]
    pub sessions: Vec<String>,
    /// A sentence for the record
    #[arg(long, value_parser = note)]
    pub reason: Option<String>,
}

/// `rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Ids, or unique prefixes
    #[arg(required = true)]
    pub sessions: Vec<String>,
}

/// `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Id, or a unique prefix of one
    pub session: String,
    /// Stay, and show what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only these kinds, comma-separated: lifecycle, logs, hook, mcp, model, egress, …
    #[arg(long)]
    pub kind: Option<String>,
    /// JSON lines
    #[arg(long)]
    pub json: bool,
}

/// `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Id, or a unique prefix of one
    pub session: String,
    /// Where to [default: sandbox-session-ID.tar.gz here; - is standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The workspace's files too, unmasked; only of a session that lives
    #[arg(long)]
    pub workspace: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The bundle
    pub file: PathBuf,
    /// Public key that must have signed it, hexadecimal [default: whichever signed it]
    #[arg(long, value_name = "HEX", value_parser = public_key)]
    pub key: Option<String>,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Id, unique prefix, bundle, or asciicast file
    pub what: String,
    /// How many times as fast
    #[arg(long, value_parser = speed, default_value_t = 1.0)]
    pub speed: f64,
    /// Begin this far in, as 90s or 10m
    #[arg(long, value_parser = time, default_value = "0s")]
    pub from: Duration,
    /// Longest pause between two outputs
    #[arg(long, value_parser = time, default_value = "3s")]
    pub idle: Duration,
}

/// `invite`.
#[derive(Debug, Args)]
pub struct Invite {
    /// Profile of the sessions it starts [default: the configuration's]
    #[arg(long, short)]
    pub profile: Option<String>,
    /// How many sessions it may start
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000), default_value_t = 1)]
    pub uses: u32,
    /// How long it is good
    #[arg(long, value_parser = seconds, default_value = "24h")]
    pub expires: Duration,
    /// The invite as JSON
    #[arg(long)]
    pub json: bool,
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a new admin token; the one before it stops working
    #[command(after_help = "Example:\n  sandboxctl token rotate")]
    Rotate,
}

/// `drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// A sentence for the records
    #[arg(long, value_parser = note, default_value = "the daemon is drained")]
    pub reason: String,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Leave the round trip through a real session out
    #[arg(long)]
    pub no_session: bool,
    /// The checks as JSON
    #[arg(long)]
    pub json: bool,
}

fn time(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "give a time such as 90s, 30m or 2h")
}

/// A time that is told to the daemon in whole seconds.
fn seconds(text: &str) -> Result<Duration, &'static str> {
    let time = time(text)?;
    if time.as_secs() == 0 { Err("give 1s or more") } else { Ok(time) }
}

fn speed(text: &str) -> Result<f64, &'static str> {
    let speed: Option<f64> = text.parse().ok();
    // Slower than that, one pause would take longer than clocks count.
    speed.filter(|s| (0.001..=1e6).contains(s)).ok_or("give a number from 0.001 to 1000000, such as 2 or 0.5")
}

fn url(text: &str) -> Result<String, &'static str> {
    let is_base = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let url = reqwest::Url::parse(text).ok().filter(is_base);
    url.map(|_| text.to_owned()).ok_or("give an address such as https://sandbox.example.org")
}

fn public_key(text: &str) -> Result<String, &'static str> {
    let is_key = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_key { Ok(text.to_ascii_lowercase()) } else { Err("give the 64 hexadecimal digits of a public key") }
}

fn note(text: &str) -> Result<String, &'static str> {
    let fits = text.chars().count() <= 200 && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("give at most 200 characters, without control characters") }
}
