//! Counters of what the daemon did since it started, for Prometheus (`/metrics`) and as OTLP.
//!
//! Whoever does a thing counts it here; what can be looked up instead (sessions by phase, the disk) is not kept but
//! given to [`Metrics::gather`] as it is. What a session's own summary counts is taken from there: so far as it has
//! come while it lives, and for good when it is over. Label values come from closed sets in this program and from the
//! operator's configuration, never from a session, so a family cannot grow without bound.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    api::Destination,
    id::SessionId,
    lifecycle::{Phase, Reason},
};

mod destinations;
mod family;
pub mod otlp;
mod zeros;

pub use family::{Data, Family, Sample, text};

/// Upper bounds of the buckets of start latency, in seconds.
const START_BOUNDS: [f64; 10] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// What the daemon counts.
#[derive(Default)]
pub struct Metrics {
    starts: Counts<2>,
    start_times: Mutex<BTreeMap<&'static str, Buckets>>,
    ends: Counts<1>,
    requests: Counts<2>,
    otlp: Counts<2>,
    hooks: Counts<2>,
    model_calls: Counts<1>,
    egress: Counts<1>,
    work: Mutex<Sessions>,
}

/// How a request for a session came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There is a session.
    Started,
    /// It was refused: a limit, a wrong field.
    Refused,
    /// It could not be made.
    Failed,
}

/// What sessions add up to; all of it only grows while a session lives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Bytes in the journal.
    pub recorded_bytes: u64,
    /// Spans, metric points and log records received.
    pub records: [u64; 3],
    /// Billionths of a US dollar, by the gateway's own count: whole numbers, since a sum of fractions may fall by a
    /// rounding when it is made in another order.
    pub cost_nanos: u64,
}

impl Work {
    fn add(&mut self, now: Work, before: Work) {
        self.recorded_bytes += now.recorded_bytes.saturating_sub(before.recorded_bytes);
        for (sum, (now, before)) in self.records.iter_mut().zip(now.records.into_iter().zip(before.records)) {
            *sum += now.saturating_sub(before);
        }
        self.cost_nanos += now.cost_nanos.saturating_sub(before.cost_nanos);
    }
}

/// What has been done in sessions while this daemon ran.
#[derive(Default)]
struct Sessions {
    /// By profile, in sessions that are over.
    over: BTreeMap<String, Work>,
    /// How far those that live had come when this daemon began with them.
    before: HashMap<SessionId, Work>,
}

/// What is looked up when somebody asks, rather than counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Now {
    /// Live sessions by phase.
    pub sessions: BTreeMap<Phase, u64>,
    /// Viewers of all live sessions.
    pub viewers: u64,
    /// What each live session has done, and its profile.
    pub work: Vec<(SessionId, String, Work)>,
    /// The lowest completeness of a live session; 1 when there is none.
    pub completeness: f64,
    /// Live sessions that are not complete.
    pub incomplete: u64,
    /// Live sessions whose client is at work and sends no telemetry.
    pub dark: u64,
    /// The highest share of its budget that a live session has used; 0 when there is none.
    pub budget_used: f64,
    /// Free bytes and all bytes of the disk that the records lie on, where the system tells.
    pub disk: Option<(u64, u64)>,
    /// Where telemetry is forwarded to; their names are the operator's.
    pub destinations: Vec<Destination>,
    /// What this process holds, where the system tells.
    pub process: Option<Process>,
}

/// What this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Memory that is resident.
    pub resident_bytes: u64,
    /// Open files.
    pub open_files: u64,
}

impl Process {
    /// Looks at `/proc/self`; `None` where there is none.
    pub fn look() -> Option<Process> {
        const PAGE: u64 = 4096; // bytes, wherever this runs
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Some(Process { resident_bytes: pages * PAGE, open_files })
    }
}

impl Metrics {
    /// A session was asked for, on this engine.
    pub fn start(&self, engine: &'static str, how: Start) {
        let how = match how {
            Start::Started => "started",
            Start::Refused => "refused",
            Start::Failed => "failed",
        };
        self.starts.add([engine, how]);
    }

