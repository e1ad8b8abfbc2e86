//! The configuration: one TOML file, read once at start, every key checked.
//!
//! Layers, later over earlier: the defaults below, the file, and environment variables
//! `SANDBOXCTL__SECTION__KEY`. A key that nothing knows is an error that names it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::spec::{Credential, Profile};

/// Where the configuration lies unless `--config` or `SANDBOXCTL_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sandboxctl/config.toml";

/// The longest time that can be chosen: beyond it clocks overflow, and nobody waits.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Processors: what an engine can tell from none, and more than any machine has.
const MIN_CPUS: f64 = 0.01;
const MAX_CPUS: f64 = 10_000.0;

/// Everything an operator can choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the page and the HTTP API.
    pub listen: SocketAddr,
    /// How the page is reached from outside, for links: `https://sandbox.example.org`.
    pub public_url: Option<String>,
    /// Journals, database, keys. Made with mode 0700. Keep the path short: unix sockets lie below it.
    pub state_dir: PathBuf,
    /// The socket of the local admin, known by peer credentials.
    pub admin_socket: PathBuf,
    /// Group whose members may use the admin socket, besides root and the daemon's own user.
    pub admin_group: Option<String>,
    /// What runs containers.
    pub engine: EngineKind,
    /// The static guest binary on the engine's host; beside the daemon's own when absent.
    pub guest: Option<PathBuf>,
    /// Most sessions alive at once.
    pub max_sessions: usize,
    /// Most sessions of one user (by e-mail) alive at once.
    pub max_sessions_per_user: usize,
    /// Most connections of browsers and other clients to `listen` at once.
    pub max_connections: usize,
    /// Profile of a request that names none.
    pub default_profile: String,
    /// The key that leaves an attached terminal, as `ctrl-]`.
    pub detach_key: String,
    /// TLS of `listen`; needed to bind beyond loopback, unless the daemon is told of a proxy in front.
    pub tls: Option<Tls>,
    /// The Docker engine.
    pub docker: Docker,
    /// The model API behind the gateway.
    pub model: Model,
    /// Where every session's telemetry is forwarded to.
    pub forward: Option<Forward>,
    /// MCP servers that every session gets, by name; Claude Code's own form.
    pub mcp_servers: BTreeMap<String, serde_json::Value>,
    /// Profiles by name.
    pub profiles: BTreeMap<String, Profile>,
}

impl Default for Config {
    fn default() -> Config {
        let demo = Profile { credential: Credential::Demo, ..Profile::default() };
        // What signing in and the model need, and nothing else: see docs/configuration.md.
        let egress =
            ["api.anthropic.com", "claude.ai", "claude.com", "platform.claude.com", "console.anthropic.com"];
        let default = Profile { egress: egress.map(str::to_owned).to_vec(), ..Profile::default() };
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            public_url: None,
            state_dir: PathBuf::from("/var/lib/sandboxctl"),
            admin_socket: PathBuf::from("/run/sandboxctl/admin.sock"),
            admin_group: None,
            engine: EngineKind::Docker,
            guest: None,
            max_sessions: 64,
            max_sessions_per_user: 8,
            max_connections: 2048,
            default_profile: "default".to_owned(),
            detach_key: "ctrl-]".to_owned(),
            tls: None,
            docker: Docker::default(),
            model: Model::default(),
            forward: None,
            mcp_servers: BTreeMap::new(),
            profiles: BTreeMap::from([("default".to_owned(), default), ("demo".to_owned(), demo)]),
        }
    }
}

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// A Docker engine on this machine.
    Docker,
    /// Child processes in namespaces of their own: for tests, no sandbox.
    Local,
}

/// The Docker engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Docker {
    /// Its socket.
    pub socket: PathBuf,
}

impl Default for Docker {
    fn default() -> Docker {
        Docker { socket: PathBuf::from("/var/run/docker.sock") }
    }
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The model API behind the gateway, for profiles with `credential = "gateway"` and for users' own keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Base URL of the API.
    pub url: String,
    /// File that holds the operator's key, readable by the daemon only.
    pub key_file: Option<PathBuf>,
    /// US dollars for a million tokens, by model-name prefix, for the gateway's own count.
    pub prices: BTreeMap<String, Price>,
}

impl Default for Model {
    fn default() -> Model {
        let price =
            |input, output| Price { input, output, cache_read: input * 0.1, cache_write: input * 1.25 };
        Model {
            url: "https://api.anthropic.com".to_owned(),
            key_file: None,
            prices: BTreeMap::from([
                ("claude-opus".to_owned(), price(5.0, 25.0)),
                ("claude-opus-5-5".to_owned(), Price { cache_read: 0.2, ..price(4.0, 20.0) }),
                ("claude-sonnet".to_owned(), price(3.0, 15.0)),
                ("claude-haiku".to_owned(), price(1.0, 5.0)),
            ]),
        }
    }
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input.
    pub input: f64,
    /// Output.
    pub output: f64,
    /// Input read from the cache.
    pub cache_read: f64,
    /// Input written to the cache.
    pub cache_write: f64,
}

/// An OTLP/HTTP destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Base URL; `/v1/traces` and so on are appended.
    pub endpoint: String,
    /// File with a header a line, `Name: value`, readable by the daemon only.
    #[serde(default)]
    pub headers_file: Option<PathBuf>,
    /// Longest wait for an answer.
    #[serde(default = "forward_timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

