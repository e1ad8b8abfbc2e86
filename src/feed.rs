//! The live end of a session's terminal: the last frames in memory, and a wake-up for whoever follows.
//!
//! ```text
//!   session ──push──▶ ring of items (≤ 1 MiB) ◀──after(seq)── viewer, viewer, …
//!                          │
//!                     watch: last seq
//! ```
//!
//! The session's task is the only writer and never waits. A viewer asks for what follows the last seq it
//! has; if that has left the ring (it was too slow, or away too long) it is told so and takes a fresh
//! snapshot from the session instead. Nothing is queued per viewer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

/// Terminal bytes that the ring keeps for viewers that lag; the oldest leave first.
const RING_LIMIT: usize = 1 << 20; // bytes per session

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
    items: VecDeque<Item>,
    bytes: usize,
    /// Most `bytes`.
    limit: usize,
    /// Everything after this seq is in `items`.
    base: u64,
}

/// The items after a seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// All of them; none, if the asker is up to date.
    Items(Vec<Item>),
    /// Some have left the ring: a snapshot is due.
    Gone,
}

impl Feed {
    /// A feed that begins after `seq`.
    pub fn new(seq: u64) -> Feed {
        Feed::with_limit(seq, RING_LIMIT)
    }

    /// The same, with a ring of so many bytes.
    pub(crate) fn with_limit(seq: u64, limit: usize) -> Feed {
        let ring = Ring { items: VecDeque::new(), bytes: 0, limit, base: seq };
        Feed { ring: Arc::new(Mutex::new(ring)), head: watch::Sender::new(seq), start: seq }
    }

    /// Adds the next item; wakes whoever follows.
    pub fn push(&self, item: Item) {
        let seq = item.seq;
        let mut ring = self.lock();
        ring.bytes += weight(&item);
        ring.items.push_back(item);
        while ring.bytes > ring.limit && ring.items.len() > 1 {
            if let Some(old) = ring.items.pop_front() {
                ring.bytes -= weight(&old);
                ring.base = old.seq;
            }
        }
        drop(ring);
        self.head.send_replace(seq);
    }

    /// What follows `seq`, up to about `limit` bytes.
    pub fn after(&self, seq: u64, limit: usize) -> After {
        let ring = self.lock();
        if seq < ring.base {
            return After::Gone;
        }
        let from = ring.items.partition_point(|item| item.seq <= seq);
        let mut bytes = 0;
        let mut items = Vec::new();
        for item in ring.items.range(from..) {
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
        for seq in 1..=40 {
            feed.push(output(seq, 64 << 10));
        }
        assert_eq!(feed.after(3, usize::MAX), After::Gone);
        assert!(matches!(feed.after(35, usize::MAX), After::Items(items) if items.len() == 5));
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
