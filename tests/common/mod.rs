//! A real daemon as a child process, on state of its own, and what the stories do with it.
//!
//! The daemon is the built binary, so that it can be killed as a user's would be. When a [`Daemon`] is
//! dropped it ends every session and checks that nothing is left: no container, volume, process or socket.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use reqwest::Method;
use sandboxctl::{
    api::{Role, Session, StartRequest},
    client::{Client, ClientError, Target},
    lifecycle::Phase,
};
use tempfile::TempDir;

pub mod bundle;
pub mod collector;
pub mod screen;
pub mod stack;
pub mod stories;

pub use screen::Screen;

/// How long anything may take before a test gives up on it. Generous: it bounds a hang, it measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What runs the sessions of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Child processes in namespaces.
    Local,
    /// Containers on the machine's engine.
    Docker,
    /// The same inside gVisor, which the engine has to know as `runsc`.
    Gvisor,
}

/// What a daemon under test is given.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// What runs its sessions.
    pub rung: Rung,
    /// Where its page is to be.
    pub listen: &'a str,
    /// More configuration: TOML that begins with top-level keys.
    pub config: &'a str,
    /// Its state folder; one of its own where absent.
    pub state: Option<&'a Path>,
    /// The socket of a Docker engine other than the machine's.
    pub docker: Option<&'a Path>,
    /// More environment.
    pub env: &'a [(&'static str, &'static str)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { rung: Rung::Local, listen: "127.0.0.1:0", config: "", state: None, docker: None, env: &[] }
    }
}

/// A daemon under test.
pub struct Daemon {
    /// What runs its sessions.
    pub rung: Rung,
    dir: TempDir,
    state: PathBuf,
    docker: Option<PathBuf>,
    env: Vec<(&'static str, &'static str)>,
    child: Option<Child>,
    lines: Option<mpsc::Receiver<String>>,
    /// Where its page is.
    pub url: String,
    /// Its first admin token.
    pub token: String,
    /// Over its admin socket.
    pub client: Client,
    instance: String,
}

impl Daemon {
    /// Starts one with the default configuration.
    pub async fn start(rung: Rung) -> Daemon {
        Daemon::start_with(rung, "").await
    }

    /// Starts one with more configuration, TOML that begins with top-level keys.
    pub async fn start_with(rung: Rung, config: &str) -> Daemon {
        Daemon::start_up(Setup { rung, config, ..Setup::default() }).await
    }

    /// The same, at an address of its own.
    pub async fn start_at(rung: Rung, listen: &str, config: &str) -> Daemon {
        Daemon::start_up(Setup { rung, listen, config, ..Setup::default() }).await
    }

    /// Starts one that is set up in this way.
    pub async fn start_up(setup: Setup<'_>) -> Daemon {
        let mut daemon = Daemon::lay_out(setup);
        daemon.spawn();
        daemon.ready().await;
        let info: sandboxctl::api::Info = daemon.client.get("/api/v1/info").await.expect("the daemon's info");
        daemon.instance = info.instance;
        daemon
    }

    fn lay_out(setup: Setup<'_>) -> Daemon {
        rustls::crypto::ring::default_provider().install_default().ok();
        let dir = tempfile::Builder::new().prefix("sbx").tempdir().expect("a temporary folder");
        let state = setup.state.map_or_else(|| dir.path().join("s"), Path::to_owned);
        let engine = if setup.rung == Rung::Local { "local" } else { "docker" };
        let mut text = format!(
            "listen = \"{listen}\"\nengine = \"{engine}\"\nstate_dir = \"{state}\"\nadmin_socket = \"{dir}/a.sock\"\n\
             default_profile = \"demo\"\nguest = \"{guest}\"\n{config}\n",
            listen = setup.listen,
            config = setup.config,
            state = state.display(),
            dir = dir.path().display(),
            guest = guest().display(),
        );
        if let Some(socket) = setup.docker {
            text += &format!("[docker]\nsocket = \"{}\"\n", socket.display());
        }
        std::fs::write(dir.path().join("config.toml"), text).expect("the configuration is written");
        let client = Client::new(Target::Socket(dir.path().join("a.sock"))).expect("a client");
        Daemon {
            rung: setup.rung,
            dir,
            state,
            docker: setup.docker.map(Path::to_owned),
            env: setup.env.to_vec(),
            child: None,
            lines: None,
            url: String::new(),
            token: String::new(),
            client,
            instance: String::new(),
        }
    }

