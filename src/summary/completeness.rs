//! How much of what a client must have sent has arrived.
//!
//! Each process of Claude Code numbers its events from 0 without gaps, so a missing number is a lost event.
//! A process names itself nowhere; it begins with its event 0 (`managed_settings_resolved`). Beside that,
//! each model call that the gateway saw, and each tool that a hook saw, must have an event.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most client processes that are told apart; later ones are not followed.
const PROCESSES: usize = 256;
/// Most gaps of one process that are kept; what arrives later than that stays missing.
const GAPS: usize = 1024;
/// A number this far ahead of all before is invented.
const LEAP: u64 = 100_000;

/// The parts of the figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Completeness {
    /// Events that the clients must have sent, by their numbers.
    pub events_expected: u64,
    /// Those that arrived.
    pub events_seen: u64,
    /// Model calls that the gateway saw succeed.
    pub model_calls_at_gateway: u64,
    /// Model calls that events tell of.
    pub model_calls_in_events: u64,
    /// Tools that hooks saw run.
    pub tools_at_hooks: u64,
    /// Tools that events tell of.
    pub tools_in_events: u64,
    /// Processes of the client.
    pub client_processes: u64,
    /// Records that are known to be lost: bad on the disk before they could be read again.
    pub records_lost: u64,
}

impl Completeness {
    /// Share of what must have been sent that has arrived, 0 to 1; `None` before there is any.
    pub fn share(&self) -> Option<f64> {
        let calls = self.model_calls_at_gateway;
        let tools = self.tools_at_hooks;
        let expected = (self.events_expected + calls + tools).saturating_add(self.records_lost);
        let seen = self.events_seen + calls.min(self.model_calls_in_events) + tools.min(self.tools_in_events);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        (expected > 0).then(|| seen as f64 / expected as f64)
    }
}

/// The clients' processes and the numbers that arrived of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Processes(Vec<Process>);

/// One process: the next number, and the gaps before it, each a range without its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    next: u64,
    gaps: Vec<(u64, u64)>,
}

impl Processes {
    /// An event arrived with this number; `first` says that a process begins with it.
    pub(super) fn note(&mut self, number: u64, first: bool) {
        let begins = first && number == 0;
        // The process that waits for just this number; then the latest that misses it.
        let expecting = self.0.iter().rposition(|p| p.next == number && number > 0);
        let missing =
            || self.0.iter().rposition(|p| p.gaps.iter().any(|(from, to)| (*from..*to).contains(&number)));
        let known = if begins { None } else { expecting.or_else(missing) };
        match known {
            Some(at) => self.0[at].arrived(number),
            // Nobody waits for it: it is a new process's, or lies ahead in the latest, or came twice.
            None if begins || self.0.is_empty() => self.begin(number),
            None => {
                if let Some(latest) = self.0.last_mut()
                    && number > latest.next
                {
                    latest.arrived(number);
                }
            }
        }
    }

    fn begin(&mut self, number: u64) {
        if self.0.len() < PROCESSES {
            let mut process = Process::default();
            process.arrived(number);
            self.0.push(process);
        }
    }

    pub(super) fn expected(&self) -> u64 {
        self.0.iter().map(|p| p.next).sum()
    }

    pub(super) fn seen(&self) -> u64 {
        self.0.iter().map(|p| p.next - p.gaps.iter().map(|(from, to)| to - from).sum::<u64>()).sum()
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Process {
    fn arrived(&mut self, number: u64) {
        if number >= self.next {
            if number - self.next > LEAP {
                return;
            }
            if number > self.next && self.gaps.len() < GAPS {
                self.gaps.push((self.next, number));
            }
            self.next = number + 1;
        } else if let Some(at) = self.gaps.iter().position(|(from, to)| (*from..*to).contains(&number)) {
            let (from, to) = self.gaps.remove(at);
            let rest = [(from, number), (number + 1, to)];
            self.gaps.splice(at..at, rest.into_iter().filter(|(from, to)| from < to));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noted(numbers: impl IntoIterator<Item = u64>) -> Processes {
        let mut processes = Processes::default();
        numbers.into_iter().for_each(|n| processes.note(n, n == 0));
        processes
    }

    #[test]
    fn gaps_are_what_is_missing() {
        let processes = noted([0, 1, 2, 5, 6]);
        assert_eq!((processes.expected(), processes.seen()), (7, 5));
    }

    #[test]
    fn a_restart_begins_anew() {
        let processes = noted([0, 1, 2, 0, 1, 2, 3]);
        assert_eq!((processes.expected(), processes.seen(), processes.count()), (7, 7, 2));
    }

    #[test]
    fn a_lost_beginning_is_missing() {
        let processes = noted([3, 4]);
        assert_eq!((processes.expected(), processes.seen()), (5, 2));
    }

    #[test]
    fn invented_numbers_change_nothing() {
        let processes = noted([0, 1, u64::MAX, u64::MAX - 1]);
        assert_eq!((processes.expected(), processes.seen()), (2, 2));
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_of_all_is_complete(order in Just((1..60u64).collect::<Vec<_>>()).prop_shuffle(), again in 0..60u64) {
            let processes = noted(std::iter::once(0).chain(order));
            prop_assert_eq!((processes.expected(), processes.seen()), (60, 60));
            let mut twice = processes.clone();
            if again > 0 {
                twice.note(again, false);
            }
            prop_assert_eq!(processes, twice);
        }
    }
}
