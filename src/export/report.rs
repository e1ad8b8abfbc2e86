//! The summary of a session for people and for programs.

use std::fmt::Write;

use serde_json::json;

use super::pretty;
use crate::{
    api::Session,
    inert::inert,
    prometheus::Answers,
    summary::{Completeness, Summary, Use},
};

/// `summary.json`.
pub(super) fn json(session: &Session, summary: &Summary, detail: &Completeness) -> String {
    pretty(&json!({
        "session": session,
        "totals": summary.totals(),
        "models": summary.models,
        "gateway": summary.gateway,
        "tools": summary.tools,
        "counters": summary.counters.sums(),
        "api_errors": summary.api_errors,
        "hooks": summary.hooks,
        "denials": summary.denials,
        "mcp_messages": summary.mcp_messages,
        "egress": { "allowed": summary.egress_allowed, "denied": summary.egress_denied },
        "refused_model_calls": summary.refused_calls,
        "telemetry": {
            "log_records": summary.log_records,
            "metric_points": summary.metric_points,
            "spans": summary.spans,
        },
        "claude_sessions": summary.claude_sessions,
        "completeness": { "share": detail.share(), "detail": detail },
        "frames": summary.frames,
    }))
}

/// `summary.md`.
pub(super) fn markdown(
    session: &Session,
    summary: &Summary,
    detail: &Completeness,
    prometheus: Option<&Answers>,
) -> String {
    let totals = summary.totals();
    let mut page = String::new();
    let mut say = |line: &str| {
        page.push_str(line);
        page.push('\n');
    };
    let reason = session.reason.as_ref().map_or_else(|| session.phase.name().to_owned(), |r| r.phrase());
    say(&format!("# Session {}\n", session.id));
    say("| | |\n|---|---|");
    let row = |name: &str, value: &str| format!("| {name} | {} |", escape(value));
    say(&row("user", &session.user.to_string()));
    say(&row("profile", &session.profile));
    say(&row("image", &session.image));
    say(&row("program", &session.program.join(" ")));
    say(&row("began", &session.created_at.to_string()));
    say(&row("ended", &session.ended_at.map_or_else(|| "it lives".to_owned(), |t| t.to_string())));
    say(&row("state", &reason));
    say(&row("turns", &totals.turns.to_string()));
    say(&row("cost, as the client says", &format!("${:.4}", totals.cost_usd)));
    say(&row("cost, as the gateway saw", &format!("${:.4}", totals.gateway_cost_usd)));
    let share =
        detail.share().map_or_else(|| "nothing was to be sent".to_owned(), |s| format!("{:.1} %", s * 100.0));
    say(&row("telemetry complete", &share));
    if let Some(answers) = prometheus {
        say(&row("Prometheus", &answers.summary));
    }
    models(&mut page, "Models, as the client says", &summary.models);
    models(&mut page, "Models, as the gateway saw", &summary.gateway);
    if !summary.tools.is_empty() {
        page.push_str("\n## Tools\n\n| tool | uses | failed | seconds |\n|---|---:|---:|---:|\n");
        for (name, tool) in &summary.tools {
            let seconds = tool.duration_ms as f64 / 1000.0;
            writeln!(page, "| {} | {} | {} | {seconds:.1} |", escape(name), tool.calls, tool.failures).ok();
        }
    }
    let sums = summary.counters.sums();
    if !sums.is_empty() {
        page.push_str("\n## Counters\n\n| counter | value |\n|---|---:|\n");
        for (name, value) in sums {
            writeln!(page, "| {} | {value} |", escape(name)).ok();
        }
    }
    page
}

fn models(page: &mut String, title: &str, models: &std::collections::BTreeMap<String, Use>) {
    if models.is_empty() {
        return;
    }
    let head = "| model | calls | input | output | cache read | cache written | cost |\n|---|---:|---:|---:|---:|---:|---:|";
    writeln!(page, "\n## {title}\n\n{head}").ok();
    for (name, used) in models {
        let Use { calls, input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens, cost_usd } =
            used;
        let name = escape(name);
        writeln!(
            page,
            "| {name} | {calls} | {input_tokens} | {output_tokens} | {cache_read_tokens} | {cache_creation_tokens} | ${cost_usd:.4} |"
        )
        .ok();
    }
}

/// Text for a cell: inert, and no markup of its own.
fn escape(text: &str) -> String {
    let mut cell = String::new();
    for c in inert(text).chars() {
        if matches!(c, '|' | '<' | '>' | '[' | ']' | '*' | '_' | '`' | '\\' | '!' | '#') {
            cell.push('\\');
        }
        cell.push(c);
    }
    cell
}
