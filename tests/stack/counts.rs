//! What the daemon counts, on both other ways to Prometheus: scraped, and pushed to a Pushgateway; and what Prometheus
//! knows of a session's time, in the bundle.

use crate::common::{Daemon, Rung, eventually, stack::Stack, stories::ask};

/// A policy that denies what the demo model runs, so that there is a hook of each decision.
const CONFIG: &str =
    "[profiles.demo]\ncredential = \"demo\"\n[profiles.demo.policy]\ndeny_commands = [\"ls\"]\n";

#[tokio::test]
async fn hooks_reach_prometheus_scraped_and_pushed_and_come_back_in_the_bundle() {
    let stack = Stack::of(&["prometheus", "pushgateway"]).await;
    let config = format!(
        "{CONFIG}[pushgateway]\nurl = \"{}\"\n[prometheus]\nurl = \"{}\"\n",
        stack.pushgateway_url, stack.prometheus_url
    );
    let daemon = Daemon::start_with(Rung::Docker, &config).await;
    stack.scrape(daemon.url.trim_start_matches("http://"));
    let session = daemon.begin(ask(&["claude", "-p", "List the files here"])).await;
    let session = daemon.ended(&session).await;
    for job in ["sandboxctl-scraped", "sandboxctl-push"] {
        let query =
            format!("sum(sandboxctl_hooks_total{{job=\"{job}\", event=\"PreToolUse\", decision=\"deny\"}})");
        eventually(&query, || async {
            stack.promql(&query).await.first().is_some_and(|series| series.value() >= 1.0)
        })
        .await;
    }
    let bundle = daemon.export(&session).await;
    let index = bundle.json("prometheus/index.json");
    assert!(index.get("problem").is_none_or(serde_json::Value::is_null), "{index}");
    let files: Vec<&String> = bundle.files.keys().filter(|path| path.starts_with("prometheus/")).collect();
    assert!(files.len() > 1, "{files:?}: {index}");
}
