//! Counters of what the daemon did since it started, in Prometheus' text form.
//!
//! Whoever does a thing counts it here; what can be looked up instead (sessions by phase, bytes in
//! journals) is not kept but given to [`Metrics::render`] as it is. Label values come from closed sets in
//! this program and never from a caller, so a family cannot grow without bound.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    api::Destination,
    lifecycle::{Phase, Reason},
};

/// What the daemon counts.
pub struct Metrics {
    starts: Family<1>,
    ends: Family<1>,
    requests: Family<2>,
    otlp: Family<2>,
    hooks: Family<1>,
    model_calls: Family<1>,
    egress: Family<1>,
}

/// What is looked up when somebody asks, rather than counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Now {
    /// Live sessions by phase.
    pub sessions: BTreeMap<Phase, u64>,
    /// Viewers of all live sessions.
    pub viewers: u64,
    /// Bytes in the journals of live sessions.
    pub recorded_bytes: u64,
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

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            starts: Family::new(
                "sandboxctl_session_starts_total",
                "Sessions asked for, by outcome.",
                ["result"],
            ),
            ends: Family::new("sandboxctl_session_ends_total", "Sessions ended, by reason.", ["reason"]),
            requests: Family::new(
                "sandboxctl_http_requests_total",
                "HTTP requests answered.",
                ["method", "status"],
            ),
            otlp: Family::new(
                "sandboxctl_otlp_requests_total",
                "OTLP requests of sessions.",
                ["signal", "result"],
            ),
            hooks: Family::new("sandboxctl_hooks_total", "Hooks answered, by decision.", ["decision"]),
            model_calls: Family::new("sandboxctl_model_calls_total", "Calls of the model API.", ["result"]),
            egress: Family::new(
                "sandboxctl_egress_total",
                "Connections that sessions asked for.",
                ["result"],
            ),
        }
    }
}

impl Metrics {
    /// A session was asked for.
    pub fn started(&self, ok: bool) {
        self.starts.add([if ok { "started" } else { "refused" }]);
    }

