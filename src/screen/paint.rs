//! Draws cells with as few bytes as the terminal's language allows.

use std::io::Write;

use alacritty_terminal::{
    grid::{Cursor, Grid, Row},
    index::Column,
    term::cell::{Cell, Flags, Hyperlink},
    vte::ansi::{CharsetIndex, Color, NamedColor, StandardCharset},
};

use super::form::LAYOUT;

/// From this many erased cells on, a cursor movement is shorter than the spaces.
const LONG_RUN: usize = 5;

/// How a cell is drawn.
#[derive(Clone, PartialEq)]
struct Pen {
    fg: Color,
    bg: Color,
    flags: Flags,
    underline: Option<Color>,
    link: Option<Hyperlink>,
}

impl Pen {
    fn of(cell: &Cell) -> Pen {
        Pen {
            fg: cell.fg,
            bg: cell.bg,
            flags: cell.flags.difference(LAYOUT),
            underline: cell.underline_color(),
            link: cell.hyperlink(),
        }
    }

    /// True if `cell` is certainly drawn with this pen; a quick look.
    fn draws(&self, cell: &Cell) -> bool {
        cell.extra.is_none()
            && self.link.is_none()
            && self.underline.is_none()
            && (self.fg, self.bg, self.flags) == (cell.fg, cell.bg, cell.flags.difference(LAYOUT))
    }

    fn erasing(bg: Color) -> Pen {
        Pen::of(&Cell::from(bg))
    }
}

/// Bytes for a terminal, with what is known about that terminal's pen and charsets.
pub(super) struct Painter {
    pub out: Vec<u8>,
    pen: Pen,
    charsets: [StandardCharset; 4],
}

impl Painter {
    /// A painter for a terminal that has just been reset.
    pub fn new() -> Painter {
        Painter { out: Vec::new(), pen: Pen::of(&Cell::default()), charsets: Default::default() }
    }

    /// Writes `text` as it is.
    pub fn raw(&mut self, text: impl AsRef<[u8]>) {
        self.out.extend_from_slice(text.as_ref());
    }

    /// Writes `CSI` with numbers and what follows them.
    pub fn csi(&mut self, text: std::fmt::Arguments<'_>) {
        self.raw(b"\x1b[");
        // Writing to a vector cannot fail.
        let _ = self.out.write_fmt(text);
    }

