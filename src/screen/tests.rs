//! Snapshots: a copy made from one shows the same, and stays the same under whatever follows.

use std::fmt;

use alacritty_terminal::{
    grid::{Cursor, Dimensions},
    index::Column,
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// All state that any further input can bring to light, as text.
fn observe(screen: &mut Screen) -> Vec<String> {
    let terminal = &mut screen.terminal;
    let pending = [terminal.tail.held(), &terminal.partial].concat();
    let model = &mut terminal.model;
    let mut seen = vec![
        format!("size {} {}", model.cols(), model.rows()),
        format!("modes {:?} foreign {} keys {}", model.term.mode(), model.foreign, model.modify_other_keys),
        format!("region {:?} charset {:?} sync {}", model.region, model.charset, model.sync),
        format!("tabs {:?}", model.tabs),
        format!("title {:?} {:?}", model.title, model.titles),
        format!("keyboard {:?}", model.keyboard),
        format!("style {:?}", model.term.cursor_style()),
        format!("colours {:?}", (0..259).filter_map(|i| model.term.colors()[i]).collect::<Vec<_>>()),
        format!("pending {pending:?}"),
    ];
    seen.extend(observe_grid("active", model.term.grid()));
    if model.is_alternate() {
        seen.extend(model.with_primary(|grid| observe_grid("primary", grid)));
    }
    seen
}

fn observe_grid(name: &str, grid: &Grid<Cell>) -> Vec<String> {
    let mut seen = vec![
        format!("{name} cursor {}", observe_cursor(&grid.cursor)),
        format!("{name} saved {}", observe_cursor(&grid.saved_cursor)),
    ];
    for line in grid.topmost_line().0..=grid.bottommost_line().0 {
        let row = &grid[Line(line)];
        let cells: String = (0..grid.columns()).map(|col| observe_cell(&row[Column(col)])).collect();
        seen.push(format!("{name} {line}: {cells}"));
    }
    seen
}

fn observe_cursor(cursor: &Cursor<Cell>) -> String {
    format!(
        "{:?} {} {:?} {}",
        cursor.point,
        cursor.input_needs_wrap,
        cursor.charsets,
        observe_cell(&cursor.template)
    )
}

const PLAIN_BLANK: &str = "[ Named(Foreground)Named(Background)Flags(0x0)NoneNone]";

fn observe_cell(cell: &Cell) -> String {
    let zerowidth: String = cell.zerowidth().into_iter().flatten().collect();
    let extra =
        format!("{zerowidth}{:?}{:?}", cell.underline_color(), cell.hyperlink().map(|l| l.uri().to_owned()));
    let seen = format!("[{}{:?}{:?}{:?}{extra}]", cell.c, cell.fg, cell.bg, cell.flags);
    if seen == PLAIN_BLANK { "·".to_owned() } else { seen }
}

fn copy(screen: &mut Screen) -> Screen {
    let (cols, rows) = screen.size();
    let mut copy = Screen::new(cols, rows);
    copy.advance(&screen.snapshot());
    copy
}

fn assert_alike(one: &mut Screen, other: &mut Screen, when: &str) -> Result<(), TestCaseError> {
    let (one, other) = (observe(one), observe(other));
    for (one, other) in one.iter().zip(&other) {
        prop_assert_eq!(one, other, "{}", when);
    }
    prop_assert_eq!(one.len(), other.len());
    Ok(())
}

/// Something that a program may do.
#[derive(Clone)]
enum Act {
    Write(Vec<u8>),
    Resize(u16, u16),
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Write(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Act::Resize(cols, rows) => write!(f, "{cols}x{rows}"),
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    let chars = select(vec![
        "a", "Z", " ", "  ", "0", "q", "x", "ü", "日", "本", "🦀", "e\u{301}", "─", "\u{200d}", "─│",
        "       ",
    ]);
    vec(chars, 1..14).prop_map(|chars| chars.concat())
}

fn sgr() -> impl Strategy<Value = String> {
    let codes = "0 1 2 3 4 4:2 4:3 4:4 4:5 7 8 9 22 23 24 27 28 29 31 42 39 49 94 105 38;5;123 48;5;9 38;2;1;2;3 48;2;9;8;7 58:5:7 58:2::1:2:3 59 1;31;44";
    select(codes.split(' ').collect::<Vec<_>>()).prop_map(|code| format!("\x1b[{code}m"))
}

/// Sequences with up to two small numbers.
fn motion() -> impl Strategy<Value = String> {
    let finals = select("A B C D E F G H J K L M P S T X Z @ I d e a r f `".split(' ').collect::<Vec<_>>());
    (finals, 0u16..14, prop::option::of(0u16..24)).prop_map(|(last, one, two)| match two {
        Some(two) => format!("\x1b[{one};{two}{last}"),
        None => format!("\x1b[{one}{last}"),
    })
}

fn mode() -> impl Strategy<Value = String> {
    let private = "1 3 6 7 12 25 47 1000 1002 1003 1004 1005 1006 1007 1015 1016 1042 1047 1048 1049 1049 2004 2026 2031";
    let private = (select(private.split(' ').collect::<Vec<_>>()), any::<bool>())
        .prop_map(|(mode, on)| format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }));
    let public = (select(vec![4, 20]), any::<bool>())
        .prop_map(|(mode, on)| format!("\x1b[{mode}{}", if on { 'h' } else { 'l' }));
    prop_oneof![4 => private, 1 => public]
}

