//! Figures, their ratios and their bounds; as a table and as JSON.

use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::Options;

/// What a figure is held to.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Ratio of ours to the peer's.
    RatioAtMost(f64),
    /// Ratio of ours to the peer's.
    RatioAtLeast(f64),
    /// Ours less the peer's, in the row's unit.
    AddsAtMost(f64),
    /// Ours, in the row's unit.
    AtMost(f64),
    /// Ours, in the row's unit.
    AtLeast(f64),
    /// None: it is told, not judged.
    Told,
}

/// One thing measured.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What.
    pub name: String,
    /// Of every figure.
    pub unit: &'static str,
    /// Ours, one a pair.
    pub ours: Vec<f64>,
    /// Who we are compared to.
    pub peer: Option<String>,
    /// Theirs, one a pair.
    pub theirs: Vec<f64>,
    /// What ours is held to.
    pub bound: Bound,
}

/// All rows of a run.
#[derive(Serialize)]
pub struct Report {
    machine: String,
    pairs: usize,
    rows: Vec<Row>,
}

impl Row {
    /// A row without a peer.
    pub fn alone(name: &str, unit: &'static str, ours: Vec<f64>, bound: Bound) -> Row {
        Row { name: name.to_owned(), unit, ours, peer: None, theirs: Vec::new(), bound }
    }

    /// A row with a peer; the figures are pairs.
    pub fn paired(name: &str, unit: &'static str, pairs: Pairs, peer: &str, bound: Bound) -> Row {
        let Pairs { ours, theirs } = pairs;
        Row { name: name.to_owned(), unit, ours, peer: Some(peer.to_owned()), theirs, bound }
    }

    /// What the bound is about: a median of ratios, of differences, or of figures.
    fn judged(&self) -> Option<f64> {
        let pairs = || self.ours.iter().zip(&self.theirs);
        if self.peer.is_some() && self.theirs.is_empty() {
            return None;
        }
        match self.bound {
            Bound::RatioAtMost(_) | Bound::RatioAtLeast(_) => Some(median(pairs().map(|(o, t)| o / t))),
            Bound::AddsAtMost(_) => Some(median(pairs().map(|(o, t)| o - t))),
            Bound::AtMost(_) | Bound::AtLeast(_) => Some(median(self.ours.iter().copied())),
            Bound::Told if !self.theirs.is_empty() => Some(median(pairs().map(|(o, t)| o / t))),
            Bound::Told => None,
        }
    }

    fn holds(&self) -> bool {
        let Some(figure) = self.judged() else { return true };
        match self.bound {
            Bound::RatioAtMost(b) | Bound::AddsAtMost(b) | Bound::AtMost(b) => figure <= b,
            Bound::RatioAtLeast(b) | Bound::AtLeast(b) => figure >= b,
            Bound::Told => true,
        }
    }

    fn cells(&self) -> [String; 6] {
        let unit = self.unit;
        let both = |figures: &[f64]| match figures {
            [] => String::new(),
            [one] => format!("{} {unit}", short(*one)),
            many => {
                let (least, most) =
                    many.iter().fold((f64::MAX, f64::MIN), |(l, m), f| (l.min(*f), m.max(*f)));
                format!(
                    "{} {unit} ({} to {})",
                    short(median(many.iter().copied())),
                    short(least),
                    short(most)
                )
            }
        };
        let figure = self.judged().map_or_else(|| "–".to_owned(), short);
        let (figure, bound) = match self.bound {
            Bound::RatioAtMost(b) => (format!("{figure} ×"), format!("≤ {b} ×")),
            Bound::RatioAtLeast(b) => (format!("{figure} ×"), format!("≥ {b} ×")),
            Bound::AddsAtMost(b) => (format!("+{figure} {unit}"), format!("≤ +{b} {unit}")),
            Bound::AtMost(b) => (String::new(), format!("≤ {} {unit}", short(b))),
            Bound::AtLeast(b) => (String::new(), format!("≥ {} {unit}", short(b))),
            Bound::Told if self.theirs.is_empty() => (String::new(), String::new()),
            Bound::Told => (format!("{figure} ×"), String::new()),
        };
        let verdict = if self.holds() { "" } else { " MISSED" };
        let peer = self.peer.as_ref().map(|p| format!("{p}: ")).unwrap_or_default();
        [
            self.name.clone(),
            both(&self.ours),
            if self.theirs.is_empty() { String::new() } else { format!("{peer}{}", both(&self.theirs)) },
            figure,
            bound,
            verdict.trim().to_owned(),
        ]
    }
}

impl Report {
    /// An empty one.
    pub fn new(machine: String, pairs: usize) -> Report {
        Report { machine, pairs, rows: Vec::new() }
    }

    /// Adds a row, and says it.
    pub fn add(&mut self, row: Row) {
        eprintln!("  {}", row.cells().join("  ").trim_end());
        self.rows.push(row);
    }

    /// What it was measured on.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Whether every bound is kept.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }

    /// A Markdown table: medians, least and most in brackets.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(["what", "sandboxctl", "peer", "ratio", "bound", ""]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        for column in 1..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    /// Every figure.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Figures taken in turns.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Ours.
    pub ours: Vec<f64>,
    /// The peer's.
    pub theirs: Vec<f64>,
}

impl Pairs {
    /// Takes pairs; whoever went second goes first the next time.
    pub async fn take<O, T>(
        options: &Options,
        mut ours: impl FnMut() -> O,
        mut theirs: impl FnMut() -> T,
    ) -> anyhow::Result<Pairs>
    where
        O: Future<Output = anyhow::Result<f64>>,
        T: Future<Output = anyhow::Result<f64>>,
    {
        let mut pairs = Pairs::default();
        for turn in 0..options.pairs {
            if options.alone {
                pairs.ours.push(ours().await?);
            } else if turn % 2 == 0 {
                pairs.theirs.push(theirs().await?);
                pairs.ours.push(ours().await?);
            } else {
                pairs.ours.push(ours().await?);
                pairs.theirs.push(theirs().await?);
            }
        }
        Ok(pairs)
    }
}

/// The middle one; the mean of the two in the middle of an even number.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    percentile(figures, 0.5)
}

/// By linear interpolation; `at` is from 0 to 1.
pub fn percentile(figures: impl Iterator<Item = f64>, at: f64) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = at * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

fn short(figure: f64) -> String {
    match figure.abs() {
        f if f >= 10_000.0 => format!("{:.0} k", figure / 1000.0),
        f if f >= 100.0 => format!("{figure:.0}"),
        f if f >= 10.0 => format!("{figure:.1}"),
        f if f >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// MB/s.
pub fn per_second(bytes: u64, began: Instant, ended: Instant) -> f64 {
    bytes as f64 / 1e6 / (ended - began).as_secs_f64()
}
