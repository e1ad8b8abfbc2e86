//! Stories of a container's life, told with the real binary and a daemon that the test plays.

#[path = "init/daemon.rs"]
mod daemon;

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    time::{Duration, SystemTime},
};

use daemon::{Guest, Record, event, is_root, start};
use sandbox_guest::{
    frame::Kind,
    wire::{self, FilePiece, GuestEvent, Order, SpooledRequest, decode_size},
};

#[test]
fn a_program_runs_and_its_code_is_the_last_record() {
    let guest = Guest::start();
    let mut link = guest.run("echo hello; exit 7");
    let mut record = Record::default();
    assert_eq!(exit(record.finish(&mut link)), (7, None));
    assert!(matches!(event(&record.frames[0]), Some(GuestEvent::ProgramStarted { .. })));
    assert_eq!(record.text(), "hello\r\n");
    assert!(guest.wait().success());
}

#[test]
fn the_end_waits_for_its_acknowledgement_and_leave_ends_it() {
    let guest = Guest::start();
    let mut link = guest.run("echo hello");
    let mut record = Record::default();
    while !matches!(record.frames.last().and_then(event), Some(GuestEvent::ProgramExited { .. })) {
        record.take(link.frame().expect("a record"));
    }
    drop(link);
    let (mut link, hello) = guest.accept();
    assert!(hello.started);
    assert_eq!(hello.next, 1);
    link.order(&Order::Leave);
    assert!(guest.wait().success());
}

#[test]
fn what_is_typed_arrives_and_signals_reach_the_foreground() {
    let guest = Guest::start();
    let mut link = guest.run("cat; trap 'echo caught' USR1; echo ready; while :; do sleep 0.05; done");
    let mut record = Record::default();
    link.input(b"typed line\n\x04");
    record.until(&mut link, Kind::Output, "ready");
    assert_eq!(record.text().matches("typed line").count(), 2, "its echo, and cat's");
    link.order(&Order::Signal { signal: 10 });
    record.until(&mut link, Kind::Output, "caught");
    link.order(&Order::Stop { grace_ms: 60_000 });
    assert_eq!(exit(record.finish(&mut link)), (129, Some(1)));
}

#[test]
fn every_byte_arrives_once_however_often_the_connection_breaks() {
    let guest = Guest::start();
    let mut link = guest.run("seq 1 150000");
    let mut record = Record::default();
    let mut random = Random::new();
    let mut breaks = 0;
    'session: loop {
        // Some frames, some of them acknowledged, and then the line goes dead.
        for _ in 0..random.below(12) {
            record.take(link.frame().expect("a record"));
            if random.below(3) == 0 {
                link.ack(record.last() - random.below(record.last().min(5)));
            }
            if matches!(record.frames.last().and_then(event), Some(GuestEvent::ProgramExited { .. })) {
                break 'session;
            }
        }
        drop(link);
        breaks += 1;
        link = guest.accept().0;
    }
    let expected: String = (1..=150_000).map(|n| format!("{n}\r\n")).collect();
    assert_eq!(record.text(), expected);
    assert!(breaks > 1, "only {breaks}");
    link.ack(record.last());
    assert!(guest.wait().success());
}

#[test]
fn a_daemon_that_is_away_for_twenty_megabytes_gets_them_all() {
    const BYTES: usize = 20_000_000;
    let guest = Guest::start();
    let mut link = guest.run(&format!("echo go; head -c {BYTES} /dev/zero | tr '\\0' x"));
    let mut record = Record::default();
    record.until(&mut link, Kind::Output, "go");
    drop(link);
    while guest.spooled() < BYTES as u64 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut link, _) = guest.accept();
    record.finish(&mut link);
    let output = record.output();
    assert_eq!(output.len(), BYTES + "go\r\n".len());
    assert!(output[4..].iter().all(|b| *b == b'x'));
}

