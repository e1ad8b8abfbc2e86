//! What the guest and the daemon say to each other, and the guest's spool, when it is anything at all.
//!
//! - A message that is read means the same when it is written and read again.
//! - What the guest may record the daemon can read, and nothing that is the daemon's own is among it.
//! - A spool opens over any file: its good beginning is sent as it stands, then what is appended.

use std::{fmt::Debug, fs, sync::atomic::AtomicBool};

use sandbox_guest::{
    frame::{self, Kind},
    spool::Spool,
    wire::{self, FilePiece, GuestEvent, Hello, Listen, Order, PROTOCOL, SpooledRequest, Start},
};
use sandboxctl::event::Lifecycle;
use serde::{Serialize, de::DeserializeOwned};

use super::frames::{put, read_as_written, resealed};

/// See the top of the file.
pub fn guest_protocol(data: &[u8]) {
    read_as_written(data);
    let sealed = resealed(data);
    for frame in read_as_written(&sealed) {
        message(frame.head.kind, &frame.payload);
    }
    spool(&sealed);
}

fn message(kind: Kind, payload: &[u8]) {
    if wire::check_record(kind, payload).is_ok() {
        record(kind, payload);
    }
    match kind {
        Kind::Hello => drop(json::<Hello>(payload)),
        Kind::Order => drop(json::<Order>(payload)),
        Kind::Request => headed::<SpooledRequest>(payload),
        Kind::Transcript => headed::<FilePiece>(payload),
        Kind::Resize => {
            if let Some((cols, rows)) = wire::decode_size(payload) {
                assert_eq!(wire::encode_size(cols, rows), payload);
            }
        }
        Kind::Lifecycle => drop(json::<GuestEvent>(payload)),
        _ => {}
    }
}

/// What the daemon does with something that a guest may record.
fn record(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Output | Kind::Resize | Kind::Request => {}
        Kind::Lifecycle => {
            let noted: Lifecycle =
                serde_json::from_slice(payload).expect("the daemon knows what the guest says");
            let theirs = matches!(
                noted,
                Lifecycle::ProgramStarted { .. }
                    | Lifecycle::ProgramFailed { .. }
                    | Lifecycle::ProgramExited { .. }
                    | Lifecycle::DiskUsage { .. }
            );
            assert!(theirs, "{noted:?} is not a guest's to say");
        }
        Kind::Transcript => drop(wire::split_head::<FilePiece>(payload).expect("it has a name")),
        other => panic!("a {} frame is not a guest's to record", other.name()),
    }
}

/// Reads, writes and reads again.
fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(payload).ok()?;
    let again = serde_json::from_slice(&serde_json::to_vec(&read).expect("JSON")).expect("what was written");
    assert_eq!(read, again);
    Some(read)
}

fn headed<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) {
    let Ok((head, body)) = wire::split_head::<T>(payload) else { return };
    let joined = wire::join_head(&head, body).expect("JSON");
    assert_eq!(wire::split_head::<T>(&joined).expect("what was joined"), (head, body));
}

fn spool(bytes: &[u8]) {
    let scratch = super::scratch();
    fs::write(scratch.path().join(format!("{:020}", 1)), bytes).expect("a segment");
    let spool = Spool::open(scratch.path()).expect("opened");
    let good = read_as_written(bytes);
    assert_eq!(spool.first_unacked(), 1);
    let number = spool.append(Kind::Output, b"more").expect("open");
    let count = good.len() as u64;
    // Good records behind a bad one are not read, and their numbers are not given again.
    let stands_behind = |number: u64| {
        let mut behind = (0..bytes.len()).filter_map(|at| frame::read(&mut &bytes[at..]).ok().flatten());
        number > count && behind.any(|frame| frame.head.seq == number)
    };
    assert!(number == count + 1 || stands_behind(number - 1), "record {number} after {count}");
    let mut sent = Vec::new();
    let mut reader = spool.reader().expect("a reader");
    let mut buffer = vec![0; 4096];
    while let read @ 1.. = reader.read(&mut buffer, &AtomicBool::new(true)).expect("readable") {
        sent.extend_from_slice(&buffer[..read]);
    }
    let frames = read_as_written(&sent);
    assert_eq!(frames[..good.len()], good[..], "the good beginning as it stands");
    let last = frames.last().expect("a frame");
    assert_eq!((last.head.seq, &last.payload[..]), (number, &b"more"[..]));
    spool.ack(number / 2);
    assert_eq!(spool.first_unacked(), number / 2 + 1);
    spool.ack(u64::MAX);
    spool.wait_until_acked();
}

