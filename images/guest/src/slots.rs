//! A fixed number of places: who wants one waits for it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The places. Clones share them.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    capacity: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// A place taken; dropping it frees it.
pub struct Slot(Slots);

impl Slots {
    /// This many places, all free.
    pub fn new(capacity: usize) -> Slots {
        Slots(Arc::new(Shared { capacity, taken: Mutex::new(0), freed: Condvar::new() }))
    }

    /// Takes a place, waiting until there is one.
    pub fn take(&self) -> Slot {
        let mut taken = self
            .0
            .freed
            .wait_while(self.lock(), |taken| *taken == self.0.capacity)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Slot(self.clone())
    }

    /// Waits until no more than `left` are taken, at most this long.
    pub fn wait_until(&self, left: usize, at_most: Duration) {
        let waited = self.0.freed.wait_timeout_while(self.lock(), at_most, |taken| *taken > left);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.0.freed.notify_all();
    }
}
