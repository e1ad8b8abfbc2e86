//! One session's task (contract; the implementation is on its way).
use crate::{api, api::Role, id::SessionId, recorder::Recorder, spec::Spec};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;

/// Asks a live session. Clones are cheap.
#[derive(Clone)]
pub struct SessionHandle {
    /// Its id.
    pub id: SessionId,
    /// What it was asked to be.
    pub spec: Arc<Spec>,
    /// Its record.
    pub recorder: Recorder,
}

/// Somebody at a terminal. Dropping it leaves.
pub struct Viewer {}

/// What a viewer is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Clear everything, take this size, write this.
    Snapshot {
        /// What it stands for.
        seq: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// ANSI.
        bytes: Bytes,
    },
    /// The program wrote this.
    Output {
        /// Sequence number.
        seq: u64,
        /// What.
        bytes: Bytes,
    },
    /// The terminal has this size from here on.
    Resize {
        /// Sequence number.
        seq: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// What the viewer may do now.
    Role(Role),
    /// What the viewer should know; `None` when it no longer is so.
    Notice(Option<String>),
    /// The session has ended; nothing follows.
    Exit {
        /// Exit code.
        code: Option<i32>,
        /// Why.
        reason: crate::lifecycle::Reason,
    },
}

#[expect(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    reason = "the contract, until the module lands"
)]
impl Viewer {
    /// The next thing to show; cancel-safe. `None` after `Exit`, and when the daemon stops.
    pub async fn next(&mut self) -> Option<Sight> {
        unimplemented!()
    }
    /// Types; ignored (false) unless driving.
    pub async fn input(&self, bytes: Bytes) -> bool {
        unimplemented!()
    }
    /// Says the viewer's size; counts while driving.
    pub async fn resize(&self, cols: u16, rows: u16) {
        unimplemented!()
    }
    /// Takes or gives back the driving; `Sight::Role` says what came of it.
    pub async fn want(&self, role: Role) {
        unimplemented!()
    }
}

#[expect(
    missing_docs,
    unused_variables,
    clippy::unimplemented,
    reason = "the contract, until the module lands"
)]
impl SessionHandle {
    /// Joins. `may_drive` bounds `role` and later `want`s. `after`: the last seq the viewer has.
    pub async fn join(
        &self,
        who: String,
        role: Role,
        may_drive: bool,
        after: Option<u64>,
    ) -> Result<Viewer, crate::lifecycle::Denied> {
        unimplemented!()
    }
    pub fn view(&self) -> api::Session {
        unimplemented!()
    }
    /// The view, whenever it changes.
    pub fn watch(&self) -> watch::Receiver<api::Session> {
        unimplemented!()
    }
}
