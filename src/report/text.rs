//! A report's columns, and what they read as: for tables, CSV and Markdown.

use crate::{
    api::{By, Report, ReportRow},
    inert::inert,
};

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// What programs call it.
    pub name: &'static str,
    /// What people call it.
    pub head: &'static str,
    /// A cell for each row, and one for the total.
    pub cells: Vec<Cell>,
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A name, or none.
    Name(Option<String>),
    /// A number of things.
    Count(u64),
    /// US dollars.
    Usd(f64),
    /// Seconds.
    Seconds(u64),
}

impl Cell {
    /// For people.
    pub fn readable(&self) -> String {
        match self {
            Cell::Name(name) => name.as_deref().map_or_else(|| "–".to_owned(), inert),
            Cell::Count(n) => grouped(*n),
            Cell::Usd(amount) => usd(*amount),
            Cell::Seconds(s) if *s < 60 => format!("{s}s"),
            Cell::Seconds(s) if *s < 3600 => format!("{}m", s / 60),
            Cell::Seconds(s) => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        }
    }

    /// For programs.
    pub fn exact(&self) -> String {
        match self {
            Cell::Name(name) => name.as_deref().map_or_else(String::new, inert),
            Cell::Count(n) | Cell::Seconds(n) => n.to_string(),
            Cell::Usd(amount) => format!("{amount:.6}"),
        }
    }

    /// Whether it stands at the left.
    pub fn is_name(&self) -> bool {
        matches!(self, Cell::Name(_))
    }
}

/// Dollars: cents, and where there is not one dollar their hundredths too.
pub fn usd(amount: f64) -> String {
    if amount >= 1.0 || amount == 0.0 { format!("${amount:.2}") } else { format!("${amount:.4}") }
}

/// A number with a comma at each thousand.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A report's columns; the last cell of each is the total's.
pub fn columns(report: &Report) -> Vec<Column> {
    let all: Vec<&ReportRow> = report.rows.iter().chain([&report.total]).collect();
    let column = |name, head, cell: &dyn Fn(&ReportRow) -> Cell| Column {
        name,
        head,
        cells: all.iter().map(|row| cell(row)).collect(),
    };
    let mut columns: Vec<Column> = report
        .by
        .iter()
        .enumerate()
        .map(|(n, by)| {
            let mut column = column(by.name(), head(*by), &|row| Cell::Name(name(*by, row)));
            if n == 0
                && let Some(total) = column.cells.last_mut()
            {
                *total = Cell::Name(Some("total".to_owned()));
            } else if let Some(total) = column.cells.last_mut() {
                *total = Cell::Name(Some(String::new()));
            }
            column
        })
        .collect();
    columns.push(column("sessions", "SESSIONS", &|row| Cell::Count(row.sessions)));
    if report.total.work.is_some() {
        let work = |row: &ReportRow| row.work.unwrap_or_default();
        columns.push(column("turns", "TURNS", &|row| Cell::Count(work(row).turns)));
    }
    if report.total.models.is_some() {
        let used = |row: &ReportRow| row.models.unwrap_or_default();
        columns.push(column("cost_usd", "COST", &|row| Cell::Usd(used(row).cost_usd)));
        columns.push(column("gateway_cost_usd", "GATEWAY", &|row| Cell::Usd(used(row).gateway_cost_usd)));
        columns.push(column("model_calls", "CALLS", &|row| Cell::Count(used(row).calls)));
        columns.push(column("gateway_calls", "AT GATEWAY", &|row| Cell::Count(used(row).gateway_calls)));
        columns.push(column("input_tokens", "INPUT", &|row| Cell::Count(used(row).input_tokens)));
        columns.push(column("output_tokens", "OUTPUT", &|row| Cell::Count(used(row).output_tokens)));
        columns
            .push(column("cache_read_tokens", "CACHE READ", &|row| Cell::Count(used(row).cache_read_tokens)));
        columns.push(column("cache_creation_tokens", "CACHE WRITTEN", &|row| {
            Cell::Count(used(row).cache_creation_tokens)
        }));
    }
    if report.total.tools.is_some() {
        let used = |row: &ReportRow| row.tools.unwrap_or_default();
        columns.push(column("tool_calls", "TOOLS", &|row| Cell::Count(used(row).calls)));
        columns.push(column("tool_failures", "FAILED", &|row| Cell::Count(used(row).failures)));
        if report.total.work.is_none() {
            columns.push(column("tool_s", "TIME", &|row| Cell::Seconds(used(row).duration_ms / 1000)));
        }
    }
    if report.total.work.is_some() {
        let work = |row: &ReportRow| row.work.unwrap_or_default();
        columns.push(column("lines_added", "LINES +", &|row| Cell::Count(work(row).lines_added)));
        columns.push(column("lines_removed", "LINES −", &|row| Cell::Count(work(row).lines_removed)));
        columns.push(column("commits", "COMMITS", &|row| Cell::Count(work(row).commits)));
        columns.push(column("pull_requests", "PULL REQUESTS", &|row| Cell::Count(work(row).pull_requests)));
        columns.push(column("active_s", "ACTIVE", &|row| Cell::Seconds(work(row).active_s)));
    }
    columns
}

