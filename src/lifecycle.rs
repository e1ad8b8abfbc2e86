//! The rules of a session's life: pure functions of what is and what time it is.
//!
//! ```text
//!   spare ─▶ requested ─▶ starting ─▶ running ─▶ stopping ─▶ ended(reason)
//!                │            │                      ▲
//!                └────────────┴──────────────────────┘   every phase can be stopped
//! ```
//!
//! [`decide`] says what a request or the passing of time leads to; the session's task carries it out. Every
//! refusal is a [`Denied`] with a sentence.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A warm container with an id drawn and nobody's yet.
    Spare,
    /// Somebody asked for it.
    Requested,
    /// Its container is being made, or its guest has not said hello.
    Starting,
    /// Its program runs.
    Running,
    /// It has been asked to end.
    Stopping,
    /// It has ended; the record is sealed.
    Ended,
}

impl Phase {
    /// The name, as JSON and the database spell it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Spare => "spare",
            Phase::Requested => "requested",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Ended => "ended",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// Its program ended by itself.
    Exited {
        /// Exit code.
        code: i32,
    },
    /// No output, input or telemetry for as long as the profile allows.
    Idle,
    /// Its time to live was over.
    Ttl,
    /// Its budget was spent.
    Budget,
    /// Its directories passed their limit.
    Disk,
    /// An operator stopped it.
    Operator {
        /// Their sentence, if they gave one.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Its container ran out of memory.
    Oom,
    /// The program could not be started.
    ProgramFailed {
        /// What failed.
        error: String,
    },
    /// The engine could not make or keep the container.
    Engine {
        /// What the engine said.
        error: String,
    },
    /// The container was gone, and nobody here had ended it.
    DaemonLostContainer,
    /// The daemon that held the API key it was given was gone before the program began.
    KeyLost,
    /// Its record is damaged on the disk, so that nothing can be added to it.
    Damaged {
        /// Where, and how.
        error: String,
    },
}

impl Reason {
    /// Every name.
    pub const NAMES: [&'static str; 12] = [
        "exited",
        "idle",
        "ttl",
        "budget",
        "disk",
        "operator",
        "oom",
        "program_failed",
        "engine",
        "daemon_lost_container",
        "key_lost",
        "damaged",
    ];

    /// The name, as JSON and metrics spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::Exited { .. } => "exited",
            Reason::Idle => "idle",
            Reason::Ttl => "ttl",
            Reason::Budget => "budget",
            Reason::Disk => "disk",
            Reason::Operator { .. } => "operator",
            Reason::Oom => "oom",
            Reason::ProgramFailed { .. } => "program_failed",
            Reason::Engine { .. } => "engine",
            Reason::DaemonLostContainer => "daemon_lost_container",
            Reason::KeyLost => "key_lost",
            Reason::Damaged { .. } => "damaged",
        }
    }

    /// One readable phrase.
    pub fn phrase(&self) -> String {
        match self {
            Reason::Exited { code } => format!("the program exited with {code}"),
            Reason::Idle => "idle for too long".to_owned(),
            Reason::Ttl => "its time to live was over".to_owned(),
            Reason::Budget => "its budget was spent".to_owned(),
            Reason::Disk => "its disk limit was passed".to_owned(),
            Reason::Operator { note: None } => "stopped by an operator".to_owned(),
            Reason::Operator { note: Some(note) } => format!("stopped by an operator: {note}"),
            Reason::Oom => "the container ran out of memory".to_owned(),
            Reason::ProgramFailed { error } => format!("the program could not start: {error}"),
            Reason::Engine { error } => format!("the engine failed: {error}"),
            Reason::DaemonLostContainer => "the container was gone".to_owned(),
            Reason::KeyLost => {
                "the daemon was restarted before the program began, and the API key, which is kept nowhere, \
                 went with it; start the session again"
                    .to_owned()
            }
            Reason::Damaged { error } => format!("its record is damaged: {error}"),
        }
    }
}

/// The moments that decide about an end by time, in µs since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the program began.
    pub started: u64,
    /// Last output, input or telemetry.
    pub active: u64,
    /// Longest life.
    pub ttl: Duration,
    /// Longest silence.
    pub idle: Duration,
    /// How long before the end to warn.
    pub warn: Duration,
}

/// What the passing of time means for a running session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing until then (µs since the epoch), unless something happens.
    Quiet {
        /// The next moment worth a look.
        until: u64,
    },
    /// The end is near.
    Warn {
        /// What will end it.
        reason: Reason,
        /// When.
        at: u64,
    },
    /// It is over.
    End(Reason),
}

