//! The snapshot: everything that a terminal must be told to stand where the model stands.
//!
//! ```text
//!   reset ▸ alternate screen's keyboard stack ▸ palette, titles, tab stops
//!         ▸ scrollback ▸ primary screen ▸ its cursors and keyboard stack
//!         ▸ enter the alternate screen ▸ its rows            (only if it is in use)
//!         ▸ scroll region ▸ saved cursor ▸ cursor ▸ modes ▸ the beginning of an unfinished sequence
//! ```
//!
//! The order is forced in places: rows are drawn while no mode bends what printing means; setting the scroll
//! region moves the cursor; the saved cursor is set by going there.

use alacritty_terminal::{
    grid::{Cursor, Dimensions, Grid},
    index::Line,
    term::{
        TermMode,
        cell::{Cell, Flags},
    },
    vte::ansi::{CharsetIndex, CursorShape, KeyboardModes, NamedColor},
};

use super::{
    form::settle,
    model::{FOREIGN_MODES, Model, Watch},
    paint::Painter,
};

/// What a snapshot should not exceed; the scrollback gets what the screens leave of it.
const BUDGET: usize = 64 << 10; // bytes
const SCROLLBACK_BUDGET: usize = 40 << 10; // bytes

/// Undoes whatever the terminal was told before, and empties the screen.
///
/// CAN ends a sequence that was cut off. A full reset (`ESC c`) would also take the scrollback, which on a
/// user's own terminal holds the lines of their shell; so each mode is put back by name. Until the final
/// `CSI ? 2026 l` the terminal shows nothing of it.
const RESET: &str = "\x18\x1b[?2026h\x1b[!p\x1b[<99u\x1b[=0u\x1b[?1049l\x1b[r\x1b[?6l\x1b[?7h\x1b[4l\x1b[20l\x1b[?1l\x1b>\
    \x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1007h\x1b[?1042h\x1b[?2004l\x1b[?25h\
    \x1b[?9;45;66;1015;1016;2031;2048l\x1b[0 q\x1b[<99u\x1b[=0u\x1b[>4;0m\x0f\x1b(B\x1b)B\x1b*B\x1b+B\
    \x1b]8;;\x1b\\\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b[m\x1b[H\x1b[2J\x1b7";

/// Writes the model's state, and `pending`, the beginning of a sequence.
pub(super) fn dump<W: Watch>(model: &mut Model<W>, pending: &[u8]) -> Vec<u8> {
    let origin = clamp_into_region(model);
    settle(model.term.grid_mut());
    let alternate = model.is_alternate();
    if alternate {
        model.with_primary(settle);
    }

    let mut front = Painter::new();
    front.raw(RESET);
    if !alternate && !model.keyboard[1].is_empty() {
        front.raw(b"\x1b[?1049h\x1b[<99u");
        keyboard(&mut front, &model.keyboard[1], None);
        front.raw(b"\x1b[?1049l\x1b[H");
    }
    palette(&mut front, model);
    for title in &model.titles {
        front.raw(format!("\x1b]2;{title}\x1b\\\x1b[22t"));
    }
    if !(model.title.is_empty() && model.titles.is_empty()) {
        front.raw(format!("\x1b]2;{}\x1b\\", model.title));
    }
    tabs(&mut front, &model.tabs);

    let mut back = Painter::new();
    if alternate {
        let stack = model.keyboard[1].clone();
        model.with_primary(|primary| {
            screen(&mut back, primary);
            back.cursor(primary, &primary.cursor, 0);
        });
        keyboard(&mut back, &stack, None);
        back.raw(b"\x1b[?1049h\x1b[<99u");
        back.plain();
        back.ascii();
        back.raw(b"\x1b[H\x1b[2J");
    }
    let grid = model.term.grid();
    screen(&mut back, grid);
    if model.region != (0..grid.screen_lines()) {
        back.csi(format_args!("{};{}r", model.region.start + 1, model.region.end));
    }
    if alternate || grid.saved_cursor != Cursor::default() {
        back.cursor(grid, &grid.saved_cursor, 0);
        back.raw(b"\x1b7");
    }
    if origin.is_some() {
        back.raw(b"\x1b[?6h");
    }
    back.cursor(grid, &grid.cursor, origin.unwrap_or(0));
    modes(&mut back, model);
    keyboard(&mut back, &model.keyboard[0], Some(model.keyboard_modes()));
    if !model.sync {
        back.raw(b"\x1b[?2026l");
    }
    back.raw(pending);

    let room = BUDGET.saturating_sub(front.out.len() + back.out.len()).min(SCROLLBACK_BUDGET);
    let history = model.with_primary(|primary| scrollback(primary, room));
    [front.out, history, back.out].concat()
}

/// The first row of the coordinates in origin mode; `None` outside it. A cursor outside the region, which
/// has no coordinates then, is moved to its edge.
fn clamp_into_region<W: Watch>(model: &mut Model<W>) -> Option<usize> {
    if !model.term.mode().contains(TermMode::ORIGIN) {
        return None;
    }
    let region = model.region.clone();
    let point = &mut model.term.grid_mut().cursor.point;
    point.line = point.line.clamp(Line(region.start as i32), Line(region.end as i32 - 1));
    Some(region.start)
}