    /// Starts the daemon again on its state, after [`Daemon::kill`] or [`Daemon::terminate`].
    pub async fn restart(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// The same, without waiting for anything: [`Daemon::up`] does.
    pub fn launch(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sandboxctl"))
            .arg("--config")
            .arg(self.config())
            .arg("serve")
            .envs(self.env.iter().copied())
            .envs((self.rung == Rung::Gvisor).then_some(("SANDBOXCTL__PROFILES__DEMO__RUNTIME", "runsc")))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        let stdout = child.stdout.take().expect("it was piped");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        (self.child, self.lines) = (Some(child), Some(lines));
    }

    /// Waits until it can be asked, after [`Daemon::launch`].
    pub async fn up(&mut self) {
        self.announced();
        self.ready().await;
    }

    fn spawn(&mut self) {
        self.launch();
        self.announced();
    }

    fn announced(&mut self) {
        let Some(lines) = self.lines.take() else { return };
        let first = lines
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no word from the daemon:\n{}", self.log()));
        self.url = first.rsplit(' ').next().unwrap_or_default().to_owned();
        if self.token.is_empty() {
            let second = lines.recv_timeout(PATIENCE).expect("a first start prints the token");
            self.token = second.rsplit(' ').next().unwrap_or_default().to_owned();
        }
    }

    async fn ready(&self) {
        eventually("the daemon is ready", || async {
            self.client.get::<serde_json::Value>("/api/v1/info").await.is_ok()
        })
        .await;
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Beside the state, so that a disk that is full is full for the log too.
    fn log_file(&self) -> PathBuf {
        self.state.with_file_name("daemon.log")
    }

    /// Its folder: state below `s`, where nothing else was asked for.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A session's journal.
    pub fn journal(&self, session: &Session) -> PathBuf {
        self.state.join("sessions").join(session.id.to_string()).join("journal")
    }

    /// One of its metrics, named with its labels as `/metrics` writes them; 0 where there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.url)).await.expect("it answers");
        let text = text.text().await.expect("text");
        let value = text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// How many containers are warm.
    pub async fn spares(&self) -> u64 {
        self.metric("sandboxctl_sessions{phase=\"spare\"}").await as u64
    }

    /// The command line, against this daemon.
    pub fn cli(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandboxctl"));
        command.arg("--config").arg(self.config()).args(args);
        command
    }

    /// The engine's own command line; what it printed.
    pub fn docker(&self, args: &[&str]) -> String {
        let mut command = Command::new("docker");
        if let Some(socket) = &self.docker {
            command.arg("--host").arg(format!("unix://{}", socket.display()));
        }
        let out = command.args(args).output().expect("docker runs");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// What carries this daemon's label on the engine: containers, then volumes.
    pub fn on_engine(&self) -> (Vec<String>, Vec<String>) {
        let label = format!("label=dev.sandboxctl.instance={}", self.instance);
        let of = |args: [&str; 4]| {
            self.docker(&[&args[..], &[&label]].concat()).lines().map(str::to_owned).collect()
        };
        (of(["ps", "-aq", "--no-trunc", "--filter"]), of(["volume", "ls", "-q", "--filter"]))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// SIGTERM; returns once it has left.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be asked");
        let status = child.wait().expect("it can be waited for");
        assert!(status.success(), "SIGTERM is an orderly end:\n{}", self.log());
    }

    /// Starts a session that runs a shell line.
    pub async fn shell(&self, line: &str) -> Session {
        let program = ["sh", "-c", line].map(str::to_owned).to_vec();
        self.begin(StartRequest { program, ..StartRequest::default() }).await
    }

    /// Starts a session.
    pub async fn begin(&self, request: StartRequest) -> Session {
        self.client
            .json(Method::POST, "/api/v1/sessions", Some(&request))
            .await
            .unwrap_or_else(|e| panic!("a session: {e}\n{}", self.log()))
    }

    /// Waits until it has ended.
    pub async fn ended(&self, session: &Session) -> Session {
        self.when(session, "it has ended", |s| s.phase == Phase::Ended).await
    }

    /// Waits until its view is as wanted.
    pub async fn when(&self, session: &Session, what: &str, wanted: impl Fn(&Session) -> bool) -> Session {
        self.when_in(PATIENCE, session, what, wanted).await
    }

    /// The same, with another patience.
    pub async fn when_in(
        &self,
        patience: Duration,
        session: &Session,
        what: &str,
        wanted: impl Fn(&Session) -> bool,
    ) -> Session {
        let began = Instant::now();
        loop {
            let now = self.client.session(&session.id.to_string()).await;
            match now {
                Ok(now) if wanted(&now) => return now,
                now if began.elapsed() > patience => panic!("{what}: not so: {now:?}\n{}", self.log()),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Its bundle.
    pub async fn export(&self, session: &Session) -> bundle::Bundle {
        bundle::Bundle::read(&self.export_bytes(session).await)
    }

    /// Its bundle's bytes.
    pub async fn export_bytes(&self, session: &Session) -> Vec<u8> {
        self.export_of(session, "").await
    }

    /// Its bundle's bytes, with a query.
    pub async fn export_of(&self, session: &Session, query: &str) -> Vec<u8> {
        let path = format!("/api/v1/sessions/{}/export{query}", session.id);
        let chunks = self.client.stream(&path, "application/gzip").await.expect("an export");
        let mut chunks = std::pin::pin!(chunks);
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.expect("the export is whole"));
        }
        bytes
    }

    /// Joins its terminal.
    pub async fn join(&self, session: &Session, role: Role, after: Option<u64>) -> Screen {
        let terminal = self.client.terminal(&session.id.to_string(), role, after).await.expect("a terminal");
        Screen::new(terminal, session.cols, session.rows)
    }
}

impl Daemon {
    /// Leaves nothing running after a test that failed, as far as that works.
    fn clean_up(&mut self) {
        if self.child.is_none() {
            self.launch();
        }
        for _ in 0..5 {
            let mut drain = self.cli(&["drain"]);
            drain.stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(mut drain) = drain.spawn() else { break };
            let until = Instant::now() + Duration::from_secs(10);
            while drain.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < until {
                thread::sleep(Duration::from_millis(50));
            }
            drain.kill().ok();
            if drain.wait().is_ok_and(|status| status.success()) {
                break;
            }
            thread::sleep(Duration::from_millis(200));
        }
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
            self.clean_up();
            return;
        }
        if self.child.is_none() {
            self.spawn();
        }
        let drained = self.cli(&["drain"]).output();
        self.terminate();
        assert!(drained.is_ok_and(|d| d.status.success()), "sessions can be drained\n{}", self.log());
        let names = |folder: &str| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(self.state.join(folder)).expect("a folder");
            entries.flatten().map(|e| e.path()).collect()
        };
        assert_eq!(names("run"), Vec::<PathBuf>::new(), "no session's sockets are left\n{}", self.log());
        if self.rung != Rung::Local {
            let (containers, volumes) = self.on_engine();
            assert_eq!(containers, Vec::<String>::new(), "no container is left");
            for volume in &volumes {
                assert!(volume.starts_with("sandbox-ws-"), "a volume is left: {volume}");
                self.docker(&["volume", "rm", volume]);
            }
        } else {
            let mut left = names("local");
            left.retain(|path| path.extension().is_some_and(|e| e == "pid"));
            assert_eq!(left, Vec::<PathBuf>::new(), "no local process is left");
        }
    }
}

/// Waits for something to become so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The code of a refusal.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (String, Option<String>) {
    match answer {
        Err(ClientError::Refused(problem)) => (problem.code, problem.field),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The static guest, built by scripts/test.
pub fn guest() -> PathBuf {
    let guest = std::env::var_os("SANDBOXCTL_GUEST")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_sandboxctl")).with_file_name("sandbox-guest"));
    assert!(guest.is_file(), "{} is not there: run the tests with ./scripts/test", guest.display());
    guest
}
