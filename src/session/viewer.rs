//! Somebody at a terminal: one snapshot, then the tail from exactly there.
//!
//! A viewer costs the session nothing but the snapshots it asks for: it reads the feed at its own
//! speed, and when what it needs has left the ring it takes a fresh snapshot instead. It holds no queue.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use sandbox_guest::wire::Order;
use tokio::sync::{oneshot, watch};

use super::{Command, Shared, Snapshot};
use crate::{
    api::Role,
    event::Lifecycle,
    feed::{After, Item, What},
    journal::Kind,
    lifecycle::Reason,
};

/// How much a viewer takes from the feed at once.
const BATCH: usize = 256 << 10; // bytes

/// What a viewer is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Clear everything, take this size, write this.
    Snapshot {
        /// The sequence number that it stands for.
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
        /// The program's exit code, if it had one.
        code: Option<i32>,
        /// Why it ended.
        reason: Reason,
    },
}

/// Who is at a session's terminal, and who drives.
#[derive(Default)]
pub(super) struct Viewers {
    present: Mutex<BTreeMap<u64, String>>,
}

impl Viewers {
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody at a terminal. Dropping it leaves.
pub struct Viewer {
    id: u64,
    may_drive: bool,
    shared: Arc<Shared>,
    at: Option<u64>,
    ready: VecDeque<Sight>,
    head: watch::Receiver<u64>,
    driver: watch::Receiver<u64>,
    notice: watch::Receiver<Option<String>>,
    exit: watch::Receiver<Option<(Option<i32>, Reason)>>,
    role: Option<Role>,
    ended: bool,
}

impl Viewer {
    pub(super) fn join(
        shared: Arc<Shared>,
        who: String,
        role: Role,
        may_drive: bool,
        after: Option<u64>,
    ) -> Viewer {
        let driving = may_drive && role == Role::Driver;
        let id = {
            let mut present = shared.viewers.lock();
            let id = present.last_key_value().map_or(1, |(last, _)| last + 1);
            present.insert(id, who.clone());
            id
        };
        note(&shared, &Lifecycle::Joined { who, driver: driving });
        if driving {
            shared.driver.send_replace(id);
        }
        let mut notice = shared.notice.subscribe();
        if notice.borrow().is_some() {
            notice.mark_changed();
        }
        let mut driver = shared.driver.subscribe();
        driver.mark_changed();
        let mut exit = shared.exit.subscribe();
        exit.mark_changed();
        let head = shared.feed.head();
        let after = after.filter(|seq| shared.feed.has_shown(*seq));
        Viewer {
            id,
            may_drive,
            at: after,
            ready: VecDeque::new(),
            head,
            driver,
            notice,
            exit,
            role: None,
            ended: false,
            shared,
        }
    }

    /// The next thing to show. Cancel-safe. `None` after `Exit`, and when the daemon stops.
    pub async fn next(&mut self) -> Option<Sight> {
        loop {
            if let Some(sight) = self.ready.pop_front() {
                return Some(sight);
            }
            if self.ended {
                return None;
            }
            if self.driver.has_changed().ok()? {
                let role =
                    if *self.driver.borrow_and_update() == self.id { Role::Driver } else { Role::Observer };
                if self.role.replace(role) != Some(role) {
                    return Some(Sight::Role(role));
                }
            }
            if self.notice.has_changed().ok()? {
                return Some(Sight::Notice(self.notice.borrow_and_update().clone()));
            }
            // The exit is looked at before the feed and told after it: what was there then is all there is.
            let exit = self.exit.borrow().clone();
            if self.look().await? {
                continue;
            }
            if let Some((code, reason)) = exit {
                self.ended = true;
                return Some(Sight::Exit { code, reason });
            }
            tokio::select! {
                changed = self.head.changed() => changed.ok()?,
                changed = self.driver.changed() => { changed.ok()?; self.driver.mark_changed(); }
                changed = self.notice.changed() => { changed.ok()?; self.notice.mark_changed(); }
                changed = self.exit.changed() => changed.ok()?,
                () = self.shared.gone.cancelled() => return None,
            }
        }
    }

    /// Fills `ready`; false when there is nothing new.
    async fn look(&mut self) -> Option<bool> {
        self.head.mark_unchanged();
        let tail = self.at.map(|seq| self.shared.feed.after(seq, BATCH));
        match tail {
            Some(After::Items(items)) => {
                for item in items {
                    self.at = Some(item.seq);
                    self.ready.push_back(sight(item));
                }
            }
            None | Some(After::Gone) => {
                let (reply, answer) = oneshot::channel();
                self.shared.commands.send(Command::Snapshot(reply)).await.ok()?;
                let Snapshot { seq, cols, rows, bytes } = answer.await.ok()?;
                self.at = Some(seq);
                self.ready.push_back(Sight::Snapshot { seq, cols, rows, bytes });
            }
        }
        Some(!self.ready.is_empty())
    }

    /// The viewer's hands: what it does to the terminal, apart from what it sees. They work for as long as the
    /// viewer is there.
    pub fn hands(&self) -> Hands {
        Hands { id: self.id, may_drive: self.may_drive, shared: Arc::clone(&self.shared) }
    }
}

/// What a viewer does to the terminal. Clones are cheap.
#[derive(Clone)]
pub struct Hands {
    id: u64,
    may_drive: bool,
    shared: Arc<Shared>,
}

impl Hands {
    /// Types. False unless driving. Waits while the program does not read.
    pub async fn input(&self, bytes: Bytes) -> bool {
        if !self.drives() {
            return false;
        }
        if self.shared.spec.profile.record_input {
            let time = crate::clock::now();
            if let Err(error) = self.shared.recorder.append(time, 0, Kind::Input, bytes.clone()) {
                tracing::error!(session = %self.shared.id, %error, "input could not be recorded and was refused");
                return false;
            }
        } else {
            self.shared.recorder.touch();
        }
        self.shared.input.send(bytes).await.is_ok()
    }

    /// Says the viewer's size; it counts while driving.
    pub async fn resize(&self, cols: u16, rows: u16) {
        if self.drives() && cols > 0 && rows > 0 {
            self.shared.orders.send(Order::Resize { cols, rows }).await.ok();
        }
    }

    /// Takes or gives back the driving; [`Sight::Role`] says what came of it.
    pub async fn want(&self, role: Role) {
        self.shared.driver.send_if_modified(|driver| {
            let wanted = match role {
                Role::Driver if self.may_drive => self.id,
                Role::Observer if *driver == self.id => 0,
                _ => return false,
            };
            std::mem::replace(driver, wanted) != wanted
        });
    }

    fn drives(&self) -> bool {
        *self.shared.driver.borrow() == self.id
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let who = self.shared.viewers.lock().remove(&self.id).unwrap_or_default();
        note(&self.shared, &Lifecycle::Left { who });
        let id = self.id;
        self.shared.driver.send_if_modified(|driver| *driver == id && std::mem::take(driver) != 0);
    }
}

fn note(shared: &Shared, event: &Lifecycle) {
    if shared.exit.borrow().is_some() {
        return;
    }
    shared.recorder.note(Kind::Lifecycle, event);
}

fn sight(item: Item) -> Sight {
    let seq = item.seq;
    match item.what {
        What::Output(bytes) => Sight::Output { seq, bytes },
        What::Resize { cols, rows } => Sight::Resize { seq, cols, rows },
    }
}
