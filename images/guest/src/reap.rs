//! Signals and the dead: one thread waits for both.
//!
//! PID 1 inherits every orphan of the container and has to wait for it. That is done here and nowhere else,
//! with `waitpid(-1)`, so the program's own end is learnt here too; the handle that the standard library
//! gives for a child is never waited on.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
    thread,
    time::Duration,
};

use nix::{
    libc,
    sys::signal::{SigSet, Signal},
};

use sandbox_guest::complain;

use crate::{
    event::{Event, Exit},
    identity::STACK,
};

/// How long the program has between SIGTERM to this process, as from `docker stop`, and SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// The children of this process.
pub struct Children {
    program: Arc<Mutex<Option<libc::pid_t>>>,
}

impl Children {
    /// Starts the thread. Call it before any other thread is made: they inherit the blocked signals, and so
    /// it alone gets them (a blocked signal reaches even PID 1, for which others are ignored).
    pub fn watch(events: SyncSender<Event>) -> io::Result<Children> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            signals.add(signal);
        }
        signals.thread_block()?;
        if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
            complain!("sandbox-guest: orphans cannot be adopted outside a process namespace: {error}");
        }
        let program = Arc::new(Mutex::new(None));
        let watched = program.clone();
        thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(move || {
            loop {
                let alive = match signals.wait() {
                    Ok(Signal::SIGCHLD) => reap(&watched, &events),
                    Ok(_) => events.send(Event::Terminate(TERMINATE_GRACE)).is_ok(),
                    Err(_) => true,
                };
                if !alive {
                    return;
                }
            }
        })?;
        Ok(Children { program })
    }

    /// Starts the program, the one child whose end is an [`Event::Ended`]. The lock is held until its id is
    /// noted, so that an early end is not taken for an orphan's.
    pub fn start_program(&self, command: &mut Command) -> io::Result<std::process::Child> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        *program = Some(child.id() as libc::pid_t);
        Ok(child)
    }
}

/// Waits for all that are dead; false when nobody listens any more.
fn reap(program: &Mutex<Option<libc::pid_t>>, events: &SyncSender<Event>) -> bool {
    while let Some((pid, status)) = wait_any() {
        let mut watched = program.lock().unwrap_or_else(PoisonError::into_inner);
        if *watched == Some(pid) {
            *watched = None;
            drop(watched);
            let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or_default();
            let exit = Exit { code, signal: status.signal() };
            if events.send(Event::Ended(exit)).is_err() {
                return false;
            }
        }
    }
    true
}

/// One dead child. Raw, because a wrapper that knows only named signals would lose the status of a program
/// that a real-time signal ended.
#[expect(unsafe_code, reason = "see above")]
fn wait_any() -> Option<(libc::pid_t, ExitStatus)> {
    let mut status = 0;
    // SAFETY: the pointer is to a local integer.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then(|| (pid, ExitStatus::from_raw(status)))
}