/// One of everything that is said.
pub fn seeds() -> Vec<Vec<u8>> {
    let start = Start {
        argv: vec!["claude".to_owned()],
        env: vec![("TERM".to_owned(), "xterm-256color".to_owned())],
        cwd: "/home/user/workspace".to_owned(),
        uid: 1000,
        gid: 1000,
        cols: 80,
        rows: 24,
        privileges: false,
        open_files: 65_536,
        pids: None,
        files: vec![wire::File {
            path: "/etc/claude-code/managed-settings.json".to_owned(),
            content: "{}".to_owned(),
            owner: wire::Owner::Root,
            mode: 0o644,
            existing: wire::Existing::Merge,
        }],
        own: vec!["/home/user".to_owned()],
        transcripts: Some("/home/user/.claude/projects".to_owned()),
        disk_limit: Some(10 << 30),
        spool_limit: 256 << 20,
        listen: Listen::default(),
        request_key: String::new(),
    };
    let hello =
        Hello { protocol: PROTOCOL, version: "0.1.0".to_owned(), started: true, next: 7, fault: None };
    let orders = [
        Order::Start(Box::new(start)),
        Order::Ack { through: 9 },
        Order::Resize { cols: 80, rows: 24 },
        Order::Signal { signal: 2 },
        Order::Stop { grace_ms: 6000 },
        Order::Leave,
    ];
    let mut daemon = Vec::new();
    for order in &orders {
        put(&mut daemon, 0, 0, Kind::Order, &bytes_of(order));
    }
    put(&mut daemon, 0, 0, Kind::Input, b"ls\r");
    let request = SpooledRequest {
        request: 3,
        path: "/v1/logs".to_owned(),
        content_type: Some("application/json".to_owned()),
        content_encoding: None,
    };
    let piece = FilePiece { path: "a/b.jsonl".to_owned(), offset: 12 };
    let said = [
        (Kind::Output, b"$ ".to_vec()),
        (Kind::Resize, wire::encode_size(80, 24).to_vec()),
        (Kind::Lifecycle, bytes_of(&GuestEvent::ProgramStarted { pid: 9 })),
        (Kind::Lifecycle, bytes_of(&GuestEvent::ProgramFailed { error: "claude: no such file".to_owned() })),
        (Kind::Lifecycle, bytes_of(&GuestEvent::DiskUsage { used: 1, limit: 2 })),
        (Kind::Request, wire::join_head(&request, b"{}").expect("JSON")),
        (Kind::Transcript, wire::join_head(&piece, b"{\"a\":1}\n").expect("JSON")),
        (
            Kind::Lifecycle,
            bytes_of(&GuestEvent::ProgramExited { code: 137, signal: Some(9), oom: true, terminated: false }),
        ),
    ];
    let mut records = Vec::new();
    for (n, (kind, payload)) in (1..).zip(&said) {
        put(&mut records, n, n, *kind, payload);
    }
    let mut guest = Vec::new();
    put(&mut guest, 0, 0, Kind::Hello, &bytes_of(&hello));
    guest.extend_from_slice(&records);
    let torn = records[..records.len() - 9].to_vec();
    vec![daemon, guest, records, torn]
}

fn bytes_of(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("JSON")
}
