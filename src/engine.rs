//! What runs containers: the one trait, and its words.
//!
//! An engine is asked for little: start a container with labels, say which there are, end and remove one,
//! and tell when one dies. There is no attach and no exec: everything else goes through the guest, which
//! dials out. So whatever can start a container with a mounted folder (or, one day, a secret) will do.

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{
    id::{InstanceId, SessionId},
    spec::{Limits, is_gvisor},
};

pub mod archive;
pub mod docker;
pub mod local;

/// Where the guest's folder is mounted in a container.
pub const FOLDER: &str = "/run/sandbox";
/// Where the guest's binary is mounted in a container.
pub const GUEST: &str = "/usr/local/bin/sandbox-guest";
/// The user's home in a container: a volume.
pub const HOME: &str = "/home/agent";
/// The workspace in a container: a volume.
pub const WORKSPACE: &str = "/workspace";
/// Claude Code's managed settings: a small file system of its own, root's.
pub const SETTINGS: &str = "/etc/claude-code";

/// A container to be started.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The session it is for; a label.
    pub session: SessionId,
    /// How often this session's container was made; a label.
    pub generation: u32,
    /// Image.
    pub image: String,
    /// Runtime, or the engine's default.
    pub runtime: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// Whether its user may become root in it.
    pub sudo: bool,
    /// Host folder for the guest: sockets and spool.
    pub folder: PathBuf,
    /// Name of the volumes, without the suffix that tells home and workspace apart.
    pub volume: String,
}

/// A container of ours that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its session.
    pub session: SessionId,
    /// Whether it runs.
    pub running: bool,
}

/// How a container that no longer runs ended, as far as the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It does not.
    Exited {
        /// Exit code of PID 1.
        code: i64,
        /// Whether memory ran out.
        oom: bool,
    },
    /// The engine has none.
    Gone,
}

/// What an engine tells by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A container of ours died.
    Died {
        /// Its session.
        session: SessionId,
    },
    /// It answers, for the first time or again: deaths may have gone untold.
    Back,
}

/// What the engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Name and version.
    pub version: String,
    /// Runtimes it has.
    pub runtimes: Vec<String>,
    /// Those of them that hold containers to no limit of the engine's.
    pub unlimited: Vec<String>,
    /// Whether containers survive its own restart.
    pub live_restore: bool,
}

/// Why an engine cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It does not answer.
    #[error("the container engine does not answer at {at}: {error}; start it, or set docker.socket")]
    Away {
        /// Where it was looked for.
        at: String,
        /// What failed.
        error: String,
    },
    /// It has no such image.
    #[error("image {0} is not on the engine; build it with ./scripts/run, or pull it")]
    NoImage(String),
    /// It has no such runtime.
    #[error("the engine has no runtime '{runtime}' (it has {known}); {}, or choose another profile", runtime_remedy(.runtime))]
    NoRuntime {
        /// The one asked for.
        runtime: String,
        /// Those there are.
        known: String,
    },
    /// Something else.
    #[error("{doing} failed: {error}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What the engine said.
        error: String,
    },
}

/// What to do where the engine has not got a runtime.
pub fn runtime_remedy(runtime: &str) -> &'static str {
    if is_gvisor(Some(runtime)) {
        "install gVisor with ./scripts/gvisor (see docs/gvisor.md)"
    } else {
        "install it and register it with the engine"
    }
}

/// What runs containers.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Whether it works, and what it can do.
    async fn health(&self) -> Result<Health, EngineError>;

    /// The environment that an image brings; an error where the engine does not have the image.
    async fn image_env(&self, image: &str) -> Result<BTreeMap<String, String>, EngineError>;

    /// Makes and starts a container.
    async fn start(&self, unit: &Unit) -> Result<(), EngineError>;

    /// How a container stands.
    async fn state(&self, session: SessionId) -> Result<State, EngineError>;

    /// Kills and removes a container; nothing to do where there is none.
    async fn remove(&self, session: SessionId) -> Result<(), EngineError>;

    /// Every container of this instance.
    async fn list(&self) -> Result<Vec<Found>, EngineError>;

    /// Removes a session's volumes; nothing to do where there are none.
    async fn remove_volume(&self, volume: &str) -> Result<(), EngineError>;

    /// Writes a running container's workspace to `to`, as a tar whose paths begin with `workspace/`.
    async fn workspace(
        &self,
        session: SessionId,
        volume: &str,
        to: &mut tokio::fs::File,
    ) -> Result<(), EngineError>;

    /// Sends news as they happen, for ever. A death may be told twice or, around an engine's restart, not at
    /// all: whoever listens asks [`Engine::state`], and the supervisor looks at everything on [`News::Back`],
    /// and now and then.
    async fn watch(&self, news: mpsc::Sender<News>);
}

/// Labels of a container of ours.
pub fn labels(instance: InstanceId, session: SessionId, generation: u32) -> [(String, String); 3] {
    [
        (LABEL_INSTANCE.to_owned(), instance.to_string()),
        (LABEL_SESSION.to_owned(), session.to_string()),
        (LABEL_GENERATION.to_owned(), generation.to_string()),
    ]
}

/// Which daemon a container, volume or network belongs to.
pub const LABEL_INSTANCE: &str = "dev.sandboxctl.instance";
/// Which session.
pub const LABEL_SESSION: &str = "dev.sandboxctl.session";
/// Which generation of its container.
pub const LABEL_GENERATION: &str = "dev.sandboxctl.generation";
