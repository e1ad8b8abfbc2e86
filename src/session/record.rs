//! What happens to a record of the guest: journal, then screen, then feed; and, once on disk, the ack.
//!
//! ```text
//!   frame ──▶ journal.append ──▶ screen.advance ──▶ feed.push ──▶ viewers
//!                   │
//!                   └─▶ committer: journal.commit ──▶ ack to the guest
//! ```
//!
//! When the journal cannot take a frame (a full disk), the frame is held and tried again; no other is
//! taken before it. The guest's spool fills, then the program's terminal waits. Nothing is dropped.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use sandbox_guest::{
    frame::{Frame, Kind},
    wire::{self, SpooledRequest},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared, Snapshot,
    restore::{FOLD, Kept, SUMMARY},
};
use crate::{
    clock,
    event::Lifecycle,
    feed::{Item, What},
    gateway,
    inert::inert,
    journal::{Index, Keyframe},
    screen::Screen,
};

/// Output between two keyframes of the screen.
const KEYFRAME_BYTES: u64 = 1 << 20;
/// Time between two keyframes, while there is output.
const KEYFRAME_TIME: u64 = 10_000_000; // µs
/// Frames between two summaries that are kept.
const SUMMARY_FRAMES: u64 = 64;
/// Output is made durable when the program pauses for so long: a sync while it writes makes it wait.
const PAUSE: Duration = Duration::from_millis(5);
/// Or when the first of it has waited for so long,
const LAZY: Duration = Duration::from_millis(250);
/// or when there is so much of it.
const MUCH: u64 = 4 << 20; // bytes
/// Between two tries of a journal that takes nothing.
const RETRY: Duration = Duration::from_millis(250);

/// What a session's task does with records.
pub(super) struct Record {
    shared: Arc<Shared>,
    screen: Screen,
    index: Index,
    dir: PathBuf,
    context: Arc<gateway::Context>,
    /// The last record that is in the journal.
    last_record: u64,
    /// Whether a guest, or its spool, has said which record it holds first: a gap after that is a loss.
    greeted: bool,
    /// What the committer is to make durable.
    appended: watch::Sender<Appended>,
    /// Something that is no output is among it: the guest may wait for its acknowledgement.
    urgent: Arc<Notify>,
    /// A frame that the journal did not take, with the reason.
    held: Option<(Frame, String, Instant)>,
    /// What the guest waits for, as a sentence, if its spool cannot be written.
    stalled: Option<String>,
    since_keyframe: u64,
    output_bytes: u64,
    keyframe_at: u64,
    summary_at: u64,
}

/// How far the guest's records are in the journal.
#[derive(Clone, Copy, Default)]
struct Appended {
    /// The last record.
    record: u64,
    /// Its frame.
    seq: u64,
    /// Bytes of output so far.
    bytes: u64,
}

impl Record {
    pub(super) fn new(
        shared: Arc<Shared>,
        screen: Screen,
        index: Index,
        dir: PathBuf,
        last_record: u64,
        acks: watch::Sender<u64>,
        context: Arc<gateway::Context>,
    ) -> (Record, Committer) {
        let appended = watch::Sender::new(Appended { record: last_record, ..Appended::default() });
        let urgent = Arc::new(Notify::new());
        let committer = Committer {
            shared: Arc::clone(&shared),
            appended: appended.subscribe(),
            acks,
            urgent: Arc::clone(&urgent),
            durable: 0,
        };
        let output_bytes = index.output_bytes();
        let now = clock::now();
        let record = Record {
            shared,
            screen,
            index,
            dir,
            context,
            last_record,
            greeted: false,
            appended,
            urgent,
            held: None,
            stalled: None,
            since_keyframe: 0,
            output_bytes,
            keyframe_at: now,
            summary_at: 0,
        };
        (record, committer)
    }

    /// Notes the first record that the guest still holds: a daemon has acknowledged those before it, and so
    /// has them on disk. (The journal alone cannot tell: requests stand in it under numbers of their own.)
    pub(super) fn greet(&mut self, first: u64) {
        self.last_record = self.last_record.max(first.saturating_sub(1));
        self.greeted = true;
        self.stalled = None;
    }

