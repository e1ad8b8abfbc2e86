//! The configuration: one TOML file, read once at start, every key checked.
//!
//! Layers, later over earlier: the defaults below, the file, and environment variables
//! `SANDBOXCTL__SECTION__KEY`. What is wrong is refused here ([`ConfigError`]) with the key's whole path, where it
//! stands, and what would be right: types by serde, and what types cannot say by `check`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::spec::{Credential, Profile};

mod check;
mod error;
mod forward;
mod teams;

pub(crate) use check::{is_image, is_program};
pub use error::ConfigError;
pub use forward::{Compression, Forward, ForwardTls, Keep, Privacy, Protocol};

/// Where the configuration lies unless `--config` or `SANDBOXCTL_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sandboxctl/config.toml";

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
    /// The Prometheus that bundles take range queries from.
    pub prometheus: Option<Prometheus>,
    /// Where every session's telemetry is forwarded to, by name.
    pub forward: BTreeMap<String, Forward>,
    /// Where hooks and connections are counted too, for a Prometheus that cannot reach this daemon.
    pub pushgateway: Option<Pushgateway>,
    /// Who belongs together, by the team's name: e-mail addresses, or globs of them.
    pub teams: BTreeMap<String, Vec<String>>,
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
            prometheus: None,
            forward: BTreeMap::new(),
            pushgateway: None,
            teams: BTreeMap::new(),
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

impl EngineKind {
    /// The name, as the configuration and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Docker => "docker",
            EngineKind::Local => "local",
        }
    }
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

/// A Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prometheus {
    /// Its base URL.
    pub url: String,
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
        let price = |input, output| Price {
            input,
            output,
            cache_read: input * 0.1,
            cache_write: input * 1.25,
            cache_write_1h: Some(input * 2.0),
        };
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

/// A Prometheus Pushgateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pushgateway {
    /// Its base URL.
    pub url: String,
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
    /// Input written to the cache, for five minutes.
    pub cache_write: f64,
    /// The same for an hour; twice the input's without.
    #[serde(default)]
    pub cache_write_1h: Option<f64>,
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
                .merge(Env::prefixed(error::PREFIX).split("__")),
        )
    }

    /// Reads a configuration's text over the defaults, and looks at nothing else.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::from_layers(Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(text)))
    }

    fn from_layers(figment: Figment) -> Result<Config, ConfigError> {
        let config: Config = figment.extract().map_err(|error| ConfigError::of_type(&error))?;
        check::config(&config).map_err(|wrong| wrong.found_in(&figment))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
