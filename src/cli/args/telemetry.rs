//! `telemetry`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::Protocol;

const ENABLE: &str = "\
Examples:
  sandboxctl telemetry enable --endpoint https://collector.example.org:4318 --header 'Authorization=Bearer abc' --team research
  sandboxctl telemetry enable --endpoint http://127.0.0.1:4317 --protocol grpc --prompts
  sandboxctl telemetry enable --enterprise --headers-helper /opt/otel-token > managed-settings.json

What was there is kept beside the file with the date; `disable` puts it back.";

/// `telemetry`.
#[derive(Debug, Subcommand)]
pub enum Telemetry {
    /// Let Claude Code send its telemetry to a collector
    #[command(after_help = ENABLE)]
    Enable(Enable),
    /// Put back what was there before `enable`
    #[command(after_help = "Example:\n  sandboxctl telemetry disable")]
    Disable(Disable),
    /// Show what is set, and whether the collector answers
    #[command(
        after_help = "Example:\n  sandboxctl telemetry status --json\n\nExits with 0 if telemetry is on and every signal is taken, with 1 otherwise. What is not checked (--no-check, or a helper makes the headers) counts as taken if it would be sent."
    )]
    Status(Status),
}

/// `telemetry enable`.
#[derive(Debug, Args)]
pub struct Enable {
    /// The collector's base URL [default: http://127.0.0.1, at the protocol's port]
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub endpoint: Option<String>,
    /// What is spoken there
    #[arg(long, value_enum, default_value_t = Speaks::Http)]
    pub protocol: Speaks,
    /// A header of every request; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The team that it counts for
    #[arg(long, value_parser = word)]
    pub team: Option<String>,
    /// A resource attribute of everything that is sent; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// The text of prompts and answers too
    #[arg(long)]
    pub prompts: bool,
    /// Tool parameters, names of MCP servers and full errors too
    #[arg(long)]
    pub tool_details: bool,
    /// Tool input and output too
    #[arg(long)]
    pub tool_content: bool,
    /// The settings file [default: settings.json in CLAUDE_CONFIG_DIR or ~/.claude]
    #[arg(long, value_name = "FILE", conflicts_with = "enterprise")]
    pub settings: Option<PathBuf>,
    /// Do not try whether the collector answers
    #[arg(long)]
    pub no_check: bool,
    /// Print a managed-settings.json for a fleet, and write nothing
    #[arg(long)]
    pub enterprise: bool,
    /// Program on each machine that prints the headers as a JSON object, for tokens that expire; not over gRPC
    #[arg(long, value_name = "PATH", requires = "enterprise")]
    pub headers_helper: Option<String>,
}

/// `telemetry disable`.
#[derive(Debug, Args)]
pub struct Disable {
    /// The settings file [default: settings.json in CLAUDE_CONFIG_DIR or ~/.claude]
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

/// `telemetry status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The settings file [default: settings.json in CLAUDE_CONFIG_DIR or ~/.claude]
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Do not try whether the collector answers
    #[arg(long)]
    pub no_check: bool,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// OTLP's two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Speaks {
    /// OTLP/HTTP, protobuf; port 4318 as a rule.
    Http,
    /// OTLP/gRPC; port 4317 as a rule. The client does not repeat what fails.
    Grpc,
}

impl From<Speaks> for Protocol {
    fn from(speaks: Speaks) -> Protocol {
        match speaks {
            Speaks::Http => Protocol::Http,
            Speaks::Grpc => Protocol::Grpc,
        }
    }
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    let is_base = |url: &reqwest::Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let url = reqwest::Url::parse(text).ok().filter(is_base);
    url.map(|_| text.trim_end_matches('/').to_owned()).ok_or("give a URL such as http://127.0.0.1:4318")
}

/// A header, in a form that the client can be told of: its list is split at commas.
pub fn header(text: &str) -> Result<(String, String), &'static str> {
    let problem = "give NAME=VALUE, as 'Authorization=Bearer abc'; for a value with a comma use a helper";
    let (name, value) = text.split_once('=').ok_or(problem)?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_value = !value.is_empty() && value.chars().all(|c| matches!(c, ' '..='~') && c != ',');
    if is_name && is_value { Ok((name.to_owned(), value.to_owned())) } else { Err(problem) }
}

fn attribute(text: &str) -> Result<(String, String), &'static str> {
    let problem = "give NAME=VALUE, as deployment.environment=laptop";
    let (name, value) = text.split_once('=').ok_or(problem)?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if is_name { Ok((name.to_owned(), word(value).map_err(|_| problem)?)) } else { Err(problem) }
}

fn word(text: &str) -> Result<String, &'static str> {
    let fits = (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("give 1 to 255 characters, without control characters") }
}
