//! What the collector has taken it hands over, whatever dies or is away meanwhile.

use crate::{
    common::{
        eventually,
        stack::{Stack, ask::now},
    },
    records::{self, mark, send},
};

/// Each mark is in each backend.
async fn arrive(stack: &Stack, marks: &[String]) {
    for mark in marks {
        let cost = format!("claude_code_cost_usage_USD_total{{instance=\"{mark}\"}}");
        eventually("its point arrives", || async { stack.promql(&cost).await.len() == 1 }).await;
        let query = format!("{{service_name=\"claude-code\"}} | mark=\"{mark}\"");
        eventually("its record arrives", || async {
            stack.logql(&query, now() - 3600.0, now() + 60.0).await.len() == 1
        })
        .await;
        eventually("its span arrives", || async { stack.trace(mark).await.is_some() }).await;
    }
}

#[tokio::test]
async fn a_collector_that_is_killed_hands_over_what_it_had_taken() {
    let mut stack = Stack::of(&["collector"]).await;
    let marks: Vec<String> = (0..20).map(|_| mark()).collect();
    for mark in &marks {
        send(&stack.otlp_url, &records::of(mark, 0)).await;
    }
    stack.part("collector").kill();
    for part in ["prometheus", "loki", "jaeger", "collector"] {
        stack.up(part).await;
    }
    arrive(&stack, &marks).await;
}

#[tokio::test]
async fn a_backend_that_is_away_gets_everything_afterwards_and_holds_up_no_other() {
    let mut stack = Stack::of(&["prometheus", "collector"]).await;
    let marks: Vec<String> = (0..5).map(|_| mark()).collect();
    for mark in &marks {
        send(&stack.otlp_url, &records::of(mark, 0)).await;
    }
    let all = "count(claude_code_cost_usage_USD_total) == 5";
    eventually("Prometheus has its own meanwhile", || async { stack.promql(all).await.len() == 1 }).await;
    let waiting = "sum(otelcol_exporter_queue_size{exporter=~\"otlp_.*/(loki|jaeger)\"}) > 0";
    eventually("the queues say what waits", || async { stack.promql(waiting).await.len() == 1 }).await;
    stack.up("loki").await;
    stack.up("jaeger").await;
    arrive(&stack, &marks).await;
    stack.part("loki").kill();
    let late = mark();
    send(&stack.otlp_url, &records::of(&late, 0)).await;
    stack.up("loki").await;
    arrive(&stack, &[late]).await;
    arrive(&stack, &marks).await;
}