    /// Takes a record, unless it has been taken before. Tells what it says of the session's life.
    pub(super) async fn take(&mut self, frame: Frame) -> Option<Lifecycle> {
        if frame.head.seq <= self.last_record {
            return None;
        }
        let (from, through) = (self.last_record + 1, frame.head.seq - 1);
        if self.greeted && from <= through {
            tracing::error!(session = %self.shared.id, from, through, "records of the guest are lost");
            self.event(&Lifecycle::RecordsLost { from, through });
            self.last_record = through;
        }
        if frame.head.kind == Kind::Request {
            return self.take_request(frame).await;
        }
        let Frame { head, payload } = frame;
        let payload = Bytes::from(payload);
        let appended = self.shared.recorder.append(head.time, head.seq, head.kind, payload.clone());
        let seq = match appended {
            Ok(seq) => seq,
            Err(error) => {
                self.hold(Frame { head, payload: payload.into() }, &error);
                return None;
            }
        };
        self.appended(head.seq, seq, (head.kind == Kind::Output).then_some(payload.len()));
        match head.kind {
            Kind::Output => {
                self.screen.advance(&payload);
                self.since_keyframe += payload.len() as u64;
                self.output_bytes += payload.len() as u64;
                self.shared.feed.push(Item { seq, what: What::Output(payload) });
                if self.since_keyframe >= KEYFRAME_BYTES {
                    self.keyframe();
                }
                None
            }
            Kind::Resize => {
                if let Some((cols, rows)) = wire::decode_size(&payload) {
                    self.screen.resize(cols, rows);
                    self.shared.feed.push(Item { seq, what: What::Resize { cols, rows } });
                }
                None
            }
            Kind::Lifecycle => serde_json::from_slice(&payload).ok(),
            _ => None,
        }
    }

    /// A request that the guest answered while the daemon was away.
    async fn take_request(&mut self, frame: Frame) -> Option<Lifecycle> {
        let outcome = match wire::split_head::<SpooledRequest>(&frame.payload) {
            Ok((request, body)) => {
                gateway::ingest(&self.context, &request, Bytes::copy_from_slice(body)).await
            }
            Err(error) => {
                tracing::error!(session = %self.shared.id, %error, "a spooled request makes no sense");
                Ok(0)
            }
        };
        match outcome {
            Ok(seq) => self.appended(frame.head.seq, seq, None),
            Err(error) => self.hold(frame, &error),
        }
        None
    }

    /// Notes that a record is in the journal, and how much output it is, if it is.
    fn appended(&mut self, record: u64, seq: u64, output: Option<usize>) {
        self.last_record = record;
        self.appended.send_modify(|appended| {
            (appended.record, appended.seq) = (record, seq);
            appended.bytes += output.unwrap_or_default() as u64;
        });
        if output.is_none() {
            self.urgent.notify_one();
        }
    }

