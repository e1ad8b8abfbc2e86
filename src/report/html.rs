//! A report as one page that needs nothing else: a table, and charts in SVG that take whatever width there is.
//!
//! Coordinates along the width are percentages and those along the height are pixels, so that nothing is scaled and
//! text stays as large on a telephone. There is no script in it.

use std::{collections::BTreeMap, fmt::Write};

use jiff::{ToSpan, civil::Date};

use super::text::{Cell, Column, NOTE, columns, grouped, is_named, name, title, usd};
use crate::api::{By, Report, ReportGroup, ReportRow};

/// Groups that the first chart shows.
const MOST: usize = 15;
/// Characters of a group's name that fit beside its amounts on a telephone.
const NAME: usize = 34;
/// Height of a group in the first chart: its name, and two bars.
const GROUP: usize = 46; // px
/// Most days that the second chart shows.
const DAYS: usize = 400;
/// Height of the second chart, without its words.
const TALL: f64 = 140.0; // px

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1f2328; --soft: #59636e; --line: #d1d9e0; --page: #ffffff; --client: #0969da; --gateway: #bf8700; --failed: #cf222e }
@media (prefers-color-scheme: dark) { :root { --text: #f0f6fc; --soft: #9198a1; --line: #3d444d; --page: #0d1117; --client: #4493f8; --gateway: #d29922; --failed: #f85149 } }
body { margin: 0 auto; padding: 16px; max-width: 1100px; font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page) }
h1 { font-size: 1.3em } h2 { font-size: 1.05em; margin-top: 1.8em }
.figures { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 0 } .figures div { min-width: 88px }
dt { color: var(--soft); font-size: .85em } dd { margin: 0; font-size: 1.3em; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) } th { color: var(--soft); font-weight: 600; font-size: .85em }
.name { text-align: left } tfoot td { font-weight: 600 } svg { display: block; overflow: visible } text { fill: var(--text); font-size: 13px } .soft { fill: var(--soft) }
.client { fill: var(--client) } .gateway { fill: var(--gateway) } .failed { fill: var(--failed) } .key { display: inline-block; width: .8em; height: .8em; border-radius: 2px }
p, footer { color: var(--soft); font-size: .85em }";

/// The page: the report, and the same span by day, week or month for the chart over time.
pub fn page(report: &Report, over_time: &Report) -> String {
    let title = escaped(&title(report));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <style>{STYLE}\n</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    figures(&mut page, &report.total);
    groups(&mut page, report);
    time(&mut page, over_time);
    table(&mut page, &columns(report));
    writeln!(
        page,
        "<p>{NOTE}</p>\n<footer>sandboxctl {}, {}</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        report.made_at.strftime("%Y-%m-%d %H:%M UTC")
    )
    .ok();
    page
}

fn figures(page: &mut String, total: &ReportRow) {
    let mut all = vec![("sessions", grouped(total.sessions))];
    if let Some(models) = total.models {
        all.push(("cost, as the client says", usd(models.cost_usd)));
        all.push(("cost, at the gateway", usd(models.gateway_cost_usd)));
        all.push(("output tokens", grouped(models.output_tokens)));
    }
    if let Some(work) = total.work {
        all.push(("turns", grouped(work.turns)));
        all.push(("commits", grouped(work.commits)));
        all.push(("pull requests", grouped(work.pull_requests)));
        all.push(("active", Cell::Seconds(work.active_s).readable()));
    }
    if let Some(tools) = total.tools {
        all.push(("tool calls", grouped(tools.calls)));
    }
    page.push_str("<dl class=\"figures\">\n");
    for (name, value) in all {
        writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>").ok();
    }
    page.push_str("</dl>\n");
}

/// What the first chart shows.
struct Chart {
    what: &'static str,
    /// The two bars of a row.
    bars: fn(&ReportRow) -> (f64, f64),
    /// What a bar's length means.
    says: fn(f64) -> String,
    /// Class and meaning of each of the two.
    keys: [(&'static str, &'static str); 2],
}

impl Chart {
    fn of(report: &Report) -> Chart {
        if report.total.models.is_some() {
            return Chart { what: "Cost", bars: cost, says: usd, keys: COST };
        }
        #[expect(clippy::cast_precision_loss, reason = "a bar has a thousand points at most")]
        let calls = |row: &ReportRow| row.tools.map_or((0.0, 0.0), |t| (t.calls as f64, t.failures as f64));
        let keys = [("client", "calls"), ("failed", "failed")];
        Chart { what: "Calls", bars: calls, says: |n| grouped(n as u64), keys }
    }
}

/// The two costs' bars.
const COST: [(&str, &str); 2] = [("client", "as the client says"), ("gateway", "at the gateway")];

fn cost(row: &ReportRow) -> (f64, f64) {
    row.models.map_or((0.0, 0.0), |models| (models.cost_usd, models.gateway_cost_usd))
}

