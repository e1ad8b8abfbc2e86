//! What sessions did and were denied, pushed to a Prometheus Pushgateway: for a network in which nobody can scrape this
//! daemon. What is late is not pushed again: the next says it too.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{Family, text},
    supervisor::Supervisor,
};

/// How often.
const EVERY: Duration = Duration::from_secs(15);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The job that they stand under: another than the daemon's own, so that both may reach one Prometheus.
const JOB: &str = "sandboxctl-push";
/// Families that are pushed: what happened, and not how the daemon is, which is for scraping.
const PUSHED: [&str; 4] = [
    "sandboxctl_hooks_total",
    "sandboxctl_egress_total",
    "sandboxctl_model_calls_total",
    "sandboxctl_session_ends_total",
];

/// Pushes until cancelled, and once more then.
pub async fn run(url: String, http: reqwest::Client, supervisor: Supervisor, cancel: CancellationToken) {
    let instance = supervisor.instance();
    let url = format!("{}/metrics/job/{JOB}/instance/{instance}", url.trim_end_matches('/'));
    let metrics = Arc::clone(supervisor.metrics());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        let last = cancel.run_until_cancelled(ticks.tick()).await.is_none();
        let mut families = metrics.gather(&supervisor.observed(Vec::new()));
        families.retain(|family: &Family| PUSHED.contains(&family.name) && !family.samples.is_empty());
        if !families.is_empty() {
            // In place of the group's: a daemon that began anew counts from zero.
            let pushed = http.put(&url).timeout(PATIENCE).body(text(&families)).send().await;
            match pushed.and_then(reqwest::Response::error_for_status) {
                Ok(_) => away = false,
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(error = %error.without_url(), "the Pushgateway takes nothing");
                    }
                }
            }
        }
        if last {
            return;
        }
    }
}
