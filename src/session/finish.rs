//! A session's end, whatever its cause: take what is left, remove what was made, seal the record.
//!
//! The order matters. The container goes first, so that nothing more is written. What the guest had written but
//! not delivered lies in its spool, on our disk, and is taken then. The record is sealed before the store says
//! that the session has ended, so that a daemon which dies in between finds it and goes on; and before anybody
//! is told, so that an export that follows sees the whole of it. Only then may the folder go.

use std::{fs, io, time::Duration};

use sandbox_guest::{
    frame::Kind,
    wire::{self, Order},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Command, spool::Spool, task::Task};
use crate::{
    clock,
    engine::State,
    event::Lifecycle,
    journal::JournalError,
    lifecycle::{Phase, Reason},
    store::StoreError,
};

/// How long a guest may take to leave after the program's end.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// How long a slow viewer may take to see the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long to wait for the engine's word on a death before asking.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries of an engine that does not remove a container.
const REMOVE_RETRY: Duration = Duration::from_secs(2);
/// Exit code of what was killed: 128 and the signal.
const KILLED: i32 = 128 + nix::libc::SIGKILL;
/// Tries before a container is left to the supervisor, which removes what is nobody's.
const REMOVE_TRIES: u32 = 3;
/// Between two tries of a disk that takes nothing.
const DISK_RETRY: Duration = Duration::from_millis(500);

impl Task {
    /// The program has ended: the guest may go, once its last record is on disk. Where that cannot be, its spool
    /// is read when it is gone.
    pub(super) async fn dismiss_guest(&mut self) {
        let head = *self.shared.recorder.journal().head().borrow();
        self.shared.recorder.commit(head).await.ok();
        self.shared.orders.try_send(Order::Leave).ok();
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

    /// Ends the session; or, where the disk takes nothing and the daemon stops meanwhile, leaves the rest of it to
    /// the next one.
    pub(super) async fn finish(mut self, commands: &mut mpsc::Receiver<Command>) {
        self.name_the_reason().await;
        self.remove_container().await;
        while let Err(error) = self.complete().await {
            if self.said.is_none() {
                tracing::error!(session = %self.shared.id, %error, "the session's end waits for the disk");
            }
            self.said = Some(format!("its end waits for the disk: {error}"));
            self.show();
            if !self.wait(commands).await {
                return;
            }
        }
        self.show();
        self.remove_leftovers().await;
        let reason = self.reason.clone().unwrap_or(Reason::DaemonLostContainer);
        tracing::info!(session = %self.shared.id, reason = reason.phrase(), "session ended");
        self.shared.exit.send_replace(Some((self.view.exit_code, reason)));
        // Viewers that still need a snapshot for the last screen get it.
        let answer = async {
            while self.shared.viewers.count() > 0 && !self.cancel.is_cancelled() {
                match timeout(Duration::from_millis(100), commands.recv()).await {
                    Ok(Some(Command::Snapshot(reply))) => {
                        reply.send(self.record.snapshot()).ok();
                    }
                    Ok(Some(Command::Stop(_))) | Err(_) => {}
                    Ok(None) => break,
                }
            }
        };
        timeout(FAREWELL, answer).await.ok();
    }

    /// Asks the engine while it still knows, and puts a reason on record before its evidence is removed.
    async fn name_the_reason(&mut self) {
        if let Ok(State::Exited { oom: true, .. }) = self.engine.state(self.unit.session).await {
            match &self.reason {
                // Inside gVisor the guest sees no count of such kills; the engine does.
                None | Some(Reason::Exited { code: KILLED }) => self.reason = Some(Reason::Oom),
                Some(_) => {}
            }
        }
        let only_here = matches!(self.reason, Some(Reason::Oom | Reason::Engine { .. } | Reason::KeyLost));
        if only_here && self.phase < Phase::Stopping && self.view.exit_code.is_none() {
            self.enter(Phase::Stopping).await;
        }
    }

    /// Completes the record, step by step; each is taken again from where it failed.
    async fn complete(&mut self) -> Result<(), EndError> {
        let recorder = self.shared.recorder.clone();
        let head = *recorder.journal().head().borrow();
        recorder.commit(head).await?;
        if self.phase != Phase::Ended {
            self.drain_spool().await?;
            recorder.settle()?;
            let reason = self.reason.get_or_insert(Reason::DaemonLostContainer).clone();
            recorder
                .event(Kind::Lifecycle, &Lifecycle::Phase { phase: Phase::Ended, reason: Some(reason) })?;
            self.phase = Phase::Ended;
            self.record.keep(true).await;
        }
        recorder.journal().seal(&self.key).await?;
        let mut ended = self.view.clone();
        ended.phase = Phase::Ended;
        ended.reason.clone_from(&self.reason);
        ended.ended_at = Some(clock::timestamp(clock::now()));
        ended.expires_at = None;
        ended.warning = None;
        ended.viewers = 0;
        self.said = None;
        self.fill(&mut ended);
        let created = clock::micros(ended.created_at);
        let used = recorder.with_summary(|summary| summary.usage.rows(created));
        self.store.set_ended(&ended, Some(&used)).await?;
        self.view = ended;
        Ok(())
    }

    /// Waits a little for the disk; false when the daemon stops.
    async fn wait(&mut self, commands: &mut mpsc::Receiver<Command>) -> bool {
        let until = Instant::now() + DISK_RETRY;
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = sleep_until(until) => return true,
                Some(command) = commands.recv() => if let Command::Snapshot(reply) = command {
                    reply.send(self.record.snapshot()).ok();
                }
            }
        }
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
    async fn drain_spool(&mut self) -> Result<(), EndError> {
        // A frame that was held lies in the spool too.
        self.record.let_go();
        let spool = Spool::open(&self.unit.folder.join("spool"))?;
        if let Some(first) = spool.first {
            self.record.greet(first);
        }
        for frame in spool.frames() {
            let checked = frame.and_then(|frame| {
                wire::check_record(frame.head.kind, &frame.payload).map_err(|e| e.to_string())?;
                Ok(frame)
            });
            let news = match checked {
                Ok(frame) => self.record.take(frame).await,
                Err(error) => {
                    tracing::error!(session = %self.shared.id, error, "the guest's spool is damaged");
                    self.record.event(&Lifecycle::SpoolDamaged { error });
                    None
                }
            };
            if let Some(problem) = self.record.problem() {
                return Err(EndError::Waits(problem.to_owned()));
            }
            if let Some(news) = news {
                self.ended(news);
            }
        }
        Ok(())
    }

    async fn remove_leftovers(&self) {
        let removed = if self.keep_volume {
            self.store.release_workspace(self.unit.session).await.map_err(|e| e.to_string())
        } else {
            self.engine.remove_volume(&self.unit.volume).await.map_err(|e| e.to_string())
        };
        if let Err(error) = removed {
            // The folder stays, as the sign by which the supervisor finds the rest.
            tracing::warn!(session = %self.shared.id, error, volume = self.unit.volume, "the volume lingers");
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.unit.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(session = %self.shared.id, %error, "the session's socket folder lingers");
        }
    }
}

/// Why a session cannot end yet.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error("{0}")]
    Waits(String),
    #[error("the guest's spool cannot be read: {0}")]
    Spool(#[from] io::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
