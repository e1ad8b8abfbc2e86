//! `export` and `verify`: the bundle, fetched and checked.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use flate2::read::GzDecoder;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    args::{Export, Verify},
    json, say, usage,
};
use crate::{
    bundle,
    client::{Client, ClientError},
};

/// `sandboxctl export`. A file is written under another name until it is whole.
pub(super) async fn export(args: &Export, client: &Client) -> anyhow::Result<()> {
    if let Some(to) = &args.output {
        can_hold_a_bundle(to)?;
    }
    let id = client.session(&args.session).await?.id;
    let to = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("sandbox-session-{id}.tar.gz")));
    if to.as_os_str() == "-" {
        return Ok(fetch(client, &id.to_string(), args.workspace, &mut io::stdout().lock())
            .await
            .map(drop)?);
    }
    let partial = partial(&to);
    let mut file = File::create(&partial)
        .map_err(|e| usage(format!("{}: {e}; name another file with --output", partial.display())))?;
    let fetched = fetch(client, &id.to_string(), args.workspace, &mut file).await;
    let bytes = match fetched.and_then(|bytes| file.sync_all().map(|()| bytes).map_err(write_error)) {
        Ok(bytes) => bytes,
        Err(error) => {
            std::fs::remove_file(&partial).ok();
            return Err(error.into());
        }
    };
    if let Err(error) = std::fs::rename(&partial, &to) {
        std::fs::remove_file(&partial).ok();
        return Err(usage(format!("{}: {error}; name another file with --output", to.display())));
    }
    say(&to.display().to_string())?;
    if io::stderr().is_terminal() {
        let size = bytesize::ByteSize::b(bytes).display().iec();
        eprintln!("{size}; check it with: sandboxctl verify {}", to.display());
    }
    Ok(())
}

/// Asked before anything is fetched.
fn can_hold_a_bundle(to: &Path) -> anyhow::Result<()> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    if to.is_dir() {
        return Err(usage(format!(
            "--output {}: that is a folder; name a file in it, or - for standard output",
            to.display()
        )));
    }
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(usage(format!(
            "--output {}: there is no folder {}; make it, or name another file",
            to.display(),
            folder.display()
        ))),
        None => Ok(()),
    }
}

/// Writes a session's bundle; how long it is, in bytes.
pub(super) async fn fetch(
    client: &Client,
    id: &str,
    workspace: bool,
    to: &mut impl Write,
) -> Result<u64, ClientError> {
    let style = ProgressStyle::with_template("{spinner} {bytes} at {bytes_per_sec}, {elapsed}");
    let progress =
        if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut chunks = std::pin::pin!(
        client
            .stream(&format!("/api/v1/sessions/{id}/export?workspace={workspace}"), "application/gzip")
            .await?
    );
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        to.write_all(&chunk).map_err(write_error)?;
        bytes += chunk.len() as u64;
        progress.set_position(bytes);
    }
    progress.finish_and_clear();
    Ok(bytes)
}

/// What a session's terminal showed, as text.
pub(super) async fn terminal_text(client: &Client, id: &str) -> Result<String, ClientError> {
    let mut bundle = Vec::new();
    fetch(client, id, false, &mut bundle).await?;
    let text = member(bundle.as_slice(), "terminal/session.txt").map_err(write_error)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// One file out of a bundle.
pub(super) fn member(bundle: impl Read, name: &str) -> io::Result<Vec<u8>> {
    let mut archive = tar::Archive::new(GzDecoder::new(bundle));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.components().skip(1).collect::<PathBuf>() == Path::new(name) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            return Ok(content);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("the bundle holds no {name}")))
}

/// `sandboxctl verify`.
pub(super) fn verify(args: &Verify) -> anyhow::Result<ExitCode> {
    let file = File::open(&args.file)
        .map_err(|e| usage(format!("{}: {e}; name a bundle, as `export` writes it", args.file.display())))?;
    let report = bundle::verify(BufReader::new(file), args.key.as_deref())
        .map_err(|e| anyhow::anyhow!("{}: {e}", args.file.display()))?;
    if args.json {
        json(&report)?;
    } else {
        say(&format!("{}: {report}", args.file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn write_error(error: io::Error) -> ClientError {
    ClientError::Broken(format!("it could not be written or read: {error}"))
}