/// Two bars for each group: the client's cost and the gateway's; or, by tool, all calls and those that failed.
fn groups(page: &mut String, report: &Report) {
    let Chart { what, bars, says, keys } = Chart::of(report);
    let mut rows: Vec<&ReportRow> = report.rows.iter().collect();
    rows.sort_by(|a, b| bars(b).0.max(bars(b).1).total_cmp(&bars(a).0.max(bars(a).1)));
    rows.truncate(MOST);
    let most = rows.iter().map(|row| bars(row).0.max(bars(row).1)).fold(0.0, f64::max);
    if most <= 0.0 {
        return;
    }
    let by: Vec<&str> = report.by.iter().map(|by| by.name()).collect();
    head(page, &format!("{what} by {}", by.join(" and ")), &keys);
    let height = rows.len() * GROUP;
    writeln!(
        page,
        "<svg role=\"img\" aria-label=\"{what} of each group\" width=\"100%\" height=\"{height}\">"
    )
    .ok();
    for (n, row) in rows.iter().enumerate() {
        let of: Vec<String> = report.by.iter().map(|by| Cell::Name(name(*by, row)).readable()).collect();
        let (first, second) = bars(row);
        let (y, of) = (n * GROUP, of.join(", "));
        let short: String = of.chars().take(NAME).collect();
        let short = escaped(&if short == of { short } else { short + "…" });
        let of = escaped(&of);
        let (a, b) = (first / most * 100.0, second / most * 100.0);
        let [(class_a, _), (class_b, _)] = keys;
        let said = format!("{} / {}", says(first), says(second));
        writeln!(
            page,
            "<g><title>{of}: {said}</title><text x=\"0\" y=\"{}\">{short}</text>\
             <text class=\"soft\" x=\"100%\" y=\"{}\" text-anchor=\"end\">{said}</text>\
             <rect class=\"{class_a}\" x=\"0\" y=\"{}\" width=\"{a:.2}%\" height=\"9\" rx=\"2\"/>\
             <rect class=\"{class_b}\" x=\"0\" y=\"{}\" width=\"{b:.2}%\" height=\"9\" rx=\"2\"/></g>",
            y + 14,
            y + 14,
            y + 20,
            y + 30,
        )
        .ok();
    }
    page.push_str("</svg>\n");
}

/// Two columns for each span of time.
fn time(page: &mut String, report: &Report) {
    let most = report.rows.iter().map(|row| cost(row).0.max(cost(row).1)).fold(0.0, f64::max);
    let Some(by) = report.by.first().filter(|_| most > 0.0) else { return };
    let rows = without_gaps(*by, report);
    head(page, &format!("Cost by {}", by.name()), &COST);
    let (baseline, step) = (TALL + 20.0, 100.0 / rows.len() as f64);
    writeln!(
        page,
        "<svg role=\"img\" aria-label=\"Cost over time\" width=\"100%\" height=\"{}\">\
         <text class=\"soft\" x=\"0\" y=\"12\">{}</text>",
        baseline + 20.0,
        usd(most)
    )
    .ok();
    for (n, row) in rows.iter().enumerate() {
        let (client, gateway) = cost(row);
        let x = n as f64 * step;
        let when = escaped(&Cell::Name(name(*by, row)).readable());
        write!(page, "<g><title>{when}: {} / {}</title>", usd(client), usd(gateway)).ok();
        for (class, amount, at) in [("client", client, 0.06), ("gateway", gateway, 0.5)] {
            let height = amount / most * TALL;
            write!(
                page,
                "<rect class=\"{class}\" x=\"{:.3}%\" y=\"{:.1}\" width=\"{:.3}%\" height=\"{height:.1}\"/>",
                x + step * at,
                baseline - height,
                step * 0.42,
            )
            .ok();
        }
        page.push_str("</g>\n");
    }
    let ends = [(0, "0", "start"), (rows.len() - 1, "100%", "end")];
    for (n, x, anchor) in ends.into_iter().take(rows.len()) {
        let when = escaped(&Cell::Name(name(*by, &rows[n])).readable());
        write!(
            page,
            "<text class=\"soft\" x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{when}</text>",
            baseline + 16.0
        )
        .ok();
    }
    page.push_str("</svg>\n");
}

/// The report's rows; by day, with those in between on which nothing was used.
fn without_gaps(by: By, report: &Report) -> Vec<ReportRow> {
    let named: BTreeMap<String, &ReportRow> =
        report.rows.iter().filter_map(|row| Some((name(by, row)?, row))).collect();
    let first = report.since.or_else(|| named.keys().next()?.parse().ok());
    let (By::Day, Some(first)) = (by, first) else { return report.rows.clone() };
    let days = first.series(1.day()).take_while(|day| *day <= report.until).take(DAYS);
    let of_day = |day: Date| {
        let day = day.to_string();
        named.get(&day).map_or_else(
            || ReportRow {
                group: ReportGroup { day: Some(day.clone()), ..ReportGroup::default() },
                ..ReportRow::default()
            },
            |row| (*row).clone(),
        )
    };
    days.map(of_day).collect()
}

fn head(page: &mut String, title: &str, keys: &[(&str, &str)]) {
    let keys: Vec<String> = keys
        .iter()
        .map(|(class, says)| {
            format!("<svg class=\"key\" width=\"10\" height=\"10\"><rect class=\"{class}\" width=\"10\" height=\"10\"/></svg> {says}")
        })
        .collect();
    writeln!(page, "<h2>{}</h2>\n<p>{}</p>", escaped(title), keys.join(" &nbsp; ")).ok();
}

fn table(page: &mut String, columns: &[Column]) {
    let class = |column: &Column| if is_named(column) { " class=\"name\"" } else { "" };
    page.push_str("<h2>In figures</h2>\n<div class=\"scroll\"><table>\n<thead><tr>");
    for column in columns {
        write!(page, "<th{}>{}</th>", class(column), column.head.to_lowercase()).ok();
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        page.push_str(if row + 1 == rows { "</tbody>\n<tfoot><tr>" } else { "<tr>" });
        for column in columns {
            write!(page, "<td{}>{}</td>", class(column), escaped(&column.cells[row].readable())).ok();
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tfoot></table></div>\n");
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}
