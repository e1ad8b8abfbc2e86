//! How much of what a client must have sent has arrived.
//!
//! Each process of Claude Code numbers its events from 0 without gaps, so a missing number is a lost event.
//! A process names itself nowhere; it begins with its event 0 (`managed_settings_resolved`). Beside that,
//! each model call that the gateway saw, and each tool that a hook saw, must have an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most client processes that are told apart; later ones are not followed.
const PROCESSES: u64 = 256;
/// Most ends of gaps that are kept, of all processes together; beyond them a gap stays missing, whatever arrives.
const EDGES: usize = 2048;
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
///
/// Which process a number belongs to is known of none, and matters for the latest only, the one that may run
/// ahead. So what is kept is how many processes wait for each number, and how many miss it: a lookup each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Processes {
    count: u64,
    /// The number that the latest process sends next.
    latest: u64,
    /// What the others send next, and how many of them do.
    others: BTreeMap<u64, u64>,
    gaps: Gaps,
    /// What they all send next, added up: so many events there must have been.
    expected: u64,
    missing: u64,
}

impl Processes {
    /// An event arrived with this number; `first` says that a process begins with it.
    pub(super) fn note(&mut self, number: u64, first: bool) {
        if (first && number == 0) || self.count == 0 {
            self.begin(number);
        } else if number > 0 && self.latest == number {
            self.ahead(number);
        } else if number > 0 && self.others.contains_key(&number) {
            self.leave(number);
            *self.others.entry(number + 1).or_default() += 1;
            self.expected += 1;
        } else if self.gaps.depth(number) > 0 {
            self.missing -= u64::from(self.gaps.fill(number));
        } else if number > self.latest {
            // Nobody waits for it: it lies ahead in the latest. (Or it came twice.)
            self.ahead(number);
        }
    }

    fn begin(&mut self, number: u64) {
        if self.count == PROCESSES {
            return;
        }
        if self.count > 0 {
            *self.others.entry(self.latest).or_default() += 1;
        }
        self.count += 1;
        self.latest = 0;
        self.ahead(number);
    }

    /// The latest process sent `number`, and what lies before it is missing.
    fn ahead(&mut self, number: u64) {
        let skipped = number - self.latest;
        if skipped > LEAP {
            return;
        }
        if skipped > 0 {
            self.gaps.open(self.latest, number);
            self.missing += skipped;
        }
        self.expected += skipped + 1;
        self.latest = number + 1;
    }

    fn leave(&mut self, number: u64) {
        if let Some(waiting) = self.others.get_mut(&number) {
            *waiting -= 1;
            if *waiting == 0 {
                self.others.remove(&number);
            }
        }
    }

    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    pub(super) fn seen(&self) -> u64 {
        self.expected - self.missing
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// How many processes miss each number: where that changes, and what it is from there on. Neighbours differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Gaps(BTreeMap<u64, u64>);

impl Gaps {
    fn depth(&self, number: u64) -> u64 {
        self.0.range(..=number).next_back().map_or(0, |(_, depth)| *depth)
    }

    /// One process more misses `from` up to `to`. It costs a step for each edge in between, and no process
    /// passes an edge twice.
    fn open(&mut self, from: u64, to: u64) {
        if self.0.len() + 2 <= EDGES {
            self.shift(from, to, |depth| depth + 1);
        }
    }

    /// One process less misses `number`; false where that cannot be kept.
    fn fill(&mut self, number: u64) -> bool {
        self.shift(number, number + 1, |depth| depth - 1);
        let fits = self.0.len() <= EDGES;
        if !fits {
            self.shift(number, number + 1, |depth| depth + 1);
        }
        fits
    }

    fn shift(&mut self, from: u64, to: u64, by: impl Fn(u64) -> u64) {
        for edge in [from, to] {
            let depth = self.depth(edge);
            self.0.entry(edge).or_insert(depth);
        }
        self.0.range_mut(from..to).for_each(|(_, depth)| *depth = by(*depth));
        for edge in [from, to] {
            let before = self.0.range(..edge).next_back().map_or(0, |(_, depth)| *depth);
            if self.0.get(&edge) == Some(&before) {
                self.0.remove(&edge);
            }
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

    /// Each process with all the numbers that it misses: what [`Processes`] comes to where nothing is full.
    #[derive(Default)]
    struct Model(Vec<(u64, Vec<u64>)>);

    impl Model {
        fn note(&mut self, number: u64, first: bool) {
            let begins = first && number == 0;
            let expecting = self.0.iter().rposition(|(next, _)| *next == number && number > 0);
            let missing = self.0.iter().rposition(|(_, missing)| missing.contains(&number));
            match expecting.or(missing).filter(|_| !begins) {
                Some(at) if self.0[at].0 == number => self.0[at].0 += 1,
                Some(at) => self.0[at].1.retain(|n| *n != number),
                None => {
                    if begins || self.0.is_empty() {
                        self.0.push((0, Vec::new()));
                    }
                    let Some((next, missing)) = self.0.last_mut() else { return };
                    if number >= *next {
                        missing.extend(*next..number);
                        *next = number + 1;
                    }
                }
            }
        }

        fn figures(&self) -> (u64, u64, u64) {
            let expected: u64 = self.0.iter().map(|(next, _)| next).sum();
            let missing: usize = self.0.iter().map(|(_, missing)| missing.len()).sum();
            (expected, expected - missing as u64, self.0.len() as u64)
        }
    }

    #[test]
    fn gaps_without_number_take_no_memory_and_stay_missing() {
        let mut processes = Processes::default();
        for _ in 0..300 {
            processes.note(0, true);
            (1..2000).for_each(|n| processes.note(2 * n, false));
        }
        assert!(processes.gaps.0.len() <= EDGES && processes.count() == PROCESSES);
        // In the middle of one long gap each number that arrives makes two gaps of one.
        let mut split = noted([0, LEAP]);
        (1..LEAP / 2).for_each(|n| split.note(2 * n, false));
        assert!(split.gaps.0.len() <= EDGES, "{}", split.gaps.0.len());
        assert_eq!(split.expected(), LEAP + 1);
        assert!(split.seen() > EDGES as u64 / 2 && split.seen() < LEAP / 2);
        // And those that arrive where there is room are counted.
        let before = split.seen();
        split.note(1, false);
        assert_eq!(split.seen(), before + 1);
    }

    proptest! {
        #[test]
        fn figures_are_those_of_each_process_by_itself(notes in proptest::collection::vec((0..40u64, any::<bool>()), 0..300)) {
            let (mut processes, mut model) = (Processes::default(), Model::default());
            for (number, first) in notes {
                // Few begin, so that there is something to begin beside.
                let number = if first { number / 4 } else { number };
                processes.note(number, first);
                model.note(number, first);
                prop_assert_eq!((processes.expected(), processes.seen(), processes.count()), model.figures());
            }
        }

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
