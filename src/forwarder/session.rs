//! One session to one destination: from the cursor to the end, in order.
//!
//! What stands together in the journal goes together: requests of a signal are put one behind the other, which in
//! protobuf is a request of them all. One that the destination refuses is taken apart, so that only what it cannot take
//! is lost. One that it does not take now is sent again for ever; meanwhile other sessions have their turn ([`Later`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::time::sleep;

use super::{
    Backoff, Shared,
    deliver::{Later, Patience},
    door::Outcome,
    spans::{Spans, Turns},
    totals,
};
use crate::{
    id::SessionId,
    journal::{Entry, JournalError, Kind, Reader},
    session::SessionHandle,
    signal::Signal,
    store::{ALL_SENT, Unsent},
    supervisor::Refusal,
};

/// Most requests that are read from a journal at once,
const BATCH: usize = 256;
/// and most of their bytes, but for the last one's.
const BATCH_BYTES: usize = 1 << 20;
/// Before a journal that could not be read is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one waits, once there is something, for more to go with it.
const LINGER: Duration = Duration::from_millis(500);

/// How far a batch has got that is sent again. It is read anew for each try, so that who waits holds nothing.
#[derive(Default)]
struct Tries {
    /// The batch's last frame.
    through: Option<u64>,
    /// How many requests of each signal the destination has, or has refused.
    sent: BTreeMap<Signal, usize>,
    /// Of which signals it has been told what cannot be read.
    told: BTreeSet<Signal>,
    backoff: Backoff,
    patience: Patience,
}

impl Shared {
    /// Sends a session up to its end, or to where it is taken over by whoever looks next. `live` is the session, if it
    /// is one.
    pub(super) async fn session(&self, of: Unsent, live: Option<SessionHandle>) {
        let id = of.id;
        let mut cursor = of.cursor;
        let mut head = live.as_ref().map(|session| session.recorder.journal().head());
        let kinds = self.kinds();
        let mut spans = match self.spans(id).await {
            Ok(spans) => spans,
            Err(error) => {
                tracing::warn!(session = %id, %error, "the forwarder cannot tell whose session it is");
                return sleep(PAUSE).await;
            }
        };
        let mut reader = None;
        let mut tries = Tries::default();
        loop {
            let ahead = head.as_mut().map_or(1, |head| head.borrow_and_update().saturating_sub(cursor));
            if ahead > 0 {
                self.status.found(id, ahead);
            }
            let Ok(place) = self.places.acquire().await else { return };
            let from = reader
                .take()
                .unwrap_or_else(|| Reader::open(&self.supervisor.journal_dir(id), cursor + 1).only(&kinds));
            let Read::Some(back, batch) = read(from, id, tries.through).await else {
                drop(place);
                return sleep(PAUSE).await;
            };
            reader = Some(back);
            let Some((first, last)) = batch.first().zip(batch.last()) else {
                drop(place);
                self.status.waiting(id, None);
                match (&mut head, &live) {
                    (Some(head), Some(live)) => {
                        if wait_for_more(head, live).await {
                            tokio::select! {
                                () = sleep(LINGER) => {}
                                () = live.gone() => {}
                            }
                            continue;
                        }
                        // It is gone; whoever looks next sees whether it has ended.
                        return;
                    }
                    _ => return self.all_sent(of, spans).await,
                }
            };
            let end = head.as_ref().map_or(last.seq, |head| *head.borrow());
            self.status.waiting(id, Some((end.saturating_sub(cursor), first.time)));
            let through = last.seq;
            let before = spans.clone();
            if let Err(later) = self.batch(id, batch, spans.as_mut(), &mut tries).await {
                tries.through = Some(through);
                (reader, spans) = (None, before);
                later.wait(place).await;
                continue;
            }
            (cursor, tries) = (through, Tries::default());
            if let Err(error) = self.supervisor.store().set_cursor(&self.name, id, cursor).await {
                tracing::warn!(session = %id, %error, "the forwarder's cursor could not be kept; some will be sent twice");
            }
        }
    }

    /// Sends what is left of a batch.
    async fn batch(
        &self,
        id: SessionId,
        batch: Vec<Entry>,
        spans: Option<&mut Spans>,
        tries: &mut Tries,
    ) -> Result<(), Later> {
        let of = id.to_string();
        for (signal, requests) in self.requests(&batch, spans) {
            let each = requests.len();
            let requests: Vec<Bytes> =
                requests.into_iter().filter_map(|one| self.filter.apply(signal, one)).collect();
            if tries.told.insert(signal) {
                for _ in requests.len()..each {
                    self.refused(&of, "it cannot be read, so nobody knows what it would give away");
                }
            }
            self.send(&of, signal, &requests, tries).await?;
        }
        Ok(())
    }

    /// What is read: the signals, and with traces what spans are made of. Metrics that are summed are read elsewhere.
    fn kinds(&self) -> Vec<Kind> {
        let summed = |signal: &Signal| *signal == Signal::Metrics && !self.session_labels;
        let mut kinds: Vec<Kind> = self.signals.iter().filter(|s| !summed(s)).map(|s| s.kind()).collect();
        if self.signals.contains(&Signal::Traces) {
            kinds.extend(Spans::KINDS);
        }
        kinds
    }

