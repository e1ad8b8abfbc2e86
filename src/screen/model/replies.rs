//! What a terminal would send back to the program.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alacritty_terminal::event::{Event, EventListener};

const REPLY_LIMIT: usize = 4 << 10; // bytes; replies beyond it are dropped

/// What `Term` asks to be sent back to the program.
#[derive(Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<Vec<u8>>>);

impl EventListener for Replies {
    fn send_event(&self, event: Event) {
        if let Event::PtyWrite(text) = event {
            self.push(&text);
        }
    }
}

impl Replies {
    pub fn push(&self, text: &str) {
        let mut replies = self.lock();
        if replies.len() + text.len() <= REPLY_LIMIT {
            replies.extend_from_slice(text.as_bytes());
        }
    }

    pub fn take(&self) -> Vec<u8> {
        mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
