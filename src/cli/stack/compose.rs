//! Docker Compose, as a program: found, run, and its complaints turned into what to do.

use std::{
    env,
    ffi::OsString,
    io::IsTerminal,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};

use super::layout::COMPOSE;
use crate::{cli::args::stack::Logs, config::Config, inert::inert};

/// The environment variable that names another binary.
const NAMED: &str = "SANDBOXCTL_COMPOSE";
/// An operator's own additions, as Compose calls them.
const OVERRIDE: &str = "compose.override.yaml";
/// The oldest Compose that speaks as we do.
const OLDEST: u32 = 2;
/// How much of what it said is shown where it failed.
const SAID: usize = 12; // lines

/// Why Compose cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ComposeError {
    /// There is none.
    #[error(
        "Docker Compose is not installed: neither `docker compose` nor `docker-compose` answers; install the package \
         docker-compose-plugin (docker-compose-v2 on Ubuntu), or name a binary with {NAMED}"
    )]
    Missing,
    /// The one that was named does not answer.
    #[error(
        "{NAMED} names {named}, which does not answer as Docker Compose: {error}; name its binary, or unset it"
    )]
    Named {
        /// What it names.
        named: String,
        /// What it said.
        error: String,
    },
    /// It is from before Compose was part of Docker.
    #[error(
        "docker-compose is version {0}, and {OLDEST} or newer is needed: install the package docker-compose-plugin"
    )]
    Old(String),
    /// It failed.
    #[error("{doing} failed: {said}\n→ {remedy}")]
    Failed {
        /// What it was to do.
        doing: String,
        /// The end of what it said.
        said: String,
        /// What to do.
        remedy: String,
    },
}

/// Compose, at work on one folder.
pub(super) struct Compose {
    command: Vec<OsString>,
    dir: PathBuf,
    engine: OsString,
    detached: bool,
    /// Settings beside those in `.env`, which they win over.
    settings: Vec<(&'static str, &'static str)>,
}

impl Compose {
    /// Finds the program; the engine is the daemon's.
    pub(super) async fn find(dir: &Path, config: &Config) -> Result<Compose, ComposeError> {
        let command = program().await?;
        let engine = format!("unix://{}", config.docker.socket.display()).into();
        Ok(Compose { command, dir: dir.to_owned(), engine, detached: false, settings: Vec::new() })
    }

    /// The same, out of reach of the Ctrl-C that is meant for us: what it does has to be finished.
    pub(super) fn detached(self) -> Compose {
        Compose { detached: true, ..self }
    }

    /// The same, with these settings beside those in `.env`.
    pub(super) fn with(self, settings: Vec<(&'static str, &'static str)>) -> Compose {
        Compose { settings, ..self }
    }

