//! The screen of a session's terminal, as it is after the bytes given so far.
//!
//! ```text
//!   bytes ──▶ parser ──▶ model: cells, cursors, modes ──▶ snapshot: bytes that bring any terminal there
//!                          └─▶ replies, for when no one's terminal is there to give them
//! ```
//!
//! `alacritty_terminal` is the model; what it keeps to itself is noted on the way (`model`). A snapshot
//! brings a fresh terminal of the same size to the same state: both screens with all attributes and links,
//! cursors, scroll region, tab stops, charsets, all input modes, keyboard stacks, palette, titles, and the
//! beginning of an unfinished sequence. From there on, the same further bytes keep both alike.
//!
//! A snapshot stands for *all* bytes given so far. Synchronised updates (`CSI ? 2026 h`) are therefore drawn
//! at once rather than held back: nobody looks at the model between two snapshots. If one is open, the
//! snapshot leaves it open, and the viewer's terminal shows nothing half drawn.
//!
//! What a snapshot does not restore:
//!
//! - scrollback beyond about 40 KiB; all of it if the screens alone take the 64 KiB that a snapshot should
//!   not exceed. The screens themselves are always whole, even where each cell has colours of its own;
//! - which character `CSI b` repeats, if that comes before any other character;
//! - what `alacritty_terminal` ignores: blinking text, soft reset, double-size lines, images, protected cells;
//! - a primary screen's saved cursor while the alternate screen is in use: it is the cursor.

mod dump;
mod form;
pub(crate) mod model;
mod paint;
mod tail;
#[cfg(test)]
mod tests;

use std::time::Duration;

use alacritty_terminal::{
    grid::Grid,
    index::{Column, Line},
    term::cell::{Cell, Flags},
    vte::ansi::{Processor, Timeout},
};

use model::{Model, Size, Watch};
use tail::{Tail, unfinished_char};

/// A session's screen.
pub struct Screen {
    terminal: Terminal<()>,
}

impl Screen {
    /// An empty screen. Sizes are held to 4–1000 columns and 1–500 rows.
    pub fn new(cols: u16, rows: u16) -> Screen {
        Screen { terminal: Terminal::new(cols, rows, ()) }
    }

    /// Applies output of the program.
    pub fn advance(&mut self, bytes: &[u8]) {
        self.terminal.advance(bytes);
    }

    /// Changes the size; long lines of the primary screen are wrapped anew.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        self.terminal.model.resize(Size::new(cols, rows));
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        (self.terminal.model.cols() as u16, self.terminal.model.rows() as u16)
    }

    /// The window's title: at most 256 characters, none of which acts on a terminal. Empty if there is none.
    pub fn title(&self) -> &str {
        &self.terminal.model.title
    }

    /// Bytes that bring a terminal of the same size to this state, whatever state it was in before.
    ///
    /// Begins with a reset that leaves the terminal's own scrollback alone.
    pub fn snapshot(&mut self) -> Vec<u8> {
        let pending = [self.terminal.tail.held(), &self.terminal.partial].concat();
        dump::dump(&mut self.terminal.model, &pending)
    }

    /// The visible rows as text, without the blanks at their ends.
    pub fn lines(&self) -> Vec<String> {
        let grid = self.terminal.model.term.grid();
        (0..self.terminal.model.rows()).map(|row| row_text(grid, Line(row as i32))).collect()
    }

    /// What the terminal has been asked since the last call (cursor position, attributes, colours) and
    /// answers. To be sent to the program if no viewer's terminal does; at most 4 KiB are kept.
    pub fn take_replies(&mut self) -> Vec<u8> {
        self.terminal.model.take_replies()
    }
}

/// A parser and the model that it drives.
pub(crate) struct Terminal<W> {
    pub model: Model<W>,
    parser: Processor<Immediate>,
    tail: Tail,
    /// The beginning of a character, kept from the parser, which can lose others over it.
    partial: Vec<u8>,
}

impl<W: Watch> Terminal<W> {
    pub fn new(cols: u16, rows: u16, watch: W) -> Terminal<W> {
        Terminal {
            model: Model::new(Size::new(cols, rows), watch),
            parser: Processor::new(),
            tail: Tail::default(),
            partial: Vec::new(),
        }
    }

    pub fn advance(&mut self, bytes: &[u8]) {
        for slice in bytes.chunks(tail::LIMIT) {
            if self.partial.is_empty() {
                self.apply(slice);
            } else {
                let mut joined = std::mem::take(&mut self.partial);
                joined.extend_from_slice(slice);
                self.apply(&joined);
            }
        }
    }

    fn apply(&mut self, bytes: &[u8]) {
        let mut bytes = &bytes[self.tail.excess(bytes)..];
        self.model.allow(bytes.len());
        self.tail.note(bytes);
        let mut lost = 0;
        if self.tail.is_ground() {
            let (whole, partial) = bytes.split_at(bytes.len() - unfinished_char(bytes));
            self.partial.extend_from_slice(partial);
            bytes = whole;
            // Beginnings of characters that the next one has cut off already.
            while unfinished_char(bytes) > 0 {
                bytes = &bytes[..bytes.len() - unfinished_char(bytes)];
                lost += 1;
            }
        }
        self.parser.advance(&mut self.model, bytes);
        for _ in 0..lost {
            self.parser.advance(&mut self.model, "\u{fffd}".as_bytes());
        }
    }
}

/// Never lets the parser hold back a synchronised update.
#[derive(Default)]
struct Immediate;

impl Timeout for Immediate {
    fn set_timeout(&mut self, _: Duration) {}
    fn clear_timeout(&mut self) {}
    fn pending_timeout(&self) -> bool {
        false
    }
}

/// A row as text, without the blanks at its end.
pub(crate) fn row_text(grid: &Grid<Cell>, line: Line) -> String {
    let row = &grid[line];
    let used =
        row.into_iter().rposition(|cell| cell.c != ' ' || cell.extra.is_some()).map_or(0, |last| last + 1);
    let mut text = String::with_capacity(used);
    for cell in &row[..Column(used)] {
        if cell.flags.intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER) {
            continue;
        }
        text.push(if cell.c == '\t' { ' ' } else { cell.c });
        if let Some(zerowidth) = cell.zerowidth() {
            text.extend(zerowidth);
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}
