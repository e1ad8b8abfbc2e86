//! The live end of a session's terminal: the last frames in memory, and a wake-up for whoever follows.
//!
//! ```text
//!   session ──push──▶ ring of items (≤ 2 MiB) ◀──after(seq)── viewer, viewer, …
//!                          │
//!                     watch: last seq
//! ```
//!
//! The session's task is the only writer and never waits. A viewer asks for what follows the last seq it
//! has; if that has left the ring, or it lags so far that it would see the past, it is told so and takes a fresh
//! snapshot from the session instead. Nothing is queued per viewer.
//!
//! While nobody follows, or nothing happens, the ring keeps only what somebody who comes back after a moment lacks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

/// What a ring keeps, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Terminal bytes that the ring keeps for viewers that lag; the oldest leave first.
    pub followed: usize,
    /// And while nobody follows, or nothing happens.
    pub quiet: usize,
    /// A viewer that is later than this, and further behind than `quiet`, is shown the present.
    pub late: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { followed: 2 << 20, quiet: 256 << 10, late: Duration::from_secs(1) }
    }
}

/// Something that happened on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The frame's sequence number in the journal.
    pub seq: u64,
    /// What happened.
    pub what: What,
}

/// What can happen on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The program wrote this.
    Output(Bytes),
    /// The terminal has this size from here on.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
}

/// A session's feed. Clones share it.
#[derive(Clone)]
pub struct Feed {
    ring: Arc<Mutex<Ring>>,
    head: watch::Sender<u64>,
    /// The seq that it began after.
    start: u64,
}

struct Ring {
    items: VecDeque<Kept>,
    limits: Limits,
    /// Bytes pushed so far, those that have left included.
    pushed: usize,
    /// The same when the ring was last settled.
    settled: usize,
    /// Everything after this seq is in `items`.
    base: u64,
}

/// An item in the ring.
struct Kept {
    item: Item,
    at: Instant,
    /// Bytes pushed before it.
    before: usize,
}

impl Ring {
    /// Keeps the last `limit` bytes, and always the last item.
    fn shrink(&mut self, limit: usize) {
        while self.items.len() > 1
            && let Some(oldest) = self.items.pop_front_if(|oldest| self.pushed - oldest.before > limit)
        {
            self.base = oldest.item.seq;
        }
    }
}

/// The items after a seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// All of them; none, if the asker is up to date.
    Items(Vec<Item>),
    /// Some have left the ring, or are long past: a snapshot is due.
    Gone,
}

impl Feed {
    /// A feed that begins after `seq`.
    pub fn new(seq: u64) -> Feed {
        Feed::with_limits(seq, Limits::default())
    }

    /// The same, with a ring that keeps more or less.
    pub(crate) fn with_limits(seq: u64, limits: Limits) -> Feed {
        let ring = Ring { items: VecDeque::new(), limits, pushed: 0, settled: 0, base: seq };
        Feed { ring: Arc::new(Mutex::new(ring)), head: watch::Sender::new(seq), start: seq }
    }

    /// Adds the next item; wakes whoever follows.
    pub fn push(&self, item: Item) {
        let seq = item.seq;
        let mut ring = self.lock();
        let before = ring.pushed;
        ring.pushed += weight(&item);
        ring.items.push_back(Kept { item, at: Instant::now(), before });
        let limit = if self.head.receiver_count() > 0 { ring.limits.followed } else { ring.limits.quiet };
        ring.shrink(limit);
        drop(ring);
        self.head.send_replace(seq);
    }

    /// Called now and then: where nothing has happened since the last time, gives back what only a flood needs.
    pub fn settle(&self) {
        let mut ring = self.lock();
        if ring.pushed == ring.settled {
            let limit = ring.limits.quiet;
            ring.shrink(limit);
            ring.items.shrink_to_fit();
        }
        ring.settled = ring.pushed;
    }

