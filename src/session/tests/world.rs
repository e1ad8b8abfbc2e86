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
    sync::Arc,
};

use proptest::sample::Index as Choice;
use sandbox_guest::{
    frame::{self, Head},
    spool::Spool,
    wire::{self, SpooledRequest},
};

use super::super::{Restored, Sight, Viewer};
use crate::{
    clock,
    event::Lifecycle,
    id::SessionId,
    journal::{Entry, Index, Journal, Kind, verify},
    lifecycle::Phase,
    recorder::Recorder,
    screen::Screen,
    spec::{Profile, Spec, User},
    summary::Summary,
};

mod daemon;

use daemon::Daemon;

const COLS: u16 = 20;
const ROWS: u16 = 6;

/// See the top of the file.
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

impl World {
    pub(super) async fn new() -> World {
        // In memory, where there is such a thing: a disk that others use makes each sync take its time.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let id = SessionId::new();
        let spec = Arc::new(Spec {
            user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
            team: None,
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
        let restored = Restored {
            recorder,
            index,
            screen: Screen::new(COLS, ROWS),
            last_record: 0,
            cut_bytes: 0,
            lost: None,
        };
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

    /// The program draws anew, as such programs do. Otherwise it would show which lines a terminal believes to
    /// have wrapped: see [`alike`].
    pub(super) fn resize(&mut self, cols: u16, rows: u16) {
        let size = wire::encode_size(cols, rows);
        self.spool.append(Kind::Resize, &size).expect("open");
        self.recorded.push((Kind::Resize, size.to_vec()));
        self.write(b"\x18\x1b[?1049l\x1b[2J\x1b[3J\x1b[H");
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
        self.daemon.connect(self.dir.path(), &self.spool).await;
    }

    pub(super) async fn disconnect(&mut self) {
        self.daemon.disconnect().await;
    }

    /// Sends so many bytes, if there are as many.
    pub(super) async fn send(&mut self, bytes: usize) {
        self.daemon.receive(bytes).await;
    }

    /// Waits until all that has arrived is on disk, and tells the guest.
    pub(super) async fn commit(&mut self) {
        let (bytes, acknowledged) = self.daemon.commit().await;
        self.durable = self.durable.max(bytes);
        if let Some(through) = acknowledged {
            self.spool.ack(through);
        }
    }

    pub(super) async fn keep(&mut self) {
        self.daemon.record.keep(true).await;
        self.daemon.feed().settle();
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
                seat.look(&mut self.daemon).await;
            }
        }
    }

    pub(super) async fn stop(&mut self) {
        self.daemon.record.rest().await;
        self.durable = self.daemon.recorder().journal().bytes();
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
        let head = *self.daemon.feed().head().borrow();
        for seat in self.viewers.iter_mut().filter(|seat| seat.at > Some(head)) {
            seat.viewer = Some(self.daemon.seat(seat.at));
        }
    }

    /// Ends this daemon wherever it is, lets something happen to the journal, and starts the next.
    async fn restart(&mut self, happen: impl FnOnce(&Path, u64)) {
        self.viewers.iter_mut().for_each(|seat| seat.viewer = None);
        self.daemon.die().await;
        happen(&self.segment(), self.durable);
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
        let all = (self.recorded.len() + self.request_records.len()) as u64;
        assert_eq!(self.spool.first_unacked(), all + 1, "the guest may forget all of it");
        let entries: Vec<Entry> =
            self.daemon.recorder().journal().read(1).map(|e| e.expect("a good frame")).collect();
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
        alike(&mut shown, &mut self.expected(), "the session's screen");
        for mut seat in std::mem::take(&mut self.viewers) {
            if seat.viewer.is_none() {
                seat.viewer = Some(self.daemon.seat(seat.at));
            }
            while seat.look(&mut self.daemon).await {}
            alike(&mut seat.screen, &mut self.expected(), "a viewer's screen");
        }
        self.daemon.die().await;
    }
}

impl World {
    /// The screen of a terminal that was given the list.
    fn expected(&self) -> Screen {
        let mut screen = Screen::new(COLS, ROWS);
        for (kind, payload) in &self.recorded {
            match (kind, wire::decode_size(payload)) {
                (Kind::Resize, Some((cols, rows))) => screen.resize(cols, rows),
                _ => screen.advance(payload),
            }
        }
        screen
    }

    /// Whatever was kept, lost and folded again.
    fn the_summary_is_of(&self, entries: &[Entry]) {
        let mut expected = Summary::default();
        entries.iter().for_each(|entry| expected.apply(entry));
        let (seq, mut summary) = self.daemon.recorder().summary();
        assert_eq!(seq, entries.len() as u64);
        // Segments begin themselves, so that only who reads them counts them.
        for summary in [&mut summary, &mut expected] {
            summary.frames.remove(Kind::Segment.name());
        }
        assert_eq!(summary, expected);
    }
}

/// Both show the same, and go on alike: cursor, attributes, modes and all. Clears them on the way.
fn alike(one: &mut Screen, other: &mut Screen, whose: &str) {
    // Whether a line has wrapped into the next is not compared: a snapshot forgets it where nobody can tell.
    const CLEAR: &[u8] = b"\x18\x1b[2J\x1b[3J\x1b[?1049l\x1b[2J\x1b[3J";
    let [one, other] = [one, other].map(|screen| {
        let seen = (screen.size(), screen.title().to_owned(), screen.lines());
        screen.advance(CLEAR);
        (seen, screen.snapshot().escape_ascii().to_string())
    });
    assert_eq!(one, other, "{whose}");
}

impl Seat {
    /// Looks at the next thing; false if there is none.
    async fn look(&mut self, daemon: &mut Daemon) -> bool {
        let Some(viewer) = &mut self.viewer else { return false };
        let sight = daemon.show(viewer).await;
        let is_something = sight.is_some();
        sight.into_iter().for_each(|sight| self.see(sight));
        is_something
    }

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