    /// A session ended.
    pub fn ended(&self, reason: &Reason) {
        self.ends.add([match reason {
            Reason::Exited { .. } => "exited",
            Reason::Idle => "idle",
            Reason::Ttl => "ttl",
            Reason::Budget => "budget",
            Reason::Disk => "disk",
            Reason::Operator { .. } => "operator",
            Reason::Oom => "oom",
            Reason::ProgramFailed { .. } => "program_failed",
            Reason::Engine { .. } => "engine",
            Reason::DaemonLostContainer => "daemon_lost_container",
            Reason::KeyLost => "key_lost",
            Reason::Damaged { .. } => "damaged",
        }]);
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

    /// A hook was answered.
    pub fn hook(&self, allowed: bool) {
        self.hooks.add([if allowed { "allowed" } else { "denied" }]);
    }

    /// A call of the model API was answered by the API, or refused by the gateway.
    pub fn model_call(&self, ok: bool) {
        self.model_calls.add([if ok { "answered" } else { "refused" }]);
    }

    /// A session asked for a connection.
    pub fn egress(&self, allowed: bool) {
        self.egress.add([if allowed { "allowed" } else { "denied" }]);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub fn render(&self, now: &Now) -> String {
        let mut out = String::new();
        gauge(&mut out, "sandboxctl_sessions", "Live sessions, by phase.");
        for phase in [Phase::Spare, Phase::Requested, Phase::Starting, Phase::Running, Phase::Stopping] {
            let count = now.sessions.get(&phase).copied().unwrap_or(0);
            line(&mut out, "sandboxctl_sessions", &[("phase", phase.name())], count);
        }
        for (name, help, value) in [
            ("sandboxctl_viewers", "Viewers of live sessions.", Some(now.viewers)),
            (
                "sandboxctl_recorded_bytes",
                "Bytes in the journals of live sessions.",
                Some(now.recorded_bytes),
            ),
            ("process_resident_memory_bytes", "Resident memory.", now.process.map(|p| p.resident_bytes)),
            ("process_open_fds", "Open files.", now.process.map(|p| p.open_files)),
        ] {
            if let Some(value) = value {
                gauge(&mut out, name, help);
                line(&mut out, name, &[], value);
            }
        }
        destinations(&mut out, &now.destinations);
        self.starts.render(&mut out);
        self.ends.render(&mut out);
        self.requests.render(&mut out);
        self.otlp.render(&mut out);
        self.hooks.render(&mut out);
        self.model_calls.render(&mut out);
        self.egress.render(&mut out);
        out
    }
}

/// Counters that share a name and differ in `N` labels.
struct Family<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    values: Mutex<BTreeMap<[&'static str; N], u64>>,
}

impl<const N: usize> Family<N> {
    fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Family<N> {
        Family { name, help, labels, values: Mutex::default() }
    }

    fn add(&self, values: [&'static str; N]) {
        *self.lock().entry(values).or_insert(0) += 1;
    }

    fn render(&self, out: &mut String) {
        counter(out, self.name, self.help);
        for (values, count) in &*self.lock() {
            let labels: Vec<_> = self.labels.iter().copied().zip(values.iter().copied()).collect();
            line(out, self.name, &labels, *count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[&'static str; N], u64>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Families of the destinations, a line for each.
fn destinations(out: &mut String, all: &[Destination]) {
    if all.is_empty() {
        return;
    }
    let sent = "sandboxctl_forward_sent_requests_total";
    counter(out, sent, "OTLP requests that a destination took.");
    for to in all {
        for (signal, count) in
            [("traces", to.sent_traces), ("metrics", to.sent_metrics), ("logs", to.sent_logs)]
        {
            line(out, sent, &[("destination", &to.name), ("signal", signal)], count);
        }
    }
    type Look = fn(&Destination) -> u64;
    let counters: [(&str, &str, Look); 3] = [
        ("sandboxctl_forward_refused_requests_total", "OTLP requests refused for good.", |to| to.refused),
        ("sandboxctl_forward_rejected_records_total", "Records turned away.", |to| to.rejected_records),
        ("sandboxctl_forward_retries_total", "Tries that had to be made again.", |to| to.retries),
    ];
    let gauges: [(&str, &str, Look); 2] = [
        ("sandboxctl_forward_waiting_frames", "Frames of journals that wait.", |to| to.waiting_frames),
        ("sandboxctl_forward_lag_seconds", "Age of the oldest request that waits.", |to| to.lag_s),
    ];
    for (announce, families) in
        [(counter as fn(&mut String, &str, &str), &counters[..]), (gauge, &gauges[..])]
    {
        for (name, help, look) in families {
            announce(out, name, help);
            for to in all {
                line(out, name, &[("destination", &to.name)], look(to));
            }
        }
    }
}

fn counter(out: &mut String, name: &str, help: &str) {
    write(out, format_args!("# HELP {name} {help}\n# TYPE {name} counter\n"));
}

fn gauge(out: &mut String, name: &str, help: &str) {
    write(out, format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    write(out, format_args!("{name}{braces} {value}\n"));
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_label_and_every_line_is_well_formed() {
        let metrics = Metrics::default();
        metrics.started(true);
        metrics.started(true);
        metrics.started(false);
        metrics.ended(&Reason::Exited { code: 3 });
        metrics.answered("GET", 200);
        metrics.answered("GET", 204);
        metrics.answered("GET", 999);
        let now = Now { sessions: BTreeMap::from([(Phase::Running, 2)]), viewers: 5, ..Now::default() };
        let text = metrics.render(&now);
        for expected in [
            "sandboxctl_session_starts_total{result=\"started\"} 2",
            "sandboxctl_session_starts_total{result=\"refused\"} 1",
            "sandboxctl_session_ends_total{reason=\"exited\"} 1",
            "sandboxctl_http_requests_total{method=\"GET\",status=\"2xx\"} 2",
            "sandboxctl_http_requests_total{method=\"GET\",status=\"other\"} 1",
            "sandboxctl_sessions{phase=\"running\"} 2",
            "sandboxctl_sessions{phase=\"starting\"} 0",
            "sandboxctl_viewers 5",
        ] {
            assert!(text.lines().any(|l| l == expected), "{expected} is missing from:\n{text}");
        }
        let mut announced = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                announced.push(rest.split(' ').next().expect("a name"));
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert_eq!(announced.last(), Some(&name), "a sample follows its own family's TYPE");
                assert!(line.rsplit(' ').next().is_some_and(|v| v.parse::<u64>().is_ok()), "{line}");
            }
        }
    }
}
