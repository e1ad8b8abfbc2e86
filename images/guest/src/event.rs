//! What the threads of `init` tell its main thread, which alone decides what follows.

use std::time::Duration;

use sandbox_guest::wire::Start;

/// How many may wait for the main thread. It does nothing slow while the program runs, so the queue is
/// full only while a session is being set up; then whoever has an order to give waits that long.
pub const QUEUE: usize = 64; // events

/// Something that the main thread decides on.
pub enum Event {
    /// The daemon wants this container to become a session.
    Start(Box<Start>),
    /// The terminal has a new size.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// A signal for the terminal's foreground process group.
    Signal(i32),
    /// The program is to end within this time.
    Stop(Duration),
    /// The same, and it is a signal to this process that says so, and not the daemon.
    Terminate(Duration),
    /// The program has ended.
    Ended(Exit),
    /// Every byte of the ended program is in the spool.
    Drained,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// That signal.
    pub signal: Option<i32>,
}