/// The newest rows of the scrollback that fit, each with its line end.
fn scrollback(grid: &Grid<Cell>, room: usize) -> Vec<u8> {
    let mut rows: Vec<Vec<u8>> = Vec::new();
    let mut size = 0;
    for line in (grid.topmost_line().0..0).rev().map(Line) {
        let joined = line > grid.topmost_line() && wraps(grid, line - 1i32);
        let mut painter = Painter::new();
        if !painter.row(&grid[line], joined) {
            painter.raw(b"\r\n");
        }
        size += painter.out.len();
        if size > room {
            break;
        }
        rows.push(painter.out);
    }
    rows.reverse();
    rows.concat()
}

fn screen(painter: &mut Painter, grid: &Grid<Cell>) {
    let joined = grid.history_size() > 0 && wraps(grid, Line(-1));
    painter.rows((0..grid.screen_lines() as i32).map(|line| &grid[Line(line)]), joined);
}

fn wraps(grid: &Grid<Cell>, line: Line) -> bool {
    grid[line].last().is_some_and(|cell| cell.flags.contains(Flags::WRAPLINE))
}

fn palette<W>(painter: &mut Painter, model: &Model<W>) {
    const DYNAMIC: [(NamedColor, u8); 3] =
        [(NamedColor::Foreground, 10), (NamedColor::Background, 11), (NamedColor::Cursor, 12)];
    let indexed = (0..256).map(|index| (index, format!("4;{index}")));
    let dynamic = DYNAMIC.map(|(name, code)| (name as usize, code.to_string()));
    for (index, code) in indexed.chain(dynamic) {
        if let Some(rgb) = model.term.colors()[index] {
            painter.raw(format!("\x1b]{code};rgb:{:02x}/{:02x}/{:02x}\x1b\\", rgb.r, rgb.g, rgb.b));
        }
    }
}

fn tabs(painter: &mut Painter, tabs: &[bool]) {
    painter.raw(b"\x1b[3g");
    for (col, _) in tabs.iter().enumerate().filter(|(_, stop)| **stop) {
        painter.csi(format_args!("{}G\x1bH", col + 1));
    }
    painter.raw(b"\r");
}

fn modes<W>(painter: &mut Painter, model: &Model<W>) {
    const SWITCHES: [(TermMode, bool, &str); 15] = [
        (TermMode::SHOW_CURSOR, false, "\x1b[?25l"),
        (TermMode::APP_CURSOR, true, "\x1b[?1h"),
        (TermMode::APP_KEYPAD, true, "\x1b="),
        (TermMode::MOUSE_REPORT_CLICK, true, "\x1b[?1000h"),
        (TermMode::MOUSE_DRAG, true, "\x1b[?1002h"),
        (TermMode::MOUSE_MOTION, true, "\x1b[?1003h"),
        (TermMode::UTF8_MOUSE, true, "\x1b[?1005h"),
        (TermMode::SGR_MOUSE, true, "\x1b[?1006h"),
        (TermMode::FOCUS_IN_OUT, true, "\x1b[?1004h"),
        (TermMode::BRACKETED_PASTE, true, "\x1b[?2004h"),
        (TermMode::ALTERNATE_SCROLL, false, "\x1b[?1007l"),
        (TermMode::URGENCY_HINTS, false, "\x1b[?1042l"),
        (TermMode::LINE_WRAP, false, "\x1b[?7l"),
        (TermMode::INSERT, true, "\x1b[4h"),
        (TermMode::LINE_FEED_NEW_LINE, true, "\x1b[20h"),
    ];
    for (mode, unusual, sequence) in SWITCHES {
        if model.term.mode().contains(mode) == unusual {
            painter.raw(sequence);
        }
    }
    let foreign = FOREIGN_MODES.iter().enumerate().filter(|(bit, _)| model.foreign & (1 << bit) != 0);
    for (_, mode) in foreign {
        painter.csi(format_args!("?{mode}h"));
    }
    if model.modify_other_keys > 0 {
        painter.csi(format_args!(">4;{}m", model.modify_other_keys));
    }
    if model.charset == CharsetIndex::G1 {
        painter.raw(b"\x0e");
    }
    let style = model.term.cursor_style();
    let shape = match style.shape {
        CursorShape::Block => Some(2),
        CursorShape::Underline => Some(4),
        CursorShape::Beam => Some(6),
        CursorShape::HollowBlock | CursorShape::Hidden => None,
    };
    match shape {
        Some(code) => painter.csi(format_args!("{} q", code - u8::from(style.blinking))),
        None if style.blinking => painter.raw(b"\x1b[?12h"),
        None => {}
    }
}

/// Pushes `stack`; then sets `active` if the program has changed it since.
fn keyboard(painter: &mut Painter, stack: &[KeyboardModes], active: Option<KeyboardModes>) {
    for modes in stack {
        painter.csi(format_args!(">{}u", modes.bits()));
    }
    let top = stack.last().copied().unwrap_or(KeyboardModes::NO_MODE);
    if let Some(active) = active.filter(|&active| active != top) {
        painter.csi(format_args!("={}u", active.bits()));
    }
}
