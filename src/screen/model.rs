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

use std::{
    collections::HashSet,
    mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alacritty_terminal::{
    event::{Event, EventListener},
    grid::{Dimensions, Grid},
    index::{Column, Line, Point},
    term::{
        Config, Osc52, Term, TermMode,
        cell::{Cell, Flags},
    },
    vte::ansi::{
        Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, Hyperlink, KeyboardModes,
        KeyboardModesApplyBehavior, LineClearMode, Mode, ModifyOtherKeys, NamedColor, NamedPrivateMode,
        PrivateMode, Rgb, StandardCharset, TabulationClearMode,
    },
};
use unicode_width::UnicodeWidthChar;

/// Lines that have scrolled off the primary screen and can still be shown; the oldest go first.
pub(crate) const HISTORY: usize = 1000; // lines
const TITLE_LIMIT: usize = 256; // characters
const STACK_LIMIT: usize = 16; // titles, or keyboard modes; the oldest go first
const REPLY_LIMIT: usize = 4 << 10; // bytes; replies beyond it are dropped
const ZERO_WIDTH_LIMIT: usize = 8; // combining characters on one cell
const URI_LIMIT: usize = 2083; // bytes, as in other terminals
const LINK_BUDGET: usize = 1 << 20; // bytes of addresses that the screen holds; then it forgets all links
/// Characters that one byte of input may print on average: `CSI 65535 b` repeats one 65535 times.
const WORK_PER_BYTE: u32 = 32;
const WORK_LIMIT: u32 = 1 << 20;
const TAB: usize = 8;

/// Private modes that the model has no use for but that viewers' terminals know.
pub(crate) const FOREIGN_MODES: [u16; 9] = [9, 45, 66, 1015, 1016, 1036, 2027, 2031, 2048];

/// Sees what is about to leave the screen.
pub(crate) trait Watch {
    /// False compiles the calls away.
    const ON: bool = true;
    /// Lines have scrolled off the primary screen into the grid's history, which may be emptied.
    fn scrolled(&mut self, primary: &mut Grid<Cell>);
    /// The page is about to be cleared.
    fn cleared(&mut self, page: &Grid<Cell>, alternate: bool);
    /// The alternate screen's page may be about to be drawn anew, in part or as a whole.
    fn redrawn(&mut self, alternate: &Grid<Cell>);
    /// The alternate screen takes the place of the primary one.
    fn entered(&mut self, primary: &Grid<Cell>);
    /// The primary screen is about to come back.
    fn left(&mut self, alternate: &Grid<Cell>);
}

impl Watch for () {
    const ON: bool = false;
    fn scrolled(&mut self, _: &mut Grid<Cell>) {}
    fn cleared(&mut self, _: &Grid<Cell>, _: bool) {}
    fn redrawn(&mut self, _: &Grid<Cell>) {}
    fn entered(&mut self, _: &Grid<Cell>) {}
    fn left(&mut self, _: &Grid<Cell>) {}
}

/// What `Term` asks to be sent back to the program.
#[derive(Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<Vec<u8>>>);

impl EventListener for Replies {
    fn send_event(&self, event: Event) {
        if let Event::PtyWrite(text) = event {
            self.push(&text);
        }
    }
}

impl Replies {
    fn push(&self, text: &str) {
        let mut replies = self.lock();
        if replies.len() + text.len() <= REPLY_LIMIT {
            replies.extend_from_slice(text.as_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        mem::take(&mut *self.replies.lock())
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

fn push_bounded<T>(stack: &mut Vec<T>, item: T) {
    if stack.len() == STACK_LIMIT {
        stack.remove(0);
    }
    stack.push(item);
}

impl<W: Watch> Handler for Model<W> {
    #[inline]
    fn input(&mut self, c: char) {
        if self.work == 0 {
            return;
        }
        self.work -= 1;
        // None of the symbols and box drawings in the second range combines.
        if c >= '\u{300}' && !('\u{2100}'..='\u{2bff}').contains(&c) && self.is_crowded(c) {
            return;
        }
        self.term.input(c);
        if W::ON {
            self.printed += 1;
        }
        self.off_screen();
    }

    #[inline]
    fn linefeed(&mut self) {
        if W::ON && self.cursor().0.0 as usize + 1 == self.region.end {
            self.redrawing();
        }
        self.term.linefeed();
        self.off_screen();
    }

    fn put_tab(&mut self, count: u16) {
        self.term.put_tab(count);
        self.off_screen();
    }

    fn scroll_up(&mut self, lines: usize) {
        self.term.scroll_up(lines);
        self.off_screen();
    }

    fn delete_lines(&mut self, lines: usize) {
        self.term.delete_lines(lines);
        self.off_screen();
    }

    #[inline]
    fn carriage_return(&mut self) {
        self.term.carriage_return();
    }

    #[inline]
    fn backspace(&mut self) {
        self.term.backspace();
    }

    #[inline]
    fn terminal_attribute(&mut self, attr: Attr) {
        self.term.terminal_attribute(attr);
    }

    #[inline]
    fn goto(&mut self, line: i32, col: usize) {
        if line == 0 && col == 0 {
            self.redrawing();
        }
        self.term.goto(line, col);
    }

    fn goto_line(&mut self, line: i32) {
        self.term.goto_line(line);
    }

    fn goto_col(&mut self, col: usize) {
        self.term.carriage_return();
        self.term.move_forward(col);
    }

    fn move_up(&mut self, rows: usize) {
        self.vertical(-(rows as i32), self.cursor().1);
    }

    fn move_down(&mut self, rows: usize) {
        self.vertical(rows as i32, self.cursor().1);
    }

    fn move_up_and_cr(&mut self, rows: usize) {
        self.vertical(-(rows as i32), 0);
    }

    fn move_down_and_cr(&mut self, rows: usize) {
        self.vertical(rows as i32, 0);
    }

    #[inline]
    fn move_forward(&mut self, cols: usize) {
        self.term.move_forward(cols);
    }

    #[inline]
    fn move_backward(&mut self, cols: usize) {
        self.term.move_backward(cols);
    }

    fn move_backward_tabs(&mut self, count: u16) {
        self.term.move_backward_tabs(count);
        self.term.grid_mut().cursor.input_needs_wrap = false;
    }

    fn move_forward_tabs(&mut self, count: u16) {
        self.term.move_forward_tabs(count);
    }

    fn insert_blank(&mut self, count: usize) {
        let col = self.cursor().1;
        self.split(col);
        self.split(self.cols() - count.min(self.cols() - col));
        self.term.insert_blank(count);
    }

    fn erase_chars(&mut self, count: usize) {
        let col = self.cursor().1;
        self.split(col);
        self.split(col + count);
        self.term.erase_chars(count);
    }

    fn delete_chars(&mut self, count: usize) {
        let col = self.cursor().1;
        self.split(col);
        self.split(col + count);
        // Beyond the end of the row, `Term` would clear what lies before the cursor.
        self.term.delete_chars(count.min(self.cols() - col));
    }

    fn clear_line(&mut self, mode: LineClearMode) {
        let col = self.cursor().1;
        match mode {
            LineClearMode::Right => self.split(col),
            LineClearMode::Left => self.split(col + 1),
            LineClearMode::All => {}
        }
        self.term.clear_line(mode);
    }

    fn clear_screen(&mut self, mode: ClearMode) {
        let (line, col) = self.cursor();
        match mode {
            ClearMode::All => {
                self.clearing();
                self.term.grid_mut().reset_region(..);
                return;
            }
            ClearMode::Below => {
                if line.0 == 0 && col == 0 {
                    self.clearing();
                }
                self.split(col);
            }
            ClearMode::Above => {
                self.split(col + 1);
                // `Term` leaves out the first row if the cursor is in the second.
                if line.0 == 1 {
                    self.term.grid_mut().reset_region(..line);
                }
            }
            ClearMode::Saved => {}
        }
        self.term.clear_screen(mode);
    }

    fn insert_blank_lines(&mut self, lines: usize) {
        self.term.insert_blank_lines(lines);
    }

    fn scroll_down(&mut self, lines: usize) {
        self.term.scroll_down(lines);
    }

    fn reverse_index(&mut self) {
        self.term.reverse_index();
    }

    fn save_cursor_position(&mut self) {
        self.term.save_cursor_position();
    }

    fn restore_cursor_position(&mut self) {
        self.term.restore_cursor_position();
    }

    fn set_horizontal_tabstop(&mut self) {
        let col = self.cursor().1;
        self.tabs[col] = true;
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        match mode {
            TabulationClearMode::Current => {
                let col = self.cursor().1;
                self.tabs[col] = false;
            }
            TabulationClearMode::All => self.tabs.fill(false),
        }
        self.term.clear_tabs(mode);
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let bottom = bottom.map_or(self.rows(), |bottom| bottom.min(self.rows()));
        if top < bottom {
            self.region = top - 1..bottom;
            self.term.set_scrolling_region(top, Some(bottom));
        }
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor)
            | PrivateMode::Unknown(47 | 1047) => self.enter_alternate(),
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => {
                self.redrawing();
                self.sync = true;
            }
            PrivateMode::Unknown(1048) => self.term.save_cursor_position(),
            PrivateMode::Unknown(mode) => self.set_foreign(mode, true),
            mode => self.term.set_private_mode(mode),
        }
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor)
            | PrivateMode::Unknown(47 | 1047) => self.leave_alternate(),
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => self.sync = false,
            PrivateMode::Unknown(1048) => self.term.restore_cursor_position(),
            PrivateMode::Unknown(mode) => self.set_foreign(mode, false),
            mode => self.term.unset_private_mode(mode),
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        self.term.set_mode(mode);
    }

    fn unset_mode(&mut self, mode: Mode) {
        self.term.unset_mode(mode);
    }

    fn set_keypad_application_mode(&mut self) {
        self.term.set_keypad_application_mode();
    }

    fn unset_keypad_application_mode(&mut self) {
        self.term.unset_keypad_application_mode();
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.charset = index;
        self.term.set_active_charset(index);
    }

    fn configure_charset(&mut self, index: CharsetIndex, charset: StandardCharset) {
        self.term.configure_charset(index, charset);
    }

    fn set_cursor_style(&mut self, style: Option<CursorStyle>) {
        self.term.set_cursor_style(style);
    }

    fn set_cursor_shape(&mut self, shape: CursorShape) {
        self.term.set_cursor_shape(shape);
    }

    fn set_color(&mut self, index: usize, color: Rgb) {
        self.term.set_color(index, color);
    }

    fn reset_color(&mut self, index: usize) {
        self.term.reset_color(index);
    }

    fn decaln(&mut self) {
        let cells = (self.cols() * self.rows()) as u32;
        if let Some(left) = self.work.checked_sub(cells) {
            self.work = left;
            self.term.decaln();
        }
    }

    fn reset_state(&mut self) {
        self.clearing();
        self.term.reset_state();
        self.region = 0..self.rows();
        self.tabs = (0..self.cols()).map(|col| col % TAB == 0).collect();
        self.charset = CharsetIndex::G0;
        self.title.clear();
        self.titles.clear();
        self.keyboard = Default::default();
        self.modify_other_keys = 0;
        self.foreign = 0;
        self.sync = false;
    }

    fn set_title(&mut self, title: Option<String>) {
        self.title = inert(&title.unwrap_or_default());
    }

    fn push_title(&mut self) {
        push_bounded(&mut self.titles, self.title.clone());
    }

    fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
        }
    }

    fn set_hyperlink(&mut self, link: Option<Hyperlink>) {
        let link = link.filter(|link| {
            let id = link.id.as_deref().unwrap_or_default();
            link.uri.len() <= URI_LIMIT
                && id.len() <= TITLE_LIMIT
                && !(link.uri.chars().chain(id.chars())).any(char::is_control)
        });
        if let Some(link) = &link {
            self.link_bytes += link.uri.len() + link.id.as_ref().map_or(0, String::len);
            if self.link_bytes > LINK_BUDGET {
                self.weigh_links();
            }
        }
        self.term.set_hyperlink(link);
    }

    fn push_keyboard_mode(&mut self, mode: KeyboardModes) {
        if self.keyboard[0].len() == STACK_LIMIT {
            // `Term` has a bound of its own, and panics there.
            self.term.pop_keyboard_modes(STACK_LIMIT as u16);
            for &kept in &self.keyboard[0][1..] {
                self.term.push_keyboard_mode(kept);
            }
        }
        push_bounded(&mut self.keyboard[0], mode);
        self.term.push_keyboard_mode(mode);
    }

    fn pop_keyboard_modes(&mut self, count: u16) {
        let left = self.keyboard[0].len().saturating_sub(count.into());
        self.keyboard[0].truncate(left);
        self.term.pop_keyboard_modes(count);
    }

    fn set_keyboard_mode(&mut self, mode: KeyboardModes, behavior: KeyboardModesApplyBehavior) {
        Handler::set_keyboard_mode(&mut self.term, mode, behavior);
    }

    fn set_modify_other_keys(&mut self, mode: ModifyOtherKeys) {
        self.modify_other_keys = mode as u8;
    }

    fn report_modify_other_keys(&mut self) {
        self.replies.push(&format!("\x1b[>4;{}m", self.modify_other_keys));
    }

    fn report_keyboard_mode(&mut self) {
        self.term.report_keyboard_mode();
    }

    fn report_mode(&mut self, mode: Mode) {
        self.term.report_mode(mode);
    }

    fn report_private_mode(&mut self, mode: PrivateMode) {
        self.term.report_private_mode(mode);
    }

    fn identify_terminal(&mut self, intermediate: Option<char>) {
        self.term.identify_terminal(intermediate);
    }

    fn device_status(&mut self, status: usize) {
        self.term.device_status(status);
    }

    fn text_area_size_chars(&mut self) {
        self.term.text_area_size_chars();
    }

    fn dynamic_color_sequence(&mut self, prefix: String, index: usize, terminator: &str) {
        const LIGHT: Rgb = Rgb { r: 0xe5, g: 0xe5, b: 0xe5 };
        let usual = match index {
            _ if index == NamedColor::Background as usize => Some(Rgb { r: 0, g: 0, b: 0 }),
            _ if index >= NamedColor::Foreground as usize => Some(LIGHT),
            _ => None,
        };
        if let Some(Rgb { r, g, b }) = self.term.colors()[index].or(usual) {
            let color = format!("rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}");
            self.replies.push(&format!("\x1b]{prefix};{color}{terminator}"));
        }
    }
}
