//! The connection to a session's guest: accepts it, greets it, and carries frames both ways.
//!
//! ```text
//!   control.sock ──▶ Link (1 task) ──▶ reports (bounded) ──▶ the session's task
//!                      ▲  ▲  ▲
//!                      │  │  └── acks: the last record on disk (the latest value is enough)
//!                      │  └───── orders (bounded): resize, signal, stop, leave
//!                      └──────── input (bounded): typed bytes; when it is full, whoever types waits
//! ```
//!
//! One guest at a time: the socket lies in a folder that only root in the container may enter, and a new
//! connection means that the old one is dead. When the session's task is busy, `reports` is full, the
//! guest's records wait in its spool, and so, in the end, does the program's terminal.

use std::{io, sync::Arc};

use bytes::Bytes;
use sandbox_guest::{
    frame::{self, Frame, FrameError, HEADER, Head, Kind},
    wire::{self, Hello, Order, PROTOCOL, Start},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// How much is read from the guest at once.
const READ_BUFFER: usize = 256 << 10; // bytes

/// The most of a guest's sentence on why it waits that is taken.
const STALL_CHARS: usize = 200;

/// What the link tells the session's task.
#[derive(Debug)]
pub enum Report {
    /// A guest has connected and said hello.
    Hello(Hello),
    /// It sent a record.
    Record(Frame),
    /// It cannot write its spool, so that its program waits: why; empty when it can again.
    Stalled(String),
    /// The connection is gone.
    Lost,
    /// The guest cannot be worked with; a sentence.
    Unfit(String),
}

/// The link's ends that it owns.
pub struct Link {
    /// `control.sock`, listening.
    pub listener: UnixListener,
    /// What makes the container this session; `None` where it cannot be told any more.
    pub start: Option<Arc<Start>>,
    /// To the session's task.
    pub reports: mpsc::Sender<Report>,
    /// From the session's task.
    pub orders: mpsc::Receiver<Order>,
    /// From whoever drives.
    pub input: mpsc::Receiver<Bytes>,
    /// The last record that is on disk.
    pub acks: watch::Receiver<u64>,
}

impl Link {
    /// Serves one guest connection after the other until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        while let Some(accepted) = cancel.run_until_cancelled(self.listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            match cancel.run_until_cancelled(self.serve(stream)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%error, "the guest's connection broke"),
            }
            if self.reports.send(Report::Lost).await.is_err() {
                return;
            }
        }
    }

    async fn serve(&mut self, stream: UnixStream) -> Result<(), FrameError> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::with_capacity(READ_BUFFER, read);
        let Some(first) = read_frame(&mut read).await? else { return Ok(()) };
        let hello = match greet(&first) {
            Ok(hello) => hello,
            Err(problem) => {
                self.reports.send(Report::Unfit(problem)).await.ok();
                return Ok(());
            }
        };
        if let Some(start) = self.start.as_deref().filter(|_| !hello.started) {
            write_order(&mut write, &Order::Start(Box::new(start.clone()))).await?;
        }
        if self.reports.send(Report::Hello(hello)).await.is_err() {
            return Ok(());
        }
        self.acks.mark_changed();
        let reports = self.reports.clone();
        tokio::select! {
            ended = pass_records(read, reports) => ended,
            ended = self.pass_orders(write) => ended.map_err(FrameError::from),
        }
    }

    async fn pass_orders(&mut self, mut write: OwnedWriteHalf) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                changed = self.acks.changed() => {
                    let through = *self.acks.borrow_and_update();
                    if changed.is_err() {
                        return Ok(());
                    }
                    write_order(&mut write, &Order::Ack { through }).await?;
                }
                Some(order) = self.orders.recv() => write_order(&mut write, &order).await?,
                Some(bytes) = self.input.recv() => write_frame(&mut write, Kind::Input, &bytes).await?,
            }
        }
    }
}

async fn pass_records(
    mut read: BufReader<OwnedReadHalf>,
    reports: mpsc::Sender<Report>,
) -> Result<(), FrameError> {
    while let Some(record) = read_frame(&mut read).await? {
        let report = match wire::check_record(record.head.kind, &record.payload) {
            _ if record.head.kind == Kind::Stalled => {
                Report::Stalled(String::from_utf8_lossy(&record.payload).chars().take(STALL_CHARS).collect())
            }
            Ok(()) => Report::Record(record),
            Err(problem) => Report::Unfit(problem.to_string()),
        };
        let unfit = matches!(report, Report::Unfit(_));
        if reports.send(report).await.is_err() || unfit {
            break;
        }
    }
    Ok(())
}

fn greet(first: &Frame) -> Result<Hello, String> {
    if first.head.kind != Kind::Hello {
        return Err(format!("the guest began with {} and not with hello", first.head.kind.name()));
    }
    let hello: Hello = serde_json::from_slice(&first.payload)
        .map_err(|e| format!("the guest's hello makes no sense: {e}"))?;
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "the guest speaks protocol {} and this daemon {PROTOCOL}; install the guest of this version",
            hello.protocol
        ));
    }
    Ok(hello)
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let mut payload = vec![0; frame::payload_len(&header)?];
    from.read_exact(&mut payload).await?;
    let head = frame::check(&header, &payload)?;
    Ok(Some(Frame { head, payload }))
}

async fn write_order(to: &mut OwnedWriteHalf, order: &Order) -> io::Result<()> {
    write_frame(to, Kind::Order, &serde_json::to_vec(order)?).await
}

async fn write_frame(to: &mut OwnedWriteHalf, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let head = Head { seq: 0, time: clock::now(), origin: 0, kind };
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    frame::encode(&head, payload, &mut bytes);
    to.write_all(&bytes).await
}
