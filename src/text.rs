//! A session as a reader would have seen it: `terminal/session.txt`.
//!
//! ```text
//!   output, sizes ─▶ screen ─┬─ rows that scroll off ───────────────▶ log ─▶ text
//!                            ├─ pages that are cleared ─(held a while)─▶
//!                            └─ pages of full-screen programs ─▶ between rules
//! ```
//!
//! A row is written when it scrolls off the primary screen, so what a program redraws in place is written
//! once, as it was in the end. What is left on the screen follows at the end.
//!
//! A full-screen program's page is written when it is left, when it is cleared, and when most of it has
//! changed since the last one written. What stood on the primary screen is written before it.
//!
//! Some programs clear the screen and print all they ever printed again, on every frame. Rows that were
//! written before and come again in the same order are therefore not written again (`text/log.rs`), and a
//! cleared page is held until it shows whether it comes back.

mod log;

use std::{
    fmt::{self, Write},
    mem,
};

use alacritty_terminal::{
    grid::{Dimensions, Grid},
    index::{Column, Line},
    term::cell::{Cell, Flags},
};

use crate::screen::{
    Terminal,
    model::{Size, Watch},
    row_text,
};
use log::{Log, Row};

/// How much is laid out before the text is handed on.
const SLICE: usize = 16 << 10; // bytes

/// Turns a terminal's output into text.
pub struct Text {
    terminal: Terminal<Reader>,
}

impl Text {
    /// A terminal of this size, on which nothing has been written.
    pub fn new(cols: u16, rows: u16) -> Text {
        Text { terminal: Terminal::new(cols, rows, Reader::default()) }
    }

    /// Takes output, and writes the text that is known from it.
    pub fn advance(&mut self, bytes: &[u8], out: &mut impl Write) -> fmt::Result {
        for slice in bytes.chunks(SLICE) {
            self.terminal.advance(slice);
            self.hand_on(out)?;
        }
        Ok(())
    }

    /// The terminal has this size from here on.
    pub fn resize(&mut self, cols: u16, rows: u16, out: &mut impl Write) -> fmt::Result {
        self.terminal.model.resize(Size::new(cols, rows));
        self.hand_on(out)
    }

    /// The session is over: writes what is still on the screen.
    pub fn finish(mut self, out: &mut impl Write) -> fmt::Result {
        let model = &mut self.terminal.model;
        if model.is_alternate() {
            model.watch.left(model.term.grid());
            // The primary screen was written when the program took it over.
        } else {
            model.watch.last(model.term.grid());
        }
        model.watch.log.close();
        self.hand_on(out)
    }

    fn hand_on(&mut self, out: &mut impl Write) -> fmt::Result {
        out.write_str(&mem::take(&mut self.terminal.model.watch.log.text))
    }
}

/// Watches the screen.
#[derive(Default)]
struct Reader {
    log: Log,
    /// The primary page that was cleared last, until it shows whether it comes back.
    held: Vec<Row>,
    /// How many of the held rows have come back.
    back: usize,
    /// The full-screen page written last.
    page: Vec<String>,
}

impl Watch for Reader {
    fn scrolled(&mut self, primary: &mut Grid<Cell>) {
        for line in primary.topmost_line().0..0 {
            let row = row(primary, Line(line));
            if !self.log.is_known(&row) {
                self.meet(&row);
                self.log.write(row);
            }
        }
        primary.clear_history();
    }

    fn cleared(&mut self, page: &Grid<Cell>, alternate: bool) {
        if alternate {
            self.redrawn(page);
            return;
        }
        let rows = rows(page);
        if rows.is_empty() {
            return;
        }
        self.meet_page(&rows);
        self.held = rows;
        self.log.expect_again();
    }

    fn redrawn(&mut self, alternate: &Grid<Cell>) {
        let page = full_page(alternate);
        let filled = page.iter().filter(|row| !row.is_empty());
        let kept = filled.clone().filter(|row| self.page.contains(row)).count();
        if kept * 2 < filled.count() {
            self.write_page(page);
        }
    }

    fn entered(&mut self, primary: &Grid<Cell>) {
        let rows = rows(primary);
        self.meet_page(&rows);
        self.log.write_early(rows);
    }

    fn left(&mut self, alternate: &Grid<Cell>) {
        let page = full_page(alternate);
        if page != self.page && !page.is_empty() {
            self.write_page(page);
        }
        self.page.clear();
    }
}

impl Reader {
    /// The session ends with this page.
    fn last(&mut self, primary: &Grid<Cell>) {
        let rows = rows(primary);
        self.meet_page(&rows);
        for row in rows {
            if !self.log.is_known(&row) {
                self.log.write(row);
            }
        }
    }

    /// A row comes after the held page: it may be of that page. One that is not decides about the page.
    fn meet(&mut self, row: &Row) {
        if self.held.contains(row) {
            self.back += 1;
        } else if !row.text.is_empty() {
            self.release();
        }
    }

    /// A page comes after the held one, and decides about it.
    fn meet_page(&mut self, rows: &[Row]) {
        self.back += rows.iter().filter(|row| !row.text.is_empty() && self.held.contains(row)).count();
        self.release();
    }

    /// Writes the held page unless most of it has come back.
    fn release(&mut self) {
        let held = mem::take(&mut self.held);
        let filled = held.iter().filter(|row| !row.text.is_empty()).count();
        if mem::take(&mut self.back) * 2 < filled {
            self.log.write_all(held);
        }
    }

    fn write_page(&mut self, page: Vec<String>) {
        self.log.rule("full screen");
        for row in &page {
            self.log.text.push_str(row);
            self.log.text.push('\n');
        }
        self.log.rule("");
        self.page = page;
    }
}

fn row(grid: &Grid<Cell>, line: Line) -> Row {
    let last = &grid[line][Column(grid.columns() - 1)];
    Row { text: row_text(grid, line), wraps: last.flags.contains(Flags::WRAPLINE) }
}

/// The rows of a page, without the empty ones at its end.
fn rows(grid: &Grid<Cell>) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..=grid.bottommost_line().0).map(|line| row(grid, Line(line))).collect();
    rows.truncate(rows.iter().rposition(|row| !row.text.is_empty()).map_or(0, |last| last + 1));
    rows
}

fn full_page(grid: &Grid<Cell>) -> Vec<String> {
    rows(grid).into_iter().map(|row| row.text).collect()
}

#[cfg(test)]
mod tests;
