//! What each file of a bundle takes from each frame.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use sandbox_guest::wire::{self, FilePiece};
use serde::Serialize;
use serde_json::Value;

use super::{
    ExportError, Source,
    files::{Stage, Staged},
    pretty, safe_path,
};
use crate::{
    cast::{Cast, Header},
    clock,
    event::Lifecycle,
    inert,
    journal::{Entry, Kind},
    redact::{Redactor, TimedStream},
    text::Text,
    timeline,
};

/// Most transcripts of one session; a hostile one could name a file in each record.
const TRANSCRIPTS: usize = 1000;

/// All files that frames go into.
pub(super) struct Folds {
    scratch: PathBuf,
    redactor: Redactor,
    cast_file: Stage,
    cast: Cast,
    /// Terminal output is masked before it is a recording: what is masked may lie across two events.
    output: TimedStream,
    text_file: Stage,
    text: Text,
    traces: Stage,
    metrics: Stage,
    logs: Stage,
    events: Stage,
    transcripts: BTreeMap<String, Transcript>,
    config: BTreeMap<String, Value>,
    last: u64,
}

/// A transcript, and where its next piece should begin.
struct Transcript {
    stage: Stage,
    next: u64,
}

impl Folds {
    pub(super) fn new(source: &Source<'_>) -> Result<Folds, ExportError> {
        let stage = |path: &str| Stage::new(&source.scratch, path, &source.redactor);
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
        let (cast, first) = Cast::new(&header, start);
        let mut cast_file = stage("terminal/session.cast")?;
        cast_file.write(first.as_bytes())?;
        Ok(Folds {
            scratch: source.scratch.clone(),
            redactor: source.redactor.clone(),
            cast_file,
            cast,
            output: source.redactor.timed(),
            text_file: stage("terminal/session.txt")?,
            text: Text::new(cols, rows),
            traces: stage("telemetry/traces.jsonl")?,
            metrics: stage("telemetry/metrics.jsonl")?,
            logs: stage("telemetry/logs.jsonl")?,
            events: stage("events.jsonl")?,
            transcripts: BTreeMap::new(),
            config: BTreeMap::new(),
            last: start,
        })
    }

    /// Takes a frame.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), ExportError> {
        self.last = self.last.max(entry.time);
        match entry.kind {
            Kind::Output => self.output(entry.time, &entry.payload)?,
            Kind::Input => {
                self.settle()?;
                let line = self.cast.input(entry.time, &entry.payload);
                self.cast_file.write(line.as_bytes())?;
            }
            Kind::Resize => {
                if let Some((cols, rows)) = wire::decode_size(&entry.payload) {
                    self.resize(entry.time, cols, rows)?;
                }
            }
            Kind::Marker => {
                self.settle()?;
                let line = self.cast.marker(entry.time, &String::from_utf8_lossy(&entry.payload));
                self.cast_file.write(line.as_bytes())?;
            }
            Kind::Lifecycle => {
                if let Ok(Lifecycle::ProgramExited { code, .. }) = serde_json::from_slice(&entry.payload) {
                    self.settle()?;
                    let line = self.cast.exit(entry.time, code);
                    self.cast_file.write(line.as_bytes())?;
                }
            }
            Kind::Traces => otlp(&mut self.traces, entry, ExportTraceServiceRequest::decode)?,
            Kind::Metrics => otlp(&mut self.metrics, entry, ExportMetricsServiceRequest::decode)?,
            Kind::Logs => otlp(&mut self.logs, entry, ExportLogsServiceRequest::decode)?,
            Kind::Transcript => self.transcript(entry)?,
            Kind::Injected => self.config = serde_json::from_slice(&entry.payload).unwrap_or_default(),
            _ => {}
        }
        for event in timeline::events(entry) {
            line(&mut self.events, &event)?;
        }
        Ok(())
    }

    fn output(&mut self, time: u64, bytes: &[u8]) -> io::Result<()> {
        let shown = self.output.push(time, bytes);
        self.show(shown)
    }

    fn show(&mut self, shown: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        for (time, bytes) in shown {
            let line = self.cast.output(time, &bytes);
            self.cast_file.write(line.as_bytes())?;
            let mut text = String::new();
            self.text.advance(&bytes, &mut text).map_err(io::Error::other)?;
            self.text_file.write(text.as_bytes())?;
        }
        Ok(())
    }

    fn resize(&mut self, time: u64, cols: u16, rows: u16) -> io::Result<()> {
        self.settle()?;
        let line = self.cast.resize(time, cols, rows);
        self.cast_file.write(line.as_bytes())?;
        let mut text = String::new();
        self.text.resize(cols, rows, &mut text).map_err(io::Error::other)?;
        self.text_file.write(text.as_bytes())
    }

    /// Lets out what the redactor holds back: what follows must not come before it.
    fn settle(&mut self) -> io::Result<()> {
        let held = self.output.finish();
        self.show(held)
    }

    fn transcript(&mut self, entry: &Entry) -> Result<(), ExportError> {
        let Ok((piece, bytes)) = wire::split_head::<FilePiece>(&entry.payload) else {
            return Err(ExportError::Frame {
                seq: entry.seq,
                problem: "a transcript without a name".to_owned(),
            });
        };
        let path = format!("transcript/{}", safe_path(&piece.path));
        let known = self.transcripts.contains_key(&path);
        if !known && self.transcripts.len() >= TRANSCRIPTS {
            return Ok(());
        }
        let begun = self.transcripts.get(&path).is_some_and(|t| piece.offset >= t.next);
        if !begun {
            // It was rewritten: what counts is what stands there now.
            let stage = Stage::new(&self.scratch, &path, &self.redactor)?;
            self.transcripts.insert(path.clone(), Transcript { stage, next: piece.offset });
        }
        if let Some(transcript) = self.transcripts.get_mut(&path) {
            transcript.stage.write(bytes)?;
            transcript.next = piece.offset + bytes.len() as u64;
        }
        Ok(())
    }

    /// Completes every file.
    pub(super) fn finish(mut self) -> Result<Vec<Staged>, ExportError> {
        self.settle()?;
        let rest = self.cast.finish(self.last);
        self.cast_file.write(rest.as_bytes())?;
        let mut text = String::new();
        self.text.finish(&mut text).map_err(io::Error::other)?;
        self.text_file.write(text.as_bytes())?;
        let mut staged = Vec::new();
        for (name, content) in &self.config {
            let path = format!("config/{}", safe_path(name));
            staged.push(Staged::text(Path::new(&self.scratch), &path, &pretty(content), &self.redactor)?);
        }
        let stages = [self.cast_file, self.text_file, self.traces, self.metrics, self.logs, self.events];
        let transcripts = self.transcripts.into_values().map(|t| t.stage);
        for stage in stages.into_iter().chain(transcripts) {
            staged.push(stage.finish()?);
        }
        Ok(staged)
    }
}

/// A request as the collector's file exporter writes it: OTLP/JSON, one a line.
fn otlp<T: Serialize, E: std::fmt::Display>(
    to: &mut Stage,
    entry: &Entry,
    decode: impl FnOnce(bytes::Bytes) -> Result<T, E>,
) -> Result<(), ExportError> {
    let wrong = |problem: String| ExportError::Frame { seq: entry.seq, problem };
    let request = decode(entry.payload.clone()).map_err(|e| wrong(e.to_string()))?;
    Ok(line(to, &request)?)
}

fn line(to: &mut Stage, value: &impl Serialize) -> io::Result<()> {
    let text = inert::json(serde_json::to_string(value)?) + "\n";
    to.write(text.as_bytes())
}
