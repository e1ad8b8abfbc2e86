//! The terminal model with notes: delegates to [`Term`] and remembers what `Term` keeps to itself.
//!
//! `Term` holds the cells, cursors and modes. Private to it, and therefore noted here as they pass: scroll
//! region, tab stops, shift state, titles and the keyboard stacks. On the way a few things are set right:
//!
//! - what a hostile program could let grow is bounded (titles, stacks, combining characters, links, work);
//! - vertical moves stop at the margins and count from them in origin mode, as in xterm;
//! - erasing the primary screen does not push it into the scrollback, as in xterm;
//! - an erased half of a wide character takes the other half with it;
//! - `CSI ? 3 h` (132 columns) is ignored, as in xterm by default.

mod handler;
mod replies;
mod watch;

use std::{collections::HashSet, mem, ops::Range};

use alacritty_terminal::{
    grid::{Cursor, Dimensions, Grid},
    index::{Column, Line, Point},
    term::{
        Config, Osc52, Term, TermMode,
        cell::{Cell, Flags},
    },
    vte::ansi::{
        CharsetIndex, CursorShape, CursorStyle, Handler, KeyboardModes, KeyboardModesApplyBehavior,
        StandardCharset,
    },
};
use unicode_width::UnicodeWidthChar;

use replies::Replies;
pub(crate) use watch::Watch;

/// Lines that have scrolled off the primary screen and can still be shown; the oldest go first.
pub(crate) const HISTORY: usize = 1000; // lines
const TITLE_LIMIT: usize = 256; // characters
const STACK_LIMIT: usize = 16; // titles, or keyboard modes; the oldest go first
const ZERO_WIDTH_LIMIT: usize = 8; // combining characters on one cell
const URI_LIMIT: usize = 2083; // bytes, as in other terminals
const LINK_BUDGET: usize = 1 << 20; // bytes of addresses that the screen holds; then it forgets all links
/// Characters that one byte of input may print on average: `CSI 65535 b` repeats one 65535 times.
const WORK_PER_BYTE: u32 = 32;
const WORK_LIMIT: u32 = 1 << 20;
const TAB: usize = 8;

/// Private modes that the model has no use for but that viewers' terminals know.
pub(crate) const FOREIGN_MODES: [u16; 9] = [9, 45, 66, 1015, 1016, 1036, 2027, 2031, 2048];

/// Columns and rows.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub cols: usize,
    pub rows: usize,
}

impl Size {
    /// Within what the model can do: a wide character must fit beside another, memory must be bounded.
    pub fn new(cols: u16, rows: u16) -> Size {
        Size { cols: cols.clamp(4, 1000).into(), rows: rows.clamp(1, 500).into() }
    }
}

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }
    fn screen_lines(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.cols
    }
}

/// The model.
pub(crate) struct Model<W> {
    pub term: Term<Replies>,
    pub watch: W,
    /// First row and the row after the last.
    pub region: Range<usize>,
    pub tabs: Vec<bool>,
    pub charset: CharsetIndex,
    pub title: String,
    pub titles: Vec<String>,
    /// Keyboard modes pushed on the active screen, and on the other.
    pub keyboard: [Vec<KeyboardModes>; 2],
    pub modify_other_keys: u8,
    /// One bit for each of [`FOREIGN_MODES`].
    pub foreign: u16,
    /// Inside a synchronised update.
    pub sync: bool,
    replies: Replies,
    link_bytes: usize,
    work: u32,
    /// Characters since the alternate screen's page was last looked at.
    printed: usize,
}

impl<W: Watch> Model<W> {
    pub fn new(size: Size, watch: W) -> Model<W> {
        let config = Config {
            scrolling_history: HISTORY,
            kitty_keyboard: true,
            osc52: Osc52::Disabled,
            // A shape that no program can ask for stands for "never set".
            default_cursor_style: CursorStyle { shape: CursorShape::HollowBlock, blinking: false },
            ..Config::default()
        };
        let replies = Replies::default();
        Model {
            term: Term::new(config, &size, replies.clone()),
            watch,
            region: 0..size.rows,
            tabs: (0..size.cols).map(|col| col % TAB == 0).collect(),
            charset: CharsetIndex::G0,
            title: String::new(),
            titles: Vec::new(),
            keyboard: Default::default(),
            modify_other_keys: 0,
            foreign: 0,
            sync: false,
            replies,
            link_bytes: 0,
            work: WORK_LIMIT,
            printed: 0,
        }
    }

    /// Allows the work that `bytes` of input are good for.
    pub fn allow(&mut self, bytes: usize) {
        let more = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_mul(WORK_PER_BYTE);
        self.work = self.work.saturating_add(more).min(WORK_LIMIT);
    }

