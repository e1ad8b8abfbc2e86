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
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Reports that wait for the session's task; behind them the guest's spool fills.
const REPORTS: usize = 64;

/// What their records may hold together; a longer record waits alone.
const REPORT_BYTES: u32 = 4 << 20;

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

/// The queue of reports: bounded in their number and, before they are read, in their bytes.
pub fn reports() -> (Reporter, Reports) {
    let (queue, waiting) = mpsc::channel(REPORTS);
    (Reporter { queue, room: Arc::new(Semaphore::new(REPORT_BYTES as usize)) }, Reports(waiting))
}

/// Where the link puts its reports.
#[derive(Clone)]
pub struct Reporter {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

type Queued = (Report, Option<OwnedSemaphorePermit>);

/// Where the session's task takes them.
pub struct Reports(mpsc::Receiver<Queued>);

impl Reports {
    /// The next. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Report> {
        self.0.recv().await.map(|(report, _room)| report)
    }
}

impl Reporter {
    /// Whether the task is there to hear it.
    async fn send(&self, report: Report) -> bool {
        self.queue.send((report, None)).await.is_ok()
    }

    /// Reads a record when there is room for it, and reports it. False when there are to be no more.
    async fn pass(&self, read: &mut (impl AsyncRead + Unpin)) -> Result<bool, FrameError> {
        let Some(header) = read_header(read).await? else { return Ok(false) };
        let bytes = u32::try_from(frame::payload_len(&header)?).unwrap_or(REPORT_BYTES);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes.min(REPORT_BYTES)).await.ok();
        let record = read_payload(header, read).await?;
        let report = match (record.head.kind, wire::check_record(record.head.kind, &record.payload)) {
            (Kind::Stalled, _) => {
                Report::Stalled(String::from_utf8_lossy(&record.payload).chars().take(STALL_CHARS).collect())
            }
            (_, Ok(())) => Report::Record(record),
            (_, Err(problem)) => Report::Unfit(problem.to_string()),
        };
        let fit = !matches!(report, Report::Unfit(_));
        Ok(self.queue.send((report, room)).await.is_ok() && fit)
    }
}

/// The link's ends that it owns.
pub struct Link {
    /// `control.sock`, listening.
    pub listener: UnixListener,
    /// What makes the container this session; `None` where it cannot be told any more.
    pub start: Option<Arc<Start>>,
    /// To the session's task.
    pub reports: Reporter,
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
            if !self.reports.send(Report::Lost).await {
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
                self.reports.send(Report::Unfit(problem)).await;
                return Ok(());
            }
        };
        if let Some(start) = self.start.as_deref().filter(|_| !hello.started) {
            write_order(&mut write, &Order::Start(Box::new(start.clone()))).await?;
        }
        if !self.reports.send(Report::Hello(hello)).await {
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

async fn pass_records(mut read: BufReader<OwnedReadHalf>, reports: Reporter) -> Result<(), FrameError> {
    while reports.pass(&mut read).await? {}
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
    match read_header(from).await? {
        Some(header) => read_payload(header, from).await.map(Some),
        None => Ok(None),
    }
}

async fn read_header(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<[u8; HEADER]>, FrameError> {
    let mut header = [0; HEADER];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => Ok(other.map(|_| Some(header))?),
    }
}

async fn read_payload(
    header: [u8; HEADER],
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Frame, FrameError> {
    let mut payload = vec![0; frame::payload_len(&header)?];
    from.read_exact(&mut payload).await?;
    let head = frame::check(&header, &payload)?;
    Ok(Frame { head, payload })
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    fn record(seq: u64, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::encode(&Head { seq, time: 1, origin: 0, kind }, payload, &mut bytes);
        bytes
    }

    #[tokio::test]
    async fn records_wait_outside_when_those_inside_are_long() {
        let (reporter, mut reports) = reports();
        let (mut guest, mut read) = duplex(64 << 20);
        let piece = wire::join_head(&wire::FilePiece { path: "p".to_owned(), offset: 0 }, &[0; 3 << 20]);
        let piece = piece.expect("JSON");
        for seq in 1..=3 {
            guest.write_all(&record(seq, Kind::Transcript, &piece)).await.expect("sent");
        }
        drop(guest);
        let room = Arc::clone(&reporter.room);
        assert!(reporter.pass(&mut read).await.expect("a frame"));
        assert!(room.available_permits() < piece.len(), "there is no room for another");
        let passing = tokio::spawn(async move {
            while reporter.pass(&mut read).await? {}
            Ok::<_, FrameError>(())
        });
        for expected in 1..=3 {
            let held = REPORT_BYTES as usize - room.available_permits();
            assert!(held <= REPORT_BYTES as usize && reports.0.len() <= 1, "{} wait", reports.0.len());
            let Some(Report::Record(frame)) = reports.recv().await else { panic!("a record was sent") };
            assert_eq!(frame.head.seq, expected);
        }
        passing.await.expect("joined").expect("frames");
        assert_eq!(room.available_permits(), REPORT_BYTES as usize);
    }

    #[tokio::test]
    async fn a_record_longer_than_the_room_waits_alone_and_one_that_nobody_sends_is_unfit() {
        let (reporter, mut reports) = reports();
        let (mut guest, mut read) = duplex(64 << 20);
        let piece = wire::join_head(&wire::FilePiece { path: "p".to_owned(), offset: 0 }, &[0; 8 << 20]);
        guest.write_all(&record(1, Kind::Transcript, &piece.expect("JSON"))).await.expect("sent");
        guest.write_all(&record(2, Kind::Output, &vec![b'x'; wire::MAX_OUTPUT + 1])).await.expect("sent");
        assert!(reporter.pass(&mut read).await.expect("a frame"));
        assert_eq!(reporter.room.available_permits(), 0);
        assert!(matches!(reports.recv().await, Some(Report::Record(_))));
        assert!(!reporter.pass(&mut read).await.expect("a frame"), "the connection is given up");
        let Some(Report::Unfit(why)) = reports.recv().await else { panic!("no guest sends so much") };
        assert!(why.contains("output"), "{why}");
        for size in [&[][..], &[0; 3], &[0; 5]] {
            assert!(wire::check_record(Kind::Resize, size).is_err());
        }
    }
}
