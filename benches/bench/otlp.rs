//! OTLP logs, protobuf over HTTP, into a session's own gateway: records that are stamped, journalled and on
//! disk when they are answered, for each second of the daemon's processor time.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message;
use tokio::net::UnixStream;

use super::{
    Options,
    common::{Daemon, Rung},
    memory::cpu_s,
    report::{Bound, Report, Row},
};

/// Records of a request: the client's largest batch.
pub const BATCH: usize = 512;
/// Requests of one figure.
const REQUESTS: usize = 1000;
/// Connections at once.
const CONNECTIONS: usize = 4;

/// Rows: plain, and gzip as the client sends it.
pub async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("cat > /dev/null").await;
    daemon.when(&session, "it runs", |s| s.started_at.is_some()).await;
    let plain = Bytes::from(batch().encode_to_vec());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, &plain)?;
    let packed = Bytes::from(encoder.finish()?);
    let socket = daemon.dir().join("s/run").join(session.id.to_string()).join("gateway.sock");
    for (name, body, encoding, bound) in [
        ("OTLP log records a core, committed", &plain, "identity", Bound::AtLeast(100_000.0)),
        ("OTLP log records a core, gzip, committed", &packed, "gzip", Bound::Told),
    ] {
        let (mut each_core, mut each_second) = (Vec::new(), Vec::new());
        for _ in 0..options.pairs {
            let (cpu, began) = (cpu_s(daemon.pid())?, Instant::now());
            let mut senders = tokio::task::JoinSet::new();
            for _ in 0..CONNECTIONS {
                senders.spawn(send(socket.clone(), body.clone(), encoding));
            }
            while let Some(sent) = senders.join_next().await {
                sent??;
            }
            let records = (REQUESTS * BATCH) as f64;
            each_core.push(records / (cpu_s(daemon.pid())? - cpu));
            each_second.push(records / began.elapsed().as_secs_f64());
        }
        report.add(Row::alone(name, "/s", each_core, bound));
        report.add(Row::alone(&format!("{name}, by the clock"), "/s", each_second, Bound::Told));
    }
    daemon.client.delete(&format!("/api/v1/sessions/{}", session.id)).await?;
    Ok(())
}

async fn send(socket: PathBuf, body: Bytes, encoding: &'static str) -> anyhow::Result<()> {
    send_each(socket, body, encoding, REQUESTS / CONNECTIONS, Duration::ZERO).await
}

/// Sends a body so many times, with so much time from one to the next.
pub async fn send_each(
    socket: PathBuf,
    body: Bytes,
    encoding: &'static str,
    times: usize,
    every: Duration,
) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let began = tokio::time::Instant::now();
    for n in 0..times {
        tokio::time::sleep_until(began + every * u32::try_from(n)?).await;
        let request = Request::post("/v1/logs")
            .header("host", "127.0.0.1:4318")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", encoding)
            .body(Full::new(body.clone()))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        ensure!(answer.status() == 200, "answered {}", answer.status());
        answer.into_body().collect().await?;
    }
    Ok(())
}

/// Records like the client's: an event's name, and a dozen attributes.
pub fn batch() -> ExportLogsServiceRequest {
    let text = |value: String| AnyValue { value: Some(Value::StringValue(value)) };
    let attribute = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    };
    let record = |n: usize| LogRecord {
        time_unix_nano: 1_763_000_000_000_000_000 + n as u64 * 1_000_000,
        observed_time_unix_nano: 1_763_000_000_000_000_000 + n as u64 * 1_000_000,
        body: Some(text("claude_code.api_request".to_owned())),
        attributes: vec![
            attribute("event.name", "api_request".to_owned()),
            attribute("event.timestamp", format!("2026-01-01T00:00:{:02}.000Z", n % 60)),
            attribute("event.sequence", n.to_string()),
            attribute("session.id", "0193a7f0-0000-7000-8000-000000000000".to_owned()),
            attribute(
                "user.id",
                "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069".to_owned(),
            ),
            attribute("organization.id", "00000000-0000-0000-0000-000000000000".to_owned()),
            attribute("terminal.type", "xterm-256color".to_owned()),
            attribute("model", "claude-sonnet-4-5".to_owned()),
            attribute("input_tokens", (n * 7).to_string()),
            attribute("output_tokens", (n * 3).to_string()),
            attribute("cost_usd", format!("0.{n:06}")),
            attribute("duration_ms", (n * 11).to_string()),
        ],
        ..LogRecord::default()
    };
    let scope =
        InstrumentationScope { name: "com.anthropic.claude_code.events".to_owned(), ..Default::default() };
    let records = ScopeLogs {
        scope: Some(scope),
        log_records: (0..BATCH).map(record).collect(),
        ..ScopeLogs::default()
    };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "claude-code".to_owned()),
            attribute("service.version", "2.1.329".to_owned()),
            attribute("host.arch", "amd64".to_owned()),
        ],
        ..Resource::default()
    };
    let logs =
        ResourceLogs { resource: Some(resource), scope_logs: vec![records], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}
