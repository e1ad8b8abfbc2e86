//! `import`: a bundle's telemetry, sent once more, to wherever one likes.
//!
//! The bundle is read twice: once to check every hash, and once to send, a line of a file at a time and in its order.
//! Each line is an export request as it was recorded; but for the marks on its resources it goes as it is.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, bail};
use flate2::read::GzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::any_value::Value,
    metrics::v1::metric::Data,
    resource::v1::Resource,
};
use prost::Message;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::{args::import::Import, code, json, say, usage};
use crate::{
    bundle,
    config::Forward,
    forwarder::{Backoff, Door, Outcome},
    gateway::otlp::{json::to_protobuf, schema},
    inert,
    signal::Signal,
    summary::attributes,
};

/// Longest request that is sent.
const LONGEST: usize = 256 << 20; // bytes

/// What was sent.
#[derive(Debug, Default, Serialize)]
struct Sent {
    requests: u64,
    spans: u64,
    metric_points: u64,
    log_records: u64,
    /// Records that the destination turned away.
    rejected_records: u64,
    /// Requests that it refused for good.
    refused_requests: u64,
    /// Why, of the last that was not taken.
    why: Option<String>,
}

/// `sandboxctl import`.
pub(super) async fn import(args: &Import) -> anyhow::Result<ExitCode> {
    let name = args.file.display();
    let file = File::open(&args.file)
        .map_err(|e| usage(format!("{name}: {e}; name a bundle, as `export` writes it")))?;
    let length = file.metadata()?.len();
    if !args.no_verify {
        let checking = progress(length, "checking").wrap_read(file);
        bundle::verify(BufReader::new(checking), args.key.as_deref())
            .with_context(|| format!("{name} (nothing was sent)"))?;
    }
    let mut config = Forward::to(&args.to.endpoint);
    config.protocol = args.to.protocol;
    let headers: Option<HeaderMap> = args
        .headers
        .iter()
        .map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?)))
        .collect();
    let door = Door::new("import", &config)?.with_headers(headers.unwrap_or_default());
    let bar = progress(length, "sending");
    let mut sender = Sender { args, door, sent: Sent::default(), bar: bar.clone() };
    let sending = bar.wrap_read(File::open(&args.file)?);
    let outcome = sender.bundle(BufReader::new(sending)).await;
    bar.finish_and_clear();
    let sent = &sender.sent;
    if args.json {
        json(sent)?;
    } else {
        say(&format!(
            "{}: took {} requests with {} spans, {} metric points and {} log records",
            inert::endpoint(&args.to.endpoint),
            sent.requests,
            sent.spans,
            sent.metric_points,
            sent.log_records
        ))?;
    }
    outcome?;
    if sent.rejected_records + sent.refused_requests > 0 {
        let why = sent.why.as_deref().unwrap_or("it does not say why");
        eprintln!(
            "sandboxctl: it turned {} records away and refused {} requests: {why}",
            sent.rejected_records, sent.refused_requests
        );
        return Ok(ExitCode::from(code::FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

struct Sender<'a> {
    args: &'a Import,
    door: Door,
    sent: Sent,
    bar: ProgressBar,
}

impl Sender<'_> {
    async fn bundle(&mut self, bundle: impl Read) -> anyhow::Result<()> {
        let mut archive = tar::Archive::new(GzDecoder::new(bundle));
        for entry in archive.entries()? {
            let entry = entry?;
            let path = entry.path()?.components().skip(1).collect::<std::path::PathBuf>();
            let path = path.to_string_lossy().into_owned();
            let is_of = |signal: &Signal| path == format!("telemetry/{}.jsonl", signal.name());
            let Some(signal) = self.args.signals.iter().copied().find(is_of) else { continue };
            let mut lines = BufReader::new(entry);
            let mut line = Vec::new();
            for number in 1.. {
                line.clear();
                if lines.read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                let at = || format!("{path}, line {number}");
                let (request, records) = Self::request(signal, &line).with_context(at)?;
                self.deliver(signal, request, records).await.with_context(at)?;
            }
        }
        Ok(())
    }

    /// A line as protobuf, marked; and how many records it has.
    fn request(signal: Signal, line: &[u8]) -> anyhow::Result<(Vec<u8>, u64)> {
        let schema = match signal {
            Signal::Traces => &schema::TRACES,
            Signal::Metrics => &schema::METRICS,
            Signal::Logs => &schema::LOGS,
        };
        let request = to_protobuf(schema, line, LONGEST)?;
        Ok(match signal {
            Signal::Traces => {
                let mut request = ExportTraceServiceRequest::decode(&request[..])?;
                request.resource_spans.iter_mut().for_each(|r| mark(r.resource.get_or_insert_default()));
                let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
                let records = scopes.map(|s| s.spans.len() as u64).sum();
                (request.encode_to_vec(), records)
            }
            Signal::Metrics => {
                let mut request = ExportMetricsServiceRequest::decode(&request[..])?;
                request.resource_metrics.iter_mut().for_each(|r| mark(r.resource.get_or_insert_default()));
                let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
                let records = scopes.flat_map(|s| &s.metrics).map(|m| points(m.data.as_ref())).sum();
                (request.encode_to_vec(), records)
            }
            Signal::Logs => {
                let mut request = ExportLogsServiceRequest::decode(&request[..])?;
                request.resource_logs.iter_mut().for_each(|r| mark(r.resource.get_or_insert_default()));
                let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
                let records = scopes.map(|s| s.log_records.len() as u64).sum();
                (request.encode_to_vec(), records)
            }
        })
    }

    /// Sends a request until it is taken, or refused for good, or patience ends.
    async fn deliver(&mut self, signal: Signal, request: Vec<u8>, records: u64) -> anyhow::Result<()> {
        let request = bytes::Bytes::from(request);
        let (began, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            match self.door.send(signal, request.clone()).await {
                Outcome::Sent { rejected, why } => {
                    let sent = &mut self.sent;
                    let count = match signal {
                        Signal::Traces => &mut sent.spans,
                        Signal::Metrics => &mut sent.metric_points,
                        Signal::Logs => &mut sent.log_records,
                    };
                    *count += records.saturating_sub(rejected);
                    sent.requests += 1;
                    if rejected > 0 {
                        sent.rejected_records += rejected;
                        sent.why = Some(why);
                    }
                    return Ok(());
                }
                Outcome::Refused(why) => {
                    self.sent.refused_requests += 1;
                    self.sent.why = Some(why);
                    return Ok(());
                }
                Outcome::Later(why, asked) => {
                    let wait = backoff.next(asked);
                    if began.elapsed() + wait > self.args.patience {
                        let to = inert::endpoint(&self.args.to.endpoint);
                        bail!("{to} takes nothing: {why}; what follows was not sent");
                    }
                    self.bar.set_message(format!("waits: {why}"));
                    tokio::time::sleep(wait).await;
                    self.bar.set_message("sending");
                }
            }
        }
    }
}

fn points(data: Option<&Data>) -> u64 {
    let points = match data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    };
    points as u64
}

/// Says of a resource that it was imported, and no more: what is sent once more is the same to the byte, so that a
/// backend can tell.
fn mark(resource: &mut Resource) {
    const MARK: &str = "sandbox.imported";
    resource.attributes.retain(|attribute| attribute.key != MARK);
    resource.attributes.push(attributes::pair(MARK, Value::BoolValue(true)));
}

fn progress(length: u64, does: &'static str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(does)
}
