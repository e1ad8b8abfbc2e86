//! The command line: each verb is one function over the [`Client`]; `serve` is the daemon itself.

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory, Parser};
use reqwest::Method;
use serde::Serialize;

use crate::{
    api::{self, Session, StartRequest},
    client::{Client, ClientError, Target},
    config::{Config, ConfigError},
    daemon,
    detach::DetachKey,
    inert::inert,
    lifecycle::{Phase, Reason},
};

pub mod args;
mod attach;
mod doctor;
mod export;
mod import;
mod keyboard;
mod replay;
mod report;
mod stack;
mod table;
mod telemetry;

use args::{Cli, Printed, Token, Verb};

/// Exit codes of our own; a program's code takes their place once a session has ended.
mod code {
    pub const DONE: u8 = 0;
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const NOT_FOUND: u8 = 3;
    pub const REFUSED: u8 = 4;
    pub const NO_DAEMON: u8 = 5;
    /// Starting the daemon again changes nothing: whoever restarts it had better not.
    pub const CANNOT_START: u8 = 6;
}

/// Carries out the command line; the process exits with what is returned.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("sandboxctl: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // reqwest and tungstenite find their cryptography here; a second install is refused, and harmless.
    rustls::crypto::ring::default_provider().install_default().ok();
    match cli.verb {
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sandboxctl", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Print { what } => {
            match what {
                Printed::Openapi => say(&crate::http::openapi().to_pretty_json()?)?,
                Printed::Config => say(&toml::to_string_pretty(&Config::default())?)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Verify(verify) => return export::verify(&verify),
        Verb::Import(args) => return runtime(false)?.block_on(import::import(&args)),
        Verb::Telemetry(verb) => return runtime(false)?.block_on(telemetry::telemetry(&verb)),
        _ => {}
    }
    if let Verb::Serve(serve) = &cli.verb {
        return Ok(serve_daemon(&cli, serve));
    }
    let config = Config::load(cli.config.as_deref())?;
    let client = Client::new(target(&cli, &config)?)?;
    runtime(false)?.block_on(call(cli.verb, &client, &config))
}

/// The daemon ends with an error only if it cannot start.
fn serve_daemon(cli: &Cli, serve: &args::Serve) -> ExitCode {
    let served = || {
        let config = Config::load(cli.config.as_deref())?;
        runtime(true)?.block_on(daemon::serve(config, serve.behind_proxy, serve.log_json))
    };
    served().unwrap_or_else(|error: anyhow::Error| {
        eprintln!("sandboxctl: the daemon cannot start: {error:#}");
        ExitCode::from(code::CANNOT_START)
    })
}

/// The daemon gets all cores; a client needs one, and starts faster with it.
fn runtime(daemon: bool) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = if daemon {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()
}

fn target(cli: &Cli, config: &Config) -> Result<Target, ClientError> {
    match (&cli.url, &cli.token) {
        (Some(url), Some(token)) => Ok(Target::Url { url: url.clone(), token: token.clone() }),
        (Some(_), None) => Err(ClientError::Address(
            "--url (SANDBOXCTL_URL) needs --token (SANDBOXCTL_TOKEN) too: the admin token, printed at the daemon's first start"
                .to_owned(),
        )),
        (None, _) => Ok(Target::Socket(config.admin_socket.clone())),
    }
}

async fn call(verb: Verb, client: &Client, config: &Config) -> anyhow::Result<ExitCode> {
    let done = ExitCode::SUCCESS;
    match verb {
        Verb::Start(start) => return start_session(start, client, config).await,
        Verb::List(list) => table::list(&list, client).await?,
        Verb::Attach(args) => {
            return attach::attach(client, &args.session, true, key(args.detach_key, config)?).await;
        }
        Verb::Watch(args) => {
            return attach::attach(client, &args.session, false, key(args.detach_key, config)?).await;
        }
        Verb::Wait(wait) => {
            let session = wait_for(client, &wait.session).await?;
            if wait.json {
                json(&session)?;
            }
            return Ok(program_code(&session));
        }
        Verb::Stop(stop) => {
            for session in &stop.sessions {
                let note = stop.reason.as_deref().map(|n| format!("?note={}", query(n))).unwrap_or_default();
                let id = client.session(session).await?.id;
                client.delete(&format!("/api/v1/sessions/{id}{note}")).await?;
                say(&id.to_string())?;
            }
        }
        Verb::Rm(rm) => {
            for session in &rm.sessions {
                let id = client.session(session).await?.id;
                client.delete(&format!("/api/v1/sessions/{id}?purge=true")).await?;
                say(&id.to_string())?;
            }
        }
        Verb::Events(events) => table::events(&events, client).await?,
        Verb::Export(args) => export::export(&args, client).await?,
        Verb::Replay(args) => replay::replay(&args, client).await?,
        Verb::Report(args) => report::report(&args, client).await?,
        Verb::Invite(args) => {
            let request = api::InviteRequest {
                profile: args.profile,
                uses: Some(args.uses),
                expires_s: Some(args.expires.as_secs()),
            };
            let invite: api::Invite = client.json(Method::POST, "/api/v1/invites", Some(&request)).await?;
            if args.json { json(&invite)? } else { say(&invite.url)? }
        }
        Verb::Token(Token::Rotate) => {
            let token: api::Token = client.json(Method::POST, "/api/v1/token", None::<&()>).await?;
            say(&token.token)?;
        }
        Verb::Drain(args) => {
            let live = client.sessions(false).await?.sessions;
            for session in &live {
                client
                    .delete(&format!("/api/v1/sessions/{}?note={}", session.id, query(&args.reason)))
                    .await?;
            }
            for session in &live {
                wait_for(client, &session.id.to_string()).await?;
                say(&format!("{} ended", session.id))?;
            }
        }
        Verb::Doctor(args) => return doctor::doctor(&args, client).await,
        Verb::Stack(args) => return stack::stack(args, client, config).await,
        Verb::Serve(_)
        | Verb::Verify(_)
        | Verb::Import(_)
        | Verb::Telemetry(_)
        | Verb::Completions { .. }
        | Verb::Print { .. } => {}
    }
    Ok(done)
}

