//! The Docker engine, over its socket. The API version is negotiated, so that old engines serve too.
//!
//! A container is hardened by what stands in [`body`]: no network, a read-only root, all capabilities
//! dropped but the three that the guest needs to hand things to the session's user (`CHOWN`, `SETUID`,
//! `SETGID`), no new privileges, the engine's default seccomp profile, limits on processors, memory,
//! processes and open files, small file systems in memory for what must be writable, and no log driver
//! (it would keep a second, unmasked copy of the terminal).

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{
        ContainerCreateBody, EventMessage, HostConfig, HostConfigLogConfig, ResourcesUlimits, RestartPolicy,
        RestartPolicyNameEnum, Runtime, VolumeCreateRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, EventsOptionsBuilder,
        InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveVolumeOptions, StartContainerOptions,
    },
};
use futures_util::StreamExt;
use tokio::{
    io::AsyncWriteExt,
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    Engine, EngineError, FOLDER, Found, GUEST, HOME, Health, LABEL_INSTANCE, LABEL_SESSION, News, SETTINGS,
    State, Unit, WORKSPACE, labels,
};
use crate::{
    clock,
    id::{InstanceId, SessionId},
    spec::is_gvisor,
};

/// How long one call of the engine may take.
const TIMEOUT: u64 = 120; // seconds
/// What a container calls itself.
const HOSTNAME: &str = "sandbox";
/// How long to wait for a removal that somebody else began.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries to follow the engine's events.
const RETRY: Duration = Duration::from_secs(1);

/// The engine behind one socket.
pub struct DockerEngine {
    docker: Docker,
    socket: String,
    guest: String,
    instance: InstanceId,
}

impl DockerEngine {
    /// An engine at this socket; `guest` is the guest's binary on the engine's host. The engine need not
    /// be up yet.
    pub async fn connect(
        socket: &Path,
        guest: &Path,
        instance: InstanceId,
    ) -> Result<DockerEngine, EngineError> {
        let at = socket.display().to_string();
        let away = |error: Error| EngineError::Away { at: at.clone(), error: error.to_string() };
        let docker = Docker::connect_with_socket(&at, TIMEOUT, API_DEFAULT_VERSION).map_err(away)?;
        let docker = match docker.clone().negotiate_version().await {
            Ok(docker) => docker,
            Err(error) => {
                tracing::warn!(socket = at, %error, "the engine does not answer yet");
                docker
            }
        };
        Ok(DockerEngine { docker, socket: at, guest: guest.display().to_string(), instance })
    }