    /// Forgets the held frame: whoever takes it again has it from the spool.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    fn hold(&mut self, frame: Frame, error: &dyn std::error::Error) {
        if self.held.is_none() {
            tracing::error!(session = %self.shared.id, %error, "the journal takes nothing; the program waits");
        }
        self.held = Some((frame, format!("recording waits: {error}"), Instant::now() + RETRY));
    }

    /// Whether a frame waits for the journal.
    pub(super) fn is_blocked(&self) -> bool {
        self.held.is_some()
    }

    /// Notes why the guest cannot write its spool; empty when it can.
    pub(super) fn stalled(&mut self, why: String) {
        let sentence = || format!("recording waits: the guest cannot write its spool: {}", inert(&why));
        self.stalled = (!why.is_empty()).then(sentence);
    }

    /// What keeps the journal, or the guest, from taking frames.
    pub(super) fn problem(&self) -> Option<&str> {
        let held = self.held.as_ref().map(|(_, problem, _)| problem.as_str());
        held.or(self.stalled.as_deref())
    }

    /// Tries the held frame again, when it is time. Cancel-safe: the frame is only taken after the wait.
    pub(super) async fn retry(&mut self) -> Option<Lifecycle> {
        let at = self.held.as_ref().map_or_else(Instant::now, |(_, _, at)| *at);
        sleep_until(at).await;
        let (frame, ..) = self.held.take()?;
        self.take(frame).await
    }

    /// Appends an event of the session's life, now or as soon as the journal takes it.
    pub(super) fn event(&self, event: &Lifecycle) {
        self.shared.recorder.note(Kind::Lifecycle, event);
    }

    /// The screen as it is, and the frame that it stands for.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let (cols, rows) = self.screen.size();
        let seq = *self.shared.feed.head().borrow();
        Snapshot { seq, cols, rows, bytes: self.screen.snapshot().into() }
    }

    pub(super) fn size(&self) -> (u16, u16) {
        self.screen.size()
    }

    pub(super) fn title(&self) -> &str {
        self.screen.title()
    }

    pub(super) fn take_replies(&mut self) -> Vec<u8> {
        self.screen.take_replies()
    }

    /// Writes what spares a later daemon work: a keyframe of the screen and the summary so far. Both can be
    /// thrown away. Does so when it is time, or `now`.
    pub(super) async fn keep(&mut self, now: bool) {
        let time = clock::now();
        if self.since_keyframe > 0 && (now || time.saturating_sub(self.keyframe_at) >= KEYFRAME_TIME) {
            self.keyframe();
        }
        if now || self.shared.recorder.counted() > self.summary_at + SUMMARY_FRAMES {
            let (seq, summary) = self.shared.recorder.summary();
            self.summary_at = seq;
            let kept = Kept { fold: FOLD, seq, summary, active: self.shared.recorder.active() };
            if let Err(error) = write_atomically(&self.dir.join(SUMMARY), &kept) {
                tracing::warn!(session = %self.shared.id, %error, "the summary so far could not be kept");
            }
        }
    }

    /// Comes to rest when the daemon stops: what has been appended is made durable.
    pub(super) async fn rest(&mut self) {
        self.keep(true).await;
        let head = *self.shared.recorder.journal().head().borrow();
        if let Err(error) = self.shared.recorder.commit(head).await {
            tracing::error!(session = %self.shared.id, %error, "the journal could not be committed");
        }
    }

    fn keyframe(&mut self) {
        self.since_keyframe = 0;
        self.keyframe_at = clock::now();
        let (cols, rows) = self.screen.size();
        let keyframe = Keyframe {
            seq: *self.shared.feed.head().borrow(),
            time: self.keyframe_at,
            position: self.shared.recorder.journal().position(),
            output_bytes: self.output_bytes,
            cols,
            rows,
            screen: self.screen.snapshot(),
        };
        if let Err(error) = self.index.push(keyframe) {
            tracing::warn!(session = %self.shared.id, %error, "a keyframe could not be kept");
        }
    }
}

/// Writes JSON so that a reader finds the old content or the new.
fn write_atomically(path: &std::path::Path, value: &impl serde::Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(value)?)?;
    fs::rename(&new, path)
}

/// Makes records durable and acknowledges them: the only one who may.
pub(super) struct Committer {
    shared: Arc<Shared>,
    appended: watch::Receiver<Appended>,
    acks: watch::Sender<u64>,
    urgent: Arc<Notify>,
    /// Bytes of output that have been made durable.
    durable: u64,
}

impl Committer {
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut doubtful = self.shared.recorder.journal().doubtful();
        let mut failed = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.appended.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    cancel.run_until_cancelled(self.ripen()).await;
                }
                changed = doubtful.changed() => if changed.is_err() { return },
                () = sleep(RETRY), if failed => {}
            }
            let Appended { record, seq, bytes, .. } = *self.appended.borrow_and_update();
            self.durable = bytes;
            doubtful.mark_unchanged();
            match self.shared.recorder.commit(seq).await {
                Ok(()) => {
                    self.acks.send_replace(record);
                    if std::mem::take(&mut failed) {
                        tracing::info!(session = %self.shared.id, "the journal can be committed again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::error!(session = %self.shared.id, %error, "the journal cannot be committed");
                    }
                }
            }
        }
    }

    /// Waits until it is time to make durable what has been appended: at once, if it is more than output.
    async fn ripen(&self) {
        let began = Instant::now();
        let mut last = self.appended.borrow().record;
        while began.elapsed() < LAZY && timeout(PAUSE, self.urgent.notified()).await.is_err() {
            let now = *self.appended.borrow();
            if now.record == last || now.bytes - self.durable >= MUCH {
                return;
            }
            last = now.record;
        }
    }
}