#[test]
fn a_full_spool_makes_the_program_wait_and_drops_nothing() {
    const LIMIT: u64 = 1 << 20;
    let guest = Guest::start();
    let mut start = start(&["/bin/sh", "-c", "seq 1 500000"]);
    start.spool_limit = LIMIT;
    let mut link = guest.run_with(start);
    let mut record = Record::default();
    while guest.spooled() < LIMIT {
        record.take(link.frame().expect("a record"));
    }
    // The last record may reach over the limit, and no other follows it before this.
    assert!(guest.spooled() <= LIMIT + (128 << 10), "{}", guest.spooled());
    link.ack(record.last());
    record.finish(&mut link);
    let expected: String = (1..=500_000).map(|n| format!("{n}\r\n")).collect();
    assert_eq!(record.text(), expected);
}

#[test]
fn a_resize_stands_between_what_was_written_before_and_after() {
    let guest = Guest::start();
    let mut link = guest.run("trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.02; done");
    let mut record = Record::default();
    record.until(&mut link, Kind::Output, "24 80");
    link.order(&Order::Resize { cols: 101, rows: 33 });
    record.finish(&mut link);
    let at = |wanted: &dyn Fn(&sandbox_guest::frame::Frame) -> bool| {
        record.frames.iter().position(wanted).expect("it is in the stream")
    };
    let resized = at(&|f| f.head.kind == Kind::Resize);
    assert_eq!(decode_size(&record.frames[resized].payload), Some((101, 33)));
    assert!(at(&|f| f.payload.starts_with(b"24 80")) < resized);
    assert!(resized < at(&|f| f.payload.starts_with(b"33 101")));
}

#[test]
fn a_program_that_cannot_start_is_said_in_a_sentence() {
    for (argv, expected) in [
        (vec!["no-such-program"], "'no-such-program' is not in the PATH"),
        (vec!["/etc/passwd"], "/etc/passwd cannot be run"),
        (vec![], "its command is empty"),
    ] {
        let guest = Guest::start();
        let mut link = guest.run_with(start(&argv));
        let GuestEvent::ProgramFailed { error } = Record::default().finish(&mut link) else {
            panic!("it cannot have run");
        };
        assert!(error.contains(expected), "{error}");
        assert!(guest.wait().success());
    }
}

#[test]
fn stop_kills_after_the_grace_what_will_not_end() {
    let guest = Guest::start();
    let mut link = guest.run("trap '' TERM HUP; echo ready; while :; do sleep 0.1; done");
    let mut record = Record::default();
    record.until(&mut link, Kind::Output, "ready");
    link.order(&Order::Stop { grace_ms: 200 });
    assert_eq!(exit(record.finish(&mut link)), (137, Some(9)));
    assert!(guest.wait().success());
}

#[test]
fn sigterm_as_from_docker_stop_is_a_stop() {
    let guest = Guest::start();
    let mut link = guest.run("echo ready; sleep 1000");
    let mut record = Record::default();
    record.until(&mut link, Kind::Output, "ready");
    guest.terminate();
    let GuestEvent::ProgramExited { signal: Some(_), terminated, .. } = record.finish(&mut link) else {
        panic!("a signal ended it")
    };
    assert!(terminated, "it was not the daemon who asked");
    assert!(guest.wait().success());
}

#[test]
fn an_order_that_cannot_be_read_is_told_at_the_next_greeting_and_nothing_is_lost() {
    let guest = Guest::start();
    let (mut link, hello) = guest.accept();
    assert_eq!(hello.fault, None);
    link.order_unread("{\"order\":\"dance\"}");
    let (mut link, hello) = guest.accept();
    let fault = hello.fault.expect("it is told");
    assert!(fault.contains("cannot read") && fault.contains("dance"), "{fault}");
    assert!(!hello.started);
    link.order(&Order::Start(Box::new(start(&["/bin/sh", "-c", "echo one; read x; echo \"then $x\""]))));
    let mut record = Record::default();
    record.until(&mut link, Kind::Output, "one");
    link.order_unread("nonsense");
    let (mut link, hello) = guest.accept();
    assert!(hello.started && hello.fault.is_some());
    link.input(b"on\n");
    record.until(&mut link, Kind::Output, "then on");
    let GuestEvent::ProgramExited { code, terminated, .. } = record.finish(&mut link) else {
        panic!("it has run")
    };
    assert_eq!((code, terminated), (0, false));
    assert!(guest.wait().success());
}