    pub fn resize(&mut self, size: Size) {
        if (size.cols, size.rows) == (self.cols(), self.rows()) {
            return;
        }
        self.term.resize(size);
        self.region = 0..size.rows;
        let known = self.tabs.len().min(size.cols);
        self.tabs.truncate(known);
        self.tabs.extend((known..size.cols).map(|col| col % TAB == 0));
        let alternate = self.is_alternate();
        self.with_primary(|primary| {
            mend(primary);
            if alternate {
                // It was so when the alternate screen was entered, and must stay for `with_primary`.
                primary.saved_cursor = primary.cursor.clone();
            }
        });
        mend(self.term.grid_mut());
        self.off_screen();
    }

    pub fn cols(&self) -> usize {
        self.term.columns()
    }

    pub fn rows(&self) -> usize {
        self.term.screen_lines()
    }

    pub fn is_alternate(&self) -> bool {
        self.term.mode().contains(TermMode::ALT_SCREEN)
    }

    pub fn keyboard_modes(&self) -> KeyboardModes {
        let first = TermMode::DISAMBIGUATE_ESC_CODES.bits().trailing_zeros();
        let bits = (*self.term.mode() & TermMode::KITTY_KEYBOARD_PROTOCOL).bits() >> first;
        KeyboardModes::from_bits_truncate(bits as u8)
    }

    pub fn take_replies(&mut self) -> Vec<u8> {
        self.replies.take()
    }

    /// Shows the primary screen, also while the alternate one is in use.
    ///
    /// `Term` gives only the active grid away. Leaving the alternate screen and entering it again shows the
    /// other; a stand-in takes the clearing that entering does, and the keyboard modes are put back.
    pub fn with_primary<R>(&mut self, look: impl FnOnce(&mut Grid<Cell>) -> R) -> R {
        if !self.is_alternate() {
            return look(self.term.grid_mut());
        }
        let keyboard = self.keyboard_modes();
        let stand_in = Grid::new(self.rows(), self.cols(), 0);
        let alternate = mem::replace(self.term.grid_mut(), stand_in);
        self.term.swap_alt();
        let seen = look(self.term.grid_mut());
        self.term.swap_alt();
        *self.term.grid_mut() = alternate;
        Handler::set_keyboard_mode(&mut self.term, keyboard, KeyboardModesApplyBehavior::Replace);
        seen
    }

    #[inline(always)]
    fn off_screen(&mut self) {
        if W::ON && self.term.history_size() > 0 && !self.is_alternate() {
            self.watch.scrolled(self.term.grid_mut());
        }
    }

    fn clearing(&mut self) {
        if W::ON {
            let alternate = self.is_alternate();
            self.watch.cleared(self.term.grid(), alternate);
        }
    }

    /// A frame begins, or as much has been printed or scrolled as makes one.
    #[inline(always)]
    fn redrawing(&mut self) {
        // Looking at the page costs about as much as printing this.
        if W::ON && self.printed * 8 >= self.cols() * self.rows() && self.is_alternate() {
            self.printed = 0;
            self.watch.redrawn(self.term.grid());
        }
    }

    /// Prints a character where that changes one cell and nothing else; false where `Term` must see to it.
    ///
    /// Most of what is printed is this, and `Term` looks up each character's width.
    #[inline(always)]
    fn print_plainly(&mut self, c: char) -> bool {
        const WIDE: Flags =
            Flags::WIDE_CHAR.union(Flags::WIDE_CHAR_SPACER).union(Flags::LEADING_WIDE_CHAR_SPACER);
        let inserting = self.term.mode().contains(TermMode::INSERT);
        let grid = self.term.grid_mut();
        let Cursor { point, template, charsets, input_needs_wrap } = &grid.cursor;
        let Point { line, column } = *point;
        if !is_narrow(c)
            || inserting
            || *input_needs_wrap
            || template.extra.is_some()
            || charsets[self.charset] != StandardCharset::Ascii
        {
            return false;
        }
        let (fg, bg, flags) = (template.fg, template.bg, template.flags);
        let cell = &mut grid[line][column];
        if cell.flags.intersects(WIDE) {
            return false;
        }
        (cell.c, cell.fg, cell.bg, cell.flags) = (c, fg, bg, flags);
        if cell.extra.is_some() {
            cell.extra = None;
        }
        if column.0 + 1 < grid.columns() {
            grid.cursor.point.column += 1;
        } else {
            grid.cursor.input_needs_wrap = true;
        }
        true
    }

    /// True if `c` would be one combining character too many on its cell.
    #[inline(never)]
    fn is_crowded(&self, c: char) -> bool {
        if c.width() != Some(0) {
            return false;
        }
        let grid = self.term.grid();
        let cursor = &grid.cursor;
        let mut col = cursor.point.column.0;
        if !cursor.input_needs_wrap {
            col = col.saturating_sub(1);
        }
        if grid[cursor.point.line][Column(col)].flags.contains(Flags::WIDE_CHAR_SPACER) {
            col = col.saturating_sub(1);
        }
        grid[cursor.point.line][Column(col)].zerowidth().is_some_and(|z| z.len() >= ZERO_WIDTH_LIMIT)
    }

