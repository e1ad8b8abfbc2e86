//! The Docker engine, over its socket. The API version is negotiated, so that old engines serve too.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{EventMessage, Runtime, VolumeCreateRequest},
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
    Engine, EngineError, Found, Health, LABEL_INSTANCE, LABEL_SESSION, News, State, Unit, WORKSPACE,
};
use crate::{
    clock,
    id::{InstanceId, SessionId},
};

mod body;
mod etc;

use body::body;
use etc::Etc;

/// How long one call of the engine may take.
const TIMEOUT: u64 = 120; // seconds
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
    etc: Etc,
    instance: InstanceId,
}

impl DockerEngine {
    /// An engine at this socket; `guest` is the guest's binary on the engine's host, and `etc` a folder there
    /// for files that containers share. The engine need not be up yet.
    pub async fn connect(
        socket: &Path,
        guest: &Path,
        etc: &Path,
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
        let guest = guest.display().to_string();
        Ok(DockerEngine { docker, socket: at, guest, etc: Etc::new(etc), instance })
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
        let doing = "writing the files of /etc";
        self.etc.write().map_err(|e| EngineError::Failed { doing, error: e.to_string() })?;
        let name = container(unit.session);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        match self
            .docker
            .create_container(Some(options), body(unit, self.instance, &self.guest, &self.etc))
            .await
        {
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