#[test]
fn a_spare_that_is_stopped_leaves() {
    let guest = Guest::start();
    let (mut link, hello) = guest.accept();
    assert!(!hello.started);
    link.order(&Order::Stop { grace_ms: 1000 });
    assert!(guest.wait().success());
}

#[test]
fn orphans_are_buried_and_do_not_outlive_the_program() {
    if !is_root() {
        return; // It takes a process namespace.
    }
    let guest = Guest::start();
    let mut link = guest.run(
        "(sleep 0.1 &); (setsid sleep 100000 &); sleep 0.3
         while cat /proc/[0-9]*/stat 2>/dev/null | grep -q ') Z '; do sleep 0.05; done; echo buried",
    );
    let mut record = Record::default();
    record.until(&mut link, Kind::Output, "buried");
    assert_eq!(exit(record.finish(&mut link)), (0, None));
    assert!(guest.wait().success());
}

#[test]
fn the_program_is_the_user_and_can_open_its_terminal() {
    if !is_root() {
        return; // There is no other user to become.
    }
    let guest = Guest::start();
    let mut link = guest.run(
        "id -u; id -G; echo again > $(tty); grep -E 'NoNewPrivs|Cap(Inh|Prm|Eff|Amb)|SigBlk|SigIgn' /proc/self/status; \
         umask; ls /proc/self/fd | wc -l; pwd",
    );
    let mut record = Record::default();
    record.finish(&mut link);
    let text = record.text().replace('\r', "");
    assert!(text.starts_with("1000\n1000\nagain\n"), "{text}");
    assert!(text.contains("NoNewPrivs:\t1\n"), "{text}");
    for line in text.lines().filter(|l| l.starts_with("Cap") || l.starts_with("Sig")) {
        let bits = line.split('\t').next_back().map(|bits| u64::from_str_radix(bits, 16).expect("hex"));
        // libc keeps signals 32 and 33 to itself: they are as whoever ran the test left them.
        assert_eq!(bits.map(|b| b & !(0b11 << 31)), Some(0), "{line}");
    }
    // Three for the terminal and one that ls has for the folder.
    assert!(text.ends_with("0022\n4\n/\n"), "{text}");
}

#[test]
fn telemetry_is_kept_while_the_daemon_is_away() {
    if !is_root() {
        return; // The doors' ports may be taken outside a network namespace.
    }
    let guest = Guest::start();
    let script = r#"
        ask() { exec 3<>/dev/tcp/127.0.0.1/4318
                printf 'POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello' $1 $2 >&3
                tr -d '\r' <&3; echo; }
        ask /v1/logs application/x-protobuf; ask /v1/traces application/json; ask /elsewhere text/plain"#;
    let mut link = guest.run_with(start(&["/bin/bash", "-c", script]));
    let mut record = Record::default();
    record.finish(&mut link);
    let text = record.text();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert!(text.contains("\r\n{}\r\n"), "{text}");
    assert!(text.contains("HTTP/1.1 503") && text.contains("retry-after: 15"), "{text}");
    let spooled: Vec<(SpooledRequest, &[u8])> = record
        .frames
        .iter()
        .filter(|f| f.head.kind == Kind::Request)
        .map(|f| wire::split_head(&f.payload).expect("a request"))
        .collect();
    let seen: Vec<_> = spooled.iter().map(|(r, body)| (r.request, r.path.as_str(), *body)).collect();
    assert_eq!(seen, [(1, "/v1/logs", &b"hello"[..]), (2, "/v1/traces", b"hello")]);
}

