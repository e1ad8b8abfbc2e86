//! An export: a bundle written on a thread of its own, handed over as it comes.

use std::{io, sync::PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::SyncIoBridge;

use super::{Refusal, Supervisor};
use crate::{
    api, clock,
    export::{ExportError, Source, write_bundle},
    id::SessionId,
    lifecycle::{self, Request},
    prometheus::{self, About, Answers},
    redact::Redactor,
};

/// Pieces that wait for whoever reads; when it is full, the export waits.
const PIECES: usize = 16;
/// How large they are.
const PIECE: usize = 64 << 10; // bytes

impl Supervisor {
    /// A session's bundle, as it is written. Stops when nobody reads it any more. An export that fails after
    /// it began ends with an error, so that nobody takes a part for the whole.
    pub async fn export(
        &self,
        id: SessionId,
        workspace: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, Refusal> {
        let session = self.session(id).await?;
        lifecycle::decide(session.phase, Request::Export)?;
        let spec = self.spec(id).await?;
        // What was appended so far is in the bundle; it goes on disk first, so that nothing is handed out
        // that a crash could take back.
        let through = match self.live(id) {
            Some(handle) => {
                let head = *handle.recorder.journal().head().borrow();
                handle.recorder.commit(head).await?;
                head
            }
            None => u64::MAX,
        };
        let prometheus = self.ask_prometheus(&session).await;
        let workspace = if workspace { Some(self.workspace(id).await?) } else { None };
        let (journal, scratch) = (self.journal_dir(id), self.session_dir(id));
        let key = std::sync::Arc::clone(&self.inner.key);
        let redactor = Redactor::new(&self.secrets());
        let (send, mut pieces) = mpsc::channel::<Result<Bytes, ExportError>>(PIECES);
        let (read, write) = tokio::io::duplex(PIECE * 4);
        let write = SyncIoBridge::new(write);
        let writing = tokio::task::spawn_blocking(move || {
            let source = Source {
                session,
                spec,
                journal,
                through,
                scratch,
                key: &key,
                redactor,
                workspace,
                prometheus,
            };
            write_bundle(source, io::BufWriter::with_capacity(PIECE, write)).map(drop)
        });
        self.inner.tracker.spawn(pass_on(read, writing, send, id));
        // Nothing comes before the whole record is read, so that damage in it can still be an answer.
        let first = pieces.recv().await.transpose()?;
        let rest = ReceiverStream::new(pieces).map(|piece| piece.map_err(io::Error::other));
        Ok(futures_util::stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    /// What the configured Prometheus says of a session's time, if one is configured.
    async fn ask_prometheus(&self, session: &api::Session) -> Option<Answers> {
        let config = &self.inner.config;
        let about = About {
            session: session.id,
            email: &session.user.email,
            profile: &session.profile,
            instance: self.inner.instance,
            listen: config.listen,
            from: clock::micros(session.created_at) / 1_000_000,
            to: session.ended_at.map_or_else(clock::now, clock::micros).div_ceil(1_000_000),
        };
        let url = &config.prometheus.as_ref()?.url;
        Some(prometheus::ask(url, &about).await)
    }

    /// A live session's workspace, as an unnamed tar.
    async fn workspace(&self, id: SessionId) -> Result<std::fs::File, Refusal> {
        if self.live(id).is_none() {
            return Err(Refusal::WorkspaceGone);
        }
        let volume = self.inner.store.volume(id).await?.unwrap_or_default();
        let file = tempfile::tempfile_in(self.session_dir(id))?;
        let mut to = tokio::fs::File::from_std(file.try_clone()?);
        self.inner.engine.workspace(id, &volume, &mut to).await?;
        Ok(file)
    }

    /// Every credential that this daemon holds or has handed out since it started.
    fn secrets(&self) -> Vec<String> {
        let key_file = self.inner.config.model.key_file.as_deref();
        let own =
            key_file.and_then(|path| std::fs::read_to_string(path).ok()).map(|key| key.trim().to_owned());
        let handed = self.inner.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        own.into_iter().chain(handed.iter().cloned()).collect()
    }
}

async fn pass_on(
    read: tokio::io::DuplexStream,
    writing: tokio::task::JoinHandle<Result<(), ExportError>>,
    send: mpsc::Sender<Result<Bytes, ExportError>>,
    id: SessionId,
) {
    let mut pieces = tokio_util::io::ReaderStream::with_capacity(read, PIECE);
    while let Some(piece) = pieces.next().await {
        if send.send(piece.map_err(ExportError::Io)).await.is_err() {
            // Nobody reads: dropping our end lets the writer fail and stop.
            return;
        }
    }
    let error = match writing.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(error) => ExportError::Io(io::Error::other(error)),
    };
    tracing::error!(session = %id, %error, "an export failed");
    send.send(Err(error)).await.ok();
}
