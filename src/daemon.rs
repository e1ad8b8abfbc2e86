//! The daemon: what it is made of, in the order it is made; and its ending, in the order it ends.
//!
//! ```text
//!   config ─▶ lock ─▶ store, key, engine, upstream ─▶ supervisor (takes over what lives)
//!                                                        │
//!                    forwarder ◀── journals ──┬──────────┴── http: page and API (TCP), admin (unix socket)
//!                                             │
//!   SIGTERM, SIGINT:  1. no new requests, viewers are let go
//!                     2. every session task comes to rest: journal committed, session left running
//!                     3. forwarder, then store
//! ```
//!
//! Nothing here waits for a session to end: containers go on without the daemon, their output waits in the
//! guests' spools, and the next daemon takes over. `sandboxctl drain` is for ending sessions first.

use std::{
    fs::{File, TryLockError},
    io::{IsTerminal, Write},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Group,
};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Config, EngineKind},
    engine::{Engine, docker::DockerEngine, local::LocalEngine},
    forwarder::Forwarder,
    gateway::model::Upstream,
    http, inject,
    keys::SigningKey,
    metrics::Metrics,
    pushgateway,
    store::Store,
    supervisor::{Parts, Supervisor},
};

/// How long connections may take to be let go at the end.
const LET_GO: Duration = Duration::from_secs(3);

mod check;

/// Runs the daemon until SIGTERM or SIGINT.
pub async fn serve(mut config: Config, behind_proxy: bool, log_json: bool) -> anyhow::Result<ExitCode> {
    init_log(log_json);
    check_exposure(&config, behind_proxy)?;
    check::profiles(&config)?;
    let tls = match &config.tls {
        Some(tls) => Some(http::load_tls(tls).await?),
        None => None,
    };
    raise_open_files();
    make_private(&config.state_dir)?;
    let _lock = lock(&config.state_dir)?;
    let mut signals = Signals::listen()?;
    let tcp = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: choose another address with `listen`", config.listen)
    })?;
    // Port 0 asks the system for one; links must name the one it gave.
    config.listen = tcp.local_addr()?;
    let config = Arc::new(config);
    let supervisor = compose(&config).await?;
    let first_token = first_token(&supervisor).await?;
    let admin = bind_admin(&config)?;
    supervisor.run().await?;

    let cancel = CancellationToken::new();
    let servers = TaskTracker::new();
    let forwarders: Vec<Forwarder> = config
        .forward
        .iter()
        .map(|(name, forward)| Forwarder::new(name, forward, supervisor.clone()))
        .collect::<Result<_, _>>()?;
    let destinations: Vec<_> = forwarders.iter().map(Forwarder::status).collect();
    for forwarder in forwarders {
        servers.spawn(forwarder.run(destinations.clone(), cancel.clone()));
    }
    if let Some(push) = &config.pushgateway {
        let http = reqwest::Client::new();
        servers.spawn(pushgateway::run(push.url.clone(), http, supervisor.clone(), cancel.clone()));
    }
    let state = http::AppState::new(supervisor.clone(), destinations, servers.clone(), cancel.clone());
    let router = http::router(state);
    servers.spawn(http::serve_admin(admin, router.clone(), Arc::clone(&config), cancel.clone()));
    servers.spawn(http::serve_tcp(tcp, router, tls, config.max_connections, cancel.clone()));
    servers.close();
    announce(&supervisor, first_token.as_deref());

    signals.next().await;
    tracing::info!("stopping; sessions go on without the daemon");
    cancel.cancel();
    supervisor.rest().await;
    if timeout(LET_GO, servers.wait()).await.is_err() {
        tracing::warn!("some connections were cut");
    }
    supervisor.close().await;
    std::fs::remove_file(&config.admin_socket).ok();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Sessions and viewers have files open: as many as the system allows us at all.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}