fn rest() -> impl Strategy<Value = String> {
    let all = [
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\t",
        "\x08",
        "\x07",
        "\x0e",
        "\x0f",
        "\x1b7",
        "\x1b8",
        "\x1b[s",
        "\x1b[u",
        "\x1bM",
        "\x1bD",
        "\x1bE",
        "\x1bH",
        "\x1b[g",
        "\x1b[3g",
        "\x1b(0",
        "\x1b(B",
        "\x1b)0",
        "\x1b*0",
        "\x1b=",
        "\x1b>",
        "\x1bc",
        "\x1b#8",
        "\x1b[2J",
        "\x1b[3J",
        "\x1b[H",
        "\x1b[1K",
        "\x1b[2K",
        "\x1b]0;a title\x07",
        "\x1b]2;über\x1b\\",
        "\x1b[22t",
        "\x1b[23t",
        "\x1b[>1u",
        "\x1b[>5u",
        "\x1b[<u",
        "\x1b[=3u",
        "\x1b[=4;2u",
        "\x1b[2 q",
        "\x1b[5 q",
        "\x1b[0 q",
        "\x1b]50;CursorShape=1\x07",
        "\x1b]8;;http://a/b\x1b\\",
        "\x1b]8;id=x;http://c;d\x1b\\",
        "\x1b]8;;\x1b\\",
        "\x1b]4;3;rgb:10/20/30\x1b\\",
        "\x1b]11;#102030\x07",
        "\x1b]104\x07",
        "\x1b]111\x07",
        "\x1b[>4;2m",
        "\x1b[?5W",
        "\x1b[6n",
        "\x1b[c",
        "\x1bP1;2qabc\x1b\\",
        "\x1b_app\x1b\\",
        "\x1b[?1049h",
        "\x1b[?1049l",
    ];
    select(all.to_vec()).prop_map(str::to_owned)
}

fn act() -> impl Strategy<Value = Act> {
    let written = prop_oneof![5 => text(), 2 => sgr(), 4 => motion(), 2 => mode(), 4 => rest()];
    let written = written.prop_map(|text| Act::Write(text.into_bytes()));
    let resize = (4u16..20, 1u16..10).prop_map(|(cols, rows)| Act::Resize(cols, rows));
    let noise = vec(any::<u8>(), 1..6).prop_map(Act::Write);
    // A sequence or a character that stops anywhere.
    let cut = (prop_oneof![text(), sgr(), motion(), mode(), rest()], 0usize..12).prop_map(|(text, at)| {
        let at = at.min(text.len());
        Act::Write(text.into_bytes()[..at].to_vec())
    });
    prop_oneof![40 => written, 2 => resize, 2 => cut, 1 => noise]
}

