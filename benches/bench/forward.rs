//! Telemetry on its way out: what it costs the daemon to forward what comes in, and how fast a backlog drains. The peer
//! of the second is the OpenTelemetry Collector with its persistent queue (`ensure_stack_parts collector` builds it).

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use prost::Message;
use sandboxctl::api::Session;

use super::{
    Options,
    common::{Daemon, Rung},
    memory::{cpu_s, forget_peak, peak_kib, resident_kib},
    otlp::{BATCH, batch, send_each},
    report::{Bound, Pairs, Report, Row},
};

/// Records a second that come in, and for how long.
const RATE: f64 = 20_000.0;
const SECONDS: f64 = 10.0;
/// Records of a backlog.
const BACKLOG: usize = 1_000_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Rows: processor time with a destination and without; a backlog's drain, and the memory it takes.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let pairs = Pairs::take(options, || load(true), || load(false)).await?;
    let name = "daemon's processor time at 20 000 log records/s, forwarded";
    report.add(Row::paired(name, "s", pairs, "not forwarded", Bound::RatioAtMost(1.10)));

    let collector = collector_binary();
    let (mut memory, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.pairs.min(3) {
        let (rate, mib) = drain().await?;
        ours.push(rate);
        memory.push(mib);
        if let Some(binary) = collector.as_deref().filter(|_| !options.alone) {
            theirs.push(drain_collector(binary).await?);
        }
    }
    let name = "backlog of a million log records, drained";
    report.add(Row::alone(name, "/s", ours.clone(), Bound::AtLeast(50_000.0)));
    report.add(Row::alone("the same, memory added", "MiB", memory, Bound::AtMost(64.0)));
    if !theirs.is_empty() {
        let peer = "the Collector's queue on disk";
        report.add(Row::paired(name, "/s", Pairs { ours, theirs }, peer, Bound::Told));
    }
    Ok(())
}

/// Counts records; takes none while it is away.
#[derive(Default)]
struct Sink {
    away: AtomicBool,
    records: AtomicU64,
    first: Mutex<Option<Instant>>,
}

