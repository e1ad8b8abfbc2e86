//! Files in containers that need not run: what their volumes hold, out and in, as tar.
//!
//! The stack's backup is made of this. The engine packs and unpacks by itself, so it takes no helper image and no
//! program in the container.

use std::{io, path::Path};

use bollard::{
    API_DEFAULT_VERSION, Docker, body_try_stream,
    errors::Error,
    query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::EngineError;

/// How long one copy may take: the engine answers when it has unpacked everything.
const TIMEOUT: u64 = 24 * 3600; // seconds

/// Copies files through one engine.
pub struct Archive {
    docker: Docker,
    socket: String,
}

impl Archive {
    /// Through the engine at this socket, which has to be up.
    pub async fn connect(socket: &Path) -> Result<Archive, EngineError> {
        let at = socket.display().to_string();
        let away = |error: Error| EngineError::Away { at: at.clone(), error: error.to_string() };
        let docker = Docker::connect_with_socket(&at, TIMEOUT, API_DEFAULT_VERSION).map_err(away)?;
        let docker = docker.negotiate_version().await.map_err(away)?;
        Ok(Archive { docker, socket: at })
    }

    /// Whether there is a volume of this name.
    pub async fn has_volume(&self, name: &str) -> Result<bool, EngineError> {
        match self.docker.inspect_volume(name).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(failed(&self.socket, "looking at a volume", error)),
        }
    }

    /// The folder `path` of a container as tar: its entries begin with the folder's own name.
    pub fn read(
        &self,
        container: &str,
        path: &str,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let socket = self.socket.clone();
        let pieces = self.docker.download_from_container(container, Some(options));
        pieces.map(move |piece| piece.map_err(|error| failed(&socket, "reading a volume", error)))
    }

    /// Unpacks a tar into the folder `path` of a container, with its owners and modes.
    pub async fn write(
        &self,
        container: &str,
        path: &str,
        tar: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let written = self.docker.upload_to_container(container, Some(options), body_try_stream(tar)).await;
        written.map_err(|error| failed(&self.socket, "writing a volume", error))
    }
}

fn failed(socket: &str, doing: &'static str, error: Error) -> EngineError {
    match error {
        Error::HyperLegacyError { .. } | Error::IOError { .. } | Error::SocketNotFoundError(_) => {
            EngineError::Away { at: socket.to_owned(), error: error.to_string() }
        }
        Error::DockerResponseServerError { message, .. } => EngineError::Failed { doing, error: message },
        other => EngineError::Failed { doing, error: other.to_string() },
    }
}
