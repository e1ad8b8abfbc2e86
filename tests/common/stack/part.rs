//! One part of the stack as a child process, on state and a port of a test's own.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::common::PATIENCE;

/// How a part is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// Its binary in the stack's cache.
    pub binary: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it has in its environment besides ours.
    pub env: BTreeMap<String, String>,
    /// What answers with success once it is healthy.
    pub health: String,
}

/// A part that can be stopped, killed and started again.
pub struct Part {
    launch: Launch,
    log: PathBuf,
    child: Option<Child>,
}

impl Part {
    /// Starts one; its log goes into the folder.
    pub fn start(launch: Launch, folder: &Path) -> Part {
        let mut part = Part { log: folder.join(format!("{}.log", launch.binary)), launch, child: None };
        part.up();
        part
    }

    /// Starts it, or starts it again.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.launch.binary);
        let log = std::fs::File::options().create(true).append(true).open(&self.log).expect("a log file");
        let child = Command::new(binary(self.launch.binary))
            .args(&self.launch.arguments)
            .envs(&self.launch.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log, twice"))
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|e| panic!("{} does not start: {e}", self.launch.binary)));
    }

    /// Waits until it is healthy.
    pub async fn healthy(&mut self) {
        let began = Instant::now();
        while !reqwest::get(&self.launch.health).await.is_ok_and(|a| a.status().is_success()) {
            let ended = self.child.as_mut().map(|c| c.try_wait().expect("it can be asked"));
            assert!(
                ended == Some(None) && began.elapsed() < PATIENCE,
                "{} is not healthy at {} ({ended:?}):\n{}",
                self.launch.binary,
                self.launch.health,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// SIGTERM; returns once it has left.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be asked");
        let began = Instant::now();
        while child.try_wait().expect("it can be asked").is_none() {
            assert!(began.elapsed() < PATIENCE, "{} does not leave:\n{}", self.launch.binary, self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if thread::panicking() {
            let log = self.log();
            let from = log.len() - log.len().min(4000);
            eprintln!(
                "--- the end of {}'s log ---\n{}",
                self.launch.binary,
                &log[log.ceil_char_boundary(from)..]
            );
        }
    }
}

/// A binary of the stack, built by scripts/stack-parts.
pub fn binary(name: &str) -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("sandboxctl/stack")
    };
    let stack = std::env::var_os("SANDBOXCTL_STACK").map_or_else(cache, PathBuf::from);
    let binary = stack.join("bin").join(name);
    assert!(binary.is_file(), "{} is not there: run ./scripts/stack-parts", binary.display());
    binary
}

/// Ports of loopback that nothing listens on. They are chosen below those that the kernel gives to connections, since
/// a part binds its own only a while later.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    std::array::from_fn(|_| {
        loop {
            let port = rand::random_range(10_000..32_000);
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                held.push(listener);
                return port;
            }
        }
    })
}