impl Sink {
    async fn start(away: bool) -> anyhow::Result<(Arc<Sink>, String)> {
        let sink = Arc::new(Sink { away: AtomicBool::new(away), ..Sink::default() });
        let routes = Router::new().route("/v1/logs", post(take)).fallback(|| async { StatusCode::OK });
        let routes = routes.layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&sink));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok((sink, url))
    }

    async fn has(&self, records: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.records.load(Ordering::Relaxed) < records {
            ensure!(
                began.elapsed() < PATIENCE,
                "only {} of {records} records arrived",
                self.records.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Records a second since the first came.
    async fn rate(&self, records: u64) -> anyhow::Result<f64> {
        self.has(records).await?;
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).context("it has some")?;
        Ok(records as f64 / first.elapsed().as_secs_f64())
    }
}

async fn take(State(sink): State<Arc<Sink>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if sink.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    sink.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    assert!(!headers.contains_key("content-encoding"), "to this machine itself nothing is packed");
    sink.records.fetch_add(count(&body), Ordering::Relaxed);
    StatusCode::OK
}

/// How many log records a request has, without building them.
fn count(body: &[u8]) -> u64 {
    /// Length-delimited fields of this number (Protocol Buffers, encoding).
    fn fields(mut bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(move || {
            while !bytes.is_empty() {
                let key = prost::encoding::decode_varint(&mut bytes).ok()?;
                match key & 7 {
                    2 => {
                        let length =
                            usize::try_from(prost::encoding::decode_varint(&mut bytes).ok()?).ok()?;
                        let (field, rest) = bytes.split_at_checked(length)?;
                        bytes = rest;
                        if key >> 3 == number {
                            return Some(field);
                        }
                    }
                    0 => drop(prost::encoding::decode_varint(&mut bytes).ok()?),
                    1 => bytes = bytes.get(8..)?,
                    _ => bytes = bytes.get(4..)?,
                }
            }
            None
        })
    }
    let scopes = fields(body, 1).flat_map(|resource| fields(resource, 2));
    scopes.map(|scope| fields(scope, 2).count() as u64).sum()
}

async fn begin(config: &str) -> anyhow::Result<(Daemon, Session, PathBuf)> {
    let daemon = Daemon::start_with(Rung::Local, config).await;
    let session = daemon.shell("cat > /dev/null").await;
    daemon.when(&session, "it runs", |s| s.started_at.is_some()).await;
    let socket = daemon.dir().join("s/run").join(session.id.to_string()).join("gateway.sock");
    Ok((daemon, session, socket))
}

/// Seconds of the daemon's processor time for what comes in at the rate.
async fn load(forwarded: bool) -> anyhow::Result<f64> {
    let (sink, url) = Sink::start(false).await?;
    let config = if forwarded { format!("[forward.sink]\nendpoint = \"{url}\"") } else { String::new() };
    let (daemon, session, socket) = begin(&config).await?;
    let body = Bytes::from(batch().encode_to_vec());
    let requests = (RATE * SECONDS) as usize / BATCH;
    let before = cpu_s(daemon.pid())?;
    let every = Duration::from_secs_f64(BATCH as f64 / RATE);
    send_each(socket, body, "identity", requests, every).await?;
    if forwarded {
        sink.has((requests * BATCH) as u64).await?;
    }
    let used = cpu_s(daemon.pid())? - before;
    daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await?;
    Ok(used)
}

/// Records a second out of a backlog, and MiB that it took at most.
async fn drain() -> anyhow::Result<(f64, f64)> {
    let (sink, url) = Sink::start(true).await?;
    let (daemon, session, socket) = begin(&format!("[forward.sink]\nendpoint = \"{url}\"")).await?;
    let requests = BACKLOG.div_ceil(BATCH);
    let body = Bytes::from(batch().encode_to_vec());
    send_each(socket, body, "identity", requests, Duration::ZERO).await?;
    let before = resident_kib(daemon.pid())?;
    forget_peak(daemon.pid())?;
    sink.away.store(false, Ordering::Relaxed);
    let rate = sink.rate((requests * BATCH) as u64).await?;
    let added = (peak_kib(daemon.pid())? - before) / 1024.0;
    daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await?;
    Ok((rate, added))
}

fn collector_binary() -> Option<PathBuf> {
    let given = std::env::var_os("SANDBOXCTL_STACK").map(|dir| PathBuf::from(dir).join("bin/collector"));
    given.filter(|path| path.is_file())
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Records a second out of the Collector's queue on disk.
async fn drain_collector(binary: &Path) -> anyhow::Result<f64> {
    let (sink, url) = Sink::start(true).await?;
    let dir = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = format!(
        "extensions:
  file_storage:
    directory: {dir}
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
exporters:
  otlp_http:
    endpoint: {url}
    compression: none
    sending_queue: {{storage: file_storage, queue_size: 100000, num_consumers: 8}}
    retry_on_failure: {{max_elapsed_time: 0s, initial_interval: 500ms, max_interval: 2s}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  extensions: [file_storage]
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
",
        dir = dir.path().display()
    );
    let file = dir.path().join("collector.yaml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(binary);
    let started = command.arg("--config").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let _collector = Process(started);
    let http = reqwest::Client::new();
    let body = Bytes::from(batch().encode_to_vec());
    let requests = BACKLOG.div_ceil(BATCH);
    let began = Instant::now();
    for _ in 0..requests {
        loop {
            let post = http.post(format!("http://127.0.0.1:{port}/v1/logs"));
            let sent = post.header("content-type", "application/x-protobuf").body(body.clone()).send().await;
            if sent.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "the Collector takes nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    sink.away.store(false, Ordering::Relaxed);
    sink.rate((requests * BATCH) as u64).await
}
