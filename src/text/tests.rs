use super::*;

fn read(cols: u16, rows: u16, pieces: &[&str]) -> String {
    let mut text = Text::new(cols, rows);
    let mut out = String::new();
    for piece in pieces {
        text.advance(piece.as_bytes(), &mut out).expect("a string takes everything");
    }
    text.finish(&mut out).expect("a string takes everything");
    out
}

#[test]
fn lines_that_scroll_off_and_the_last_screen_come_once_and_in_order() {
    let lines: String = (0..5000).map(|i| format!("line {i}\r\n")).collect();
    let expected: String = (0..5000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(read(40, 10, &[&lines]), expected);
}

#[test]
fn a_wrapped_line_is_one_line() {
    let long: String = ('a'..='z').cycle().take(300).collect();
    assert_eq!(read(40, 4, &[&long, "\r\nend"]), format!("{long}\nend\n"));
}

#[test]
fn what_is_redrawn_in_place_is_read_once() {
    let mut pieces = vec!["$ work\r\n".to_owned()];
    for i in 0..100 {
        // Like an inline interface: a finished line above, and three lines that are drawn anew each time.
        pieces.push(format!("done {i}\r\n╭───╮\r\n│ {i} │\r\n╰───╯\x1b[2A\r\x1b[J"));
    }
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let out = read(30, 8, &pieces);
    assert_eq!(out.lines().filter(|line| line.starts_with("done")).count(), 100);
    assert!(!out.contains('│'), "{out}");
}

#[test]
fn a_full_screen_program_stands_between_rules() {
    let out = read(20, 4, &["$ vi\r\n", "\x1b[?1049h\x1b[Hone\r\ntwo", "\x1b[?1049l", "$ exit"]);
    let rule = |title: &str| format!("────{title}{}\n", "─".repeat(68 - title.chars().count()));
    assert_eq!(out, format!("$ vi\n{}one\ntwo\n{}$ exit\n", rule(" full screen "), rule("")));
}

#[test]
fn each_page_of_a_pager_is_read_and_none_twice() {
    let page = |n: usize| (0..6).map(|i| format!("page {n} row {i}\r\n")).collect::<String>();
    let mut pieces = vec!["\x1b[?1049h".to_owned()];
    for n in 0..5 {
        pieces.push(format!("\x1b[H\x1b[2J{}", page(n)));
        // Small changes are the same page.
        pieces.push("\x1b[8;1H:\x1b[8;1H?".to_owned());
    }
    pieces.push("\x1b[?1049l".to_owned());
    let out = read(40, 8, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
    for n in 0..5 {
        assert_eq!(out.matches(&format!("page {n} row 3")).count(), 1, "{out}");
    }
}

#[test]
fn a_pager_that_scrolls_is_read_too() {
    let lines: String = (0..60).map(|i| format!("some line of text {i}.\r\n")).collect();
    let out = read(30, 10, &["\x1b[?1049h\x1b[H", &lines, "\x1b[?1049l"]);
    for i in 0..60 {
        assert!(out.contains(&format!(" {i}.\n")), "{i} in {out}");
    }
}

#[test]
fn who_prints_everything_again_on_each_frame_is_read_once() {
    let mut pieces = Vec::new();
    for n in 10..60 {
        let lines: String = (0..n).map(|i| format!("answer {i}\r\n")).collect();
        pieces.push(format!("\x1b[2J\x1b[3J\x1b[H{lines}* working {n}\r\n> "));
    }
    let out = read(40, 12, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
    for i in 0..59 {
        assert_eq!(out.matches(&format!("answer {i}\n")).count(), 1, "answer {i} in {out}");
    }
    assert!(out.matches("working").count() < 4, "{out}");
}

#[test]
fn frames_that_differ_in_a_spinner_are_read_once() {
    let lines: String = (0..12).map(|i| format!("answer {i}\r\n")).collect();
    let frames: Vec<String> = (0..50).map(|n| format!("\x1b[2J\x1b[3J\x1b[H{lines}* {n}\r\n> ")).collect();
    let out = read(40, 12, &frames.iter().map(String::as_str).collect::<Vec<_>>());
    for i in 0..12 {
        assert_eq!(out.matches(&format!("answer {i}\n")).count(), 1, "answer {i} in {out}");
    }
}

#[test]
fn what_somebody_clears_is_kept() {
    let out = read(
        40,
        10,
        &["$ ls\r\na  b  c\r\n$ pwd\r\n/home\r\n$ clear\r\n", "\x1b[H\x1b[2J\x1b[3J", "$ date\r\ntoday\r\n"],
    );
    assert_eq!(out, "$ ls\na  b  c\n$ pwd\n/home\n$ clear\n$ date\ntoday\n");
}

#[test]
fn two_equal_commands_are_two() {
    let once = "\x1b[H\x1b[2J$ ls\r\na\r\nb\r\n";
    assert_eq!(read(40, 10, &[once, once]).matches("$ ls\na\nb\n").count(), 1);
    let listing: String = (0..30).map(|i| format!("file {i}\r\n")).collect();
    let out = read(40, 10, &[&listing, &listing]);
    assert_eq!(out.matches("file 7\n").count(), 2);
}

#[test]
fn the_size_of_the_pieces_does_not_matter() {
    let lines: String = (0..400).map(|i| format!("\x1b[3{}mline {i}\x1b[m über\r\n", i % 8)).collect();
    let all = format!("{lines}\x1b[?1049h\x1b[Hfull\x1b[?1049l{lines}");
    let bytes = all.as_bytes();
    let whole = read(40, 10, &[&all]);
    let mut text = Text::new(40, 10);
    let mut out = String::new();
    for piece in bytes.chunks(7) {
        text.advance(piece, &mut out).expect("a string takes everything");
    }
    text.finish(&mut out).expect("a string takes everything");
    assert_eq!(out, whole);
}

#[test]
fn another_size_loses_nothing() {
    let mut text = Text::new(40, 10);
    let mut out = String::new();
    for i in 0..200u16 {
        text.advance(format!("line {i}\r\n").as_bytes(), &mut out).expect("a string takes everything");
        text.resize(20 + i % 30, 5 + i % 9, &mut out).expect("a string takes everything");
    }
    text.finish(&mut out).expect("a string takes everything");
    let expected: String = (0..200).map(|i| format!("line {i}\n")).collect();
    assert_eq!(out, expected);
}