    /// Moves up (or down) by rows, stopping at the margin.
    fn vertical(&mut self, down: i32, col: usize) {
        let row = self.term.grid().cursor.point.line.0;
        let (top, bottom) = (self.region.start as i32, self.region.end as i32 - 1);
        let lowest = if row <= bottom { bottom } else { self.rows() as i32 - 1 };
        let highest = if row >= top { top } else { 0 };
        let target = row.saturating_add(down).clamp(highest, lowest);
        let origin = if self.term.mode().contains(TermMode::ORIGIN) { top } else { 0 };
        self.term.goto(target - origin, col);
    }

    fn cursor(&self) -> (Line, usize) {
        let point = self.term.grid().cursor.point;
        (point.line, point.column.0)
    }

    /// Dissolves the wide character, if any, that lies across the left edge of `col` in the cursor's row.
    fn split(&mut self, col: usize) {
        let line = self.term.grid().cursor.point.line;
        let cut = |cell: &Cell| cell.flags.contains(Flags::WIDE_CHAR_SPACER);
        if col == 0 || col >= self.cols() || !cut(&self.term.grid()[line][Column(col)]) {
            return;
        }
        let row = &mut self.term.grid_mut()[line];
        row[Column(col)].flags.remove(Flags::WIDE_CHAR_SPACER);
        row[Column(col - 1)].clear_wide();
    }

    fn enter_alternate(&mut self) {
        if self.is_alternate() {
            return;
        }
        if W::ON {
            self.watch.entered(self.term.grid());
        }
        self.term.swap_alt();
        self.keyboard.swap(0, 1);
        let grid = self.term.grid_mut();
        // The rows may have been widened while nobody looked; clearing them has missed that.
        mend(grid);
        grid.reset_region(..);
        grid.saved_cursor = grid.cursor.clone();
    }

    fn leave_alternate(&mut self) {
        if self.is_alternate() {
            if W::ON {
                self.watch.left(self.term.grid());
            }
            self.term.swap_alt();
            self.keyboard.swap(0, 1);
        }
    }

    fn set_foreign(&mut self, mode: u16, on: bool) {
        if let Some(bit) = FOREIGN_MODES.iter().position(|&known| known == mode) {
            self.foreign = self.foreign & !(1 << bit) | u16::from(on) << bit;
        }
    }

    /// Counts what the links on the active screen really hold, and forgets them all if that is too much.
    fn weigh_links(&mut self) {
        let grid = self.term.grid_mut();
        let rows = grid.topmost_line().0..=grid.bottommost_line().0;
        let mut seen = HashSet::new();
        self.link_bytes = 0;
        for link in rows.clone().flat_map(|row| &grid[Line(row)]).filter_map(Cell::hyperlink) {
            if seen.insert(link.uri().as_ptr()) {
                self.link_bytes += link.uri().len() + link.id().len();
            }
        }
        if self.link_bytes < LINK_BUDGET / 2 {
            return;
        }
        for row in rows {
            for col in 0..grid.columns() {
                let cell = Point::new(Line(row), Column(col));
                if grid[cell].extra.is_some() {
                    grid[cell].set_hyperlink(None);
                }
            }
        }
        grid.cursor.template.set_hyperlink(None);
        grid.saved_cursor.template.set_hyperlink(None);
        self.link_bytes = 0;
    }
}

/// Whether this is, without a look at any table, a character that takes one cell: ASCII, Latin, punctuation,
/// arrows, boxes and blocks, Braille. Of most text and of what programs draw with, that is all.
#[inline(always)]
fn is_narrow(c: char) -> bool {
    matches!(c,
        ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{2010}'..='\u{2027}'
        | '\u{2190}'..='\u{21ff}' | '\u{2500}'..='\u{25fc}' | '\u{2800}'..='\u{28ff}')
}

/// Sets right what laying a grid out anew can leave behind.
fn mend(grid: &mut Grid<Cell>) {
    let last = Column(grid.columns() - 1);
    // A row that is wider now must know that its new cells differ from those before them: borrowing the last
    // one does it.
    for line in grid.topmost_line().0..=grid.bottommost_line().0 {
        grid[Line(line)][last].flags |= Flags::empty();
    }
    // A cursor waits to wrap in the last column only.
    let Grid { cursor, saved_cursor, .. } = grid;
    for cursor in [cursor, saved_cursor] {
        if cursor.input_needs_wrap && cursor.point.column < last {
            cursor.input_needs_wrap = false;
            cursor.point.column += 1;
        }
    }
}

/// `text` without what could act on a terminal or mislead a reader.
pub(crate) fn inert(text: &str) -> String {
    let acts = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !acts(c)).take(TITLE_LIMIT).collect()
}

#[cfg(test)]
#[test]
fn narrow_characters_take_one_cell() {
    let mut narrow = ('\0'..=char::MAX).filter(|c| is_narrow(*c));
    assert_eq!(narrow.find(|c| c.width() != Some(1)), None);
}

fn push_bounded<T>(stack: &mut Vec<T>, item: T) {
    if stack.len() == STACK_LIMIT {
        stack.remove(0);
    }
    stack.push(item);
}
