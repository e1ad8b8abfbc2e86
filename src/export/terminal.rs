//! What is shown of the terminal: the recording, and the text that a reader would have seen.
//!
//! ```text
//!   frames ─▶ mask ─▶ batches ─┬─▶ cast: a thread ─▶ terminal/session.cast
//!                              └─▶ text: a thread ─▶ terminal/session.txt
//! ```
//!
//! Output is masked before it is either, since what is masked may lie across two frames. The text is masked
//! once more: a screen puts together what was drawn in pieces.

use std::{
    io, mem,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::{
    ExportError, Source,
    files::{Packer, Stage, Staged},
};
use crate::{
    cast::{Cast, Header},
    clock,
    redact::{Redactor, TimedStream},
    text::Text,
};

/// What is handed to the threads at once.
const BATCH: usize = 256 << 10; // bytes
/// Batches that wait for a thread; the reading of the journal waits for the slower one.
const WAITING: usize = 4;

/// Something that happened on the terminal, masked, with its time.
enum Shown {
    Output(u64, Vec<u8>),
    Input(u64, Vec<u8>),
    Resize(u64, u16, u16),
    Marker(u64, String),
    Exit(u64, i32),
    /// Nothing: the session goes on until here.
    End(u64),
}

type Batch = Arc<Vec<Shown>>;

/// Both files, in the making.
pub(super) struct Terminal {
    redactor: Redactor,
    output: TimedStream,
    batch: Vec<Shown>,
    weight: usize,
    last: u64,
    workers: [Worker; 2],
}

struct Worker {
    batches: SyncSender<Batch>,
    thread: JoinHandle<io::Result<Staged>>,
}

impl Terminal {
    pub(super) fn start(source: &Source<'_>, packer: &mut Packer) -> Result<Terminal, ExportError> {
        let start = clock::micros(source.session.created_at);
        let (cols, rows) = (source.spec.cols, source.spec.rows);
        let header = Header {
            cols,
            rows,
            term: Some("xterm-256color".to_owned()),
            timestamp: Some(start / 1_000_000),
            command: Some(source.session.program.join(" ")),
            title: Some(format!("sandboxctl session {}", source.session.id)),
        };
        let mut cast_file = packer.stage("terminal/session.cast", &source.redactor);
        let (cast, first) = Cast::new(&header, start);
        cast_file.write_masked(&source.redactor.redact(first.as_bytes()))?;
        let text_file = packer.stage("terminal/session.txt", &source.redactor);
        let text = Text::new(cols, rows);
        Ok(Terminal {
            redactor: source.redactor.clone(),
            output: source.redactor.timed(),
            batch: Vec::new(),
            weight: 0,
            last: start,
            workers: [
                Worker::start("export-cast", |batches| write_cast(cast, cast_file, &batches))?,
                Worker::start("export-text", |batches| write_text(text, text_file, &batches))?,
            ],
        })
    }

    /// Something happened in the session at this time.
    pub(super) fn passed(&mut self, time: u64) {
        self.last = self.last.max(time);
    }

    pub(super) fn output(&mut self, time: u64, bytes: &[u8]) -> io::Result<()> {
        for (time, bytes) in self.output.push(time, bytes) {
            self.weight += bytes.len();
            self.batch.push(Shown::Output(time, bytes));
        }
        if self.weight >= BATCH { self.hand_on() } else { Ok(()) }
    }

    pub(super) fn input(&mut self, time: u64, bytes: &[u8]) -> io::Result<()> {
        let masked = self.redactor.redact(bytes).into_owned();
        self.show(Shown::Input(time, masked))
    }

    pub(super) fn resize(&mut self, time: u64, cols: u16, rows: u16) -> io::Result<()> {
        self.show(Shown::Resize(time, cols, rows))
    }

    pub(super) fn marker(&mut self, time: u64, label: &[u8]) -> io::Result<()> {
        let masked = String::from_utf8_lossy(&self.redactor.redact(label)).into_owned();
        self.show(Shown::Marker(time, masked))
    }

    pub(super) fn exit(&mut self, time: u64, code: i32) -> io::Result<()> {
        self.show(Shown::Exit(time, code))
    }

    /// What the masking holds back comes first.
    fn show(&mut self, shown: Shown) -> io::Result<()> {
        let held = self.output.finish();
        self.batch.extend(held.into_iter().map(|(time, bytes)| Shown::Output(time, bytes)));
        self.batch.push(shown);
        // Small things are many before they weigh anything.
        if self.batch.len() >= BATCH / 64 { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.weight = 0;
        let batch = Arc::new(mem::take(&mut self.batch));
        for worker in &self.workers {
            let sent = worker.batches.send(Arc::clone(&batch));
            sent.map_err(|_| io::Error::other("a part of the export has stopped"))?;
        }
        Ok(())
    }

    /// Completes both.
    pub(super) fn finish(mut self) -> io::Result<Vec<Staged>> {
        let handed_on = self.show(Shown::End(self.last)).and_then(|()| self.hand_on());
        // Why a thread stopped is what it says itself.
        let staged: io::Result<Vec<Staged>> = self.workers.into_iter().map(Worker::finish).collect();
        let staged = staged?;
        handed_on.map(|()| staged)
    }
}

impl Worker {
    fn start(
        name: &str,
        work: impl FnOnce(Receiver<Batch>) -> io::Result<Staged> + Send + 'static,
    ) -> io::Result<Worker> {
        let (batches, waiting) = sync_channel(WAITING);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(waiting))?;
        Ok(Worker { batches, thread })
    }

    fn finish(self) -> io::Result<Staged> {
        drop(self.batches);
        self.thread.join().map_err(|_| io::Error::other("a part of the export panicked"))?
    }
}

fn write_cast(mut cast: Cast, mut file: Stage, batches: &Receiver<Batch>) -> io::Result<Staged> {
    for batch in batches {
        for shown in batch.iter() {
            let line = match shown {
                Shown::Output(time, bytes) => cast.output(*time, bytes),
                Shown::Input(time, bytes) => cast.input(*time, bytes),
                Shown::Resize(time, cols, rows) => cast.resize(*time, *cols, *rows),
                Shown::Marker(time, label) => cast.marker(*time, label),
                Shown::Exit(time, code) => cast.exit(*time, *code),
                Shown::End(time) => cast.finish(*time),
            };
            file.write_masked(line.as_bytes())?;
        }
    }
    file.finish()
}

fn write_text(mut text: Text, mut file: Stage, batches: &Receiver<Batch>) -> io::Result<Staged> {
    let mut seen = String::new();
    for batch in batches {
        for shown in batch.iter() {
            match shown {
                Shown::Output(_, bytes) => text.advance(bytes, &mut seen).map_err(io::Error::other)?,
                Shown::Resize(_, cols, rows) => {
                    text.resize(*cols, *rows, &mut seen).map_err(io::Error::other)?;
                }
                _ => {}
            }
        }
        file.write(seen.as_bytes())?;
        seen.clear();
    }
    text.finish(&mut seen).map_err(io::Error::other)?;
    file.write(seen.as_bytes())?;
    file.finish()
}
