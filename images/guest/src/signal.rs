//! Signals to the user's processes.
//!
//! Root without `CAP_KILL` may signal root's processes only, so a thread that acts as the user signals
//! theirs. It is made when the session begins: a container that is full to its process limit, by a fork bomb
//! say, can still be stopped. Each signal is sent from both identities, since with `sudo` some of the
//! session's processes are root's.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};

use sandbox_guest::complain;

use crate::identity::{STACK, User};

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process group.
    Group(i32),
    /// Everything of the session.
    All,
}

/// Sends signals to the session's processes. Clones share the thread.
#[derive(Clone)]
pub struct Signaller {
    asks: SyncSender<(Pid, Signal, SyncSender<()>)>,
    all: Pid,
}

impl Signaller {
    /// Starts the user's thread. `leader` is the program's process id, which leads the session.
    pub fn start(user: User, leader: u32) -> io::Result<Signaller> {
        // Outside a process namespace of our own, -1 would be everything that the user runs anywhere.
        let all = if getpid() == Pid::from_raw(1) { -1 } else { -(leader as i32) };
        // Who asks waits for the answer, so no more than one or two are ever on their way.
        let (asks, answers) = sync_channel(2);
        let thread = thread::Builder::new().name("signaller".into()).stack_size(STACK);
        thread.spawn(move || serve(user, &answers))?;
        Ok(Signaller { asks, all: Pid::from_raw(all) })
    }

    /// Sends a signal; returns when it is sent. A target that is no more is no failure.
    pub fn send(&self, target: Target, signal: Signal) {
        let target = match target {
            Target::All => self.all,
            Target::Group(group) => Pid::from_raw(-group),
        };
        let (done, wait) = sync_channel(1);
        if self.asks.send((target, signal, done)).is_ok() {
            // The thread ends only with the process.
            wait.recv().unwrap_or_default();
        }
        // ESRCH and EPERM both say that root has nothing there: the user's part is done.
        kill(target, signal).unwrap_or_default();
    }
}

fn serve(user: User, asks: &Receiver<(Pid, Signal, SyncSender<()>)>) {
    let able = user.assume();
    if let Err(error) = &able {
        complain!("sandbox-guest: signals cannot be sent as user {}: {error}", user.uid);
    }
    for (target, signal, done) in asks {
        if able.is_ok() {
            kill(target, signal).unwrap_or_default();
        }
        done.send(()).unwrap_or_default();
    }
}