    /// A session's program began so long after it was asked for.
    pub fn start_took(&self, engine: &'static str, time: Duration) {
        lock(&self.start_times).entry(engine).or_default().see(time.as_secs_f64());
    }

    /// A session ended.
    pub fn ended(&self, reason: &Reason) {
        self.ends.add([reason.name()]);
    }

    /// An HTTP request was answered. `method` is one of HTTP's own.
    pub fn answered(&self, method: &'static str, status: u16) {
        const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let class = CLASSES.get(usize::from(status / 100).wrapping_sub(1)).copied().unwrap_or("other");
        self.requests.add([method, class]);
    }

    /// An OTLP request (`traces`, `metrics`, `logs`) was journalled, or not.
    pub fn otlp(&self, signal: &'static str, ok: bool) {
        self.otlp.add([signal, if ok { "recorded" } else { "refused" }]);
    }

    /// A hook was answered: `event` is one of Claude Code's own, or `other`; `decision` is `allow`, `deny` or
    /// `observe`.
    pub fn hook(&self, event: &'static str, decision: &'static str) {
        self.hooks.add([event, decision]);
    }

    /// A call of the model API was answered by the API, or refused by the gateway.
    pub fn model_call(&self, ok: bool) {
        self.model_calls.add([if ok { "answered" } else { "refused" }]);
    }

    /// A session asked for a connection.
    pub fn egress(&self, allowed: bool) {
        self.egress.add([if allowed { "allowed" } else { "denied" }]);
    }

    /// This daemon begins with a session that has come so far.
    pub fn begun(&self, session: SessionId, so_far: Work) {
        lock(&self.work).before.insert(session, so_far);
    }

    /// It is done with the session, which has come so far.
    pub fn over(&self, session: SessionId, profile: &str, now: Work) {
        let mut work = lock(&self.work);
        if let Some(before) = work.before.remove(&session) {
            work.over.entry(profile.to_owned()).or_default().add(now, before);
        }
    }

    /// What was done in sessions while this daemon ran, by profile.
    fn work(&self, now: &Now) -> BTreeMap<String, Work> {
        let work = lock(&self.work);
        let mut all = work.over.clone();
        for (session, profile, now) in &now.work {
            // One that is over since `now` was looked up counts above already.
            if let Some(before) = work.before.get(session) {
                all.entry(profile.clone()).or_default().add(*now, *before);
            }
        }
        all
    }