/// Looks at the clock for a running session. `over_since` is when its budget was spent, if it is: it may
/// still be used for as long as a warning lasts, to save what it holds, and the model refuses it meanwhile.
pub fn tick(times: &Times, over_since: Option<u64>, now: u64) -> Tick {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let ttl = times.started.saturating_add(micros(times.ttl));
    let idle = times.active.max(times.started).saturating_add(micros(times.idle));
    let budget = over_since.map_or(u64::MAX, |since| since.saturating_add(micros(times.warn)));
    let (at, reason) = if budget <= ttl.min(idle) {
        (budget, Reason::Budget)
    } else if ttl <= idle {
        (ttl, Reason::Ttl)
    } else {
        (idle, Reason::Idle)
    };
    let warn_at = at.saturating_sub(micros(times.warn));
    if now >= at {
        Tick::End(reason)
    } else if now >= warn_at {
        Tick::Warn { reason, at }
    } else {
        Tick::Quiet { until: warn_at }
    }
}

/// What somebody may ask of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Join its terminal.
    Join,
    /// End it.
    Stop,
    /// Remove its record.
    Purge,
    /// Export its record.
    Export,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is nobody's session yet.
    #[error("the container is a spare and nobody's session yet")]
    Spare,
    /// It has ended.
    #[error("the session has ended; its record can be exported and replayed")]
    Ended,
    /// It still lives.
    #[error("the session has not ended; stop it first")]
    Alive,
}

/// Decides a request: `Ok(true)` carries it out, `Ok(false)` has nothing left to do.
pub fn decide(phase: Phase, request: Request) -> Result<bool, Denied> {
    use Phase::*;
    match (request, phase) {
        (Request::Join | Request::Export, Spare) => Err(Denied::Spare),
        (Request::Join, Ended) => Err(Denied::Ended),
        (Request::Join | Request::Export, _) => Ok(true),
        (Request::Stop, Stopping | Ended) => Ok(false),
        (Request::Stop, _) => Ok(true),
        (Request::Purge, Ended) => Ok(true),
        (Request::Purge, _) => Err(Denied::Alive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn times() -> Times {
        Times {
            started: 100 * SECOND,
            active: 100 * SECOND,
            ttl: Duration::from_secs(1000),
            idle: Duration::from_secs(300),
            warn: Duration::from_secs(60),
        }
    }

    #[test]
    fn silence_warns_and_then_ends() {
        assert_eq!(tick(&times(), None, 200 * SECOND), Tick::Quiet { until: 340 * SECOND });
        assert_eq!(tick(&times(), None, 340 * SECOND), Tick::Warn { reason: Reason::Idle, at: 400 * SECOND });
        assert_eq!(tick(&times(), None, 400 * SECOND), Tick::End(Reason::Idle));
    }

    #[test]
    fn activity_puts_off_idle_but_never_the_ttl() {
        let busy = Times { active: 1090 * SECOND, ..times() };
        assert_eq!(tick(&busy, None, 1050 * SECOND), Tick::Warn { reason: Reason::Ttl, at: 1100 * SECOND });
        assert_eq!(tick(&busy, None, 1100 * SECOND), Tick::End(Reason::Ttl));
    }

    #[test]
    fn a_spent_budget_ends_after_the_warning() {
        let spent = Some(150 * SECOND);
        assert_eq!(
            tick(&times(), spent, 150 * SECOND),
            Tick::Warn { reason: Reason::Budget, at: 210 * SECOND }
        );
        assert_eq!(tick(&times(), spent, 210 * SECOND), Tick::End(Reason::Budget));
    }

    #[test]
    fn every_phase_can_be_stopped() {
        for phase in [Phase::Spare, Phase::Requested, Phase::Starting, Phase::Running] {
            assert_eq!(decide(phase, Request::Stop), Ok(true));
        }
        for phase in [Phase::Stopping, Phase::Ended] {
            assert_eq!(decide(phase, Request::Stop), Ok(false));
        }
    }

    #[test]
    fn only_the_ended_can_be_purged_and_only_the_living_joined() {
        assert_eq!(decide(Phase::Running, Request::Purge), Err(Denied::Alive));
        assert_eq!(decide(Phase::Ended, Request::Purge), Ok(true));
        assert_eq!(decide(Phase::Ended, Request::Join), Err(Denied::Ended));
        assert_eq!(decide(Phase::Ended, Request::Export), Ok(true));
    }
}
