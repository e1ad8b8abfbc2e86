//! The daemon's look at itself and its surroundings: each failure with its remedy.

use nix::sys::statvfs::statvfs;

use super::{LEAST_FREE, Supervisor};
use crate::{
    api::{Check, CheckState},
    clock,
    engine::{Health, runtime_remedy},
    spec::is_gvisor,
};

/// The check of gVisor.
const GVISOR: &str = "gvisor";

impl Supervisor {
    /// Whether sessions can be started; a sentence where not.
    pub async fn ready(&self) -> Result<(), String> {
        if self.inner.cancel.is_cancelled() {
            return Err("the daemon is stopping".to_owned());
        }
        self.inner.engine.health().await.map_err(|e| e.to_string())?;
        self.inner.store.ping().await.map_err(|e| e.to_string())?;
        self.check_space().map_err(|e| e.to_string())
    }

    /// Checks engine, images, runtimes, guest, disk, store and clock. The round trip through a real session
    /// is the CLI's part: it needs a session of its own.
    pub async fn doctor(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        self.check_engine(&mut checks).await;
        self.check_images(&mut checks).await;
        checks.push(self.check_guest());
        checks.push(self.check_disk());
        checks.push(match self.inner.store.ping().await {
            Ok(()) => ok("store", "answers"),
            Err(error) => {
                failed("store", &error.to_string(), "see the daemon's log; check the state folder's disk")
            }
        });
        checks.push(check_clock());
        checks
    }

    async fn check_engine(&self, checks: &mut Vec<Check>) {
        let health = match self.inner.engine.health().await {
            Ok(health) => health,
            Err(error) => {
                let remedy = "start the engine (systemctl start docker), or set docker.socket";
                checks.push(failed("engine", &error.to_string(), remedy));
                return;
            }
        };
        checks.push(ok("engine", &format!("{}, runtimes {}", health.version, health.runtimes.join(", "))));
        checks.push(if health.live_restore {
            ok("live-restore", "on: sessions survive a restart of the engine")
        } else {
            warning(
                "live-restore",
                "off: a restart of the engine ends every session",
                "put {\"live-restore\": true} into /etc/docker/daemon.json and reload the engine",
            )
        });
        for (name, profile) in &self.inner.config.profiles {
            if let Some(runtime) = &profile.runtime
                && !health.runtimes.contains(runtime)
            {
                let found = format!("profile {name} asks for {runtime}, which the engine does not have");
                let check = if is_gvisor(Some(runtime)) { GVISOR } else { "runtime" };
                checks.push(failed(check, &found, runtime_remedy(runtime)));
            }
        }
        if !health.runtimes.is_empty() && checks.iter().all(|c| c.name != GVISOR) {
            checks.push(check_gvisor(&health));
        }
    }

    async fn check_images(&self, checks: &mut Vec<Check>) {
        let mut images: Vec<&str> = self.inner.config.profiles.values().map(|p| p.image.as_str()).collect();
        images.sort_unstable();
        images.dedup();
        for image in images {
            checks.push(match self.inner.engine.image_env(image).await {
                Ok(_) => ok("image", image),
                Err(error) => {
                    failed("image", &error.to_string(), "run ./scripts/run, or docker pull the image")
                }
            });
        }
    }

    fn check_guest(&self) -> Check {
        let guest = &self.inner.guest;
        if guest.is_file() {
            ok("guest", &guest.display().to_string())
        } else {
            let found = format!("{} is not there", guest.display());
            failed(
                "guest",
                &found,
                "put sandbox-guest beside sandboxctl, or set `guest` in the configuration",
            )
        }
    }

    fn check_disk(&self) -> Check {
        let dir = &self.inner.config.state_dir;
        let free = statvfs(dir).map_or(0, |s| s.blocks_available().saturating_mul(s.fragment_size()));
        let found = format!("{} free below {}", bytesize::ByteSize::b(free).display().iec(), dir.display());
        let remedy = "free some space, or move state_dir to a larger disk";
        if free < LEAST_FREE {
            failed("disk", &found, remedy)
        } else if free < LEAST_FREE * 32 {
            warning("disk", &found, remedy)
        } else {
            ok("disk", &found)
        }
    }
}

/// Whether a stranger's session could have a kernel of its own. Nobody has to want that.
fn check_gvisor(health: &Health) -> Check {
    match health.runtimes.iter().find(|name| is_gvisor(Some(name))) {
        Some(name) if health.unlimited.contains(name) => warning(
            GVISOR,
            &format!("{name} ignores cgroups: no limit of memory or processors holds in it"),
            "run ./scripts/gvisor where the engine's cgroups can be used",
        ),
        Some(name) => ok(GVISOR, &format!("the engine has it, as {name}")),
        None => {
            let found = "the engine does not have it, and no profile asks for it";
            check(GVISOR, CheckState::Ok, found, Some("for users who are strangers: ./scripts/gvisor"))
        }
    }
}

/// A clock that stands before this program was written is wrong, and would spoil every timestamp.
fn check_clock() -> Check {
    const WRITTEN: u64 = 1_790_000_000_000_000; // µs since the epoch: September 2026
    let now = clock::now();
    let found = clock::timestamp(now).to_string();
    if now < WRITTEN {
        failed("clock", &found, "set the machine's clock; run a time service")
    } else {
        ok("clock", &found)
    }
}

fn check(name: &str, state: CheckState, found: &str, remedy: Option<&str>) -> Check {
    Check { name: name.to_owned(), state, found: found.to_owned(), remedy: remedy.map(str::to_owned) }
}

fn ok(name: &str, found: &str) -> Check {
    check(name, CheckState::Ok, found, None)
}

fn warning(name: &str, found: &str, remedy: &str) -> Check {
    check(name, CheckState::Warning, found, Some(remedy))
}

fn failed(name: &str, found: &str, remedy: &str) -> Check {
    check(name, CheckState::Failed, found, Some(remedy))
}
