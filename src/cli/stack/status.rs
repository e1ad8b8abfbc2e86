//! `stack status`: the parts, and how far the daemon's destinations are. Either may be away.

use std::{path::Path, process::ExitCode};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use super::{
    compose::Compose,
    layout::COMPOSE,
    plan::{Address, Plan},
    ps::{self, Condition},
};
use crate::{
    api::Destination,
    cli::{json, say},
    client::Client,
    config::Config,
    inert::inert,
};

/// What `status --json` prints. An error stands where there is nothing to say.
#[derive(Serialize)]
struct Report {
    parts: Vec<Part>,
    parts_error: Option<String>,
    destinations: Vec<Destination>,
    destinations_error: Option<String>,
}

#[derive(Serialize)]
struct Part {
    name: String,
    state: Condition,
    exit_code: Option<i64>,
    addresses: Vec<Address>,
}

/// `stack status`.
pub(super) async fn status(
    as_json: bool,
    dir: &Path,
    client: &Client,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let (parts, destinations) =
        tokio::join!(parts(dir, config), client.get::<Vec<Destination>>("/api/v1/destinations"));
    let (parts, parts_error) = match parts {
        Ok(parts) => (parts, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let (destinations, destinations_error) = match destinations {
        Ok(destinations) => (destinations, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let report = Report { parts, parts_error, destinations, destinations_error };
    if as_json {
        json(&report)?;
    } else {
        say(&render(&report))?;
    }
    let told = report.parts_error.is_none() || report.destinations_error.is_none();
    Ok(if told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn parts(dir: &Path, config: &Config) -> anyhow::Result<Vec<Part>> {
    if !dir.join(COMPOSE).is_file() {
        anyhow::bail!("there is no stack in {}; `sandboxctl stack up` makes one", dir.display());
    }
    let compose = Compose::find(dir, config).await?;
    let (plan, containers) = (Plan::of(&compose).await?, ps::containers(&compose).await?);
    let part = |(name, part): (&String, &super::plan::Part)| {
        let container = containers.get(name);
        let state = plan.condition(name, container);
        let exit_code = container.filter(|_| state == Condition::Ended).map(|c| c.exit_code);
        Part { name: name.clone(), state, exit_code, addresses: part.addresses.clone() }
    };
    Ok(plan.parts.iter().map(part).collect())
}

fn render(report: &Report) -> String {
    let parts = match &report.parts_error {
        Some(error) => error.clone(),
        None => parts_table(&report.parts),
    };
    let destinations = match (&report.destinations_error, report.destinations.is_empty()) {
        (Some(error), _) => error.clone(),
        (None, true) => {
            "the daemon forwards nothing: it needs a [forward.NAME] in its configuration, see docs/stack.md"
                .to_owned()
        }
        (None, false) => destinations_table(&report.destinations),
    };
    format!("{parts}\n\n{destinations}")
}

fn parts_table(parts: &[Part]) -> String {
    let mut table = table(["PART", "STATE", "ADDRESS", ""]);
    for part in parts {
        let mut state = part.state.word().to_owned();
        if let Some(code) = part.exit_code {
            state = format!("{state}, code {code}");
        }
        let color = match part.state {
            Condition::Healthy | Condition::Running => Color::Green,
            Condition::Unhealthy | Condition::Ended | Condition::Restarting => Color::Red,
            _ => Color::Yellow,
        };
        let mut addresses = part.addresses.iter();
        let shown = |a: Option<&Address>| a.map_or((String::new(), ""), |a| (a.shown(), a.what));
        let (address, what) = shown(addresses.next());
        table.add_row([
            Cell::new(&part.name),
            Cell::new(state).fg(color),
            Cell::new(address),
            Cell::new(what),
        ]);
        for address in addresses {
            let (address, what) = shown(Some(address));
            table.add_row([Cell::new(""), Cell::new(""), Cell::new(address), Cell::new(what)]);
        }
    }
    lines(&table)
}

fn destinations_table(destinations: &[Destination]) -> String {
    let mut table = table(["DESTINATION", "SENT", "QUEUE", "LAG", "REFUSED", "ENDPOINT"]);
    let mut errors = Vec::new();
    for d in destinations {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let lag = right(format!("{} s", d.lag_s));
        table.add_row([
            Cell::new(inert(&d.name)),
            right((d.sent_traces + d.sent_metrics + d.sent_logs).to_string()),
            right(d.waiting_frames.to_string()),
            if d.lag_s > LATE { lag.fg(Color::Yellow) } else { lag },
            right((d.refused + d.rejected_records).to_string()),
            Cell::new(inert(&d.endpoint)),
        ]);
        if let Some(error) = &d.last_error {
            let at = d.last_error_at.map_or_else(String::new, |at| format!(", {at:.0}"));
            errors.push(format!("{}: last error{at}: {}", inert(&d.name), inert(error)));
        }
    }
    errors.insert(0, lines(&table));
    errors.join("\n")
}

/// A destination that is behind by more than that has a problem.
const LATE: u64 = 60; // seconds

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    // An address that is broken into two lines is none.
    table
        .load_style(presets::NOTHING)
        .set_header(header)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Protocol;

    fn destination() -> Destination {
        Destination {
            name: "stack".to_owned(),
            endpoint: "http://127.0.0.1:4318".to_owned(),
            protocol: Protocol::Http,
            sent_traces: 3,
            sent_metrics: 4,
            sent_logs: 5,
            refused: 0,
            rejected_records: 0,
            retries: 1,
            waiting_frames: 17,
            lag_s: 4,
            last_sent_at: None,
            last_error: Some("it does not answer\u{1b}[2J".to_owned()),
            last_error_at: None,
        }
    }

    fn part(state: Condition, exit_code: Option<i64>) -> Part {
        let address =
            |port, what| Address { what, ip: Ipv4Addr::UNSPECIFIED.into(), port, is_http: port != 4317 };
        let addresses = vec![address(4318, "OTLP over HTTP"), address(4317, "OTLP over gRPC")];
        Part { name: "collector".to_owned(), state, exit_code, addresses }
    }

    #[test]
    fn parts_and_destinations_are_told_and_either_may_be_away() {
        let whole = Report {
            parts: vec![part(Condition::Healthy, None)],
            parts_error: None,
            destinations: vec![destination()],
            destinations_error: None,
        };
        let shown = render(&whole);
        for expected in ["collector", "healthy", "http://127.0.0.1:4318", "127.0.0.1:4317", "12", "17", "4 s"]
        {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        let ended = Report {
            parts: vec![part(Condition::Ended, Some(137))],
            parts_error: None,
            destinations: Vec::new(),
            destinations_error: None,
        };
        let shown = render(&ended);
        assert!(shown.contains("ended, code 137") && shown.contains("[forward.NAME]"), "{shown}");
        let away = Report {
            parts: Vec::new(),
            parts_error: Some("no stack".to_owned()),
            destinations: Vec::new(),
            destinations_error: Some("no daemon".to_owned()),
        };
        assert_eq!(render(&away), "no stack\n\nno daemon");
    }
}
