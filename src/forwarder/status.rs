//! How a destination is: what it has, what waits for it, what went wrong last.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{api, clock, config::Forward, id::SessionId, inert, signal::Signal};

/// Kept by the forwarder, read by whoever wants to know.
pub struct Status {
    name: String,
    endpoint: String,
    protocol: crate::config::Protocol,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that arrived, and when the last did.
    sent: BTreeMap<Signal, (u64, Instant)>,
    refused: u64,
    rejected: u64,
    retries: u64,
    /// Nothing has arrived since something last went wrong.
    failing: bool,
    /// When something last arrived there, in µs since the epoch.
    sent_at: Option<u64>,
    /// When something last went wrong, and what.
    error: Option<(u64, String)>,
    /// Sessions of which something waits: frames of their journals, and the time of the first.
    waiting: BTreeMap<SessionId, (u64, u64)>,
    /// The same of metrics that are summed.
    waiting_metrics: BTreeMap<SessionId, (u64, u64)>,
    /// The same of those that have been added up and are being sent.
    sums: Option<(u64, u64)>,
}

impl Status {
    pub(super) fn new(name: &str, config: &Forward) -> Status {
        let endpoint = inert::endpoint(&config.endpoint);
        Status { name: name.to_owned(), endpoint, protocol: config.protocol, state: Mutex::default() }
    }

    /// A request arrived; so many of its records were turned away.
    pub(super) fn sent(&self, signal: Signal, rejected: u64, why: &str) {
        let mut state = self.lock();
        let (requests, at) = state.sent.entry(signal).or_insert((0, Instant::now()));
        (*requests, *at) = (*requests + 1, Instant::now());
        state.failing = false;
        state.sent_at = Some(clock::now());
        if rejected > 0 {
            state.rejected += rejected;
            state.error = Some((clock::now(), format!("it turned {rejected} records away: {why}")));
        }
    }

    /// A request was refused for good.
    pub(super) fn refused(&self, why: &str) {
        let mut state = self.lock();
        state.refused += 1;
        state.error = Some((clock::now(), format!("it refused a request for good: {why}")));
    }

    /// A request has to be sent again. Whether that is news: something arrived before it.
    pub(super) fn later(&self, why: &str) -> bool {
        let mut state = self.lock();
        state.retries += 1;
        state.error = Some((clock::now(), why.to_owned()));
        !std::mem::replace(&mut state.failing, true)
    }

    /// When a request of this signal last arrived.
    pub(super) fn taken(&self, signal: Signal) -> Option<Instant> {
        self.lock().sent.get(&signal).map(|(_, at)| *at)
    }

    /// So many frames of a session's journal are ahead, the next of this time; none when it is up to date.
    pub(super) fn waiting(&self, session: SessionId, ahead: Option<(u64, u64)>) {
        note(&mut self.lock().waiting, session, ahead);
    }

    /// So many frames of a session's journal are ahead that nobody has looked at yet: they wait since now, unless
    /// something of it waits already.
    pub(super) fn found(&self, session: SessionId, frames: u64) {
        let mut state = self.lock();
        let (all, _) = state.waiting.entry(session).or_insert_with(|| (0, clock::now()));
        *all = frames;
    }

    /// Sums are being sent of so many requests, the first of this time; none when they have arrived.
    pub(super) fn sums(&self, of: Option<(u64, u64)>) {
        self.lock().sums = of;
    }

    /// The same of metrics that are summed, which are read by themselves.
    pub(super) fn waiting_metrics(&self, session: SessionId, ahead: Option<(u64, u64)>) {
        note(&mut self.lock().waiting_metrics, session, ahead);
    }

    /// How it is now.
    pub fn report(&self) -> api::Destination {
        let state = self.lock();
        let sent = |signal| state.sent.get(&signal).map_or(0, |(requests, _)| *requests);
        let waiting = || state.waiting.values().chain(state.waiting_metrics.values()).chain(&state.sums);
        let oldest = waiting().map(|(_, time)| *time).min();
        api::Destination {
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            protocol: self.protocol,
            sent_traces: sent(Signal::Traces),
            sent_metrics: sent(Signal::Metrics),
            sent_logs: sent(Signal::Logs),
            refused: state.refused,
            rejected_records: state.rejected,
            retries: state.retries,
            waiting_frames: waiting().map(|(frames, _)| frames).sum(),
            lag_s: oldest.map_or(0, |time| clock::now().saturating_sub(time) / 1_000_000),
            last_sent_at: state.sent_at.map(clock::timestamp),
            last_error: state.error.as_ref().map(|(_, why)| why.clone()),
            last_error_at: state.error.as_ref().map(|(at, _)| clock::timestamp(*at)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(all: &mut BTreeMap<SessionId, (u64, u64)>, session: SessionId, ahead: Option<(u64, u64)>) {
    match ahead {
        Some(ahead) => drop(all.insert(session, ahead)),
        None => drop(all.remove(&session)),
    }
}
