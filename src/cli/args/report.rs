//! `report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::report;

/// Its examples.
pub const EXAMPLES: &str = "\
Examples:
  sandboxctl report --by user,model --since 7d --until 1d
  sandboxctl report --by team,month --since 2026-01-01 --format csv > charge-back.csv
  sandboxctl report --by user --since 7d --until 1d --format html -o week.html

Days are UTC, the first and the last included: --since 7d alone is today and the seven days before. Removing a session's record keeps what it used.";

/// `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// What to add up by: one or more of user, team, model, tool, profile, day, week, month
    #[arg(long, value_name = "WHAT,…", default_value = "user", value_parser = by)]
    pub by: String,
    /// First day: a date, or so long ago as 7d or 4w
    #[arg(long, value_name = "DAY", default_value = "30d", value_parser = day)]
    pub since: String,
    /// Last day, the same [default: today]
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub until: Option<String>,
    /// How it reads; html is one page with charts
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How a report reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Table,
    /// For spreadsheets and programs.
    Csv,
    /// As the API answers.
    Json,
    /// For a message.
    Markdown,
    /// For a browser or a mail.
    Html,
}

fn by(text: &str) -> Result<String, String> {
    report::parse_by(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn day(text: &str) -> Result<String, String> {
    // Whichever day this is, the form is the same.
    let any = jiff::civil::date(2026, 1, 1);
    report::parse_day("day", text, any).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