fn perform(screen: &mut Screen, acts: &[Act]) {
    for act in acts {
        match act {
            Act::Write(bytes) => screen.advance(bytes),
            Act::Resize(cols, rows) => screen.resize(*cols, *rows),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_copy_is_alike_and_stays_alike(
        before in vec(act(), 0..60),
        after in vec(act(), 0..30),
        (cols, rows) in (4u16..20, 1u16..10),
    ) {
        let mut screen = Screen::new(cols, rows);
        perform(&mut screen, &before);
        let mut copy = copy(&mut screen);
        assert_alike(&mut screen, &mut copy, "at the snapshot")?;
        for act in after {
            perform(&mut screen, std::slice::from_ref(&act));
            perform(&mut copy, std::slice::from_ref(&act));
            assert_alike(&mut screen, &mut copy, &format!("after {act:?}"))?;
        }
    }

    #[test]
    fn a_snapshot_resets_any_terminal(before in vec(act(), 0..40), other in vec(act(), 0..40)) {
        let mut screen = Screen::new(12, 6);
        perform(&mut screen, &before);
        screen.resize(12, 6);
        let mut used = Screen::new(12, 6);
        perform(&mut used, &other);
        used.resize(12, 6);
        let snapshot = screen.snapshot();
        used.advance(&snapshot);
        let mut fresh = Screen::new(12, 6);
        fresh.advance(&snapshot);
        prop_assert_eq!(fresh.lines(), used.lines());
        prop_assert_eq!(fresh.terminal.model.term.mode(), used.terminal.model.term.mode());
        prop_assert_eq!(fresh.terminal.model.term.grid().cursor.clone(), used.terminal.model.term.grid().cursor.clone());
    }

    #[test]
    fn chunks_do_not_matter(acts in vec(act(), 0..40), cuts in vec(1usize..9, 1..40)) {
        let bytes: Vec<u8> = acts.into_iter().flat_map(|act| match act {
            Act::Write(bytes) => bytes,
            Act::Resize(..) => vec![],
        }).collect();
        let mut whole = Screen::new(12, 6);
        whole.advance(&bytes);
        let mut pieces = Screen::new(12, 6);
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            pieces.advance(piece);
            rest = left;
            if rest.is_empty() { break }
        }
        assert_alike(&mut whole, &mut pieces, "in pieces")?;
    }

    #[test]
    fn noise_does_no_harm(bytes in vec(any::<u8>(), 0..2000), (cols, rows) in (0u16..30, 0u16..10)) {
        let mut screen = Screen::new(cols, rows);
        screen.advance(&bytes);
        screen.resize(rows, cols);
        screen.snapshot();
    }
}

fn advanced(cols: u16, rows: u16, text: &str) -> Screen {
    let mut screen = Screen::new(cols, rows);
    screen.advance(text.as_bytes());
    screen
}

#[test]
fn ordinary_screens_fit_the_budget_with_what_scrollback_fits() {
    let mut text = String::new();
    for row in 0..3000 {
        for word in 0..35 {
            text += &format!("\x1b[38;5;{}mword\x1b[m ", (row * word) % 256);
        }
        text += "\r\n";
    }
    let mut screen = advanced(200, 60, &text);
    let snapshot = screen.snapshot();
    assert!(snapshot.len() <= 64 << 10, "{}", snapshot.len());
    let copy = copy(&mut screen);
    assert!(copy.terminal.model.term.history_size() > 10);
    assert_eq!(copy.lines(), screen.lines());
}

#[test]
fn a_screen_beyond_the_budget_is_whole_and_comes_without_scrollback() {
    let cells = |row: u32| (0..200).map(move |col| format!("\x1b[38;2;{row};{col};7;48;2;{col};{row};9mx"));
    let text: String = (0..100).flat_map(cells).collect();
    let mut screen = advanced(200, 60, &text);
    let mut copy = copy(&mut screen);
    assert_eq!(copy.terminal.model.term.history_size(), 0);
    let visible = |screen: &mut Screen| -> Vec<String> {
        observe(screen).into_iter().filter(|seen| !seen.starts_with("active -")).collect()
    };
    assert!(visible(&mut copy) == visible(&mut screen));
}

#[test]
fn an_open_synchronised_update_is_drawn_in_the_model_and_left_open_in_the_snapshot() {
    let mut screen = advanced(20, 4, "\x1b[?2026hhalf");
    assert_eq!(screen.lines()[0], "half");
    assert!(!screen.snapshot().ends_with(b"\x1b[?2026l"));
    screen.advance(b"\x1b[?2026l");
    assert!(screen.snapshot().ends_with(b"\x1b[?2026l"));
}

#[test]
fn titles_are_inert_and_bounded() {
    let long = "x".repeat(1000);
    assert_eq!(advanced(20, 4, &format!("\x1b]0;{long}\x07")).title().len(), 256);
    assert_eq!(advanced(20, 4, "\x1b]0;a\u{85}b\u{202e}c\u{9b}31m\x07").title(), "abc31m");
}

#[test]
fn stacks_and_cells_do_not_grow_without_end() {
    // The keyboard stack of `alacritty_terminal` itself panics at 4096.
    let mut screen = advanced(20, 4, &"\x1b[>1u\x1b]2;t\x07\x1b[22t".repeat(5000));
    assert_eq!(screen.terminal.model.keyboard[0].len(), 16);
    assert_eq!(screen.terminal.model.titles.len(), 16);
    screen.advance(format!("e{}", "\u{301}".repeat(5000)).as_bytes());
    assert!(screen.lines()[0].chars().count() < 20);
    screen.advance("\x1b[6n".repeat(5000).as_bytes());
    assert!(screen.take_replies().len() <= 4 << 10);
    assert_eq!(screen.take_replies(), b"");
}

#[test]
fn an_endless_title_and_endless_links_are_bounded() {
    let mut screen = advanced(20, 4, "\x1b]0;");
    for _ in 0..200 {
        screen.advance(&[b'x'; 64 << 10]);
    }
    assert!(screen.terminal.tail.held().len() <= tail::LIMIT);
    screen.advance(b"\x07text");
    assert_eq!(screen.lines()[0], "text");
    let uri = "a".repeat(2000);
    for link in 0..3000 {
        screen.advance(format!("\x1b]8;;http://{link}/{uri}\x1b\\x").as_bytes());
    }
    let grid = screen.terminal.model.term.grid();
    let rows = grid.topmost_line().0..=grid.bottommost_line().0;
    let held: usize =
        rows.flat_map(|row| &grid[Line(row)]).filter_map(Cell::hyperlink).map(|l| l.uri().len()).sum();
    assert!(held < 2 << 20, "{held}");
}

#[test]
fn few_bytes_cannot_ask_for_much_work() {
    let mut screen = advanced(80, 24, &"x\x1b[65535b".repeat(50));
    assert!(screen.terminal.model.term.history_size() > 0);
    screen.advance("\x1b#8".repeat(20_000).as_bytes());
    // What it may do grows with what it is given.
    screen.advance(format!("\x1b[2J\x1b[H{}\r\x1b[Kend", " ".repeat(20_000)).as_bytes());
    assert!(screen.lines().iter().any(|line| line == "end"));
}