#[test]
fn transcripts_are_recorded_to_the_last_unfinished_line() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
    let guest = Guest::start();
    let script =
        "mkdir $0/a; printf 'one\\ntwo' > $0/a/t.jsonl; echo no > $0/a/t.txt; ln -s /etc/passwd $0/l.jsonl";
    let mut start = start(&["/bin/sh", "-c", script, &folder.path().to_string_lossy()]);
    start.transcripts = Some(folder.path().to_string_lossy().into_owned());
    let mut link = guest.run_with(start);
    let mut record = Record::default();
    record.finish(&mut link);
    let mut transcript = Vec::new();
    for frame in record.frames.iter().filter(|f| f.head.kind == Kind::Transcript) {
        let (piece, bytes): (FilePiece, _) = wire::split_head(&frame.payload).expect("a piece");
        assert_eq!((piece.path.as_str(), piece.offset), ("a/t.jsonl", transcript.len() as u64));
        transcript.extend_from_slice(bytes);
    }
    assert_eq!(transcript, b"one\ntwo");
}

#[test]
fn hooks_ask_through_the_door_and_taps_report_every_message() {
    if !is_root() {
        return; // The doors' ports may be taken outside a network namespace.
    }
    // The user has to reach the binary, wherever it was built.
    let bin = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(bin.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let binary = bin.path().join("guest");
    std::fs::copy(env!("CARGO_BIN_EXE_sandbox-guest"), &binary).expect("copied");

    let guest = Guest::start();
    let gateway = UnixListener::bind(guest.dir().join("gateway.sock")).expect("gateway.sock");
    let daemon = std::thread::spawn(move || {
        let body = r#"{"decision":"deny","reason":"not today"}"#;
        for _ in 0..2 {
            let (mut to, _) = gateway.accept().expect("a question");
            let mut question = [0; 4096];
            let read = to.read(&mut question).expect("read");
            assert!(question[..read].starts_with(b"POST /hooks "));
            write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("answered");
        }
        // From here on nobody answers, so that what the tap reports is kept.
    });
    let script = r#"
        echo '{}' | $0 hook; echo "decided $?"
        echo '{}' | $0 hook --observe; echo "observed $?"
        printf '{"id":1}\nplain\n' | $0 tap --name files -- /bin/sh -c 'cat; exit 3'; echo "tapped $?""#;
    let mut link = guest.run_with(start(&["/bin/sh", "-c", script, &binary.to_string_lossy()]));
    let mut record = Record::default();
    record.finish(&mut link);
    daemon.join().expect("it was asked twice");
    let text = record.text().replace('\r', "");
    assert_eq!(text, "not today\ndecided 2\nobserved 0\n{\"id\":1}\nplain\ntapped 3\n");

    let requests = record.frames.iter().filter(|f| f.head.kind == Kind::Request);
    let mut messages: Vec<String> = Vec::new();
    for frame in requests {
        let (request, body): (SpooledRequest, _) = wire::split_head(&frame.payload).expect("a request");
        assert_eq!(request.path, "/mcp");
        messages.extend(String::from_utf8_lossy(body).lines().map(str::to_owned));
    }
    messages.sort();
    let expected = ["to_client", "to_server"].map(|direction| {
        let said = |message| format!(r#"{{"server":"files","direction":"{direction}","message":{message}}}"#);
        [said(r#""plain""#), said(r#"{"id":1}"#)]
    });
    assert_eq!(messages, expected.concat());
}

/// Exit code and signal. Whether memory ran out is another's doing here: the counts are the machine's.
fn exit(last: GuestEvent) -> (i32, Option<i32>) {
    match last {
        GuestEvent::ProgramExited { code, signal, .. } => (code, signal),
        other => panic!("the program did not exit: {other:?}"),
    }
}

/// Small numbers that differ from run to run.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
        println!("seed {now}");
        Random(now | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
