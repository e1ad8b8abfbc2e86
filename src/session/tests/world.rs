//! A guest, a daemon and some viewers, of real parts, and the plain list of what the guest recorded.
//!
//! ```text
//!   list ◀── spool ──▶ socket ──▶ Link ──▶ Record ──▶ journal, screen ──▶ Feed ──▶ Viewer ──▶ screen
//!              ▲                              └─▶ Committer ─┐
//!              └────────────── acknowledgements ◀────────────┘
//! ```
//!
//! Every step waits for what it sets off, so that a history means the same whenever it is run. Only commits
//! may come early, as they do in life: what counts as on disk here is what a step has waited for.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use proptest::sample::Index as Choice;
use sandbox_guest::{
    frame::{self, Head},
    spool::{self, Spool},
    wire::{self, Hello, Listen, Order, PROTOCOL, SpooledRequest, Start},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::super::{
    Command, Restored, Shared, Sight, Viewer,
    link::{Link, Report},
    record::Record,
    viewer::Viewers,
};
use crate::{
    api::{self, Role},
    clock,
    event::Lifecycle,
    feed::Feed,
    gateway::{Context, model::Upstream},
    id::SessionId,
    journal::{Entry, Index, Journal, Kind, verify},
    lifecycle::Phase,
    recorder::Recorder,
    screen::Screen,
    spec::{Profile, Spec, User},
    summary::Summary,
};

const COLS: u16 = 20;
const ROWS: u16 = 6;
/// Small, so that viewers fall behind it.
const RING: usize = 2000; // bytes

pub(super) struct World {
    dir: tempfile::TempDir,
    id: SessionId,
    spec: Arc<Spec>,
    spool: Arc<Spool>,
    /// The list: what the guest recorded, requests aside.
    recorded: Vec<(Kind, Vec<u8>)>,
    requests: u64,
    /// Which records those were: the journal has other numbers for them.
    request_records: Vec<u64>,
    daemon: Daemon,
    viewers: Vec<Seat>,
    /// Bytes of the journal that a crash may not touch.
    durable: u64,
}

/// Somebody's terminal, whether they are there or not.
struct Seat {
    viewer: Option<Viewer>,
    screen: Screen,
    at: Option<u64>,
}

/// A daemon's life.
struct Daemon {
    shared: Arc<Shared>,
    record: Record,
    /// The last record that was handed to `record`.
    taken: u64,
    /// Where the journal ended after it.
    taken_bytes: u64,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<Report>,
    acks: watch::Receiver<u64>,
    /// Kept, since a link without them ends.
    _orders: mpsc::Sender<Order>,
    _input: mpsc::Sender<Bytes>,
    helpers: JoinSet<()>,
    guest: Option<Guest>,
}

/// The guest's end of a connection.
struct Guest {
    stream: UnixStream,
    reader: spool::Reader,
    /// Read from the spool, and not sent yet.
    unsent: Vec<u8>,
    /// Sent, and not yet a whole frame.
    begun: Vec<u8>,
    /// The last acknowledgement on this connection.
    heard: Option<u64>,
}

impl World {
    pub(super) async fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let id = SessionId::new();
        let spec = Arc::new(Spec {
            user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
            profile_name: "p".to_owned(),
            profile: Profile::default(),
            workspace: None,
            cols: COLS,
            rows: ROWS,
            own_key: false,
        });
        let journal = Journal::create(&dir.path().join("journal"), id).expect("a journal");
        let recorder = Recorder::new(journal, 0, Summary::default(), clock::now());
        let requested = Lifecycle::Phase { phase: Phase::Requested, reason: None };
        recorder.event(Kind::Lifecycle, &requested).expect("noted");
        let durable = recorder.journal().bytes();
        let index = Index::open(dir.path()).expect("an index");
        let restored =
            Restored { recorder, index, screen: Screen::new(COLS, ROWS), last_record: 0, cut_bytes: 0 };
        let spool = Spool::open(&dir.path().join("spool")).expect("a spool");
        let daemon = Daemon::start(dir.path(), id, &spec, restored);
        World {
            dir,
            id,
            spec,
            spool,
            recorded: Vec::new(),
            requests: 0,
            request_records: Vec::new(),
            daemon,
            viewers: Vec::new(),
            durable,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.spool.append(Kind::Output, bytes).expect("open");
        self.recorded.push((Kind::Output, bytes.to_vec()));
    }

    pub(super) fn resize(&mut self, cols: u16, rows: u16) {
        let size = wire::encode_size(cols, rows);
        self.spool.append(Kind::Resize, &size).expect("open");
        self.recorded.push((Kind::Resize, size.to_vec()));
    }

    pub(super) fn request(&mut self) {
        self.requests += 1;
        let head = SpooledRequest {
            request: self.requests,
            path: "/v1/logs".to_owned(),
            content_type: Some("application/json".to_owned()),
            content_encoding: None,
        };
        let body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"x"}]}]}]}"#;
        let payload = wire::join_head(&head, body).expect("JSON");
        self.request_records.push(self.spool.append(Kind::Request, &payload).expect("open"));
    }

    pub(super) async fn connect(&mut self) {
        if self.daemon.guest.is_some() {
            return;
        }
        let mut stream = UnixStream::connect(socket(self.dir.path())).await.expect("the daemon listens");
        let next = self.spool.first_unacked();
        let hello = Hello { protocol: PROTOCOL, version: String::new(), started: true, next, fault: None };
        let mut bytes = Vec::new();
        let head = Head { seq: 0, time: 0, origin: 0, kind: Kind::Hello };
        frame::encode(&head, &serde_json::to_vec(&hello).expect("JSON"), &mut bytes);
        stream.write_all(&bytes).await.expect("sent");
        assert!(matches!(self.daemon.reports.recv().await, Some(Report::Hello(_))));
        let reader = self.spool.reader().expect("a reader");
        self.daemon.guest =
            Some(Guest { stream, reader, unsent: Vec::new(), begun: Vec::new(), heard: None });
    }

    pub(super) async fn disconnect(&mut self) {
        if self.daemon.guest.take().is_some() {
            assert!(matches!(self.daemon.reports.recv().await, Some(Report::Lost)));
        }
    }

    /// Sends so many bytes, if there are as many.
    pub(super) async fn send(&mut self, bytes: usize) {
        let Some(guest) = &mut self.daemon.guest else { return };
        let whole = guest.send(bytes).await;
        for _ in 0..whole {
            let Some(Report::Record(frame)) = self.daemon.reports.recv().await else {
                panic!("a record was sent")
            };
            self.daemon.taken = self.daemon.taken.max(frame.head.seq);
            self.daemon.record.take(frame).await;
            self.daemon.taken_bytes = self.daemon.shared.recorder.journal().bytes();
        }
    }

    /// Waits until all that has arrived is on disk, and tells the guest.
    pub(super) async fn commit(&mut self) {
        let taken = self.daemon.taken;
        self.daemon.acks.wait_for(|acked| *acked >= taken).await.expect("the committer runs");
        self.durable = self.durable.max(self.daemon.taken_bytes);
        if let Some(guest) = &mut self.daemon.guest {
            let through = guest.hear_ack(taken).await;
            assert_eq!(through, taken, "what is acknowledged has been sent");
            self.spool.ack(through);
        }
    }

    pub(super) async fn keep(&mut self) {
        self.daemon.record.keep(true).await;
    }

    pub(super) fn join(&mut self) {
        if self.viewers.len() < 4 {
            let viewer = Some(self.daemon.seat(None));
            self.viewers.push(Seat { viewer, screen: Screen::new(COLS, ROWS), at: None });
        }
    }

    pub(super) fn leave(&mut self, who: Choice) {
        if !self.viewers.is_empty() {
            who.get_mut(&mut self.viewers).viewer = None;
        }
    }

    /// With the last number that they have.
    pub(super) fn come_back(&mut self, who: Choice) {
        if !self.viewers.is_empty() {
            let seat = who.get_mut(&mut self.viewers);
            seat.viewer = None;
            seat.viewer = Some(self.daemon.seat(seat.at));
        }
    }

    pub(super) async fn look(&mut self, who: Choice, count: usize) {
        if !self.viewers.is_empty() {
            let seat = who.get_mut(&mut self.viewers);
            for _ in 0..count {
                self.daemon.show(seat).await;
            }
        }
    }

    pub(super) async fn stop(&mut self) {
        self.daemon.record.rest().await;
        self.durable = self.daemon.shared.recorder.journal().bytes();
        self.restart(|_, _| {}).await;
    }

    pub(super) async fn kill(&mut self, torn: usize) {
        self.restart(|segment, _| {
            let mut next = Vec::new();
            let head = Head { seq: 1, time: 1, origin: 1, kind: Kind::Output };
            frame::encode(&head, &[b'x'; 30], &mut next);
            let mut file = fs::OpenOptions::new().append(true).open(segment).expect("the segment");
            file.write_all(&next[..torn]).expect("written");
        })
        .await;
    }

    pub(super) async fn cut_power(&mut self, at: Choice, zeros: bool) {
        self.restart(|segment, durable| {
            let file = fs::OpenOptions::new().write(true).open(segment).expect("the segment");
            let len = file.metadata().expect("it is there").len();
            let lost = usize::try_from(len - durable).expect("small");
            file.set_len(durable + at.index(lost + 1) as u64).expect("cut");
            if zeros {
                file.set_len(len).expect("as long as it was");
            }
        })
        .await;
        // Who has seen what is lost comes back before others take its numbers.
        let head = *self.daemon.shared.feed.head().borrow();
        for seat in self.viewers.iter_mut().filter(|seat| seat.at > Some(head)) {
            seat.viewer = Some(self.daemon.seat(seat.at));
        }
    }

    /// Ends this daemon wherever it is, lets something happen to the journal, and starts the next.
    async fn restart(&mut self, happen: impl FnOnce(&Path, u64)) {
        self.viewers.iter_mut().for_each(|seat| seat.viewer = None);
        self.daemon.helpers.shutdown().await;
        happen(&self.segment(), self.durable);
        fs::remove_file(socket(self.dir.path())).expect("the old socket");
        let restored = Restored::open(self.dir.path(), self.id, &self.spec).expect("it goes on");
        assert!(restored.last_record >= self.last_acknowledged(), "what was acknowledged is there");
        // Opening syncs what it finds.
        self.durable = restored.recorder.journal().bytes();
        self.daemon = Daemon::start(self.dir.path(), self.id, &self.spec, restored);
    }

    /// The last record that the guest was told is on disk, requests aside.
    fn last_acknowledged(&self) -> u64 {
        let acked = self.spool.first_unacked() - 1;
        (1..=acked).rev().find(|record| !self.request_records.contains(record)).unwrap_or(0)
    }

    fn segment(&self) -> PathBuf {
        self.dir.path().join("journal").join(format!("{:020}.log", 1))
    }

    /// Everything arrives, and everybody sees it; then all is held against the list.
    pub(super) async fn settle(&mut self) {
        self.connect().await;
        self.send(usize::MAX).await;
        self.commit().await;
        let mut expected = Screen::new(COLS, ROWS);
        for (kind, payload) in &self.recorded {
            match (kind, wire::decode_size(payload)) {
                (Kind::Resize, Some((cols, rows))) => expected.resize(cols, rows),
                _ => expected.advance(payload),
            }
        }
        let all = (self.recorded.len() + self.request_records.len()) as u64;
        assert_eq!(self.spool.first_unacked(), all + 1, "the guest may forget all of it");
        let entries: Vec<Entry> =
            self.daemon.shared.recorder.journal().read(1).map(|e| e.expect("a good frame")).collect();
        let terminal: Vec<(Kind, Vec<u8>)> = entries
            .iter()
            .filter(|e| matches!(e.kind, Kind::Output | Kind::Resize))
            .map(|e| (e.kind, e.payload.to_vec()))
            .collect();
        assert_eq!(terminal, self.recorded, "each record once, in order");
        let requests: Vec<u64> = entries.iter().filter(|e| e.kind == Kind::Logs).map(|e| e.origin).collect();
        assert_eq!(requests, (1..=self.requests).collect::<Vec<_>>(), "each request once");
        verify(&self.dir.path().join("journal")).expect("the chain holds");
        self.the_summary_is_of(&entries);

        let snapshot = self.daemon.record.snapshot();
        let mut shown = Screen::new(snapshot.cols, snapshot.rows);
        shown.advance(&snapshot.bytes);
        alike(&mut shown, &mut expected, "the session's screen");
        for mut seat in std::mem::take(&mut self.viewers) {
            if seat.viewer.is_none() {
                seat.viewer = Some(self.daemon.seat(seat.at));
            }
            while self.daemon.show(&mut seat).await {}
            alike(&mut seat.screen, &mut expected, "a viewer's screen");
        }
        self.daemon.helpers.shutdown().await;
    }
}

