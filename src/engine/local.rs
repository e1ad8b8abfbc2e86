//! Sessions as child processes in namespaces of their own. For tests: the kernel keeps their processes,
//! mounts and networks apart, but nothing limits or hardens them, and it needs root.
//!
//! Each session gets what a container would have: the same paths (an overlay over `/` whose upper layer is
//! in memory), a network with nothing but `lo`, and a process tree that ends with its guest. A child
//! outlives the daemon, as a container would; a file beside the session's folder says which process it is.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use tokio::{sync::mpsc, time::sleep};

use super::{
    Engine, EngineError, FOLDER, Found, GUEST, HOME, Health, News, SETTINGS, State, Unit, WORKSPACE,
};
use crate::id::SessionId;

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the session's root and becomes the guest. `$1` folder, `$2` guest, `$3` home and `$4` workspace.
const BECOME_GUEST: &str = r#"
set -e
root=/mnt
mount -t tmpfs tmpfs $root
mkdir $root/upper $root/work $root/root
mount -t overlay overlay -o lowerdir=/,upperdir=$root/upper,workdir=$root/work $root/root
root=$root/root
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $root/dev/pts
mount --bind $root/dev/pts/ptmx $root/dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
mount -t tmpfs -o mode=755 tmpfs $root/run
mkdir -p $root/FOLDER $root/HOME $root/WORKSPACE $root/SETTINGS
mount -t tmpfs -o mode=755 tmpfs $root/SETTINGS
touch $root/GUEST
mount --bind "$1" $root/FOLDER
mount --bind "$2" $root/GUEST
mount --bind "$3" $root/HOME
mount --bind "$4" $root/WORKSPACE
cd /
exec env -i PATH="$PATH" SANDBOX_DIR=FOLDER chroot $root GUEST init
"#;

/// Runs sessions as child processes.
pub struct LocalEngine {
    guest: PathBuf,
    dir: PathBuf,
}

impl LocalEngine {
    /// An engine that keeps its notes and volumes below `dir`.
    pub fn new(guest: &Path, dir: &Path) -> io::Result<LocalEngine> {
        fs::create_dir_all(dir)?;
        Ok(LocalEngine { guest: guest.to_owned(), dir: dir.to_owned() })
    }

    fn note(&self, session: SessionId) -> PathBuf {
        self.dir.join(format!("{session}.pid"))
    }

    fn volume(&self, volume: &str) -> PathBuf {
        self.dir.join("volumes").join(volume)
    }

    fn spawn(&self, unit: &Unit) -> io::Result<()> {
        let volume = self.volume(&unit.volume);
        let (home, workspace) = (volume.join("home"), volume.join("workspace"));
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&workspace)?;
        let script = [
            ("FOLDER", FOLDER),
            ("GUEST", GUEST),
            ("HOME", HOME),
            ("WORKSPACE", WORKSPACE),
            ("SETTINGS", SETTINGS),
        ]
        .into_iter()
        .fold(BECOME_GUEST.to_owned(), |script, (name, path)| script.replace(name, path));
        let child = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", &script, "sh"])
            .args([&unit.folder, &self.guest, &home, &workspace])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(unit.folder.join("guest.log"))?)
            .process_group(0)
            .spawn()?;
        fs::write(self.note(unit.session), process_note(child.id()).unwrap_or_default())
    }

    fn running(&self, session: SessionId) -> Option<bool> {
        let note = fs::read_to_string(self.note(session)).ok()?;
        let pid: u32 = note.split(' ').next()?.parse().ok()?;
        // Our own children stay zombies until they are waited for; others' are init's business.
        waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG)).ok();
        Some(process_note(pid).is_some_and(|now| now == note))
    }
}

#[async_trait]
impl Engine for LocalEngine {
    async fn health(&self) -> Result<Health, EngineError> {
        Ok(Health {
            version: "local processes, no sandbox".to_owned(),
            runtimes: Vec::new(),
            unlimited: Vec::new(),
            live_restore: true,
        })
    }

    async fn image_env(&self, _image: &str) -> Result<BTreeMap<String, String>, EngineError> {
        Ok(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)).into_iter().collect())
    }

    async fn start(&self, unit: &Unit) -> Result<(), EngineError> {
        self.spawn(unit).map_err(|error| EngineError::Failed {
            doing: "starting the local process",
            error: error.to_string(),
        })
    }

    async fn state(&self, session: SessionId) -> Result<State, EngineError> {
        Ok(match self.running(session) {
            Some(true) => State::Running,
            Some(false) => State::Exited { code: -1, oom: false },
            None => State::Gone,
        })
    }

    async fn remove(&self, session: SessionId) -> Result<(), EngineError> {
        while self.running(session) == Some(true) {
            let note = fs::read_to_string(self.note(session)).unwrap_or_default();
            if let Some(pid) = note.split(' ').next().and_then(|pid| pid.parse().ok()) {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            sleep(Duration::from_millis(5)).await;
        }
        fs::remove_file(self.note(session)).ok();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        let failed = |error: io::Error| EngineError::Failed {
            doing: "listing local processes",
            error: error.to_string(),
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(session) =
                name.to_str().and_then(|n| n.strip_suffix(".pid")).and_then(|n| n.parse().ok())
            else {
                continue;
            };
            found.push(Found { session, running: self.running(session) == Some(true) });
        }
        Ok(found)
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), EngineError> {
        match fs::remove_dir_all(self.volume(volume)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::Failed { doing: "removing a local volume", error: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    async fn workspace(
        &self,
        _session: SessionId,
        volume: &str,
        to: &mut tokio::fs::File,
    ) -> Result<(), EngineError> {
        let failed = |error: String| EngineError::Failed { doing: "reading the workspace", error };
        let out = to.try_clone().await.map_err(|e| failed(e.to_string()))?.into_std().await;
        let packed = tokio::process::Command::new("tar")
            .arg("-C")
            .arg(self.volume(volume))
            .args(["-c", "workspace"])
            .stdout(out)
            .status();
        let status = packed.await.map_err(|e| failed(e.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(format!("tar ended with {status}"))) }
    }

    async fn watch(&self, news: mpsc::Sender<News>) {
        let mut dead = Vec::new();
        while !news.is_closed() {
            for found in self.list().await.unwrap_or_default() {
                if !found.running && !dead.contains(&found.session) {
                    dead.push(found.session);
                    if news.send(News::Died { session: found.session }).await.is_err() {
                        return;
                    }
                }
            }
            dead.retain(|session| self.note(*session).exists());
            sleep(LOOK).await;
        }
    }
}

/// Process id and start time: names one process for as long as the machine is up.
fn process_note(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the command's closing parenthesis: state is field 3, start time field 22 (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?;
    (state != "Z").then(|| format!("{pid} {start}"))
}
