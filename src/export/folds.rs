//! What each file of a bundle takes from each frame. What is shown of the terminal is [`super::terminal`]'s.

use std::{collections::BTreeMap, io};

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
    files::{Packer, Stage, Staged},
    pretty, safe_path,
    terminal::Terminal,
};
use crate::{
    event::Lifecycle,
    inert,
    journal::{Entry, Kind},
    redact::Redactor,
    timeline,
};

/// Most transcripts of one session; a hostile one could name a file in each record.
const TRANSCRIPTS: usize = 1000;

/// All files that frames go into.
pub(super) struct Folds {
    redactor: Redactor,
    terminal: Terminal,
    traces: Stage,
    metrics: Stage,
    logs: Stage,
    events: Stage,
    transcripts: BTreeMap<String, Transcript>,
    config: BTreeMap<String, Value>,
}

/// A transcript, and where its next piece should begin.
struct Transcript {
    stage: Stage,
    next: u64,
}

impl Folds {
    pub(super) fn new(source: &Source<'_>, packer: &mut Packer) -> Result<Folds, ExportError> {
        let redactor = &source.redactor;
        Ok(Folds {
            redactor: redactor.clone(),
            terminal: Terminal::start(source, packer)?,
            traces: packer.stage("telemetry/traces.jsonl", redactor),
            metrics: packer.stage("telemetry/metrics.jsonl", redactor),
            logs: packer.stage("telemetry/logs.jsonl", redactor),
            events: packer.stage("events.jsonl", redactor),
            transcripts: BTreeMap::new(),
            config: BTreeMap::new(),
        })
    }

    /// Takes a frame.
    pub(super) fn apply(&mut self, entry: &Entry, packer: &mut Packer) -> Result<(), ExportError> {
        self.terminal.passed(entry.time);
        match entry.kind {
            Kind::Output => self.terminal.output(entry.time, &entry.payload)?,
            Kind::Input => self.terminal.input(entry.time, &entry.payload)?,
            Kind::Resize => {
                if let Some((cols, rows)) = wire::decode_size(&entry.payload) {
                    self.terminal.resize(entry.time, cols, rows)?;
                }
            }
            Kind::Marker => self.terminal.marker(entry.time, &entry.payload)?,
            Kind::Lifecycle => {
                if let Ok(Lifecycle::ProgramExited { code, .. }) = serde_json::from_slice(&entry.payload) {
                    self.terminal.exit(entry.time, code)?;
                }
            }
            Kind::Traces => otlp(&mut self.traces, entry, ExportTraceServiceRequest::decode)?,
            Kind::Metrics => otlp(&mut self.metrics, entry, ExportMetricsServiceRequest::decode)?,
            Kind::Logs => otlp(&mut self.logs, entry, ExportLogsServiceRequest::decode)?,
            Kind::Transcript => self.transcript(entry, packer)?,
            Kind::Injected => self.config = serde_json::from_slice(&entry.payload).unwrap_or_default(),
            _ => {}
        }
        for event in timeline::events(entry) {
            line(&mut self.events, &event)?;
        }
        Ok(())
    }

    fn transcript(&mut self, entry: &Entry, packer: &mut Packer) -> Result<(), ExportError> {
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
            let stage = packer.small_stage(&path, &self.redactor);
            self.transcripts.insert(path.clone(), Transcript { stage, next: piece.offset });
        }
        if let Some(transcript) = self.transcripts.get_mut(&path) {
            transcript.stage.write(bytes)?;
            transcript.next = piece.offset.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }

    /// Completes every file.
    pub(super) fn finish(self, packer: &mut Packer) -> Result<Vec<Staged>, ExportError> {
        let mut staged = self.terminal.finish()?;
        for (name, content) in &self.config {
            let path = format!("config/{}", safe_path(name));
            staged.push(packer.text(&path, &pretty(content), &self.redactor)?);
        }
        let stages = [self.traces, self.metrics, self.logs, self.events];
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