    /// Everything, family by family.
    pub fn gather(&self, now: &Now) -> Vec<Family> {
        const PHASES: [Phase; 5] =
            [Phase::Spare, Phase::Requested, Phase::Starting, Phase::Running, Phase::Stopping];
        let phases = PHASES.map(|phase| {
            Sample::new(&[("phase", phase.name())], now.sessions.get(&phase).copied().unwrap_or(0))
        });
        let recorded = now.work.iter().map(|(.., work)| work.recorded_bytes).sum::<u64>();
        let work = self.work(now);
        let sum = |of: fn(&Work) -> u64| work.values().map(of).sum::<u64>();
        let records = [
            ("traces", sum(|w| w.records[0])),
            ("metrics", sum(|w| w.records[1])),
            ("logs", sum(|w| w.records[2])),
        ];
        #[expect(clippy::cast_precision_loss, reason = "an amount needs no more than 52 bits")]
        let dollars = |work: &Work| work.cost_nanos as f64 / 1e9;
        let cost = work.iter().map(|(profile, work)| Sample::real(&[("profile", profile)], dollars(work)));
        let one = |name, help, value: u64| Family::gauge(name, help, vec![Sample::new(&[], value)]);
        let ratio = |name, help, value| Family::gauge(name, help, vec![Sample::real(&[], value)]);
        let mut all = vec![
            Family::gauge("sandboxctl_sessions", "Live sessions, by phase.", phases.into()),
            one("sandboxctl_viewers", "Viewers of live sessions.", now.viewers),
            one("sandboxctl_recorded_bytes", "Bytes in the journals of live sessions.", recorded),
            ratio(
                "sandboxctl_completeness_ratio",
                "The lowest completeness of a live session.",
                now.completeness,
            ),
            one("sandboxctl_sessions_incomplete", "Live sessions that are not complete.", now.incomplete),
            one(
                "sandboxctl_sessions_dark",
                "Live sessions whose client is at work and sends no telemetry.",
                now.dark,
            ),
            ratio(
                "sandboxctl_budget_used_ratio",
                "The highest share of its budget that a live session has used.",
                now.budget_used,
            ),
            self.starts.family(
                "sandboxctl_session_starts_total",
                "Sessions asked for, by outcome.",
                ["engine", "result"],
            ),
            self.start_times(),
            self.ends.family("sandboxctl_session_ends_total", "Sessions ended, by reason.", ["reason"]),
            Family::counter(
                "sandboxctl_recorded_bytes_total",
                "Bytes written to journals.",
                vec![Sample::new(&[], sum(|w| w.recorded_bytes))],
            ),
            self.requests.family(
                "sandboxctl_http_requests_total",
                "HTTP requests answered.",
                ["method", "status"],
            ),
            self.otlp.family(
                "sandboxctl_otlp_requests_total",
                "OTLP requests of sessions.",
                ["signal", "result"],
            ),
            Family::counter(
                "sandboxctl_otlp_records_total",
                "Spans, metric points and log records of sessions.",
                records.map(|(signal, count)| Sample::new(&[("signal", signal)], count)).into(),
            ),
            self.hooks.family(
                "sandboxctl_hooks_total",
                "Hooks answered, by decision.",
                ["event", "decision"],
            ),
            self.model_calls.family("sandboxctl_model_calls_total", "Calls of the model API.", ["result"]),
            Family::counter(
                "sandboxctl_model_cost_usd_total",
                "Cost of model calls in US dollars, by the gateway's own count.",
                cost.collect(),
            ),
            self.egress.family("sandboxctl_egress_total", "Connections that sessions asked for.", ["result"]),
        ];
        if let Some((free, size)) = now.disk {
            all.push(one("sandboxctl_state_free_bytes", "Free bytes of the disk of records.", free));
            all.push(one("sandboxctl_state_size_bytes", "Size of the disk of records.", size));
        }
        if let Some(process) = now.process {
            all.push(one("process_resident_memory_bytes", "Resident memory.", process.resident_bytes));
            all.push(one("process_open_fds", "Open files.", process.open_files));
        }
        all.extend(destinations::families(&now.destinations));
        all
    }

    fn start_times(&self) -> Family {
        let times = lock(&self.start_times);
        let samples = times
            .iter()
            .map(|(engine, buckets)| Sample::histogram(&[("engine", engine)], &buckets.0, buckets.1));
        Family {
            name: "sandboxctl_session_start_seconds",
            help: "From the request for a session to its program's beginning.",
            data: Data::Histogram { bounds: &START_BOUNDS },
            samples: samples.collect(),
        }
    }
}

/// Counts by bucket, the last for what is above all bounds; and the sum of what was seen.
#[derive(Clone, Debug, Default)]
struct Buckets([u64; START_BOUNDS.len() + 1], f64);

impl Buckets {
    fn see(&mut self, value: f64) {
        let at = START_BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(START_BOUNDS.len());
        self.0[at] += 1;
        self.1 += value;
    }
}

/// Counters that share a name and differ in `N` labels.
struct Counts<const N: usize>(Mutex<BTreeMap<[&'static str; N], u64>>);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Counts(Mutex::default())
    }
}

impl<const N: usize> Counts<N> {
    fn add(&self, values: [&'static str; N]) {
        *lock(&self.0).entry(values).or_insert(0) += 1;
    }

    fn begin(&self, all: impl IntoIterator<Item = [&'static str; N]>) {
        lock(&self.0).extend(all.into_iter().map(|values| (values, 0)));
    }

    fn family(&self, name: &'static str, help: &'static str, labels: [&'static str; N]) -> Family {
        let samples = lock(&self.0)
            .iter()
            .map(|(values, count)| {
                let labels: Vec<_> = labels.iter().copied().zip(values.iter().copied()).collect();
                Sample::new(&labels, *count)
            })
            .collect();
        Family::counter(name, help, samples)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
