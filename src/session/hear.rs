//! What the guest reports, and what of it concerns the session's life.

use sandbox_guest::wire::Hello;
use tokio::{task::yield_now, time::Instant};

use super::{
    link::Report,
    task::{LOST_LIMIT, START_LIMIT, Task},
};
use crate::{
    clock,
    event::Lifecycle,
    lifecycle::{Phase, Reason},
};

/// Connections in a row that a guest may give up because it cannot read what it is sent.
const FAULTS: u32 = 3;

/// What is taken before others get their turn: the viewers that it woke wait on this thread, and tokio alone would
/// let it go on for 128 records, which is megabytes.
const TURN: usize = 64 << 10; // bytes

impl Task {
    /// Takes in what the link reports; true when that was the program's end.
    pub(super) async fn hear(&mut self, report: Report) -> bool {
        match report {
            Report::Hello(hello) => {
                self.greet(hello).await;
                false
            }
            Report::Stalled(why) => {
                if !why.is_empty() {
                    tracing::error!(session = %self.shared.id, why, "the guest cannot write its spool; the program waits");
                }
                self.record.stalled(why);
                false
            }
            Report::Lost => {
                self.connected = false;
                let patience = Instant::now() + LOST_LIMIT;
                self.deadline = Some(self.deadline.map_or(patience, |deadline| deadline.min(patience)));
                false
            }
            Report::Unfit(error) => {
                self.stop(Reason::Engine { error }).await;
                false
            }
            Report::Record(frame) => {
                self.taken += frame.payload.len();
                let news = self.record.take(frame).await;
                if self.taken >= TURN {
                    self.taken = 0;
                    yield_now().await;
                }
                self.react(news).await
            }
        }
    }

    async fn greet(&mut self, hello: Hello) {
        self.connected = true;
        self.record.greet(hello.next);
        match hello.fault {
            None => self.faults = 0,
            Some(error) => {
                tracing::error!(session = %self.shared.id, error, "the guest cannot read what it is sent");
                self.record.event(&Lifecycle::OrderUnread { error: error.clone() });
                self.faults += 1;
                if self.faults >= FAULTS {
                    let error = format!("the guest cannot read what this daemon sends it: {error}");
                    self.stop(Reason::Engine { error }).await;
                    return;
                }
            }
        }
        match self.phase {
            Phase::Stopping => self.ask_to_stop().await,
            Phase::Starting if !hello.started && !self.can_start => self.stop(Reason::KeyLost).await,
            // It has, or is being sent, all it needs.
            Phase::Starting => {
                self.start_by = Instant::now() + START_LIMIT;
                self.deadline = Some(self.start_by);
            }
            _ => self.deadline = None,
        }
    }

    /// Acts on what a record says of the session's life; true when that was the program's end.
    pub(super) async fn react(&mut self, news: Option<Lifecycle>) -> bool {
        match news {
            Some(Lifecycle::ProgramStarted { .. }) => self.started().await,
            Some(Lifecycle::DiskUsage { used, limit }) => self.disk(used, limit).await,
            Some(ended @ (Lifecycle::ProgramFailed { .. } | Lifecycle::ProgramExited { .. })) => {
                self.ended(ended);
                return true;
            }
            _ => self.answer_for_nobody(),
        }
        false
    }

    /// A program that asks its terminal a question hangs where there is no terminal: while nobody drives,
    /// the screen model answers.
    fn answer_for_nobody(&mut self) {
        let replies = self.record.take_replies();
        if !replies.is_empty() && *self.shared.driver.borrow() == 0 {
            self.shared.input.try_send(replies.into()).ok();
        }
    }

    async fn started(&mut self) {
        if self.phase == Phase::Starting {
            self.view.started_at = Some(clock::timestamp(clock::now()));
            self.deadline = None;
            self.enter(Phase::Running).await;
        }
    }

    /// Notes how the program ended. A reason that was there before, such as a stop, stays.
    pub(super) fn ended(&mut self, news: Lifecycle) {
        let reason = match news {
            Lifecycle::ProgramFailed { error } => Reason::ProgramFailed { error },
            Lifecycle::ProgramExited { code, signal, oom, terminated } => {
                self.view.exit_code = Some(code);
                if oom && signal == Some(nix::libc::SIGKILL) {
                    Reason::Oom
                } else if terminated {
                    let error = "it stopped the container: it was shut down, or told to stop it".to_owned();
                    Reason::Engine { error }
                } else {
                    Reason::Exited { code }
                }
            }
            _ => return,
        };
        self.reason.get_or_insert(reason);
    }

    async fn disk(&mut self, used: u64, limit: u64) {
        if used >= limit {
            self.stop(Reason::Disk).await;
        } else {
            self.notice(Some(format!("{} of the disk limit is used", percent(used, limit))));
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{} %", part.saturating_mul(100) / whole.max(1))
}
