//! A session's end, whatever its cause: take what is left, remove what was made, seal the record.
//!
//! The order matters. What the guest had written but not delivered lies in its spool, on our disk, and is
//! taken first; only then may the container and the folder go. The record is sealed before anybody is told
//! that the session has ended, so an export that follows sees the whole of it.

use std::{fs, io, path::Path, time::Duration};

use sandbox_guest::{
    frame::{self, FrameError},
    wire::{self, Order},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{Command, task::Task};
use crate::{
    clock,
    engine::State,
    event::Lifecycle,
    lifecycle::{Phase, Reason},
};

/// How long a guest may take to leave after the program's end.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait for the engine's word on a death before asking.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries of an engine that does not remove a container.
const REMOVE_RETRY: Duration = Duration::from_secs(2);
/// Exit code of what was killed: 128 and the signal.
const KILLED: i32 = 128 + nix::libc::SIGKILL;
/// Tries before a container is left to the next reconciliation.
const REMOVE_TRIES: u32 = 3;

impl Task {
    /// The program has ended: the guest may go, once its last record is on disk.
    pub(super) async fn dismiss_guest(&mut self) {
        let head = *self.shared.recorder.journal().head().borrow();
        self.shared.recorder.commit(head).await.ok();
        self.shared.orders.send(Order::Leave).await.ok();
        let until = Instant::now() + LEAVE_LIMIT;
        while Instant::now() < until {
            match self.engine.state(self.unit.session).await {
                Ok(State::Running) => {
                    timeout(LOOK, self.shared.died.notified()).await.ok();
                }
                _ => break,
            }
        }
    }

    /// Ends the session.
    pub(super) async fn finish(mut self, commands: &mut mpsc::Receiver<Command>) {
        if matches!(self.reason, None | Some(Reason::Exited { code: KILLED }))
            && let Ok(State::Exited { oom: true, .. }) = self.engine.state(self.unit.session).await
        {
            // Inside gVisor the guest sees no count of such kills; the engine does.
            self.reason = Some(Reason::Oom);
        }
        self.remove_container().await;
        self.drain_spool().await;
        let reason = self.reason.clone().unwrap_or(Reason::DaemonLostContainer);
        self.reason = Some(reason.clone());
        self.view.ended_at = Some(clock::timestamp(clock::now()));
        self.view.expires_at = None;
        self.view.warning = None;
        self.phase = Phase::Ended;
        self.view.phase = Phase::Ended;
        self.view.reason = Some(reason.clone());
        self.record.event(&Lifecycle::Phase { phase: Phase::Ended, reason: Some(reason.clone()) });
        self.record.keep(true).await;
        if let Err(error) = self.shared.recorder.journal().seal(&self.key).await {
            tracing::error!(session = %self.shared.id, %error, "the record could not be sealed");
        }
        self.show();
        self.view.viewers = 0;
        if let Err(error) = self.store.set_ended(&self.view).await {
            tracing::error!(session = %self.shared.id, %error, "the session's end could not be stored");
        }
        self.remove_leftovers().await;
        tracing::info!(session = %self.shared.id, reason = reason.phrase(), "session ended");
        self.shared.exit.send_replace(Some((self.view.exit_code, reason)));
        // Viewers that still need a snapshot for the last screen get it.
        let answer = async {
            while self.shared.viewers.count() > 0 {
                match timeout(Duration::from_millis(100), commands.recv()).await {
                    Ok(Some(Command::Snapshot(reply))) => {
                        reply.send(self.record.snapshot()).ok();
                    }
                    Ok(Some(Command::Stop(_))) | Err(_) => {}
                    Ok(None) => break,
                }
            }
        };
        timeout(LEAVE_LIMIT, answer).await.ok();
    }

    async fn remove_container(&self) {
        for _ in 0..REMOVE_TRIES {
            match self.engine.remove(self.unit.session).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(session = %self.shared.id, %error, "the container could not be removed yet");
                    sleep(REMOVE_RETRY).await;
                }
            }
        }
    }

    /// Takes the records that the guest had no time to deliver.
    async fn drain_spool(&mut self) {
        let spool = self.unit.folder.join("spool");
        let frames = match spooled(&spool) {
            Ok(frames) => frames,
            Err(error) => {
                tracing::error!(session = %self.shared.id, %error, "the guest's spool could not be read");
                return;
            }
        };
        for frame in frames {
            if let Err(error) = wire::check_record(frame.head.kind, &frame.payload) {
                tracing::error!(session = %self.shared.id, %error, "a frame in the guest's spool is passed over");
                continue;
            }
            let mut news = self.record.take(frame).await;
            while self.record.is_blocked() {
                news = self.record.retry().await;
            }
            if let Some(news) = news {
                self.ended(news);
            }
        }
    }

    async fn remove_leftovers(&self) {
        let removed = if self.keep_volume {
            self.store.release_workspace(self.unit.session).await.map_err(|e| e.to_string())
        } else {
            self.engine.remove_volume(&self.unit.volume).await.map_err(|e| e.to_string())
        };
        if let Err(error) = removed {
            tracing::error!(session = %self.shared.id, error, volume = self.unit.volume, "the volume lingers");
        }
        if let Err(error) = fs::remove_dir_all(&self.unit.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(session = %self.shared.id, %error, "the session's socket folder lingers");
        }
    }
}

/// Frames of a spool, oldest first. A torn last one was never whole, and so never sent: it ends the list.
/// Who is root in the container can put anything in its place: a link, which might lead to another session's, is
/// not followed, and what is no file, such as a pipe that nobody writes to, is passed over.
fn spooled(dir: &Path) -> io::Result<impl Iterator<Item = frame::Frame>> {
    let mut files = Vec::new();
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(found) if !found.is_dir() => return Err(io::Error::other("it is no folder")),
        _ => {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    files.push(entry.path());
                }
            }
        }
    }
    files.sort();
    Ok(files.into_iter().flat_map(|path| {
        let mut reader = fs::File::open(path).map(io::BufReader::new).ok();
        std::iter::from_fn(move || match frame::read(reader.as_mut()?) {
            Ok(frame) => frame,
            Err(FrameError::Torn) => None,
            Err(error) => {
                tracing::error!(%error, "a frame in the guest's spool is damaged");
                None
            }
        })
    }))
}
