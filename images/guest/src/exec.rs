//! `sandbox-guest exec`: the moment between root and the session's user.
//!
//! Init runs its own binary with this verb. The order comes on stdin, so that nothing of it can be read from
//! outside, and stdout carries back one sentence if anything fails; it is closed by the `exec` that succeeds.
//!
//! ```text
//!   read order ─▶ new session ─▶ drop to the user ─▶ open the terminal ─▶ chdir ─▶ exec the program
//! ```

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use nix::{
    libc,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        stat::{Mode, umask},
    },
    unistd::{self, Gid, Uid},
};
use serde::{Deserialize, Serialize};

use crate::{identity::User, reap::Children};

/// Where programs are looked up if the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What `exec` is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Whether privileges may be gained.
    pub privileges: bool,
    /// Files that may be open at once.
    pub open_files: u64,
    /// The terminal to open.
    pub tty: PathBuf,
}

/// A limit can only be lowered here: raising it takes a privilege that the container does not have.
fn limit_files(wanted: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, wanted.min(most), wanted.min(most))
}

/// Starts the program and returns its process id, once it is certain that it runs.
pub fn start(spec: &Spec, children: &Children) -> io::Result<u32> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("exec").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = children.start_program(&mut command)?;
    let told = child.stdin.take().map(|mut order| order.write_all(&serde_json::to_vec(spec)?));
    let mut failure = String::new();
    if let Some(mut answer) = child.stdout.take() {
        answer.read_to_string(&mut failure)?;
    }
    if !failure.is_empty() {
        return Err(io::Error::other(failure));
    }
    told.transpose()?;
    Ok(child.id())
}

/// The verb.
pub fn run() -> ExitCode {
    let status = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(fd) => File::from(fd), // close-on-exec, unlike stdout itself
        Err(_) => return ExitCode::from(126),
    };
    let Err(sentence) = become_program();
    // If init is gone, nobody is left to be told.
    (&status).write_all(sentence.as_bytes()).unwrap_or_default();
    ExitCode::from(127)
}

fn become_program() -> Result<std::convert::Infallible, String> {
    let spec: Spec =
        serde_json::from_reader(io::stdin().lock()).map_err(|e| format!("exec got no order: {e}"))?;
    let user = User { uid: spec.uid, gid: spec.gid };
    close_others_on_exec();
    unistd::setsid().map_err(|e| format!("no new session can be made: {e}"))?;
    umask(Mode::from_bits_truncate(0o022));
    reset_signals();
    if user.differs() {
        drop_to(user).map_err(|e| format!("the user {}:{} cannot be taken on: {e}", spec.uid, spec.gid))?;
    }
    limit_files(spec.open_files).map_err(|e| format!("the limit of open files cannot be set: {e}"))?;
    if !spec.privileges {
        prctl::set_no_new_privs().map_err(|e| format!("no_new_privs cannot be set: {e}"))?;
    }
    let (name, argv, env) = prepare(&spec)?;
    open_terminal(&spec.tty).map_err(|e| format!("the terminal cannot be opened: {e}"))?;
    unistd::chdir(&spec.cwd)
        .map_err(|e| format!("the working directory {} cannot be entered: {e}", spec.cwd.display()))?;
    let program = look_up(&name, &spec.env)?;
    let path = c_string(&program.to_string_lossy())?;
    unistd::execve(&path, &argv, &env).map_err(|e| format!("{} cannot be run: {e}", program.display()))
}

fn prepare(spec: &Spec) -> Result<(String, Vec<CString>, Vec<CString>), String> {
    let name = spec.argv.first().ok_or("the session has no program: its command is empty")?.clone();
    let argv = spec.argv.iter().map(|a| c_string(a)).collect::<Result<_, _>>()?;
    let env = spec.env.iter().map(|(k, v)| c_string(&format!("{k}={v}"))).collect::<Result<_, _>>()?;
    Ok((name, argv, env))
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "an argument or a variable contains a zero byte".to_owned())
}

/// Every signal as a new process expects it: Rust ignores SIGPIPE, and init blocks some.
#[expect(unsafe_code, reason = "dispositions can be set by no safe call")]
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default disposition runs no code of ours; where it cannot be set, it is set already.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).unwrap_or_default();
}

/// Leaves the program no descriptor but its terminal's, whatever init itself was started with.
#[expect(unsafe_code, reason = "there is no safe call for descriptors that nobody owns")]
fn close_others_on_exec() {
    // SAFETY: both calls take integers, and closing on exec changes nothing for this process.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            // A kernel before 5.11.
            for fd in 3..1024 {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

fn drop_to(user: User) -> io::Result<()> {
    clear_inheritable()?;
    unistd::setgroups(&[])?;
    unistd::setgid(Gid::from_raw(user.gid))?;
    unistd::setuid(Uid::from_raw(user.uid))?; // the permitted, effective and ambient sets go with it
    if unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root could be taken back"));
    }
    Ok(())
}

/// Empties the inheritable capabilities, which outlive the change of user.
#[expect(unsafe_code, reason = "capabilities are reached by raw calls alone")]
fn clear_inheritable() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522; // two sets of 32 bits
    let mut header = [VERSION_3, 0]; // version, this process
    let mut data = [[0u32; 3]; 2]; // effective, permitted, inheritable
    // SAFETY: header and data have the layout that version 3 of the calls defines, and outlive them.
    unsafe {
        if libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        if data[0][2] | data[1][2] == 0 {
            return Ok(());
        }
        (data[0][2], data[1][2]) = (0, 0);
        if libc::syscall(libc::SYS_capset, header.as_mut_ptr(), data.as_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "the controlling terminal is set by ioctl alone")]
fn open_terminal(path: &Path) -> io::Result<()> {
    let tty = OpenOptions::new().read(true).write(true).open(path)?;
    // SAFETY: takes a descriptor and an integer. On Linux opening has done it already; elsewhere it has not.
    if unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY as _, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    unistd::dup2_stdin(&tty)?;
    unistd::dup2_stdout(&tty)?;
    unistd::dup2_stderr(&tty)?;
    Ok(())
}

/// The file that a program's name stands for: itself if it has a slash, else the first in `PATH` that the
/// user may run.
fn look_up(name: &str, env: &[(String, String)]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = env.iter().find(|(key, _)| key == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|file| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
        .ok_or_else(|| format!("the program '{name}' is not in the PATH of the image: {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_path_that_is_given() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("tool"), "").expect("a file");
        let env = vec![("PATH".to_owned(), format!("/nowhere:{}", dir.path().display()))];
        assert!(look_up("tool", &env).is_err(), "it may not be run yet");
        std::fs::set_permissions(at("tool"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(look_up("tool", &env), Ok(at("tool")));
        assert_eq!(look_up("./tool", &env), Ok(PathBuf::from("./tool")));
        assert!(look_up("sh", &[]).is_ok());
    }
}
