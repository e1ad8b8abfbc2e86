//! The headers by which a destination knows us: from a file, from a helper program, or from both.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{process::Command, sync::Mutex, time::timeout};

use super::ForwarderError;
use crate::{config::Forward, inert::inert};

/// How long what the helper printed is used, unless the destination no longer knows it.
const FRESH: Duration = Duration::from_secs(30 * 60);
/// The least time between two runs of the helper, however often the destination says no.
const RUN_EVERY: Duration = Duration::from_secs(5);
/// How long a helper may take.
const HELPER: Duration = Duration::from_secs(30);

/// What is sent with every request.
pub(super) struct Headers {
    fixed: HeaderMap,
    helper: Vec<String>,
    made: Mutex<Option<Made>>,
}

/// What a helper printed.
struct Made {
    at: Instant,
    headers: HeaderMap,
    /// The destination has said that it does not know them.
    unknown: bool,
}

impl Headers {
    /// Reads the file, if there is one.
    pub(super) fn new(name: &str, config: &Forward) -> Result<Headers, ForwarderError> {
        let fixed =
            config.headers_file.as_deref().map_or(Ok(HeaderMap::new()), |path| from_file(name, path))?;
        Ok(Headers { fixed, helper: config.headers_helper.clone(), made: Mutex::default() })
    }

    /// More of them, besides.
    pub(super) fn add(&mut self, more: HeaderMap) {
        self.fixed.extend(more);
    }

    /// The headers as of now; a sentence when the helper fails.
    pub(super) async fn get(&self) -> Result<HeaderMap, String> {
        if self.helper.is_empty() {
            return Ok(self.fixed.clone());
        }
        let mut made = self.made.lock().await;
        let good = made.as_ref().is_some_and(|made| {
            let age = made.at.elapsed();
            age < RUN_EVERY || (!made.unknown && age < FRESH)
        });
        if !good {
            *made = Some(Made { at: Instant::now(), headers: run(&self.helper).await?, unknown: false });
        }
        let mut all = self.fixed.clone();
        all.extend(made.as_ref().map(|made| made.headers.clone()).unwrap_or_default());
        Ok(all)
    }

    /// The destination does not know them: the helper is asked for others, soon.
    pub(super) async fn unknown(&self) {
        if let Some(made) = self.made.lock().await.as_mut() {
            made.unknown = true;
        }
    }
}

async fn run(helper: &[String]) -> Result<HeaderMap, String> {
    let (program, arguments) = helper.split_first().ok_or("there is no helper")?;
    let said = |problem: &dyn std::fmt::Display| format!("the headers helper {}: {problem}", inert(program));
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(HELPER, child)
        .await
        .map_err(|_| said(&format!("it took longer than {} s", HELPER.as_secs())))?
        .map_err(|e| said(&e))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let first = why.lines().next().unwrap_or_default();
        return Err(said(&format!("{}: {}", output.status, inert(first))));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| said(&"it printed what is no text"))?;
    parse(&text).map_err(|problem| said(&problem))
}

/// One header a line; nobody but the daemon may read the file.
fn from_file(name: &str, path: &Path) -> Result<HeaderMap, ForwarderError> {
    let wrong = |problem: String| ForwarderError::File {
        key: format!("forward.{name}.headers_file"),
        path: path.to_owned(),
        problem,
    };
    let text = read_private(path).map_err(wrong)?;
    parse(&text).map_err(wrong)
}

/// The text of a file that only the daemon may read; a sentence otherwise.
pub(super) fn read_private(path: &Path) -> Result<String, String> {
    let mode = std::fs::metadata(path).map_err(|e| e.to_string())?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "its mode is {:o}; nobody but the daemon may read it: chmod 600 it",
            mode & 0o777
        ));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

fn parse(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        });
        let (name, value) = parsed.ok_or_else(|| format!("line {} is not `Name: value`", n + 1))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// A file of the configuration, with the key that names it.
pub(super) fn read(key: String, path: &PathBuf) -> Result<Vec<u8>, ForwarderError> {
    std::fs::read(path).map_err(|e| ForwarderError::File { key, path: path.clone(), problem: e.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn of(script: &str) -> Headers {
        let helper = ["sh", "-c", script].map(str::to_owned).to_vec();
        Headers { fixed: HeaderMap::new(), helper, made: Mutex::default() }
    }

    #[tokio::test]
    async fn a_helper_runs_once_and_again_when_it_is_no_longer_known() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let headers = of(&format!("echo x >> {0}; echo \"X-Token: $(wc -l < {0})\"", count.display()));
        assert_eq!(headers.get().await.unwrap()["x-token"], "1");
        assert_eq!(headers.get().await.unwrap()["x-token"], "1");
        headers.unknown().await;
        assert_eq!(headers.get().await.unwrap()["x-token"], "1", "not as often as it is refused");
        headers.made.lock().await.as_mut().unwrap().at -= RUN_EVERY;
        assert_eq!(headers.get().await.unwrap()["x-token"], "2");
    }

    #[tokio::test]
    async fn what_a_helper_cannot_do_is_said() {
        let problem = |script: &'static str| async move { of(script).get().await.unwrap_err() };
        assert!(problem("echo no key >&2; exit 3").await.contains("no key"));
        assert!(problem("echo nonsense").await.contains("line 1 is not `Name: value`"));
        let none =
            Headers { fixed: HeaderMap::new(), helper: vec!["/no/such".to_owned()], made: Mutex::default() };
        assert!(none.get().await.unwrap_err().contains("/no/such"));
    }
}
