//! A daemon's part of a session, of real parts, and the guest's end of the connection to it.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use sandbox_guest::{
    frame::{self, Head},
    spool::{self, Spool},
    wire::{Hello, Listen, Order, PROTOCOL, Start},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::super::{
        Command, Restored, Shared, Sight, Viewer,
        link::{self, Link, Report, Reports},
        record::Record,
        viewer::Viewers,
    },
    COLS, ROWS,
};
use crate::{
    api::{self, Role},
    clock,
    feed::{Feed, Limits},
    gateway::{Context, model::Upstream},
    id::SessionId,
    journal::Kind,
    lifecycle::Phase,
    recorder::Recorder,
    spec::Spec,
};

/// Small, so that viewers fall behind it.
const RING: Limits = Limits { followed: 2000, quiet: 500, late: Duration::from_secs(1) };

/// A daemon's life.
pub(super) struct Daemon {
    shared: Arc<Shared>,
    pub(super) record: Record,
    /// The last record that was handed to `record`.
    taken: u64,
    /// Where the journal ended after it.
    taken_bytes: u64,
    commands: mpsc::Receiver<Command>,
    reports: Reports,
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

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

impl Daemon {
    pub(super) fn start(dir: &Path, id: SessionId, spec: &Arc<Spec>, restored: Restored) -> Daemon {
        let Restored { recorder, index, screen, last_record, .. } = restored;
        let (commands, asked) = mpsc::channel(4);
        let (orders, ordered) = mpsc::channel(4);
        let (input, typed) = mpsc::channel(4);
        let (report, reports) = link::reports();
        let upstream = Arc::new(Upstream::new(&crate::config::Model::default()).expect("an upstream"));
        let context =
            Context::new(id, Arc::clone(spec), recorder.clone(), upstream, Arc::default(), String::new());
        let shared = Arc::new(Shared {
            id,
            spec: Arc::clone(spec),
            feed: Feed::with_limits(*recorder.journal().head().borrow(), RING),
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
        fs::remove_file(socket(dir)).ok();
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

    /// Ends it wherever it is.
    pub(super) async fn die(&mut self) {
        self.helpers.shutdown().await;
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    pub(super) async fn connect(&mut self, dir: &Path, spool: &Arc<Spool>) {
        if self.guest.is_some() {
            return;
        }
        self.guest = Some(Guest::connect(dir, spool).await);
        assert!(matches!(self.reports.recv().await, Some(Report::Hello(_))));
    }

    pub(super) async fn disconnect(&mut self) {
        if self.guest.take().is_some() {
            assert!(matches!(self.reports.recv().await, Some(Report::Lost)));
        }
    }

    /// Takes so many bytes from the guest.
    pub(super) async fn receive(&mut self, bytes: usize) {
        let Some(guest) = &mut self.guest else { return };
        for _ in 0..guest.send(bytes).await {
            let Some(Report::Record(frame)) = self.reports.recv().await else { panic!("a record was sent") };
            self.taken = self.taken.max(frame.head.seq);
            self.record.take(frame).await;
            self.taken_bytes = self.shared.recorder.journal().bytes();
        }
    }

    /// Waits until all that was taken is on disk; tells how long the journal was then, and which record the
    /// guest heard of, if it is there.
    pub(super) async fn commit(&mut self) -> (u64, Option<u64>) {
        let taken = self.taken;
        self.acks.wait_for(|acked| *acked >= taken).await.expect("the committer runs");
        let Some(guest) = &mut self.guest else { return (self.taken_bytes, None) };
        let through = guest.hear_ack(taken).await;
        assert_eq!(through, taken, "what is acknowledged has been taken");
        (self.taken_bytes, Some(through))
    }

    pub(super) fn seat(&self, after: Option<u64>) -> Viewer {
        Viewer::join(Arc::clone(&self.shared), "somebody".to_owned(), Role::Observer, false, after)
    }

    /// The next thing for somebody to see, if there is one.
    pub(super) async fn show(&mut self, viewer: &mut Viewer) -> Option<Sight> {
        let mut next = pin!(viewer.next());
        let mut idle = 0;
        loop {
            if let Poll::Ready(sight) = futures_util::poll!(next.as_mut()) {
                return Some(sight.expect("the daemon lives"));
            }
            if let Ok(command) = self.commands.try_recv() {
                let Command::Snapshot(reply) = command else { panic!("nobody asked for an end") };
                reply.send(self.record.snapshot()).ok();
            } else if idle == 2 {
                return None;
            } else {
                // It may have had its turn of the runtime, and not be done.
                idle += 1;
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Guest {
    async fn connect(dir: &Path, spool: &Arc<Spool>) -> Guest {
        let mut stream = UnixStream::connect(socket(dir)).await.expect("the daemon listens");
        let next = spool.first_unacked();
        let hello = Hello { protocol: PROTOCOL, version: String::new(), started: true, next, fault: None };
        let mut bytes = Vec::new();
        let head = Head { seq: 0, time: 0, origin: 0, kind: Kind::Hello };
        frame::encode(&head, &serde_json::to_vec(&hello).expect("JSON"), &mut bytes);
        stream.write_all(&bytes).await.expect("sent");
        let reader = spool.reader().expect("a reader");
        Guest { stream, reader, unsent: Vec::new(), begun: Vec::new(), heard: None }
    }

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
        team: spec.team.clone(),
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
