//! `stack restore`: what `backup` wrote, here or on a new machine.
//!
//! The archive is read to its end and compared with its own hashes before anything is touched. Then the settings
//! come back, and this version's files are laid out over them. Only when the parts' images are there does the old
//! data go: the volumes are made anew, and the engine unpacks the backup's into them. Whatever ends that early, a
//! signal or a failure, leaves no volume rather than half of one. What ran before runs again; on a new machine
//! nothing is started.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Write},
    path::Path,
    process::ExitCode,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    archive::{self, ArchiveError, Manifest},
    backup::{self, Held},
    compose::{Compose, step},
    layout::{self, COMPOSE},
    pipelines,
    plan::Plan,
    ps::{self, Container},
    settings::Settings,
    up,
};
use crate::{
    cli::{args::stack::Restore, say, usage},
    config::Config,
    engine::archive::Archive,
};

/// Pieces of a volume's tar on their way to the engine; who reads the archive waits when there are so many.
const PIECES: usize = 16;
/// How long one of them is.
const PIECE: usize = 256 << 10; // bytes
/// Removes containers and data.
const REMOVE: [&str; 4] = ["--profile", "all", "down", "--volumes"];

/// `stack restore`.
pub(super) async fn restore(args: &Restore, dir: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let manifest = check(&args.file).await?;
    let compose = Compose::find(dir, config).await?.detached();
    let engine = Archive::connect(&config.docker.socket).await?;
    let mut there = dir.join(COMPOSE).exists();
    for name in manifest.volumes.values() {
        there |= engine.has_volume(name).await?;
    }
    let question = format!(
        "There is a stack already. Its settings in {} and all of its data are replaced with those of {}, which \
         was made at {}.",
        dir.display(),
        args.file.display(),
        manifest.made_at
    );
    if there && !args.yes && !super::confirmed(&question)? {
        say("nothing was changed")?;
        return Ok(ExitCode::FAILURE);
    }
    settings(&args.file, dir).await?;
    up::lay_out(dir, config)?;
    let plan = Plan::of(&compose).await?;
    let before = ps::containers(&compose).await?;
    let is_running = |part: &&String| before.get(*part).is_some_and(Container::is_up);
    let running: Vec<&str> = plan.parts.keys().filter(is_running).map(String::as_str).collect();
    let (wanted, foreign): (Vec<&str>, Vec<&str>) =
        manifest.volumes.keys().map(String::as_str).partition(|key| plan.volumes.contains_key(*key));
    for key in foreign {
        super::note(&format!("the volume {key} of the backup is none of this version's; it is left out"));
    }
    let old = backup::present(&plan, &engine).await?;
    let prepared = backup::prepare(&compose, &plan, &wanted).await;
    prepared.map_err(|error| error.context(fate(&old, Some(&old))))?;
    // From here on nobody ends the process before it is told how things stand.
    let mut interrupted = std::pin::pin!(backup::interrupted()?);
    let brought = replace(&args.file, &wanted, &old, &compose, &plan, &engine, &mut interrupted);
    brought.await?;
    let again = start_again(compose, &plan, &running, interrupted).await;
    say(&format!(
        "restored from {}: settings in {}, {} in {} volumes",
        args.file.display(),
        dir.display(),
        bytesize::ByteSize::b(manifest.bytes()).display().iec(),
        manifest.volumes.len()
    ))?;
    if running.is_empty() {
        say("start it with: sandboxctl stack up")?;
    }
    again?;
    Ok(ExitCode::SUCCESS)
}

/// Starts what ran, and waits until it is well.
async fn start_again(
    compose: Compose,
    plan: &Plan,
    running: &[&str],
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if running.is_empty() {
        return Ok(());
    }
    let settings = Settings::read(compose.dir());
    let compose = compose.with(pipelines::without_absent(&settings, |part| running.contains(&part)));
    let args = [&["--profile", "all", "up", "--detach"], running].concat();
    compose.run("starting the stack again", &args).await?;
    let parts: Vec<String> = running.iter().map(|part| (*part).to_owned()).collect();
    layout::settle(compose.dir(), &parts)?;
    tokio::select! {
        again = backup::well_again(&compose, plan, running) => again,
        () = interrupted => Err(anyhow::anyhow!("interrupted; `sandboxctl stack status` shows what is well again")),
    }
}

/// Reads the whole archive.
async fn check(path: &Path) -> anyhow::Result<Manifest> {
    let file = open(path)?;
    let line = step("checking the backup");
    let checked = spawn_blocking(move || archive::verify(file)).await?;
    line.finish_and_clear();
    checked.map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path)
        .map_err(|e| usage(format!("{}: {e}; name a file that `stack backup` wrote", path.display())))?;
    Ok(BufReader::new(file))
}

