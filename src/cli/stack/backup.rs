//! `stack backup`: settings and data in one archive.
//!
//! What runs is stopped first, since files that are being written to make no backup, and is started again whatever
//! happens: on a failure, on Ctrl-C, when the terminal is closed. Meanwhile the daemon's destination waits: what
//! sessions send is in their journals, and goes out afterwards.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufWriter, Read},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    archive::Writer,
    compose::{Compose, ComposeError, step},
    plan::Plan,
    ps::{self, Container},
    wait,
};
use crate::{
    cli::{args::stack::Backup, say, usage},
    clock,
    config::Config,
    engine::archive::Archive,
};

mod files;

/// How long parts that were stopped may take to be well again.
const PATIENCE: Duration = Duration::from_secs(180);

/// A volume, and a container that holds it.
pub(super) struct Held {
    /// The volume's name in the stack's file.
    pub key: String,
    name: String,
    /// The container's name.
    pub container: String,
    /// Where it is mounted there.
    pub path: String,
}

/// `stack backup`.
pub(super) async fn backup(args: &Backup, dir: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let to = &args.file;
    if to.exists() {
        return Err(usage(format!("{} is there already; name another file", to.display())));
    }
    if files::is_inside(to, dir) {
        return Err(usage(format!(
            "{} is in the stack's folder, all of which goes into a backup; name a file outside of {}",
            to.display(),
            dir.display()
        )));
    }
    let partial = files::partial(to);
    let file = files::begin(&partial).map_err(|e| {
        usage(format!("{}: {e}; name a file in a folder that you can write to", partial.display()))
    })?;
    let written = write(file, dir, config).await;
    let kept = match written {
        Ok(done) => fs::rename(&partial, to).map(|()| done).map_err(Into::into),
        Err(error) => Err(error),
    };
    let (left_out, again) = kept.inspect_err(|_| {
        fs::remove_file(&partial).ok();
    })?;
    for file in left_out {
        super::note(&format!("left out: {file}"));
    }
    let size = bytesize::ByteSize::b(fs::metadata(to)?.len()).display().iec();
    say(&format!("{}: {size}; it holds passwords, keep it safe", to.display()))?;
    again?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the archive. What comes back is what is not in it, and whether the stack runs again: the archive is as good
/// if not.
async fn write(
    file: fs::File,
    dir: &Path,
    config: &Config,
) -> anyhow::Result<(Vec<String>, anyhow::Result<()>)> {
    let compose = Compose::find(dir, config).await?.detached();
    let plan = Plan::of(&compose).await?;
    let archive = Archive::connect(&config.docker.socket).await?;
    let held = hold(&compose, &plan, &present(&plan, &archive).await?).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = interrupted()?;
    let before = ps::containers(&compose).await?;
    let names = |wanted: fn(&Container) -> bool| -> Vec<&str> {
        before.iter().filter(|(_, c)| wanted(c)).map(|(name, _)| name.as_str()).collect()
    };
    let (running, well) = (names(Container::is_up), names(|c| c.condition().is_well()));
    let copied = async {
        if !running.is_empty() {
            let args = [&["--profile", "all", "stop"], running.as_slice()].concat();
            compose.run("stopping the stack", &args).await?;
        }
        let mut copying = std::pin::pin!(copy(file, dir, &held, &archive, &stop));
        tokio::select! {
            copied = &mut copying => copied,
            () = interrupted => {
                stop.store(true, Ordering::Relaxed);
                copying.await.ok();
                Err(anyhow::anyhow!("interrupted; no backup was written"))
            }
        }
    }
    .await;
    let again = start_again(&compose, &plan, &running, &well).await;
    match (copied, again) {
        (Ok(left_out), again) => Ok((left_out, again)),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(also)) => Err(error.context(format!("{also:#}; and before that"))),
    }
}

/// Starts what ran, and waits for what was well.
async fn start_again(compose: &Compose, plan: &Plan, running: &[&str], well: &[&str]) -> anyhow::Result<()> {
    if running.is_empty() {
        return Ok(());
    }
    let args = [&["--profile", "all", "start"], running].concat();
    compose.run("starting the stack again", &args).await?;
    well_again(compose, plan, well).await
}

