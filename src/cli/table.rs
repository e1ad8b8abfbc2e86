//! `list` and `events`: what a person reads, or JSON for scripts.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;

use super::{
    args::{Events, List},
    json, say,
};
use crate::{
    api::{Event, Session, SessionList},
    client::{Client, ClientError},
    inert::{inert, json as json_text},
    lifecycle::Phase,
};

/// Between two tries of `--watch` and `--follow` to reach a daemon that has gone away.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// `sandboxctl list`.
pub(super) async fn list(args: &List, client: &Client) -> anyhow::Result<()> {
    if !args.watch {
        let list = client.sessions(args.all).await?;
        return if args.json { json(&list) } else { Ok(say(&render(&list.sessions))?) };
    }
    let path = format!("/api/v1/sessions?all={}", args.all);
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let watched = client
            .lines(&path, "text/event-stream", |line| {
                let Some(data) = line.strip_prefix("data:") else { return Ok(()) };
                let broken = |e: serde_json::Error| ClientError::Broken(e.to_string());
                let list: SessionList = serde_json::from_str(data.trim()).map_err(broken)?;
                let text = if args.json {
                    json_text(serde_json::to_string(&list).map_err(broken)?)
                } else {
                    format!("{clear}{}", render(&list.sessions))
                };
                say(&text).map_err(|e| ClientError::Broken(e.to_string()))
            })
            .await;
        match watched {
            Ok(()) | Err(ClientError::Away { .. }) => tokio::time::sleep(RETRY).await,
            Err(ClientError::Broken(_)) if !std::io::stdout().is_terminal() => return Ok(()),
            Err(ClientError::Broken(_)) => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn render(sessions: &[Session]) -> String {
    if sessions.is_empty() {
        return "no sessions; start one with: sandboxctl start".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header([
        "SESSION", "USER", "STATE", "AGE", "IDLE", "VIEWERS", "TURNS", "TOKENS", "COST", "COMPLETE",
    ]);
    let now = Timestamp::now();
    for session in sessions {
        let t = &session.totals;
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(session.id.short()),
            Cell::new(inert(&session.user.email)),
            Cell::new(state(session)),
            right(span(session.created_at, session.ended_at.unwrap_or(now))),
            right(match (session.phase, session.active_at) {
                (Phase::Running, Some(active)) => span(active, now),
                _ => "–".to_owned(),
            }),
            right(session.viewers.to_string()),
            right(t.turns.to_string()),
            right(t.tokens().to_string()),
            right(format!("${:.4}", t.cost_usd)),
            right(session.completeness.map_or("–".to_owned(), |c| format!("{:.0} %", c * 100.0))),
        ]);
    }
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

fn state(session: &Session) -> String {
    match (&session.reason, session.phase) {
        (Some(reason), Phase::Ended) => inert(&reason.phrase()),
        (_, phase) => match &session.warning {
            Some(warning) => format!("{}: {}", phase.name(), inert(warning)),
            None => phase.name().to_owned(),
        },
    }
}

/// A span of time in its two largest units at most.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `sandboxctl events`.
pub(super) async fn events(args: &Events, client: &Client) -> anyhow::Result<()> {
    let id = client.session(&args.session).await?.id;
    let kind = args.kind.as_deref().map(|k| format!("&kind={}", super::query(k))).unwrap_or_default();
    let mut next = 1;
    loop {
        let path = format!("/api/v1/sessions/{id}/events?from={next}&follow={}{kind}", args.follow);
        let read = client
            .lines(&path, "application/x-ndjson", |line| {
                let broken = |e: &dyn std::error::Error| ClientError::Broken(e.to_string());
                if line.is_empty() {
                    return Ok(());
                }
                let event: Event = serde_json::from_str(line).map_err(|e| broken(&e))?;
                next = event.seq + 1;
                let text = if args.json { json_text(line.to_owned()) } else { readable(&event) };
                writeln!(std::io::stdout().lock(), "{text}").map_err(|e| broken(&e))
            })
            .await;
        match read {
            Err(ClientError::Away { .. } | ClientError::Broken(_)) if args.follow => {
                tokio::time::sleep(RETRY).await
            }
            other => return Ok(other?),
        }
    }
}

fn readable(event: &Event) -> String {
    let time = event.time.strftime("%H:%M:%S%.3f");
    format!("{time}  {:<10} {:<24} {}", event.kind, inert(&event.name), inert(&event.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_two_units() {
        let at = |s: i64| Timestamp::from_second(s).expect("in range");
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m01s"), (3_660, "1h01m"), (90_000, "1d01h")] {
            assert_eq!(span(at(1000), at(1000 + seconds)), text);
        }
        assert_eq!(span(at(1000), at(0)), "0s", "a clock that was set back");
    }
}