    /// The stack's folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs it to its end, and returns what it printed.
    pub(super) async fn output(&self, doing: &str, args: &[&str]) -> Result<String, ComposeError> {
        let output = self.command(args).stdin(Stdio::null()).output().await;
        let output = output.map_err(|error| failed(doing, &error.to_string()))?;
        if !output.status.success() {
            return Err(failed(doing, &String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end and shows meanwhile what it says: on a terminal as one line that moves.
    pub(super) async fn run(&self, doing: &str, args: &[&str]) -> Result<(), ComposeError> {
        let broken = |error: std::io::Error| failed(doing, &error.to_string());
        let line = step(doing);
        let mut child = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let mut lines = BufReader::new(stderr.take(16 << 20)).lines();
            while let Ok(Some(text)) = lines.next_line().await {
                line.set_message(inert(text.trim()));
                said.push(text);
            }
        }
        let status = child.wait().await.map_err(broken)?;
        line.finish_and_clear();
        if status.success() { Ok(()) } else { Err(failed(doing, &said.join("\n"))) }
    }

    /// Becomes `compose logs`: whoever follows ends it with Ctrl-C, and nothing of ours is left to do.
    pub(super) fn logs(&self, logs: &Logs) -> anyhow::Result<ExitCode> {
        let mut args = vec!["--profile".to_owned(), "all".to_owned(), "logs".to_owned()];
        args.extend(logs.follow.then(|| "--follow".to_owned()));
        args.extend(logs.tail.map(|lines| format!("--tail={lines}")));
        args.extend(logs.part.clone());
        let mut command = self.bare(if std::io::stdout().is_terminal() { "auto" } else { "never" });
        command.args(args);
        Err(command.exec().into())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare("never");
        command.args(args);
        if self.detached {
            command.process_group(0);
        }
        Command::from(command)
    }

    fn bare(&self, ansi: &str) -> std::process::Command {
        let mut command = std::process::Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(["--ansi", ansi]);
        command.arg("--project-directory").arg(&self.dir);
        command.arg("--file").arg(self.dir.join(COMPOSE));
        if self.dir.join(OVERRIDE).is_file() {
            command.arg("--file").arg(self.dir.join(OVERRIDE));
        }
        // The daemon's engine, whatever the caller's own docker is pointed at; and the project that the file or
        // .env names, whatever else the caller is working on.
        command.env("DOCKER_HOST", &self.engine).env_remove("DOCKER_CONTEXT");
        command.env_remove("COMPOSE_PROJECT_NAME").env_remove("COMPOSE_FILE").current_dir(&self.dir);
        command.envs(self.settings.iter().copied());
        command
    }
}

/// A step that takes its time: a line that moves on a terminal, one line elsewhere.
pub(super) fn step(doing: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        super::note(&format!("{doing} …"));
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner:.cyan} {prefix} … {elapsed}  {wide_msg:.dim}");
    let line = ProgressBar::new_spinner().with_prefix(doing.to_owned());
    line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    line.enable_steady_tick(Duration::from_millis(120));
    line
}

async fn program() -> Result<Vec<OsString>, ComposeError> {
    if let Some(named) = env::var_os(NAMED).filter(|n| !n.is_empty()) {
        // It runs in the stack's folder, and a path was meant from here.
        let is_path = named.to_string_lossy().contains('/');
        let whole = if is_path { std::path::absolute(&named).ok() } else { None };
        let command = vec![whole.map_or_else(|| named.clone(), OsString::from)];
        return match version(&command).await {
            Ok(found) if is_recent(&found) => Ok(command),
            Ok(found) => Err(ComposeError::Old(found)),
            Err(error) => Err(ComposeError::Named { named: named.to_string_lossy().into_owned(), error }),
        };
    }
    let plugin = vec!["docker".into(), "compose".into()];
    if version(&plugin).await.is_ok() {
        return Ok(plugin);
    }
    let standalone = vec!["docker-compose".into()];
    match version(&standalone).await {
        Ok(found) if is_recent(&found) => Ok(standalone),
        Ok(found) => Err(ComposeError::Old(found)),
        Err(_) => Err(ComposeError::Missing),
    }
}

/// The version that a command says it is.
async fn version(command: &[OsString]) -> Result<String, String> {
    let mut asked = Command::new(&command[0]);
    asked.args(&command[1..]).args(["version", "--short"]).stdin(Stdio::null());
    let output = asked.output().await.map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| inert(String::from_utf8_lossy(bytes).trim());
    if !output.status.success() {
        return Err(text(&output.stderr));
    }
    match text(&output.stdout) {
        found if found.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) => Ok(found),
        other => Err(format!("it says {other:?} is its version")),
    }
}

/// A version that cannot be read was built by somebody, and is none from ten years ago.
fn is_recent(version: &str) -> bool {
    let major = version.trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
    major.is_none_or(|major| major >= OLDEST)
}

fn failed(doing: &str, said: &str) -> ComposeError {
    let lines: Vec<String> = said.lines().map(inert).filter(|l| !l.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(SAID)..].join("\n  ");
    let said = if end.is_empty() { "it said nothing".to_owned() } else { format!("\n  {end}") };
    ComposeError::Failed { doing: doing.to_owned(), remedy: remedy(&said).to_owned(), said }
}

/// What to do about a complaint of Compose or of the engine behind it.
fn remedy(said: &str) -> &'static str {
    const KNOWN: [(&[&str], &str); 6] = [
        (
            &["permission denied while trying to connect", "connect: permission denied"],
            "run this as root, or as somebody who may use the engine",
        ),
        (
            &["Cannot connect to the Docker daemon", "connect: no such file", "connect: connection refused"],
            "start the engine (systemctl start docker), or set docker.socket in the configuration",
        ),
        (
            &["port is already allocated", "address already in use"],
            "set another port (STACK_PORT_…) in the stack's .env, or end who uses it; then run this again",
        ),
        (
            &[
                "pull access denied",
                "manifest unknown",
                "no such host",
                "failed to resolve",
                "failed to do request",
                "TLS handshake",
                "i/o timeout",
                "Client.Timeout",
                "No such image",
                "not found: manifest",
            ],
            "an image cannot be had: check this machine's way to its registry, or load the image by hand and name it \
             (STACK_IMAGE_…) in the stack's .env; then run this again",
        ),
        (
            &["is missing a value", "required variable"],
            "set the variable in the stack's .env, then run this again",
        ),
        (
            &["no space left on device"],
            "free some space where the engine keeps its data, then run this again",
        ),
    ];
    let known = KNOWN.iter().find(|(signs, _)| signs.iter().any(|sign| said.contains(sign)));
    known.map_or("`sandboxctl stack status` shows what runs; this can be run again", |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_with_what_to_do() {
        for (said, expected) in [
            ("Cannot connect to the Docker daemon at unix:///x. Is it running?", "start the engine"),
            ("dial unix /x: connect: permission denied", "as root"),
            ("Bind for 127.0.0.1:3000 failed: port is already allocated", "STACK_PORT_"),
            ("dial tcp: lookup registry-1.example.org: no such host", "STACK_IMAGE_"),
            ("required variable GRAFANA_ADMIN_PASSWORD is missing a value", "set the variable"),
            ("something else", "stack status"),
        ] {
            let error = failed("starting the stack", said).to_string();
            assert!(error.contains(said) && error.contains(expected), "{error}");
        }
        let long: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let error = failed("x", &long).to_string();
        assert!(error.contains("line 99") && !error.contains("line 50"), "the end is shown: {error}");
        assert!(failed("x", "\n").to_string().contains("said nothing"));
    }

    #[test]
    fn versions_are_told_apart() {
        for (version, recent) in
            [("5.2.0", true), ("v2.39.1", true), ("2.0.0-rc1", true), ("1.29.2", false), ("dev", true)]
        {
            assert_eq!(is_recent(version), recent, "{version}");
        }
    }
}
