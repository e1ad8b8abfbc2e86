use super::*;

fn copied(input: &[u8]) -> (Vec<u8>, Vec<(Vec<u8>, bool)>) {
    let (mut output, reported) = (Vec::new(), Mutex::new(Vec::new()));
    copy(input, &mut output, |line, whole| {
        reported.lock().expect("not poisoned").push((line.to_vec(), whole));
    });
    (output, reported.into_inner().expect("not poisoned"))
}

#[test]
fn every_byte_is_passed_on_and_every_line_reported() {
    let (output, reported) = copied(b"{\"a\":1}\n\nlast");
    assert_eq!(output, b"{\"a\":1}\n\nlast");
    let lines: Vec<_> = reported.iter().map(|(line, whole)| (line.as_slice(), *whole)).collect();
    assert_eq!(lines, [(&b"{\"a\":1}\n"[..], true), (b"\n", true), (b"last", true)]);
    let long = vec![b'x'; LINE + 5];
    let (output, reported) = copied(&long);
    assert_eq!(output, long);
    let lines: Vec<_> = reported.iter().map(|(line, whole)| (line.len(), *whole)).collect();
    assert_eq!(lines, [(LINE, false), (5, false)]);
}

#[test]
fn messages_are_reported_as_they_are_and_others_as_text() {
    let report = |line: &[u8], whole| {
        encode("a \"b\"", "to_server", line, whole).map(|r| String::from_utf8(r).expect("UTF-8"))
    };
    let head = r#"{"server":"a \"b\"","direction":"to_server","message":"#;
    let number = r#"{"z":1.10,"a":12345678901234567890123}"#;
    assert_eq!(report(format!("{number}\r\n").as_bytes(), true), Some(format!("{head}{number}}}\n")));
    assert_eq!(report(b"not \"json\n", true), Some(format!("{head}\"not \\\"json\"}}\n")));
    assert_eq!(report(b"12", false), Some(format!("{head}\"12\"}}\n")), "a piece is never JSON");
    assert_eq!(report(b"\n", true), None);
}

#[test]
fn the_stream_waits_when_reports_pile_up() {
    let reports = Arc::new(Reports::default());
    reports.push(vec![0; QUEUE]);
    let (tell, pushed) = sync_channel(1);
    let waits = reports.clone();
    let thread = thread::spawn(move || {
        waits.push(vec![1]);
        tell.send(()).expect("heard");
    });
    assert!(pushed.try_recv().is_err());
    let mut queue = reports.lock();
    assert_eq!(queue.lines.len(), 1);
    queue.bytes -= queue.lines.pop_front().expect("one").len();
    drop(queue);
    reports.changed.notify_all();
    pushed.recv().expect("pushed");
    thread.join().expect("joined");
}
