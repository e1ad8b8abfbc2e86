//! `report`: what was used, added up by the daemon, in the form that is asked for.

use std::{fs, io::IsTerminal};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{
    args::report::{Format, Report as Args},
    query, usage,
};
use crate::{
    api::{By, Report},
    client::Client,
    inert,
    report::{html, text},
};

/// Longest span that the page's chart shows by day, and by week.
const BY_DAY: i32 = 92; // days
const BY_WEEK: i32 = 730; // days

/// `sandboxctl report`.
pub(super) async fn report(args: &Args, client: &Client) -> anyhow::Result<()> {
    let until = args.until.as_deref().map(|day| format!("&until={}", query(day))).unwrap_or_default();
    let ask = async |by: &str| {
        let path = format!("/api/v1/report?by={}&since={}{until}", query(by), query(&args.since));
        client.get::<Report>(&path).await
    };
    let report = ask(&args.by).await?;
    let said = match args.format {
        Format::Table => table(&report),
        Format::Csv => text::csv(&report),
        Format::Json => inert::json(serde_json::to_string_pretty(&report)?) + "\n",
        Format::Markdown => text::markdown(&report),
        Format::Html => html::page(&report, &ask(over_time(&report).name()).await?),
    };
    match &args.output {
        Some(path) => fs::write(path, said)
            .map_err(|e| usage(format!("{}: {e}; name a file that can be written", path.display()))),
        None => {
            use std::io::Write;
            Ok(std::io::stdout().lock().write_all(said.as_bytes())?)
        }
    }
}

/// The steps that a chart over the report's span takes.
fn over_time(report: &Report) -> By {
    let days = report.since.and_then(|since| since.until(report.until).ok()).map(|span| span.get_days());
    match days {
        Some(..=BY_DAY) => By::Day,
        Some(..=BY_WEEK) => By::Week,
        _ => By::Month,
    }
}

fn table(report: &Report) -> String {
    if report.rows.is_empty() {
        return format!("{}: nothing\n", text::title(report));
    }
    let columns = text::columns(report);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(columns.iter().map(|column| column.head));
    for row in 0..=report.rows.len() {
        table.add_row(columns.iter().map(|column| column.cells[row].readable()));
    }
    for (n, _) in columns.iter().enumerate().filter(|(_, column)| !text::is_named(column)) {
        if let Some(column) = table.column_mut(n) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n\n{}\n", text::title(report), lines.join("\n"))
}