impl World {
    /// Whatever was kept, lost and folded again.
    fn the_summary_is_of(&self, entries: &[Entry]) {
        let mut expected = Summary::default();
        entries.iter().for_each(|entry| expected.apply(entry));
        let (seq, mut summary) = self.daemon.shared.recorder.summary();
        assert_eq!(seq, entries.len() as u64);
        // Segments begin themselves, so that only who reads them counts them.
        for summary in [&mut summary, &mut expected] {
            summary.frames.remove(Kind::Segment.name());
        }
        assert_eq!(summary, expected);
    }
}

fn alike(one: &mut Screen, other: &mut Screen, whose: &str) {
    let snapshots = (one.snapshot().escape_ascii().to_string(), other.snapshot().escape_ascii().to_string());
    assert_eq!(one.size(), other.size(), "{whose}");
    assert_eq!(one.lines(), other.lines(), "{whose}");
    assert_eq!(snapshots.0, snapshots.1, "{whose}");
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

impl Daemon {
    fn start(dir: &Path, id: SessionId, spec: &Arc<Spec>, restored: Restored) -> Daemon {
        let Restored { recorder, index, screen, last_record, .. } = restored;
        let (commands, asked) = mpsc::channel(4);
        let (orders, ordered) = mpsc::channel(4);
        let (input, typed) = mpsc::channel(4);
        let (report, reports) = mpsc::channel(4);
        let upstream = Arc::new(Upstream::new(&crate::config::Model::default()).expect("an upstream"));
        let context =
            Context::new(id, Arc::clone(spec), recorder.clone(), upstream, Arc::default(), String::new());
        let shared = Arc::new(Shared {
            id,
            spec: Arc::clone(spec),
            feed: Feed::with_limit(*recorder.journal().head().borrow(), RING),
            recorder,
            viewers: Viewers::default(),
            driver: watch::Sender::new(0),
            notice: watch::Sender::new(None),
            exit: watch::Sender::new(None),
            view: watch::Sender::new(view(id, spec)),
            commands,
            orders: orders.clone(),
            input: input.clone(),
            died: Notify::new(),
            gone: CancellationToken::new(),
        });
        let acks = watch::Sender::new(last_record);
        let acked = acks.subscribe();
        let listener = UnixListener::bind(socket(dir)).expect("bound");
        let start = Arc::new(start());
        let link = Link {
            listener,
            start: Some(start),
            reports: report,
            orders: ordered,
            input: typed,
            acks: acks.subscribe(),
        };
        let context = Arc::new(context.expect("a context"));
        let (record, committer) =
            Record::new(Arc::clone(&shared), screen, index, dir.to_owned(), last_record, acks, context);
        let mut helpers = JoinSet::new();
        helpers.spawn(link.run(CancellationToken::new()));
        helpers.spawn(committer.run(CancellationToken::new()));
        Daemon {
            shared,
            record,
            taken: last_record,
            taken_bytes: 0,
            commands: asked,
            reports,
            acks: acked,
            _orders: orders,
            _input: input,
            helpers,
            guest: None,
        }
    }

    fn seat(&self, after: Option<u64>) -> Viewer {
        Viewer::join(Arc::clone(&self.shared), "somebody".to_owned(), Role::Observer, false, after)
    }

    /// Shows somebody the next thing; false if there is none.
    async fn show(&mut self, seat: &mut Seat) -> bool {
        let Some(viewer) = &mut seat.viewer else { return false };
        let sight = {
            let mut next = std::pin::pin!(viewer.next());
            let mut idle = 0;
            loop {
                if let std::task::Poll::Ready(sight) = futures_util::poll!(next.as_mut()) {
                    break sight.expect("the daemon lives");
                }
                if let Ok(command) = self.commands.try_recv() {
                    let Command::Snapshot(reply) = command else { panic!("nobody asked for an end") };
                    reply.send(self.record.snapshot()).ok();
                } else if idle == 2 {
                    return false;
                } else {
                    // It may have had its turn of the runtime, and not be done.
                    idle += 1;
                    tokio::task::yield_now().await;
                }
            }
        };
        seat.see(sight);
        true
    }
}

impl Seat {
    fn see(&mut self, sight: Sight) {
        match sight {
            Sight::Snapshot { seq, cols, rows, bytes } => {
                self.at = Some(seq);
                self.screen = Screen::new(cols, rows);
                self.screen.advance(&bytes);
            }
            Sight::Output { seq, bytes } => {
                self.at = Some(seq);
                self.screen.advance(&bytes);
            }
            Sight::Resize { seq, cols, rows } => {
                self.at = Some(seq);
                self.screen.resize(cols, rows);
            }
            Sight::Role(_) => {}
            other => panic!("nobody said {other:?}"),
        }
    }
}

impl Guest {
    /// Sends so many bytes; tells how many frames that made whole.
    async fn send(&mut self, bytes: usize) -> usize {
        let mut buffer = vec![0; 4096];
        while self.unsent.len() < bytes {
            let read = self.reader.read(&mut buffer, &AtomicBool::new(true)).expect("readable");
            if read == 0 {
                break;
            }
            self.unsent.extend_from_slice(&buffer[..read]);
        }
        let sent: Vec<u8> = self.unsent.drain(..bytes.min(self.unsent.len())).collect();
        self.stream.write_all(&sent).await.expect("sent");
        self.begun.extend_from_slice(&sent);
        let mut whole = 0;
        let mut rest = &self.begun[..];
        let mut left = rest.len();
        while let Ok(Some(_)) = frame::read(&mut rest) {
            (whole, left) = (whole + 1, rest.len());
        }
        self.begun.drain(..self.begun.len() - left);
        whole
    }

    /// Waits for an acknowledgement of at least this record.
    async fn hear_ack(&mut self, through: u64) -> u64 {
        loop {
            if let Some(heard) = self.heard.filter(|heard| *heard >= through) {
                return heard;
            }
            let mut header = [0; frame::HEADER];
            self.stream.read_exact(&mut header).await.expect("an order");
            let mut payload = vec![0; frame::payload_len(&header).expect("a length")];
            self.stream.read_exact(&mut payload).await.expect("all of it");
            match serde_json::from_slice(&payload).expect("an order") {
                Order::Ack { through } => self.heard = Some(through),
                other => panic!("nobody ordered {other:?}"),
            }
        }
    }
}

fn start() -> Start {
    Start {
        argv: vec!["true".to_owned()],
        env: Vec::new(),
        cwd: "/".to_owned(),
        uid: 1000,
        gid: 1000,
        cols: COLS,
        rows: ROWS,
        privileges: false,
        open_files: 1024,
        pids: None,
        files: Vec::new(),
        own: Vec::new(),
        transcripts: None,
        disk_limit: None,
        spool_limit: 1 << 20,
        listen: Listen::default(),
        request_key: String::new(),
    }
}

fn view(id: SessionId, spec: &Spec) -> api::Session {
    api::Session {
        id,
        user: spec.user.clone(),
        profile: spec.profile_name.clone(),
        credential: spec.profile.credential,
        image: String::new(),
        program: Vec::new(),
        workspace: None,
        phase: Phase::Running,
        reason: None,
        exit_code: None,
        created_at: clock::timestamp(0),
        started_at: None,
        ended_at: None,
        expires_at: None,
        active_at: None,
        cols: COLS,
        rows: ROWS,
        title: String::new(),
        viewers: 0,
        warning: None,
        recorded_bytes: 0,
        totals: api::Totals::default(),
        completeness: None,
    }
}