/// Waits for parts that were well before.
pub(super) async fn well_again(compose: &Compose, plan: &Plan, parts: &[&str]) -> anyhow::Result<()> {
    let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    match wait::until_well(compose, plan, &parts, PATIENCE).await?.first() {
        None => Ok(()),
        Some(trouble) => anyhow::bail!(
            "{} does not come back: {}; see `sandboxctl stack logs {}`",
            trouble.part,
            trouble.found,
            trouble.part
        ),
    }
}

/// The volumes that there are.
pub(super) async fn present<'a>(plan: &'a Plan, archive: &Archive) -> anyhow::Result<Vec<&'a str>> {
    let mut there = Vec::new();
    for (key, name) in &plan.volumes {
        if archive.has_volume(name).await? {
            there.push(key.as_str());
        }
    }
    Ok(there)
}

/// A container for each of these volumes: of a part that has none, one is made and not started.
pub(super) async fn hold(compose: &Compose, plan: &Plan, volumes: &[&str]) -> anyhow::Result<Vec<Held>> {
    let holders = holders(plan, volumes)?;
    let mut there = ps::containers(compose).await?;
    let missing: BTreeSet<&str> =
        holders.iter().map(|(_, part, _)| *part).filter(|part| !there.contains_key(*part)).collect();
    if !missing.is_empty() {
        create(compose, &missing).await?;
        there = ps::containers(compose).await?;
    }
    let mut held = Vec::new();
    for (key, part, path) in holders {
        let Some(container) = there.get(part) else {
            anyhow::bail!("Compose made no container for {part}; see `sandboxctl stack status`");
        };
        let name = plan.volumes.get(&key).cloned().unwrap_or_default();
        held.push(Held { key, name, container: container.name.clone(), path });
    }
    Ok(held)
}

/// Has the images of the parts that hold these volumes, and whatever else their containers need.
pub(super) async fn prepare(compose: &Compose, plan: &Plan, volumes: &[&str]) -> anyhow::Result<()> {
    let parts: BTreeSet<&str> = holders(plan, volumes)?.iter().map(|(_, part, _)| *part).collect();
    if parts.is_empty() { Ok(()) } else { Ok(create(compose, &parts).await?) }
}

async fn create(compose: &Compose, parts: &BTreeSet<&str>) -> Result<(), ComposeError> {
    let mut args = vec!["--profile", "all", "create", "--no-recreate"];
    args.extend(parts);
    compose.run("making the parts' containers", &args).await
}

/// Of each of these volumes its name, a part that writes to it, and where it is mounted there.
fn holders<'a>(plan: &'a Plan, volumes: &[&str]) -> anyhow::Result<Vec<(String, &'a str, String)>> {
    let holder = |key: &&str| {
        let holder = plan.parts.iter().find_map(|(part, p)| {
            let (_, path) = p.volumes.iter().find(|(volume, _)| volume == key)?;
            Some(((*key).to_owned(), part.as_str(), path.clone()))
        });
        holder.ok_or_else(|| {
            anyhow::anyhow!("the volume {key} is mounted for writing by no part, and so cannot be reached")
        })
    };
    volumes.iter().map(holder).collect()
}

async fn copy(
    file: fs::File,
    dir: &Path,
    held: &[Held],
    archive: &Archive,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Vec<String>> {
    let line = step("writing the backup");
    let mut writer = Writer::new(BufWriter::new(file), clock::timestamp(clock::now()).to_string());
    let left_out = files::settings(dir, &mut writer)?;
    for Held { key, name, container, path } in held {
        line.set_message(key.clone());
        let pieces = Box::pin(archive.read(container, path));
        let pieces = pieces.map(|piece| piece.map_err(io::Error::other));
        let (key, name, stop) = (key.clone(), name.clone(), stop.clone());
        let mut from = Stoppable { inner: SyncIoBridge::new(StreamReader::new(pieces)), stop };
        writer = spawn_blocking(move || -> io::Result<_> {
            writer.volume(&key, &name, &mut from)?;
            // What the engine still has to say is how it went.
            io::copy(&mut from, &mut io::sink())?;
            Ok(writer)
        })
        .await??;
    }
    let file = spawn_blocking(move || writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error))
        .await??;
    file.sync_all()?;
    line.finish_and_clear();
    Ok(left_out)
}

/// Whoever wants us to end: from now on they are heard, and do not end the process.
pub(super) fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// A reader that fails once it is told to.
struct Stoppable<R> {
    inner: R,
    stop: Arc<AtomicBool>,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.read(to)
    }
}
