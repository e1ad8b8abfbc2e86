//! An engine of a test's own, which may be stopped, killed and started again, and an image that is small enough to
//! be made in a moment.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::common::PATIENCE;

/// The image that its engine has.
pub const IMAGE: &str = "sandboxctl-test/shell:latest";

/// What is in it.
const PROGRAMS: [&str; 8] = ["bash", "sh", "cat", "id", "seq", "sleep", "stty", "env"];

/// A Docker engine with state of its own, apart from the machine's.
pub struct Dockerd {
    dir: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Dockerd {
    /// Starts one, with the image on it.
    pub fn start(arguments: &[&str]) -> Dockerd {
        let dir = tempfile::Builder::new().prefix("dkr").tempdir().expect("a temporary folder");
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut engine = Dockerd { dir, arguments, child: None };
        engine.up();
        engine.import();
        engine
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("d.sock")
    }

    /// Starts it again.
    pub fn up(&mut self) {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let log = File::options().create(true).append(true).open(at("log")).expect("a log");
        let child = Command::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("d.sock"))])
            .args(["--bridge", "none", "--iptables=false", "--ip-masq=false"])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("dockerd is installed"));
        let began = Instant::now();
        while !self.client(&["info"]).status.success() {
            assert!(began.elapsed() < PATIENCE, "the engine does not come up:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it as a service manager does, and waits.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be asked");
        child.wait().expect("it can be waited for");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
        // It leaves the note that it runs.
        std::fs::remove_file(self.dir.path().join("pid")).ok();
    }

    fn client(&self, args: &[&str]) -> std::process::Output {
        let host = format!("unix://{}", self.socket().display());
        Command::new("docker").args(["--host", &host]).args(args).output().expect("docker runs")
    }

    fn import(&self) {
        let tar = self.dir.path().join("image.tar");
        pack(&tar);
        let made =
            self.client(&["import", "--change", "ENV PATH=/usr/bin:/bin", &tar.display().to_string(), IMAGE]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.child.is_none() {
            // What it left running is its own to end.
            self.up();
        }
        self.stop();
        // It mounts its data on itself, and leaves that.
        Command::new("umount").arg(self.dir.path().join("data")).status().ok();
        if thread::panicking() {
            eprintln!("--- the engine's log ---\n{}", self.log());
        }
    }
}

/// Packs these programs of the host's and the libraries that they need.
fn pack(tar: &Path) {
    let list = format!(
        "for p in {}; do f=$(command -v $p); echo $f; ldd $f | grep -o '/[^ ]*'; done | sort -u",
        PROGRAMS.join(" ")
    );
    let files = Command::new("bash").args(["-c", &list]).output().expect("bash runs");
    let files = String::from_utf8(files.stdout).expect("paths");
    let packed = Command::new("tar")
        .args(["--dereference", "--absolute-names", "--transform", "s,^/,,", "-cf"])
        .arg(tar)
        .args(files.lines())
        .status();
    assert!(packed.is_ok_and(|s| s.success()), "the image is packed");
}
