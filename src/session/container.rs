//! The session's container: made, found as an earlier daemon left it, and asked about when it is silent.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Command,
    task::{LOST_LIMIT, Left, Origin, START_LIMIT, STOP_SLACK, Task},
};
use crate::{
    engine::State,
    lifecycle::{Phase, Reason},
};

impl Task {
    /// Goes on where an earlier daemon was when it ended: between a record and what follows from it.
    pub(super) async fn resume(&mut self) -> Option<Left> {
        if self.phase == Phase::Ended {
            return Some(Left::Dead);
        }
        if let Some(ended) = self.life.ended.take() {
            self.ended(ended);
            return Some(Left::Exited);
        }
        if self.life.started.is_some() && self.phase < Phase::Running {
            self.enter(Phase::Running).await;
        }
        None
    }

    /// Makes the container, unless it is there. A stop is heard while the engine works, and carried out when
    /// it has: a call that is dropped half-way could leave a container behind.
    pub(super) async fn bring_up(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<(), Reason> {
        (self.deadline, self.start_by) =
            (Some(Instant::now() + self.patience()), Instant::now() + START_LIMIT);
        if self.origin == Origin::Adopted {
            return Ok(());
        }
        if !self.can_start {
            return Err(Reason::KeyLost);
        }
        self.enter(Phase::Starting).await;
        if self.origin == Origin::Spare {
            // Its guest has been waiting: if it is there at all, it says hello at once.
            self.deadline = Some(Instant::now() + LOST_LIMIT);
            return Ok(());
        }
        let (engine, unit) = (Arc::clone(&self.engine), self.unit.clone());
        let mut made = pin!(engine.start(&unit));
        loop {
            tokio::select! {
                made = &mut made => return match (made, self.reason.clone()) {
                    (_, Some(reason)) => Err(reason),
                    (Err(error), None) => Err(Reason::Engine { error: error.to_string() }),
                    (Ok(()), None) => Ok(()),
                },
                Some(command) = commands.recv() => self.obey(command).await,
            }
        }
    }

    /// How long the guest may be silent.
    fn patience(&self) -> Duration {
        match self.phase {
            Phase::Spare | Phase::Requested | Phase::Starting => START_LIMIT,
            Phase::Running | Phase::Ended => LOST_LIMIT,
            Phase::Stopping => self.shared.spec.profile.grace + STOP_SLACK,
        }
    }

    /// Asks the engine about the container, because it is said to have died or (`late`) because the deadline has
    /// passed: tells what comes of it.
    pub(super) async fn look_at_container(&mut self, late: bool) -> Option<Left> {
        if late {
            self.deadline = None;
            if self.reason.is_some() {
                return Some(Left::Dead);
            }
        }
        let now = Instant::now();
        match self.engine.state(self.unit.session).await {
            Ok(State::Running) if self.phase == Phase::Starting => {
                if now < self.start_by {
                    self.deadline = Some(self.start_by);
                    return None;
                }
                let what = if self.connected { "begin the program" } else { "report" };
                let error = format!("the guest did not {what} within {} s", START_LIMIT.as_secs());
                self.reason = Some(Reason::Engine { error });
                Some(Left::Dead)
            }
            Ok(State::Running) => {
                if late && !self.connected {
                    self.deadline = Some(now + LOST_LIMIT);
                }
                None
            }
            // A spare that died before anybody knew is nobody's loss.
            Ok(_) if self.origin == Origin::Spare && self.phase == Phase::Starting && !self.connected => {
                Some(Left::Spoiled)
            }
            // Its last records lie in the spool, and its exit may be among them: `finish` looks.
            Ok(State::Exited { oom, .. }) => {
                if oom {
                    self.reason.get_or_insert(Reason::Oom);
                }
                Some(Left::Dead)
            }
            Ok(State::Gone) => Some(Left::Dead),
            Err(error) => {
                tracing::warn!(session = %self.shared.id, %error, "the engine cannot tell about the container");
                self.deadline = Some(now + LOST_LIMIT);
                None
            }
        }
    }
}
