//! One session: the task that owns it, and the handles that ask it.
//!
//! ```text
//!                      ┌──────────── session task ────────────┐
//!   Link ──reports───▶ │ journal, then screen, then feed      │
//!   handles ─commands▶ │ phase, clock, end                    │──▶ view, notice, exit (watch)
//!   engine ──died────▶ └──────────────────────────────────────┘
//!      committer: journal on disk ──▶ acknowledge to the guest
//!      gateway:   gateway.sock, appends to the same journal
//! ```
//!
//! The task is the only one that touches the screen and the phase. It is the parent of the link, the
//! committer and the gateway, and joins all three. Whatever comes from the guest is in the journal before
//! anybody sees it, and acknowledged only when it is on disk.
//!
//! Everything in `Shared` can be read by anyone at any time; nothing in it is held across an await.

use std::sync::Arc;

use bytes::Bytes;
use sandbox_guest::wire::Order;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Role},
    feed::Feed,
    id::SessionId,
    lifecycle::{self, Denied, Reason, Request},
    recorder::Recorder,
    spec::Spec,
};

mod container;
mod finish;
mod hear;
mod link;
mod look;
mod record;
mod restore;
mod spool;
mod task;
mod viewer;

pub use restore::Restored;
pub(crate) use spool::spool_is_empty;
pub use task::{Launch, Origin};
pub use viewer::{Hands, Sight, Viewer};

/// What may be asked of the session's task.
enum Command {
    /// The screen as it is.
    Snapshot(oneshot::Sender<Snapshot>),
    /// End.
    Stop(Reason),
}

/// The screen at one point of the stream.
struct Snapshot {
    seq: u64,
    cols: u16,
    rows: u16,
    bytes: Bytes,
}

/// What a session's task shares with its handles and viewers.
struct Shared {
    id: SessionId,
    spec: Arc<Spec>,
    recorder: Recorder,
    feed: Feed,
    viewers: viewer::Viewers,
    /// Id of the viewer who drives; 0 is nobody.
    driver: watch::Sender<u64>,
    /// What users should know.
    notice: watch::Sender<Option<String>>,
    /// Set once, when the session has ended.
    exit: watch::Sender<Option<(Option<i32>, Reason)>>,
    view: watch::Sender<api::Session>,
    /// Asks the task; when it is full, the asker waits.
    commands: mpsc::Sender<Command>,
    /// To the guest; when it is full, the asker waits.
    orders: mpsc::Sender<Order>,
    /// Typed bytes to the guest; when it is full, whoever types waits.
    input: mpsc::Sender<Bytes>,
    /// The engine says that the container died.
    died: Notify,
    /// The task has stopped, with the session or with the daemon.
    gone: CancellationToken,
}

/// Asks a live session. Clones are cheap.
#[derive(Clone)]
pub struct SessionHandle {
    /// Its id.
    pub id: SessionId,
    /// What it was asked to be.
    pub spec: Arc<Spec>,
    /// Its record.
    pub recorder: Recorder,
    shared: Arc<Shared>,
}

impl SessionHandle {
    fn new(shared: Arc<Shared>) -> SessionHandle {
        SessionHandle {
            id: shared.id,
            spec: Arc::clone(&shared.spec),
            recorder: shared.recorder.clone(),
            shared,
        }
    }

    /// Joins the terminal. `may_drive` bounds `role` and what is wanted later; a driver takes the driving
    /// over. `after` is the last sequence number that the viewer already has.
    pub async fn join(
        &self,
        who: String,
        role: Role,
        may_drive: bool,
        after: Option<u64>,
    ) -> Result<Viewer, Denied> {
        lifecycle::decide(self.view().phase, Request::Join)?;
        Ok(Viewer::join(Arc::clone(&self.shared), who, role, may_drive, after))
    }

    /// Asks the session to end. Returns at once; [`SessionHandle::watch`] tells when it has.
    pub async fn stop(&self, reason: Reason) {
        self.shared.commands.send(Command::Stop(reason)).await.ok();
    }

    /// The session as it is now.
    pub fn view(&self) -> api::Session {
        self.shared.view.borrow().clone()
    }

    /// The same, whenever it changes.
    pub fn watch(&self) -> watch::Receiver<api::Session> {
        self.shared.view.subscribe()
    }

    /// Tells that the engine saw the container die.
    pub fn died(&self) {
        self.shared.died.notify_one();
    }

    /// Waits until the session's task has stopped: with the session's end, or with the daemon.
    pub async fn gone(&self) {
        self.shared.gone.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