async fn settings(path: &Path, dir: &Path) -> anyhow::Result<()> {
    let (file, dir) = (open(path)?, dir.to_owned());
    layout::make(&dir)?;
    let written = spawn_blocking(move || {
        archive::settings(file, |name, mode, data| layout::write(&dir.join(name), data, mode))
    });
    Ok(written.await??)
}

/// Replaces the data, or leaves none.
async fn replace(
    path: &Path,
    wanted: &[&str],
    old: &[&str],
    compose: &Compose,
    plan: &Plan,
    engine: &Archive,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if let Err(error) = compose.run("removing what is there", &REMOVE).await {
        let left = backup::present(plan, engine).await.ok();
        return Err(anyhow::Error::from(error).context(fate(old, left.as_deref())));
    }
    let brought = tokio::select! {
        brought = bring(path, wanted, compose, plan, engine) => brought,
        () = interrupted => Err(anyhow::anyhow!("interrupted")),
    };
    let Err(error) = brought else { return Ok(()) };
    let error = match compose.run("removing what is not whole", &REMOVE).await {
        Ok(()) => error,
        Err(also) => error.context(format!(
            "{also}; before the next `sandboxctl stack up`, `sandboxctl stack reset` has to remove what is not \
             whole; and before that"
        )),
    };
    Err(error.context(fate(old, Some(&[]))))
}

/// What has become of the old data where it could not be replaced, and what to do. `left` is what is there of it, if
/// that is known.
fn fate(old: &[&str], left: Option<&[&str]>) -> String {
    let of_the_old = match left {
        _ if old.is_empty() => "the backup's data is not there yet",
        None => "it is not known what is left of the old data",
        Some(left) if old.iter().all(|volume| left.contains(volume)) => {
            "the old data is still there, beside the backup's settings"
        }
        Some(_) => "the old data is gone and the backup's is not there yet",
    };
    format!("{of_the_old}, so run the restore again when this is solved")
}

/// Makes the volumes and fills them, one after the other, in one reading of the archive.
async fn bring(
    path: &Path,
    wanted: &[&str],
    compose: &Compose,
    plan: &Plan,
    engine: &Archive,
) -> anyhow::Result<()> {
    let held = backup::hold(compose, plan, wanted).await?;
    let held: BTreeMap<String, Held> = held.into_iter().map(|held| (held.key.clone(), held)).collect();
    let line = step("bringing the data back");
    let (volumes, mut opened) = mpsc::channel(1);
    let (file, path) = (open(path)?, path.to_owned());
    let reading = spawn_blocking(move || read(file, &path, &volumes));
    while let Some((key, pieces)) = opened.recv().await {
        line.set_message(key.clone());
        match held.get(&key) {
            Some(Held { container, path, .. }) => {
                engine.write(container, path, ReceiverStream::new(pieces)).await?;
            }
            None => drain(pieces).await,
        }
    }
    reading.await??;
    line.finish_and_clear();
    Ok(())
}

/// A volume's name, and its tar as it is read.
type Opened = (String, mpsc::Receiver<io::Result<Bytes>>);

fn read(file: BufReader<File>, path: &Path, volumes: &mpsc::Sender<Opened>) -> anyhow::Result<()> {
    let gone = || io::Error::other("the engine took no more of a volume");
    let read = archive::volumes(file, |key| {
        let (pieces, receiver) = mpsc::channel(PIECES);
        volumes.blocking_send((key.to_owned(), receiver)).map_err(|_| gone())?;
        Ok(Pieces { pieces, buffer: Vec::with_capacity(PIECE) })
    });
    read.map_err(|error: ArchiveError| anyhow::anyhow!("{}: {error}", path.display()))
}

async fn drain(mut pieces: mpsc::Receiver<io::Result<Bytes>>) {
    while pieces.recv().await.is_some() {}
}

/// A writer whose other end is a stream. Without a flush at the end the engine is told of a failure: half a tar
/// would unpack as a whole one.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        let sent = self.pieces.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::Error::other("the engine took no more of a volume"))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if !self.buffer.is_empty() {
            let broken = io::Error::other("the archive could not be read to its end");
            // Who took no more has its own error already.
            self.pieces.try_send(Err(broken)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_data_is_said_to_be_gone_only_if_there_was_some_and_it_is() {
        let gone = |old: &[&str], left| fate(old, left).contains("old data is gone");
        assert!(gone(&["loki"], Some(&[])) && gone(&["loki", "jaeger"], Some(&["loki"])));
        assert!(!gone(&["loki"], Some(&["loki"])) && !gone(&["loki"], None));
        assert!(!gone(&[], Some(&[])) && !gone(&[], None));
        assert!(fate(&[], None).contains("run the restore again"));
    }
}
