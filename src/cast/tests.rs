use proptest::{collection::vec, prelude::*};

use super::*;

fn header() -> Header {
    Header {
        cols: 80,
        rows: 24,
        term: Some("xterm-256color".to_owned()),
        timestamp: Some(1_790_000_000),
        command: Some("claude".to_owned()),
        title: None,
    }
}

fn read(text: &str) -> (Header, Vec<Event>) {
    let mut lines = text.lines();
    let mut reader = Reader::new(lines.next().expect("a first line")).expect("a header");
    let events = lines.filter_map(|line| reader.line(line).expect("an event")).collect();
    (reader.header().clone(), events)
}

#[test]
fn a_small_recording_reads_as_the_format_says() {
    let (mut cast, mut text) = Cast::new(&header(), 1_000_000);
    text += &cast.output(1_250_000, b"hi \"you\"\r\n\x1b[0m");
    text += &cast.resize(1_250_001, 100, 30);
    text += &cast.marker(3_000_000, "here");
    text += &cast.exit(3_000_000, 0);
    let expected = concat!(
        r#"{"version":3,"term":{"cols":80,"rows":24,"type":"xterm-256color"},"timestamp":1790000000,"command":"claude"}"#,
        "\n",
        r#"[0.250000,"o","hi \"you\"\r\n\u001b[0m"]"#,
        "\n",
        r#"[0.000001,"r","100x30"]"#,
        "\n",
        r#"[1.749999,"m","here"]"#,
        "\n",
        r#"[0.000000,"x","0"]"#,
        "\n",
    );
    assert_eq!(text, expected);
}

#[test]
fn a_clock_set_back_costs_no_time_later() {
    let (mut cast, _) = Cast::new(&Header::default(), 1_000);
    assert_eq!(cast.marker(900, "a"), "[0.000000,\"m\",\"a\"]\n");
    assert_eq!(cast.marker(1_500, "b"), "[0.000500,\"m\",\"b\"]\n");
}

#[test]
fn invalid_bytes_are_replaced_and_only_they() {
    let (mut cast, _) = Cast::new(&Header::default(), 0);
    assert_eq!(cast.output(0, b"a\xffb\xe2\x82"), "[0.000000,\"o\",\"a\u{fffd}b\"]\n");
    assert_eq!(cast.output(0, b"\xac"), "[0.000000,\"o\",\"€\"]\n");
    assert_eq!(cast.output(0, b"\xe2"), "");
    assert_eq!(cast.output(0, b"x"), "[0.000000,\"o\",\"\u{fffd}x\"]\n");
    assert_eq!(cast.output(0, b"\xf0\x9f"), "");
    assert_eq!(cast.exit(0, 1), "[0.000000,\"o\",\"\u{fffd}\"]\n[0.000000,\"x\",\"1\"]\n");
}

#[test]
fn version_2_has_absolute_times() {
    let text = "{\"version\":2,\"width\":90,\"height\":20,\"env\":{\"TERM\":\"vt100\"}}\n[0.5,\"o\",\"a\"]\n[1.25,\"o\",\"b\"]\n";
    let (header, events) = read(text);
    assert_eq!((header.cols, header.rows, header.term.as_deref()), (90, 20, Some("vt100")));
    assert_eq!(events.iter().map(|e| e.time).collect::<Vec<_>>(), [500_000, 1_250_000]);
}

#[test]
fn comments_empty_lines_and_unknown_codes_are_passed_over() {
    let text = "{\"version\":3,\"term\":{\"cols\":1,\"rows\":2}}\n\n# note\n[1.0,\"z\",{\"new\":1}]\n[1.0,\"o\",\"a\"]\n";
    let (_, events) = read(text);
    assert_eq!(events, [Event { time: 2_000_000, code: Code::Output, data: "a".to_owned() }]);
}

#[test]
fn what_is_no_recording_is_named() {
    assert_eq!(Reader::new("{\"version\":1}").map(|_| ()), Err(CastError::Version(1)));
    assert!(matches!(Reader::new("hello"), Err(CastError::Header(_))));
    assert!(matches!(Reader::new("{\"version\":3}"), Err(CastError::Header(_))));
    let mut reader = Reader::new("{\"version\":3,\"term\":{\"cols\":1,\"rows\":2}}").expect("a header");
    assert!(matches!(reader.line("[-1,\"o\",\"\"]"), Err(CastError::Event { line: 2, .. })));
    assert!(matches!(reader.line("{}"), Err(CastError::Event { line: 3, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        start in 0u64..1 << 50,
        events in vec((0u64..10_000_000_000, any::<String>(), 0u8..4), 0..40),
    ) {
        let (mut cast, mut text) = Cast::new(&header(), start);
        let mut now = start;
        let mut expected = Vec::new();
        for (interval, data, kind) in events {
            now += interval;
            let (line, code, data) = match kind {
                0 => (cast.output(now, data.as_bytes()), Code::Output, data),
                1 => (cast.input(now, data.as_bytes()), Code::Input, data),
                2 => (cast.marker(now, &data), Code::Marker, data),
                _ => (cast.resize(now, 120, 40), Code::Resize, "120x40".to_owned()),
            };
            text += &line;
            if !line.is_empty() {
                expected.push(Event { time: now - start, code, data });
            }
        }
        let (read_header, read_events) = read(&text);
        prop_assert_eq!(read_header, header());
        prop_assert_eq!(read_events, expected);
    }

    #[test]
    fn cutting_output_anywhere_changes_nothing(bytes in vec(any::<u8>(), 0..200), cuts in vec(1usize..7, 1..50)) {
        let (mut cast, _) = Cast::new(&Header::default(), 0);
        let mut rest = &bytes[..];
        let mut lines = format!("{}\n", r#"{"version":3,"term":{"cols":1,"rows":1}}"#);
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            lines += &cast.output(0, piece);
            rest = left;
            if rest.is_empty() { break }
        }
        lines += &cast.finish(0);
        let all: String = read(&lines).1.into_iter().map(|event| event.data).collect();
        prop_assert_eq!(all, String::from_utf8_lossy(&bytes));
    }
}
