//! The form of a grid that a snapshot can express.
//!
//! Some states of a grid cannot be reached by printing onto an empty one: a wide character without its
//! second half, a line that wraps into nothing. A reader cannot see the difference. Before a snapshot is
//! taken they are set right in the model itself, so that model and copy go on alike.

use alacritty_terminal::{
    grid::{Cursor, Dimensions, Grid},
    index::{Column, Line},
    term::cell::{Cell, Flags},
};

/// Flags that say how a cell lies in its row, not how it is drawn.
pub(super) const LAYOUT: Flags = Flags::WRAPLINE
    .union(Flags::WIDE_CHAR)
    .union(Flags::WIDE_CHAR_SPACER)
    .union(Flags::LEADING_WIDE_CHAR_SPACER);

/// Sets `grid` right.
pub(super) fn settle(grid: &mut Grid<Cell>) {
    let (top, bottom) = (grid.topmost_line(), grid.bottommost_line());
    // From below, since what a row's end means depends on the row after it.
    for line in (top.0..=bottom.0).rev().map(Line) {
        let odd = |cell: &Cell| cell.c == '\t' || cell.flags.intersects(LAYOUT);
        let Some(first) = grid[line].into_iter().position(odd) else { continue };
        for col in first..grid.columns() {
            if odd(&grid[line][Column(col)]) {
                settle_cell(grid, line, col);
            }
        }
    }
    for cursor in [grid.cursor.clone(), grid.saved_cursor.clone()] {
        unwrap_under(grid, &cursor);
    }
}

fn settle_cell(grid: &mut Grid<Cell>, line: Line, col: usize) {
    let last = grid.columns() - 1;
    let flags = grid[line][Column(col)].flags;
    let below = (line < grid.bottommost_line()).then(|| grid[line + 1i32][Column(0)].clone());
    let wraps = flags.contains(Flags::WRAPLINE) && col == last && below.is_some();
    let leads = below.filter(|first| {
        wraps && flags.contains(Flags::LEADING_WIDE_CHAR_SPACER) && first.flags.contains(Flags::WIDE_CHAR)
    });
    let wide = flags.contains(Flags::WIDE_CHAR)
        && col < last
        && grid[line][Column(col + 1)].flags.contains(Flags::WIDE_CHAR_SPACER);
    let second = col > 0 && grid[line][Column(col - 1)].flags.contains(Flags::WIDE_CHAR);

    let row = &mut grid[line];
    let cell = &mut row[Column(col)];
    if cell.c == '\t' {
        cell.c = ' ';
    }
    cell.flags.remove(LAYOUT);
    cell.flags.set(Flags::WRAPLINE, wraps);
    if wide {
        cell.flags.insert(Flags::WIDE_CHAR);
    } else if flags.contains(Flags::WIDE_CHAR) {
        cell.clear_wide();
    } else if let Some(first) = leads {
        *cell = blank_like(&first, Flags::LEADING_WIDE_CHAR_SPACER | Flags::WRAPLINE);
    } else if flags.contains(Flags::WIDE_CHAR_SPACER) && second {
        let wrap = cell.flags & Flags::WRAPLINE;
        let first = row[Column(col - 1)].clone();
        row[Column(col)] = blank_like(&first, Flags::WIDE_CHAR_SPACER | wrap);
    }
}

/// A blank that is drawn like `cell`.
fn blank_like(cell: &Cell, layout: Flags) -> Cell {
    let mut blank = Cell { c: ' ', fg: cell.fg, bg: cell.bg, ..Cell::default() };
    blank.flags = cell.flags.difference(LAYOUT) | layout;
    blank.set_underline_color(cell.underline_color());
    blank.set_hyperlink(cell.hyperlink());
    blank
}

/// A cursor that waits to wrap is put there by printing the row's last cell, which undoes an earlier wrap.
fn unwrap_under(grid: &mut Grid<Cell>, cursor: &Cursor<Cell>) {
    if cursor.input_needs_wrap {
        let last = Column(grid.columns() - 1);
        let end = &mut grid[cursor.point.line][last];
        end.flags.remove(Flags::WRAPLINE | Flags::LEADING_WIDE_CHAR_SPACER);
    }
}
