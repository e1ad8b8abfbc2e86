//! Acting as the session's user, one thread at a time.
//!
//! PID 1 is root, but with neither `DAC_OVERRIDE` nor `KILL`, and it must not lend what it has to whoever
//! prepared a symlink in a kept workspace. So whatever concerns the user's files or processes is done by a
//! thread that has become the user: the kernel keeps credentials per thread, and only libc spreads a change
//! over all of them; the raw system calls here do not. The real and the saved id stay root's, and by that
//! the user can neither signal nor trace such a thread.

use std::{io, thread};

use nix::{
    libc::{self, c_long},
    unistd::geteuid,
};

/// Stack of a thread: all of ours are shallow, and a container may have hundreds of connections.
pub const STACK: usize = 256 << 10; // bytes

/// "Leave this id as it is", in the arguments of `setresuid` and `setresgid`.
const KEEP: c_long = u32::MAX as c_long;

/// The user that the session's program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl User {
    /// Whether acting as this user takes a change at all: not when the process is no root to begin with
    /// (the local engine), nor when the session is root's.
    pub fn differs(self) -> bool {
        geteuid().is_root() && self.uid != 0
    }

    /// Makes the calling thread act as the user for the rest of its life.
    pub fn assume(self) -> io::Result<()> {
        if !self.differs() {
            return Ok(());
        }
        raw(libc::SYS_setgroups, [0, 0, 0])?;
        raw(libc::SYS_setresgid, [KEEP, c_long::from(self.gid), KEEP])?;
        raw(libc::SYS_setresuid, [KEEP, c_long::from(self.uid), KEEP])
    }

    /// Does something as the user, on a thread made for it.
    pub fn run<T: Send>(self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || {
                self.assume()?;
                Ok(act())
            })?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread of ours panicked")))
        })
    }
}

#[expect(unsafe_code, reason = "libc's wrappers would change every thread of the process")]
fn raw(call: c_long, [a, b, c]: [c_long; 3]) -> io::Result<()> {
    // SAFETY: the three calls above take integers, and setgroups a null list of length 0.
    if unsafe { libc::syscall(call, a, b, c) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn only_the_thread_changes() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(dir.path(), Some(4321), Some(4321)).expect("chown");
        let file = dir.path().join("theirs");
        let user = User { uid: 4321, gid: 1234 };
        user.run(|| std::fs::write(&file, "x")).expect("a thread").expect("a file of the user's");
        let made = file.metadata().expect("it is there");
        assert_eq!((made.uid(), made.gid()), (4321, 1234));
        assert!(geteuid().is_root());
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "x").expect("a file of root's");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, mode).expect("chmod");
        assert!(user.run(|| std::fs::read(&secret)).expect("a thread").is_err());
    }
}