fn forward_timeout() -> Duration {
    Duration::from_secs(30)
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for is not there.
    #[error("configuration {0}: no such file; write one, or leave --config out to use the defaults")]
    Missing(PathBuf),
    /// A key or a value is wrong.
    #[error("configuration: {0}")]
    Invalid(#[from] Box<figment::Error>),
    /// A value is well formed and makes no sense.
    #[error("configuration key {key}: {problem}")]
    Value {
        /// Path of the key, with dots.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Config {
    /// Reads the configuration: `path` must exist when it is given; the default path may be absent.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        if let Some(path) = path
            && !path.is_file()
        {
            return Err(ConfigError::Missing(path.to_owned()));
        }
        let file = Toml::file(path.unwrap_or(Path::new(DEFAULT_PATH)));
        Config::from_layers(
            Figment::from(Serialized::defaults(Config::default()))
                .merge(file)
                .merge(Env::prefixed("SANDBOXCTL__").split("__")),
        )
    }

    /// Reads a configuration's text over the defaults, and looks at nothing else.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::from_layers(Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(text)))
    }

    fn from_layers(figment: Figment) -> Result<Config, ConfigError> {
        let config: Config = figment.extract().map_err(Box::new)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: &str| {
            Err(ConfigError::Value { key: key.to_owned(), problem: problem.to_owned() })
        };
        if !self.profiles.contains_key(&self.default_profile) {
            return wrong("default_profile", "names no profile; add [profiles.NAME] or name another");
        }
        if !self.state_dir.is_absolute() {
            return wrong("state_dir", "give an absolute path");
        }
        if self.state_dir.as_os_str().len() > 48 {
            return wrong("state_dir", "give a path of at most 48 bytes: unix sockets lie below it");
        }
        if self.max_connections == 0 {
            return wrong("max_connections", "give at least 1");
        }
        if self.forward.as_ref().is_some_and(|forward| forward.timeout > LONGEST) {
            return wrong("forward.timeout", "give at most 10 years");
        }
        for (name, price) in &self.model.prices {
            if ![price.input, price.output, price.cache_read, price.cache_write].into_iter().all(is_amount) {
                return wrong(&format!("model.prices.{name}"), "give amounts of dollars, zero or more");
            }
        }
        for (name, profile) in &self.profiles {
            let at = |key: &str| format!("profiles.{name}.{key}");
            if profile.program.is_empty() {
                return wrong(&at("program"), "give at least the program's name");
            }
            // To an engine zero is no limit, and so is what comes to zero in its own units.
            let limits = &profile.limits;
            if !(MIN_CPUS..=MAX_CPUS).contains(&limits.cpus) {
                return wrong(&at("limits.cpus"), "give a number from 0.01 to 10000");
            }
            for (key, limit) in [("memory", limits.memory), ("disk", limits.disk), ("tmp", limits.tmp)] {
                if limit.as_u64() == 0 {
                    return wrong(&at(&format!("limits.{key}")), "give a size above zero");
                }
            }
            if limits.pids <= 0 || limits.open_files == 0 {
                return wrong(&at("limits"), "pids and open_files must be above zero");
            }
            for (key, time) in [
                ("ttl", profile.ttl),
                ("idle", profile.idle),
                ("warn", profile.warn),
                ("grace", profile.grace),
            ] {
                if time > LONGEST {
                    return wrong(&at(key), "give at most 10 years");
                }
            }
            if profile.budget.usd.is_some_and(|usd| !is_amount(usd)) {
                return wrong(&at("budget.usd"), "give an amount of dollars, zero or more");
            }
            if profile.credential == Credential::Gateway && self.model.key_file.is_none() {
                return wrong(
                    "model.key_file",
                    "a profile with credential = \"gateway\" needs the operator's key",
                );
            }
        }
        Ok(())
    }
}

fn is_amount(dollars: f64) -> bool {
    dollars.is_finite() && dollars >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_no_limit_is_refused_with_its_key() {
        for (line, key) in [
            ("limits.cpus = nan", "limits.cpus"),
            ("limits.cpus = 1e-10", "limits.cpus"),
            ("limits.cpus = inf", "limits.cpus"),
            ("limits.memory = \"0 B\"", "limits.memory"),
            ("limits.tmp = \"0 B\"", "limits.tmp"),
            ("limits.pids = -1", "limits"),
            ("budget.usd = nan", "budget.usd"),
            ("budget.usd = -1.0", "budget.usd"),
            ("grace = \"18446744073709551615s\"", "grace"),
        ] {
            let refused = Config::parse(&format!("[profiles.default]\n{line}"));
            let Err(ConfigError::Value { key: named, .. }) = refused else { panic!("{line}: {refused:?}") };
            assert_eq!(named, format!("profiles.default.{key}"));
        }
        let prices = "[model.prices]\nx = { input = nan, output = 1, cache_read = 1, cache_write = 1 }";
        assert!(Config::parse(prices).is_err());
    }

    #[test]
    fn the_defaults_and_nothing_are_the_same() {
        assert_eq!(Config::parse("").expect("it is good"), Config::default());
    }
}