async fn start_session(start: args::Start, client: &Client, config: &Config) -> anyhow::Result<ExitCode> {
    let (cols, rows) =
        crossterm::terminal::size().map_or((None, None), |(c, r)| (Some(c.max(1)), Some(r.max(1))));
    let api_key = match &start.api_key_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|e| {
                    usage(format!("--api-key-file {}: {e}; name a file with the key", path.display()))
                })?
                .trim()
                .to_owned(),
        ),
        None => None,
    };
    let request = StartRequest {
        user: start.user,
        profile: start.profile,
        image: start.image,
        program: start.program,
        ttl_s: start.ttl.map(|t| t.as_secs()),
        workspace: start.workspace,
        cols,
        rows,
        api_key,
    };
    let detach_key = key(start.detach_key, config)?;
    let session: Session = client.json(Method::POST, "/api/v1/sessions", Some(&request)).await?;
    if start.detach {
        if start.json {
            json(&session)?
        } else {
            say(&session.id.to_string())?
        }
        return Ok(ExitCode::SUCCESS);
    }
    attach::attach(client, &session.id.to_string(), true, detach_key).await
}

/// Waits until a session has ended, through restarts of the daemon.
pub(crate) async fn wait_for(client: &Client, session: &str) -> Result<Session, ClientError> {
    let id = client.session(session).await?.id;
    loop {
        match client.get::<Session>(&format!("/api/v1/sessions/{id}/wait?timeout_s=30")).await {
            Ok(session) if session.phase == Phase::Ended => return Ok(session),
            Ok(_) => {}
            Err(ClientError::Away { .. } | ClientError::Broken(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The program's own exit code, where it has one.
pub(crate) fn program_code(session: &Session) -> ExitCode {
    let own = matches!(session.reason, Some(Reason::Exited { .. }));
    let code = session.exit_code.unwrap_or(i32::from(code::FAILED));
    // A session that was ended has failed at what it was doing, even if its program said 0 on the way out.
    if own || code != 0 { ExitCode::from((code & 0xff) as u8) } else { ExitCode::from(code::FAILED) }
}

fn key(asked: Option<DetachKey>, config: &Config) -> anyhow::Result<DetachKey> {
    asked.map_or_else(|| Ok(config.detach_key.parse::<DetachKey>()?), Ok)
}

/// A flag's or an argument's value that only shows to be wrong when it is used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(String);

/// The same, as a failure of the verb.
pub(crate) fn usage(problem: String) -> anyhow::Error {
    Usage(problem).into()
}

/// Prints a line to standard output.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

/// Prints pretty JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&crate::inert::json(serde_json::to_string_pretty(value)?))?;
    Ok(())
}

fn query(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let usage = error.is::<Usage>() || matches!(error.downcast_ref(), Some(ConfigError::Missing(_)));
    if usage {
        return code::USAGE;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Away { .. }) => code::NO_DAEMON,
        Some(ClientError::Address(_)) => code::USAGE,
        Some(ClientError::Refused(problem)) if problem.code == "session_not_found" => code::NOT_FOUND,
        Some(ClientError::Refused(_)) => code::REFUSED,
        _ => code::FAILED,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What somebody is told when a session has ended under their eyes.
pub(crate) fn farewell(session: &Session) -> String {
    let reason = session.reason.as_ref().map_or_else(|| "it ended".to_owned(), Reason::phrase);
    let t = &session.totals;
    let complete =
        session.completeness.map_or_else(String::new, |c| format!(", telemetry {:.0} % complete", c * 100.0));
    format!(
        "session {id} ended: {reason}\n\
         recorded: {bytes}; {turns} turns, {tools} tools, {tokens} tokens, ${cost:.4}{complete}\n\
         export it with: sandboxctl export {short}",
        id = session.id,
        reason = inert(&reason),
        bytes = bytesize::ByteSize::b(session.recorded_bytes).display().iec(),
        turns = t.turns,
        tools = t.tools,
        tokens = t.tokens(),
        cost = t.cost_usd,
        short = session.id.short(),
    )
}
