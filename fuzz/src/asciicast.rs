//! Recordings: what is written from any bytes, and what is read from any text.
//!
//! - Every line that is written is JSON of asciicast version 3, and is read by our reader.
//! - The bytes come back, each that is no text as U+FFFD, and so do sizes, labels and times.
//! - Reading any text never panics; what is read can be written and is read as the same again.

use sandboxctl::cast::{Cast, Code, Event, Header, Reader};
use serde_json::Value;

/// Where recordings begin here, in µs.
const START: u64 = 1_790_000_000_000_000;

/// The first byte says whether the rest is a script to record or a recording to read.
pub fn asciicast(data: &[u8]) {
    match data.split_first() {
        Some((0, script)) => record(script),
        Some((_, text)) => read(&String::from_utf8_lossy(text)),
        None => {}
    }
}

/// A script is of steps: what (a byte), after how many ms (a byte), how many bytes (a byte), those bytes.
fn record(mut script: &[u8]) {
    let (mut cast, mut text) = Cast::new(&Header { cols: 80, rows: 24, ..Header::default() }, START);
    let (mut output, mut input, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut now = START;
    while let Some((&[what, after, len], rest)) = script.split_first_chunk::<3>() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        script = rest;
        now += u64::from(after) * 1001;
        match what % 5 {
            0 => {
                text += &cast.output(now, bytes);
                output.extend_from_slice(bytes);
            }
            1 => {
                text += &cast.input(now, bytes);
                input.extend_from_slice(bytes);
            }
            2 => {
                let (cols, rows) = (u16::from(what) * 256 + u16::from(after), u16::from(len));
                text += &cast.resize(now, cols, rows);
                others.push((now - START, Code::Resize, format!("{cols}x{rows}")));
            }
            3 => {
                let label = String::from_utf8_lossy(bytes).into_owned();
                text += &cast.marker(now, &label);
                others.push((now - START, Code::Marker, label));
            }
            // The clock was set back: time stands still until it has caught up.
            _ => {
                let line = cast.output(now - u64::from(len).min(now), b".");
                text += &line;
                output.push(b'.');
            }
        }
    }
    text += &cast.finish(now);

    let (_, events) = parse(&text).expect("what we write we can read");
    let said = |code: Code| events.iter().filter(|e| e.code == code).map(|e| &e.data[..]).collect::<String>();
    assert_eq!(said(Code::Output), String::from_utf8_lossy(&output));
    assert_eq!(said(Code::Input), String::from_utf8_lossy(&input));
    let read: Vec<_> = events
        .into_iter()
        .filter(|e| !matches!(e.code, Code::Output | Code::Input))
        .map(|e| (e.time, e.code, e.data))
        .collect();
    assert_eq!(read, others);
    let mut lines = text.lines();
    let head: Value = serde_json::from_str(lines.next().expect("a header")).expect("JSON");
    assert_eq!((&head["version"], &head["term"]["cols"]), (&3.into(), &80.into()));
    for line in lines {
        let (interval, code, _): (f64, String, String) = serde_json::from_str(line).expect("an event");
        assert!(interval >= 0.0 && ["o", "i", "r", "m", "x"].contains(&&code[..]), "{line}");
    }
}

/// Reads a recording, writes it and reads that.
fn read(text: &str) {
    // Doubles hold whole µs up to here; a longer recording may be off by one.
    const LONGEST: u64 = 1 << 50;
    let Some((header, events)) = parse(text) else { return };
    let (mut cast, mut again) = Cast::new(&header, 0);
    let mut expected: Vec<Event> = Vec::new();
    for event in events {
        let known = matches!(event.code, Code::Marker) || !event.data.is_empty();
        if event.time > LONGEST || !known || expected.last().is_some_and(|e| e.time > event.time) {
            break;
        }
        again += &match event.code {
            Code::Output => cast.output(event.time, event.data.as_bytes()),
            Code::Input => cast.input(event.time, event.data.as_bytes()),
            Code::Marker => cast.marker(event.time, &event.data),
            Code::Resize => match event.size() {
                Some((cols, rows)) if event.data == format!("{cols}x{rows}") => {
                    cast.resize(event.time, cols, rows)
                }
                _ => continue,
            },
            Code::Exit => match event.data.parse::<i32>() {
                Ok(status) if event.data == status.to_string() => cast.exit(event.time, status),
                _ => continue,
            },
        };
        expected.push(event);
    }
    assert_eq!(parse(&again), Some((header, expected)));
}

fn parse(text: &str) -> Option<(Header, Vec<Event>)> {
    let mut lines = text.lines();
    let mut reader = Reader::new(lines.next()?).ok()?;
    // After a line that is none, reading goes on: the reader is as it was.
    let events = lines.filter_map(|line| reader.line(line).ok().flatten()).collect();
    Some((reader.header().clone(), events))
}

/// A script with everything in it, and recordings of both versions.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut script = vec![0];
    let steps: [(u8, &[u8]); 7] = [
        (0, b"$ \xe2\x82"),
        (1, b"l"),
        (0, b"\xac\xff\r\n"),
        (2, b""),
        (3, b"here"),
        (4, b""),
        (0, b"\xf0\x9f"),
    ];
    for (what, bytes) in steps {
        script.extend_from_slice(&[what, 20, bytes.len() as u8]);
        script.extend_from_slice(bytes);
    }
    let three = b"\x01{\"version\":3,\"term\":{\"cols\":80,\"rows\":24,\"type\":\"xterm\"},\"timestamp\":1790000000,\"title\":\"t\"}\n[0.25,\"o\",\"hi\\u001b[0m\"]\n# note\n[1.0,\"r\",\"100x30\"]\n[0.000001,\"m\",\"\"]\n[2,\"i\",\"x\"]\n[0,\"x\",\"0\"]\n";
    let two = b"\x01{\"version\":2,\"width\":90,\"height\":20,\"env\":{\"TERM\":\"vt100\"}}\n[0.5,\"o\",\"a\"]\n[1.25,\"z\",{}]\n[1e3,\"o\",\"b\"]\n";
    vec![script, three.to_vec(), two.to_vec()]
}