    async fn wait_until_gone(&self, session: SessionId) -> Result<(), EngineError> {
        let patience = Instant::now() + PATIENCE;
        while self.state(session).await? != State::Gone {
            if Instant::now() > patience {
                let error = "its removal takes too long".to_owned();
                return Err(EngineError::Failed { doing: "removing the container", error });
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(Error) -> EngineError {
        let at = self.socket.clone();
        move |error| match error {
            Error::HyperLegacyError { .. } | Error::IOError { .. } | Error::SocketNotFoundError(_) => {
                EngineError::Away { at: at.clone(), error: error.to_string() }
            }
            Error::DockerResponseServerError { message, .. } => EngineError::Failed { doing, error: message },
            other => EngineError::Failed { doing, error: other.to_string() },
        }
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn health(&self) -> Result<Health, EngineError> {
        let info = self.docker.info().await.map_err(self.failed("asking the engine about itself"))?;
        let found: BTreeMap<String, Runtime> = info.runtimes.unwrap_or_default().into_iter().collect();
        let unlimited = |runtime: &Runtime| {
            runtime.runtime_args.iter().flatten().any(|argument| argument == "--ignore-cgroups")
        };
        Ok(Health {
            version: format!("Docker {}", info.server_version.unwrap_or_default()),
            unlimited: found.iter().filter(|(_, r)| unlimited(r)).map(|(name, _)| name.clone()).collect(),
            runtimes: found.into_keys().collect(),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
        })
    }

    async fn image_env(&self, image: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let found = match self.docker.inspect_image(image).await {
            Err(error) if status(&error) == Some(404) => return Err(EngineError::NoImage(image.to_owned())),
            other => other.map_err(self.failed("looking at the image"))?,
        };
        let env = found.config.and_then(|c| c.env).unwrap_or_default();
        Ok(env.iter().filter_map(|e| e.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    async fn start(&self, unit: &Unit) -> Result<(), EngineError> {
        for volume in volumes(&unit.volume) {
            let request = VolumeCreateRequest {
                name: Some(volume),
                labels: Some(HashMap::from([(LABEL_INSTANCE.to_owned(), self.instance.to_string())])),
                ..VolumeCreateRequest::default()
            };
            self.docker.create_volume(request).await.map_err(self.failed("making the session's volume"))?;
        }
        let name = container(unit.session);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        match self.docker.create_container(Some(options), body(unit, self.instance, &self.guest)).await {
            Err(error) if status(&error) == Some(404) => {
                return Err(EngineError::NoImage(unit.image.clone()));
            }
            Err(Error::DockerResponseServerError { message, .. }) if message.contains("runtime") => {
                let known = self.health().await?.runtimes.join(", ");
                return Err(EngineError::NoRuntime {
                    runtime: unit.runtime.clone().unwrap_or_default(),
                    known,
                });
            }
            other => other.map_err(self.failed("making the container"))?,
        };
        self.docker
            .start_container(&name, None::<StartContainerOptions>)
            .await
            .map_err(self.failed("starting the container"))
    }

    async fn state(&self, session: SessionId) -> Result<State, EngineError> {
        let found =
            match self.docker.inspect_container(&container(session), None::<InspectContainerOptions>).await {
                Err(error) if status(&error) == Some(404) => return Ok(State::Gone),
                other => other.map_err(self.failed("looking at the container"))?,
            };
        let state = found.state.unwrap_or_default();
        Ok(if state.running.unwrap_or_default() {
            State::Running
        } else {
            State::Exited {
                code: state.exit_code.unwrap_or_default(),
                oom: state.oom_killed.unwrap_or_default(),
            }
        })
    }

    async fn remove(&self, session: SessionId) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(&container(session), Some(options)).await {
            Err(error) if status(&error) == Some(404) => Ok(()),
            // Somebody else is removing it: it holds its volumes until it is gone.
            Err(error) if status(&error) == Some(409) => self.wait_until_gone(session).await,
            other => other.map_err(self.failed("removing the container")),
        }
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        let mine = format!("{LABEL_INSTANCE}={}", self.instance);
        let filters = HashMap::from([("label", vec![mine])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let containers = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(self.failed("listing the containers"))?;
        Ok(containers
            .into_iter()
            .filter_map(|c| {
                let session = c.labels?.get(LABEL_SESSION)?.parse().ok()?;
                let running = c.state.is_some_and(|s| s.to_string() == "running");
                Some(Found { session, running })
            })
            .collect())
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), EngineError> {
        for name in volumes(volume) {
            let patience = Instant::now() + PATIENCE;
            loop {
                match self.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await {
                    Err(error) if status(&error) == Some(404) => break,
                    // In use: by a container whose removal is not over.
                    Err(error) if status(&error) == Some(409) && Instant::now() < patience => {
                        sleep(LOOK).await
                    }
                    other => break other.map_err(self.failed("removing the session's volume"))?,
                }
            }
        }
        Ok(())
    }

    async fn workspace(
        &self,
        session: SessionId,
        _volume: &str,
        to: &mut tokio::fs::File,
    ) -> Result<(), EngineError> {
        let doing = "reading the workspace";
        let options = DownloadFromContainerOptionsBuilder::new().path(WORKSPACE).build();
        let mut pieces =
            std::pin::pin!(self.docker.download_from_container(&container(session), Some(options)));
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(self.failed(doing))?;
            to.write_all(&piece).await.map_err(|e| EngineError::Failed { doing, error: e.to_string() })?;
        }
        to.flush().await.map_err(|e| EngineError::Failed { doing, error: e.to_string() })
    }

    async fn watch(&self, news: mpsc::Sender<News>) {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", vec!["die".to_owned(), "destroy".to_owned()]),
            ("label", vec![format!("{LABEL_INSTANCE}={}", self.instance)]),
        ]);
        while !news.is_closed() {
            let since = clock::now() / 1_000_000;
            if self.docker.ping().await.is_ok() {
                // Whoever looks around now, and whoever died since, are both heard of.
                if news.send(News::Back).await.is_err() {
                    return;
                }
                let options = EventsOptionsBuilder::new().filters(&filters).since(&since.to_string()).build();
                let mut events = std::pin::pin!(self.docker.events(Some(options)));
                while let Some(Ok(event)) = events.next().await {
                    let Some(session) = session_of(&event) else { continue };
                    if news.send(News::Died { session }).await.is_err() {
                        return;
                    }
                }
            }
            sleep(RETRY).await;
        }
    }
}

/// Everything that makes a container a sandbox.
fn body(unit: &Unit, instance: InstanceId, guest: &str) -> ContainerCreateBody {
    let limits = &unit.limits;
    let memory = signed(limits.memory.as_u64());
    let binds = vec![
        format!("{guest}:{GUEST}:ro"),
        format!("{}:{FOLDER}", unit.folder.display()),
        format!("{}:{HOME}", home(&unit.volume)),
        format!("{}:{WORKSPACE}", workspace(&unit.volume)),
    ];
    let tmpfs = HashMap::from([
        ("/tmp".to_owned(), format!("rw,nosuid,nodev,exec,mode=1777,size={}", limits.tmp.as_u64())),
        ("/var/tmp".to_owned(), format!("rw,nosuid,nodev,mode=1777,size={}", limits.tmp.as_u64())),
        ("/run".to_owned(), "rw,nosuid,nodev,noexec,mode=755,size=4m".to_owned()),
        (SETTINGS.to_owned(), "rw,nosuid,nodev,noexec,mode=755,size=4m".to_owned()),
    ]);
    let host = HostConfig {
        // Not `NetworkDisabled`, which leaves out `lo` and /etc/hosts too: gVisor has then nothing to listen
        // on, and no program knows localhost.
        network_mode: Some("none".to_owned()),
        // Else the host's name servers and domains are shown to whoever reads /etc/resolv.conf.
        dns: Some(vec!["127.0.0.1".to_owned()]),
        dns_search: Some(vec![".".to_owned()]),
        extra_hosts: Some(vec![format!("{HOSTNAME}:127.0.0.1")]),
        readonly_rootfs: Some(!unit.sudo),
        // Root has no use for raw sockets without a network, nor for devices.
        cap_drop: Some(if unit.sudo {
            ["NET_RAW", "MKNOD"].map(str::to_owned).to_vec()
        } else {
            vec!["ALL".to_owned()]
        }),
        cap_add: (!unit.sudo).then(|| ["CHOWN", "SETUID", "SETGID"].map(str::to_owned).to_vec()),
        security_opt: (!unit.sudo).then(|| vec!["no-new-privileges".to_owned()]),
        nano_cpus: Some((limits.cpus * 1e9) as i64),
        memory: Some(memory),
        memory_swap: Some(memory),
        pids_limit: Some(tasks(unit)),
        // A core dump would be a copy of the program's secrets on the session's own disk. (Open files are
        // limited by the guest: the engine may not be able to set more than it has itself.)
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        binds: Some(binds),
        tmpfs: Some(tmpfs),
        shm_size: Some(signed(64 << 20)),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        runtime: unit.runtime.clone(),
        init: Some(false),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(unit.image.clone()),
        hostname: Some(HOSTNAME.to_owned()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        entrypoint: Some(vec![GUEST.to_owned()]),
        cmd: Some(vec!["init".to_owned()]),
        env: Some(vec![format!("SANDBOX_DIR={FOLDER}")]),
        labels: Some(labels(instance, unit.session, unit.generation).into_iter().collect()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// How many tasks of the host a container may have. Inside gVisor the guest holds the session to its limit,
/// since a program's processes are not the host's: gVisor runs each on a stub with a thread a processor and
/// two more, and dies itself where it can have none. So the host's limit is the wall behind the limit.
fn tasks(unit: &Unit) -> i64 {
    /// Most that gVisor itself was seen to need is a fifth of this.
    const OWN: i64 = 256;
    if !is_gvisor(unit.runtime.as_deref()) {
        return unit.limits.pids;
    }
    let threads = 2 + unit.limits.cpus.ceil().max(2.0) as i64;
    unit.limits.pids.saturating_mul(threads).saturating_add(OWN)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn container(session: SessionId) -> String {
    format!("sandbox-{session}")
}

fn home(volume: &str) -> String {
    format!("{volume}-home")
}

fn workspace(volume: &str) -> String {
    format!("{volume}-workspace")
}

fn volumes(volume: &str) -> [String; 2] {
    [home(volume), workspace(volume)]
}

fn session_of(event: &EventMessage) -> Option<SessionId> {
    event.actor.as_ref()?.attributes.as_ref()?.get(LABEL_SESSION)?.parse().ok()
}

fn status(error: &Error) -> Option<u16> {
    if let Error::DockerResponseServerError { status_code, .. } = error { Some(*status_code) } else { None }
}
