//! A stack of two parts, each a small web server with a volume, under a project of its own. One of them has a step
//! before it that ends, as the real stack's parts have.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{guest, stack::part::binary};

/// What both parts run; the image of the sessions has Python.
const SERVE: &str = r#"["python3", "-u", "-m", "http.server", "8000", "--directory", "/data"]"#;

/// Names the program.
pub const COMPOSE: &str = "SANDBOXCTL_COMPOSE";

/// A stack under test. When it is dropped it is removed, and nothing of it may be left.
pub struct Stack {
    /// Its folder is `stack` in there; beside it lies what the test needs.
    pub dir: TempDir,
    /// Its name in the engine.
    pub project: String,
    /// Port of the part `near`.
    pub port: u16,
}

impl Stack {
    /// One whose part `far` runs this program, a JSON array.
    pub fn running(far: &str) -> Stack {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let project = format!("sbx-verbs-{}-{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix("sbx").tempdir().expect("a folder");
        let config = format!(
            "state_dir = \"{dir}/s\"\nadmin_socket = \"{dir}/a.sock\"\nguest = \"{guest}\"\n",
            dir = dir.path().display(),
            guest = guest().display()
        );
        fs::write(dir.path().join("config.toml"), config).expect("the configuration is written");
        let port = free_port();
        let stack = Stack { dir, project, port };
        fs::create_dir(stack.folder()).expect("a folder");
        // A compose.yaml that is there before ours is its owner's, and kept.
        fs::write(stack.folder().join("compose.yaml"), compose(&stack.project, port, far)).expect("written");
        stack
    }

    /// One with two parts that serve.
    pub fn new() -> Stack {
        Stack::running(SERVE)
    }

    /// The stack's folder.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("stack")
    }

    /// A verb of the stack.
    pub fn verb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandboxctl"));
        command.arg("--config").arg(self.dir.path().join("config.toml"));
        command.args(["stack", "--dir"]).arg(self.folder()).args(args).stdin(Stdio::null());
        if std::env::var_os(COMPOSE).is_none() {
            command.env(COMPOSE, binary("docker-compose"));
        }
        command
    }

    /// Compose behind a few lines of shell, which may take its place.
    pub fn compose_behind(&self, lines: &str) -> PathBuf {
        let real = self.verb(&[]);
        let named = real.get_envs().find_map(|(name, value)| value.filter(|_| name == COMPOSE));
        let real =
            named.map_or_else(|| PathBuf::from(std::env::var_os(COMPOSE).expect("named")), PathBuf::from);
        let (text, script) = (self.dir.path().join("compose.sh"), self.dir.path().join("compose"));
        fs::write(&text, format!("#!/bin/sh\n{lines}\nexec {} \"$@\"\n", real.display())).expect("written");
        // By another process: a file that this one has open for writing, another test's child may have too.
        let made = Command::new("install").args(["-m", "755"]).args([&text, &script]).status();
        assert!(made.expect("install runs").success());
        script
    }

    /// Carries a verb out.
    pub fn run(&self, args: &[&str]) -> Output {
        self.verb(args).output().expect("sandboxctl runs")
    }

    /// Carries a verb out, which has to succeed; what it printed.
    pub fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}:\n{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How each part is, as `status` says.
    pub fn states(&self) -> Vec<(String, String)> {
        let status: Value = serde_json::from_str(&self.good(&["status", "--json"])).expect("JSON");
        let parts = status["parts"].as_array().expect("parts").iter();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        parts.map(|part| (text(&part["name"]), text(&part["state"]))).collect()
    }

    /// The container of a part.
    pub fn container(&self, part: &str) -> String {
        format!("{}-{part}-1", self.project)
    }

    /// Runs a shell line as root in a part; what it printed.
    pub fn inside(&self, part: &str, line: &str) -> String {
        docker(&["exec", "--user", "0", &self.container(part), "sh", "-c", line])
    }

    /// Volumes of this stack.
    pub fn volumes(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        docker(&["volume", "ls", "-q", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    fn containers(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        docker(&["ps", "-aq", "--filter", &filter]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let reset = self.run(&["reset", "--yes"]);
        if !std::thread::panicking() {
            assert!(reset.status.success(), "{}", said(&reset));
            assert_eq!((self.containers(), self.volumes()), (Vec::new(), Vec::new()), "nothing is left");
        }
    }
}

/// Everything that a verb said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The engine's own command line; what it printed.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker runs");
    assert!(output.status.success(), "docker {args:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

fn compose(project: &str, port: u16, far: &str) -> String {
    format!(
        r#"name: {project}
x-part: &part
  image: sandboxctl/claude-code:latest
  restart: unless-stopped
  stop_grace_period: 1s
  healthcheck:
    test: ["CMD", "/probe", "probe", "http://127.0.0.1:8000/"]
    interval: 1s
    timeout: 2s
    retries: 3
    start_period: 30s
services:
  near:
    <<: *part
    profiles: [near, all]
    entrypoint: {SERVE}
    depends_on:
      near-storage: {{condition: service_completed_successfully}}
    volumes: ["${{SANDBOX_GUEST}}:/probe:ro", "near:/data"]
    ports: ["127.0.0.1:{port}:8000"]
  near-storage:
    profiles: [near, all]
    image: sandboxctl/claude-code:latest
    restart: "no"
    entrypoint: ["/probe", "own", "0:0", "/data"]
    volumes: ["${{SANDBOX_GUEST}}:/probe:ro", "near:/data"]
  far:
    <<: *part
    profiles: [far, all]
    entrypoint: {far}
    volumes: ["${{SANDBOX_GUEST}}:/probe:ro", "far:/data"]
volumes:
  near:
  far:
"#
    )
}