    /// Draws `rows` from the cursor's on; `joined` says that the row before them wraps into the first.
    pub fn rows<'a>(&mut self, rows: impl Iterator<Item = &'a Row<Cell>>, joined: bool) {
        let mut wrapped = joined;
        for (index, row) in rows.enumerate() {
            if index > 0 && !wrapped {
                self.raw(b"\r\n");
            }
            wrapped = self.row(row, wrapped);
        }
    }

    /// Draws a row from its first column on, and leaves the pen plain; true if the row wraps into the next.
    ///
    /// `joined` says that the row before wrapped into this one: its first cell must then be printed, since
    /// printing it is what moves the cursor here.
    pub fn row(&mut self, row: &Row<Cell>, joined: bool) -> bool {
        let cols = row.len();
        let wraps = row[Column(cols - 1)].flags.contains(Flags::WRAPLINE);
        let used = row.into_iter().rposition(|cell| !is_erased(cell, DEFAULT_BG)).map_or(0, |last| last + 1);
        let end = if wraps { cols } else { used.max(usize::from(joined)) };
        let mut col = 0;
        // After a wide or composed character, a terminal with other tables may stand elsewhere.
        let mut unsure = false;
        while col < end {
            let cell = &row[Column(col)];
            if cell.flags.intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER) {
                col += 1;
                continue;
            }
            let tricky =
                cell.flags.contains(Flags::WIDE_CHAR) || cell.zerowidth().is_some_and(|z| !z.is_empty());
            if unsure && !tricky {
                self.csi(format_args!("{}G", col + 1));
            }
            unsure = tricky;
            let must_print = joined && col == 0;
            let run =
                if must_print { 0 } else { self.erased_run(row, col, if wraps { cols - 1 } else { cols }) };
            if run >= LONG_RUN {
                self.pen(&Pen::erasing(cell.bg));
                let to_end = col + run == cols;
                match (cell.bg == DEFAULT_BG, to_end) {
                    (true, _) => self.csi(format_args!("{run}C")),
                    (false, true) => self.raw(b"\x1b[K"),
                    (false, false) => self.csi(format_args!("{run}X\x1b[{run}C")),
                }
                col += run;
                continue;
            }
            self.cell(cell);
            col += 1;
            if must_print && cell.bg != DEFAULT_BG && cols > 2 {
                // The terminal may have scrolled for this row, and filled it with this background.
                self.plain();
                self.raw(b"\x1b[K");
            }
        }
        self.plain();
        wraps
    }

    fn erased_run(&self, row: &Row<Cell>, col: usize, end: usize) -> usize {
        let bg = row[Column(col)].bg;
        row[Column(col)..Column(end)].iter().take_while(|cell| is_erased(cell, bg)).count()
    }

    fn cell(&mut self, cell: &Cell) {
        if !self.pen.draws(cell) {
            self.pen(&Pen::of(cell));
        }
        if cell.c.is_ascii() {
            self.out.push(cell.c as u8);
        } else {
            self.raw(cell.c.encode_utf8(&mut [0; 4]));
        }
        for c in cell.zerowidth().into_iter().flatten() {
            self.raw(c.encode_utf8(&mut [0; 4]));
        }
    }

    /// Puts the cursor where `cursor` is, with its pen and charsets. Row 0 is `origin` rows down.
    pub fn cursor(&mut self, grid: &Grid<Cell>, cursor: &Cursor<Cell>, origin: usize) {
        let (row, mut col) = (cursor.point.line.0 as usize - origin, cursor.point.column.0);
        let line = &grid[cursor.point.line];
        if cursor.input_needs_wrap && line[Column(col)].flags.contains(Flags::WIDE_CHAR_SPACER) {
            col -= 1;
        }
        self.csi(format_args!("{};{}H", row + 1, col + 1));
        if cursor.input_needs_wrap {
            self.charsets(|_| StandardCharset::Ascii);
            self.cell(&line[Column(col)]);
        }
        self.pen(&Pen::of(&cursor.template));
        self.charsets(|index| cursor.charsets[index]);
    }

    /// Back to a pen without colours, attributes and link.
    pub fn plain(&mut self) {
        self.pen(&Pen::of(&Cell::default()));
    }

    /// Back to plain text in all four sets.
    pub fn ascii(&mut self) {
        self.charsets(|_| StandardCharset::Ascii);
    }

    fn charsets(&mut self, want: impl Fn(CharsetIndex) -> StandardCharset) {
        const SETS: [(CharsetIndex, u8); 4] = [
            (CharsetIndex::G0, b'('),
            (CharsetIndex::G1, b')'),
            (CharsetIndex::G2, b'*'),
            (CharsetIndex::G3, b'+'),
        ];
        for (index, name) in SETS {
            let set = want(index);
            if self.charsets[index as usize] != set {
                self.charsets[index as usize] = set;
                let designator = if set == StandardCharset::Ascii { b'B' } else { b'0' };
                self.raw([0x1b, name, designator]);
            }
        }
    }

    fn pen(&mut self, want: &Pen) {
        if self.pen.link != want.link {
            match &want.link {
                Some(link) => self.raw(format!("\x1b]8;id={};{}\x1b\\", link.id(), link.uri())),
                None => self.raw(b"\x1b]8;;\x1b\\"),
            }
            self.pen.link.clone_from(&want.link);
        }
        if self.pen == *want {
            return;
        }
        let mut codes = String::new();
        let lines = Flags::ALL_UNDERLINES;
        let had = self.pen.flags;
        let other_line = want.flags.intersects(lines) && had.intersects(lines);
        let lost = had.difference(want.flags).difference(if other_line { lines } else { Flags::empty() });
        if !lost.is_empty() || (self.pen.underline.is_some() && want.underline.is_none()) {
            codes.push(';'); // An empty parameter is 0, and resets.
            self.pen = Pen { link: self.pen.link.take(), ..Pen::of(&Cell::default()) };
        }
        for (flag, code) in ATTRIBUTES {
            if want.flags.contains(flag) && !self.pen.flags.contains(flag) {
                codes.push_str(code);
            }
        }
        if self.pen.fg != want.fg {
            color(&mut codes, want.fg, 30);
        }
        if self.pen.bg != want.bg {
            color(&mut codes, want.bg, 40);
        }
        match want.underline {
            Some(line) if self.pen.underline != want.underline => color(&mut codes, line, 50),
            _ => {}
        }
        codes.pop();
        self.csi(format_args!("{codes}m"));
        self.pen = want.clone();
    }
}

const DEFAULT_BG: Color = Color::Named(NamedColor::Background);

const ATTRIBUTES: [(Flags, &str); 11] = [
    (Flags::BOLD, "1;"),
    (Flags::DIM, "2;"),
    (Flags::ITALIC, "3;"),
    (Flags::UNDERLINE, "4;"),
    (Flags::DOUBLE_UNDERLINE, "4:2;"),
    (Flags::UNDERCURL, "4:3;"),
    (Flags::DOTTED_UNDERLINE, "4:4;"),
    (Flags::DASHED_UNDERLINE, "4:5;"),
    (Flags::INVERSE, "7;"),
    (Flags::HIDDEN, "8;"),
    (Flags::STRIKEOUT, "9;"),
];

/// True if the cell is as erasing with `bg` leaves it.
fn is_erased(cell: &Cell, bg: Color) -> bool {
    cell.c == ' '
        && cell.bg == bg
        && cell.fg == Color::Named(NamedColor::Foreground)
        && cell.flags.is_empty()
        && cell.extra.is_none()
}

/// Appends the SGR code of a colour; `base` is 30 for the foreground, 40 the background, 50 the underline.
fn color(codes: &mut String, color: Color, base: u16) {
    use std::fmt::Write;
    let written = match color {
        Color::Named(name) if (name as u16) < 8 => write!(codes, "{};", base + name as u16),
        Color::Named(name) if (name as u16) < 16 => write!(codes, "{};", base + 60 + name as u16 - 8),
        Color::Named(_) => write!(codes, "{};", base + 9),
        // With colons, a terminal that does not know underline colours skips them as a whole.
        Color::Indexed(index) if base == 50 => write!(codes, "58:5:{index};"),
        Color::Spec(rgb) if base == 50 => write!(codes, "58:2::{}:{}:{};", rgb.r, rgb.g, rgb.b),
        Color::Indexed(index) => write!(codes, "{};5;{index};", base + 8),
        Color::Spec(rgb) => write!(codes, "{};2;{};{};{};", base + 8, rgb.r, rgb.g, rgb.b),
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}