    /// The requests of a batch by signal, those that the spans of ours make among them.
    fn requests(&self, batch: &[Entry], mut spans: Option<&mut Spans>) -> Vec<(Signal, Vec<Bytes>)> {
        let mut all: Vec<(Signal, Vec<Bytes>)> =
            Signal::ALL.into_iter().map(|signal| (signal, Vec::new())).collect();
        for entry in batch {
            if let Some(signal) = Signal::of(entry.kind)
                && let Some((_, requests)) = all.iter_mut().find(|(of, _)| *of == signal)
            {
                requests.extend(totals::honest(signal, entry.payload.clone()));
            } else if let Some(spans) = &mut spans {
                spans.see(entry);
            }
        }
        if let Some(made) = spans.and_then(Spans::take)
            && let Some((_, requests)) = all.iter_mut().find(|(of, _)| *of == Signal::Traces)
        {
            requests.push(made);
        }
        all.retain(|(_, requests)| !requests.is_empty());
        all
    }

    /// Sends requests of one signal, those that are not there yet: together, and each by itself where the destination
    /// refuses that or cannot bear it.
    async fn send(
        &self,
        of: &str,
        signal: Signal,
        requests: &[Bytes],
        tries: &mut Tries,
    ) -> Result<(), Later> {
        let sent = tries.sent.get(&signal).copied().unwrap_or(0);
        if sent == 0 && requests.len() > 1 && !tries.patience.is_out() {
            let mut together = BytesMut::with_capacity(requests.iter().map(Bytes::len).sum());
            requests.iter().for_each(|request| together.extend_from_slice(request));
            match self.attempt(of, signal, together.freeze()).await {
                Outcome::Sent { .. } => {
                    tries.sent.insert(signal, requests.len());
                    return Ok(());
                }
                Outcome::Refused(_) => {}
                Outcome::Later(_, asked) => return Err(self.later(signal, asked, tries)),
            }
        }
        for (n, request) in requests.iter().enumerate().skip(sent) {
            match self.attempt(of, signal, request.clone()).await {
                Outcome::Sent { .. } => tries.backoff = Backoff::default(),
                Outcome::Refused(why) => self.refused(of, &why),
                Outcome::Later(_, asked) => return Err(self.later(signal, asked, tries)),
            }
            tries.sent.insert(signal, n + 1);
        }
        Ok(())
    }

    fn later(&self, signal: Signal, asked: Option<Duration>, tries: &mut Tries) -> Later {
        let others = tries.patience.failed(Instant::now(), self.status.taken(signal));
        Later { wait: tries.backoff.next(asked), others }
    }

    /// The session is over: its span as a whole is the last that the destination gets.
    async fn all_sent(&self, of: Unsent, spans: Option<Spans>) {
        let Unsent { id, ended: true, .. } = of else { return sleep(PAUSE).await };
        if let Some(spans) = spans
            && !self.send_root(id, &spans).await
        {
            return sleep(PAUSE).await;
        }
        while let Err(error) = self.supervisor.store().set_cursor(&self.name, id, ALL_SENT).await {
            // Going on without would send the session once more, and again.
            tracing::warn!(session = %id, %error, "the forwarder's cursor cannot be kept; it waits");
            sleep(PAUSE).await;
        }
    }

    /// Sends the session's span; false where it cannot be made at the moment.
    async fn send_root(&self, id: SessionId, spans: &Spans) -> bool {
        let mut tries = Tries::default();
        loop {
            let Ok(place) = self.places.acquire().await else { return false };
            let Ok(session) = self.supervisor.session(id).await else { return false };
            let reader = Reader::open(&self.supervisor.journal_dir(id), 0);
            let Some(turns) = turns(reader, id).await else { return false };
            let request = self.filter.apply(Signal::Traces, spans.root(&session, turns));
            match self.send(&id.to_string(), Signal::Traces, request.as_slice(), &mut tries).await {
                Ok(()) => return true,
                Err(later) => later.wait(place).await,
            }
        }
    }

    /// What makes spans of a session's frames, where the destination takes spans.
    async fn spans(&self, id: SessionId) -> Result<Option<Spans>, Refusal> {
        if !self.signals.contains(&Signal::Traces) {
            return Ok(None);
        }
        let session = self.supervisor.session(id).await?;
        Ok(Some(Spans::new(&session, &self.supervisor.instance().to_string())))
    }
}

/// The turns of a session; those before a place where the journal breaks off.
async fn turns(reader: Reader, id: SessionId) -> Option<Turns> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut turns = Turns::new(id);
        reader.only(&Turns::KINDS).map_while(Result::ok).for_each(|entry| turns.see(&entry));
        turns
    });
    reading.await.ok()
}

/// What was read of a journal.
pub(super) enum Read {
    /// So much, and the reader back; nothing where it ends, for now or because it is damaged there.
    Some(Reader, Vec<Entry>),
    /// The journal could not be read at the moment: another time, from the cursor on.
    Later,
}

/// Reads the next requests, up to the frame `through` where they have been read before.
pub(super) async fn read(mut reader: Reader, id: SessionId, through: Option<u64>) -> Read {
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match reader.next() {
                Some(Ok(entry)) => {
                    bytes += entry.payload.len();
                    let is_last = through == Some(entry.seq);
                    batch.push(entry);
                    if is_last {
                        break;
                    }
                }
                Some(Err(error @ JournalError::Damaged { .. })) => {
                    tracing::error!(session = %id, %error, "a journal breaks off; what follows cannot be forwarded");
                    break;
                }
                Some(Err(error)) => {
                    tracing::warn!(session = %id, %error, "a journal cannot be read at the moment; it is tried again");
                    return Read::Later;
                }
                None => break,
            }
        }
        Read::Some(reader, batch)
    });
    reading.await.unwrap_or(Read::Later)
}

/// Waits for more frames; false when the session is gone and there are none.
async fn wait_for_more(head: &mut tokio::sync::watch::Receiver<u64>, live: &SessionHandle) -> bool {
    tokio::select! {
        changed = head.changed() => changed.is_ok(),
        () = live.gone() => head.has_changed().unwrap_or(false),
    }
}