/// A row's name in one of its groups.
pub fn name(by: By, row: &ReportRow) -> Option<String> {
    let group = &row.group;
    let name = match by {
        By::User => &group.user,
        By::Team => &group.team,
        By::Model => &group.model,
        By::Tool => &group.tool,
        By::Profile => &group.profile,
        By::Day => &group.day,
        By::Week => &group.week,
        By::Month => &group.month,
    };
    name.clone()
}

fn head(by: By) -> &'static str {
    match by {
        By::User => "USER",
        By::Team => "TEAM",
        By::Model => "MODEL",
        By::Tool => "TOOL",
        By::Profile => "PROFILE",
        By::Day => "DAY",
        By::Week => "WEEK FROM",
        By::Month => "MONTH",
    }
}

/// What the report is of, in a line.
pub fn title(report: &Report) -> String {
    let by: Vec<&str> = report.by.iter().map(|by| by.name()).collect();
    let since = report.since.map_or_else(|| "the beginning".to_owned(), |day| day.to_string());
    format!("Use by {}, from {since} through {} (UTC)", by.join(" and "), report.until)
}

/// RFC 4180, a head and a line for each row; without the total, since whoever reads it adds up.
pub fn csv(report: &Report) -> String {
    let columns = columns(report);
    let names: Vec<&str> = columns.iter().map(|c| c.name).collect();
    let mut text = names.join(",") + "\r\n";
    for row in 0..report.rows.len() {
        let cells: Vec<String> = columns.iter().map(|c| field(&c.cells[row])).collect();
        text += &(cells.join(",") + "\r\n");
    }
    text
}

/// A field of CSV. Names are what sessions choose: what a spreadsheet would take for a formula is text to it too, also
/// where it splits lines at something else than a comma.
fn field(cell: &Cell) -> String {
    const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let mut text = cell.exact();
    if !cell.is_name() {
        return text;
    }
    if text.starts_with(FORMULA) {
        text.insert(0, '\'');
    }
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A table with a title.
pub fn markdown(report: &Report) -> String {
    let columns = columns(report);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("# {}\n\n", title(report));
    text += &line(columns.iter().map(|c| c.head.to_lowercase()).collect());
    text += &line(columns.iter().map(|c| if is_named(c) { "---" } else { "---:" }.to_owned()).collect());
    for row in 0..=report.rows.len() {
        let bold = |text: String| {
            if row == report.rows.len() && !text.is_empty() { format!("**{text}**") } else { text }
        };
        let shown = |cell: &Cell| {
            if cell.is_name() { escaped(&cell.readable()) } else { cell.readable() }
        };
        text += &line(columns.iter().map(|c| bold(shown(&c.cells[row]))).collect());
    }
    text += &format!("\n{}\n", NOTE);
    text
}

/// What the two costs are.
pub const NOTE: &str = "Cost is what the client reckons, from its list prices; gateway is what the calls that passed \
the gateway cost at the operator's prices, whoever paid for them; where people sign in with their own accounts none passes.";

/// Whether a column holds names.
pub fn is_named(column: &Column) -> bool {
    column.cells.first().is_some_and(Cell::is_name)
}

/// A name as Markdown shows it, which is all that it does.
fn escaped(text: &str) -> String {
    // Readers of Markdown make links of what looks like an address, whatever is escaped in it; not within code.
    if text.contains(['.', ':', '@']) {
        let parts: Vec<String> =
            text.split('|').map(|part| if part.is_empty() { String::new() } else { code(part) }).collect();
        return parts.join("\\|");
    }
    let mut cell = String::new();
    for c in text.chars() {
        if matches!(c, '|' | '<' | '>' | '[' | ']' | '*' | '_' | '`' | '\\' | '!' | '#') {
            cell.push('\\');
        }
        cell.push(c);
    }
    cell
}

/// Text as code: between more backquotes than it has in a row.
fn code(text: &str) -> String {
    let most = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let (fence, space) = ("`".repeat(most + 1), if most > 0 { " " } else { "" });
    format!("{fence}{space}{text}{space}{fence}")
}