async fn compose(config: &Arc<Config>) -> anyhow::Result<Supervisor> {
    let state = &config.state_dir;
    for folder in ["sessions", "run"] {
        make_private(&state.join(folder))?;
    }
    let store = Store::open(&state.join("sandboxctl.db")).await?;
    let instance = store.instance_id().await?;
    let key = Arc::new(SigningKey::load_or_create(&state.join("signing.key"))?);
    let guest = guest(config)?;
    let engine: Arc<dyn Engine> = match config.engine {
        EngineKind::Docker => Arc::new(
            DockerEngine::connect(&config.docker.socket, &guest, &state.join("etc"), instance).await?,
        ),
        EngineKind::Local => Arc::new(LocalEngine::new(&guest, &state.join("local"))?),
    };
    let upstream = Arc::new(Upstream::new(&config.model)?);
    let metrics = Metrics::begin(config.engine.name(), config.profiles.keys(), inject::hooked());
    let metrics = Arc::new(metrics);
    let config = Arc::clone(config);
    Ok(Supervisor::new(Parts { config, instance, engine, store, key, upstream, metrics, guest }))
}

fn init_log(json: bool) {
    let filter = EnvFilter::try_from_env("SANDBOXCTL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written (it may lie on the disk that is full) is no reason to panic, which is what
    // telling of it on stderr comes to.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    }
}

/// The page beyond loopback is for TLS only: it carries tokens and terminals.
fn check_exposure(config: &Config, behind_proxy: bool) -> anyhow::Result<()> {
    if !config.listen.ip().is_loopback() && config.tls.is_none() && !behind_proxy {
        bail!(
            "listen = \"{}\" is beyond loopback without TLS: set [tls] cert and key, or pass --behind-proxy if a proxy in front speaks TLS",
            config.listen
        );
    }
    Ok(())
}

/// Two daemons on one state would both write its journals.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("lock");
    let file = File::create(&path).with_context(|| {
        format!(
            "cannot write to the state folder {}: make it writable, or set `state_dir` to another",
            state.display()
        )
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another daemon runs on {}; stop it, or use another state_dir", state.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn make_private(dir: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
        format!("cannot make the folder {}: set `state_dir` to one that can be made", dir.display())
    })
}

/// The guest lies beside this program unless the configuration says otherwise.
fn guest(config: &Config) -> anyhow::Result<PathBuf> {
    let guest = match &config.guest {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("sandbox-guest"),
    };
    if !guest.is_file() {
        bail!(
            "the guest binary {} is not there: install it beside sandboxctl, or set `guest`",
            guest.display()
        );
    }
    Ok(guest.canonicalize()?)
}

/// Removes the socket of a daemon that is no more; nothing else that lies there.
fn make_way(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        bail!("admin_socket: {} is no socket and is left alone; name another place", path.display());
    }
    if StdStream::connect(path).is_ok() {
        bail!("admin_socket: another daemon answers at {}; name another place for this one", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("admin_socket: cannot replace {}", path.display()))
}

fn bind_admin(config: &Config) -> anyhow::Result<UnixListener> {
    let path = &config.admin_socket;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| {
            format!("admin_socket: cannot make the folder {}; name another place", dir.display())
        })?;
    }
    make_way(path)?;
    let listener = UnixListener::bind(path)
        .with_context(|| format!("admin_socket: cannot listen on {}; name another place", path.display()))?;
    // Peer credentials decide; the mode only keeps others from knocking.
    let mode = match &config.admin_group {
        None => 0o600,
        Some(name) => {
            let group = Group::from_name(name)?
                .with_context(|| format!("admin_group = \"{name}\": this machine has no such group"))?;
            chown(path, None, Some(group.gid.as_raw()))?;
            0o660
        }
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

async fn first_token(supervisor: &Supervisor) -> anyhow::Result<Option<String>> {
    if supervisor.store().admin_token_hash().await?.is_some() {
        return Ok(None);
    }
    Ok(Some(supervisor.rotate_token().await?))
}

/// The token goes to standard output, once, and never to the log. Where nobody takes it, another can be made.
fn announce(supervisor: &Supervisor, token: Option<&str>) {
    let mut lines = format!("sandboxctl is ready: {}\n", supervisor.public_url());
    if let Some(token) = token {
        lines += &format!("admin token, shown this once: {token}\n");
        lines += "(make another with `sandboxctl token rotate`)\n";
    }
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).ok();
}

/// What asks the daemon to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