    /// What follows `seq`, up to about `limit` bytes.
    pub fn after(&self, seq: u64, limit: usize) -> After {
        let ring = self.lock();
        if seq < ring.base {
            return After::Gone;
        }
        let from = ring.items.partition_point(|kept| kept.item.seq <= seq);
        if let Some(first) = ring.items.get(from)
            && ring.pushed - first.before > ring.limits.quiet
            && first.at.elapsed() > ring.limits.late
        {
            return After::Gone;
        }
        let mut bytes = 0;
        let mut items = Vec::new();
        for Kept { item, .. } in ring.items.range(from..) {
            if !items.is_empty() && bytes + weight(item) > limit {
                break;
            }
            bytes += weight(item);
            items.push(item.clone());
        }
        After::Items(items)
    }

    /// Whether who has everything up to `seq` can have it from here. If not, they saw it before this daemon's
    /// time, and if power failed then, the journal may have given that number to something else since.
    pub fn has_shown(&self, seq: u64) -> bool {
        self.start < seq && seq <= *self.head.borrow()
    }

    /// The last seq, as it grows.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(item: &Item) -> usize {
    const OVERHEAD: usize = 64; // bytes: the item itself
    OVERHEAD + if let What::Output(bytes) = &item.what { bytes.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(seq: u64, len: usize) -> Item {
        Item { seq, what: What::Output(Bytes::from(vec![b'x'; len])) }
    }

    #[test]
    fn who_is_up_to_date_gets_exactly_what_follows() {
        let feed = Feed::new(10);
        for seq in 11..=14 {
            feed.push(output(seq, 5));
        }
        let After::Items(items) = feed.after(12, usize::MAX) else { panic!("nothing has left the ring") };
        assert_eq!(items.iter().map(|i| i.seq).collect::<Vec<_>>(), [13, 14]);
        assert_eq!(feed.after(14, usize::MAX), After::Items(vec![]));
    }

    #[test]
    fn who_lags_too_far_is_told() {
        let feed = Feed::new(0);
        let _viewer = feed.head();
        for seq in 1..=40 {
            feed.push(output(seq, 64 << 10));
        }
        assert_eq!(feed.after(3, usize::MAX), After::Gone);
        assert!(matches!(feed.after(30, usize::MAX), After::Items(items) if items.len() == 10));
    }

    #[test]
    fn who_is_too_late_is_shown_the_present() {
        let feed = Feed::with_limits(0, Limits { late: Duration::ZERO, ..Limits::default() });
        let _viewer = feed.head();
        for seq in 1..=10 {
            feed.push(output(seq, 64 << 10));
        }
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(feed.after(3, usize::MAX), After::Gone);
        assert!(
            matches!(feed.after(8, usize::MAX), After::Items(items) if items.len() == 2),
            "a little is no lag"
        );
    }

    #[test]
    fn little_is_kept_while_nobody_follows_or_nothing_happens() {
        let kept = |feed: &Feed| feed.lock().items.len();
        let feed = Feed::new(0);
        let flood = |from: u64| (from..from + 40).for_each(|seq| feed.push(output(seq, 64 << 10)));
        flood(1);
        assert_eq!(kept(&feed), 3);
        let viewer = feed.head();
        flood(41);
        assert_eq!(kept(&feed), 31);
        feed.settle();
        assert_eq!(kept(&feed), 31, "a moment ago there was a flood");
        feed.settle();
        assert_eq!(kept(&feed), 3);
        drop(viewer);
        flood(81);
        assert_eq!(kept(&feed), 3);
    }

    #[test]
    fn what_an_earlier_feed_showed_is_not_this_ones() {
        let feed = Feed::new(5);
        feed.push(output(6, 1));
        feed.push(output(9, 1));
        assert_eq!([5, 6, 8, 9, 10].map(|seq| feed.has_shown(seq)), [false, true, true, true, false]);
    }

    #[test]
    fn a_limit_still_gives_at_least_one() {
        let feed = Feed::new(0);
        feed.push(output(1, 1000));
        feed.push(output(2, 1000));
        assert!(matches!(feed.after(0, 10), After::Items(items) if items.len() == 1));
    }
}
