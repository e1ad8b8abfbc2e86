//! A program at a terminal that we hold the other end of: what a person's terminal is to a CLI.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// How much is read at once: what the guest reads, so that neither has the advantage.
const READ: usize = 64 << 10; // bytes

/// A running program and its terminal.
pub struct Pty {
    child: Box<dyn Child + Send + Sync>,
    read: Box<dyn Read + Send>,
    write: Box<dyn Write + Send>,
    _master: Box<dyn MasterPty + Send>,
    /// What it has written and nobody has looked for yet.
    seen: Vec<u8>,
    /// When it was started.
    pub began: Instant,
}

impl Pty {
    /// Starts a program at a terminal of 80 × 24.
    pub fn spawn(argv: &[&str]) -> anyhow::Result<Pty> {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new(argv[0]);
        command.args(&argv[1..]);
        let read = pair.master.try_clone_reader()?;
        let write = pair.master.take_writer()?;
        let began = Instant::now();
        let child = pair.slave.spawn_command(command).with_context(|| argv[0].to_owned())?;
        Ok(Pty { child, read, write, _master: pair.master, seen: Vec::new(), began })
    }

    /// Reads until these bytes have come; returns when, and keeps what came after them.
    pub fn until(&mut self, wanted: &[u8]) -> anyhow::Result<Instant> {
        let mut buffer = vec![0; READ];
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen, wanted) {
                self.seen.drain(..at + wanted.len());
                return Ok(Instant::now());
            }
            let n = self.read.read(&mut buffer).unwrap_or(0);
            let shown =
                || String::from_utf8_lossy(&self.seen[self.seen.len().saturating_sub(600)..]).into_owned();
            ensure!(
                n > 0,
                "the program ended before it wrote {:?}: {}",
                String::from_utf8_lossy(wanted),
                shown()
            );
            self.seen.extend_from_slice(&buffer[..n]);
        }
    }

    /// Reads until these bytes have come, keeping none; returns how many there were, and when.
    pub fn count_until(&mut self, wanted: &[u8]) -> anyhow::Result<(u64, Instant)> {
        let mut buffer = vec![0; READ];
        let mut bytes = self.seen.len() as u64;
        let mut tail = std::mem::take(&mut self.seen);
        loop {
            if memchr::memmem::find(&tail, wanted).is_some() {
                return Ok((bytes, Instant::now()));
            }
            let keep = tail.len().min(wanted.len() - 1);
            tail.drain(..tail.len() - keep);
            let n = self.read.read(&mut buffer).unwrap_or(0);
            ensure!(n > 0, "the program ended before it wrote {:?}", String::from_utf8_lossy(wanted));
            bytes += n as u64;
            tail.extend_from_slice(&buffer[..n]);
        }
    }

    /// Types.
    pub fn type_in(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.write.write_all(bytes)?;
        Ok(self.write.flush()?)
    }

    /// Reads to the end, and waits for the program.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let mut buffer = vec![0; READ];
        while self.read.read(&mut buffer).unwrap_or(0) > 0 {}
        self.child.wait()?;
        Ok(())
    }

    /// Ends the program.
    pub fn kill(mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// From the start of a program to these bytes of it; then it may end by itself.
pub fn time_to(argv: &[&str], wanted: &[u8]) -> anyhow::Result<Duration> {
    let mut pty = Pty::spawn(argv)?;
    let took = pty.until(wanted)? - pty.began;
    pty.finish()?;
    Ok(took)
}
