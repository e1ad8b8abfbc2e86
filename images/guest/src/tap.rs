//! `sandbox-guest tap`: runs a stdio MCP server, passes every byte both ways, and reports each message.
//!
//! ```text
//!   Claude Code ── stdin ──▶ tap ──▶ server
//!               ◀─ stdout ── tap ◀──
//!                             └── reporter ──▶ 127.0.0.1:4318/mcp, newline-delimited JSON
//! ```
//!
//! A line is passed on before it is reported. At most [`QUEUE`] bytes of reports wait; beyond that the tapped
//! stream waits too, so nothing goes unreported. The door at 4318 keeps reports while the daemon is away.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::sync_channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};
use serde::de::IgnoredAny;
use serde_json::Value;

use sandbox_guest::complain;

use crate::http;

/// Reports that may wait.
const QUEUE: usize = 4 << 20; // bytes

/// A longer line is reported in pieces, as text.
const LINE: usize = 4 << 20; // bytes

/// Where reports go.
const PORT: u16 = 4318;

/// For one step of one report.
const STEP: Duration = Duration::from_secs(10);

/// Between two attempts to report.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the last reports, and a stdout that somebody else holds open, are waited for.
const LINGER: Duration = Duration::from_secs(5);

/// The verb.
pub fn run(name: &str, command: &str, arguments: &[&str]) -> ExitCode {
    match tap(name, command, arguments) {
        Ok(status) => {
            let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(1);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(error) => {
            complain!("sandbox-guest tap: the MCP server '{command}' cannot be run: {error}");
            ExitCode::from(127)
        }
    }
}

fn tap(name: &str, command: &str, arguments: &[&str]) -> io::Result<ExitStatus> {
    let mut server =
        Command::new(command).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    forward_signals(&server)?;
    let reports = Arc::new(Reports::default());
    let reporter = {
        let reports = reports.clone();
        thread::spawn(move || reports.deliver())
    };

    if let Some(stdin) = server.stdin.take() {
        let report = reports.clone().about(name, "to_server");
        // Ends when either side closes; if the server is gone first, it ends with the process.
        thread::spawn(move || copy(io::stdin().lock(), stdin, report));
    }
    let (tell, copied) = sync_channel(1);
    if let Some(stdout) = server.stdout.take() {
        let report = reports.clone().about(name, "to_client");
        thread::spawn(move || {
            copy(BufReader::new(stdout), io::stdout(), report);
            tell.send(()).unwrap_or_default();
        });
    }
    let status = server.wait()?;
    // Usually at once; a process that the server left behind may hold its stdout open for ever.
    copied.recv_timeout(LINGER).unwrap_or_default();
    reports.close();
    // The reporter gives up by itself once the time is over.
    reporter.join().unwrap_or_default();
    Ok(status)
}

/// Passes SIGTERM and its like on to the server. Blocked only after the server has been started, which
/// therefore has them unblocked.
fn forward_signals(server: &Child) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let server = Pid::from_raw(server.id() as i32);
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            kill(server, signal).unwrap_or_default();
        }
    });
    Ok(())
}

/// Copies line by line, reporting each line once it has been passed on.
fn copy(mut from: impl BufRead, mut to: impl Write, report: impl Fn(&[u8], bool)) {
    let mut line = Vec::new();
    let mut whole = true;
    loop {
        line.clear();
        match (&mut from).take(LINE as u64).read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if to.write_all(&line).and_then(|()| to.flush()).is_err() {
            return;
        }
        let ends = line.ends_with(b"\n") || line.len() < LINE;
        report(&line, whole && ends);
        whole = ends;
    }
}

#[derive(Default)]
struct Reports {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    closed: Option<Instant>,
}

impl Reports {
    fn about(self: Arc<Self>, server: &str, direction: &'static str) -> impl Fn(&[u8], bool) + use<> {
        let server = server.to_owned();
        move |line, whole| {
            if let Some(report) = encode(&server, direction, line, whole) {
                self.push(report);
            }
        }
    }

    fn push(&self, report: Vec<u8>) {
        let full = |queue: &mut Queue| queue.bytes >= QUEUE && queue.closed.is_none();
        let queue = self.changed.wait_while(self.lock(), full);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        queue.bytes += report.len();
        queue.lines.push_back(report);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().closed = Some(Instant::now() + LINGER);
        self.changed.notify_all();
    }

    /// Delivers batches until the queue is closed and empty, or the time after its closing is over.
    fn deliver(&self) {
        loop {
            let idle = |queue: &mut Queue| queue.lines.is_empty() && queue.closed.is_none();
            let queue = self.changed.wait_while(self.lock(), idle);
            let queue = queue.unwrap_or_else(PoisonError::into_inner);
            let count = queue.lines.len();
            let batch: Vec<u8> = queue.lines.iter().flatten().copied().collect();
            drop(queue);
            if count == 0 {
                return;
            }
            while !deliver_batch(&batch) {
                if self.lock().closed.is_some_and(|until| Instant::now() >= until) {
                    return;
                }
                thread::sleep(PAUSE);
            }
            let mut queue = self.lock();
            queue.lines.drain(..count);
            queue.bytes -= batch.len();
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deliver_batch(batch: &[u8]) -> bool {
    http::post(PORT, "/mcp", "application/x-ndjson", batch, STEP).is_ok_and(|r| r.status == 200)
}

/// A message as the daemon records it, in one line.
fn encode(server: &str, direction: &str, line: &[u8], whole: bool) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let text = if whole { text.trim() } else { &text };
    if text.is_empty() {
        return None;
    }
    // Passed on as it is, so that numbers and the order of keys survive; a string where it is no JSON.
    let json = whole && serde_json::from_str::<IgnoredAny>(text).is_ok();
    let message = if json { text.to_owned() } else { Value::from(text).to_string() };
    let (server, direction) = (Value::from(server), Value::from(direction));
    let report = format!("{{\"server\":{server},\"direction\":{direction},\"message\":{message}}}\n");
    Some(report.into_bytes())
}

#[cfg(test)]
mod tests;
