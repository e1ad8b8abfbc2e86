//! A journal's folder that holds anything at all.
//!
//! - A frame that is read is written again as it was.
//! - Readers and writers agree with [`oracle`], which looks at the bytes in its own way, on what is good, what is
//!   damaged and what is a torn tail.
//! - Reading and opening never panic. What is wrong is [`JournalError::Damaged`], and changes no file.
//! - Opening cuts a torn tail and nothing else: what a reader saw before is what it sees afterwards, without
//!   gaps up to where the writer goes on, and the chain that held still holds.
//! - Opening twice finds nothing new.
//! - The folds over frames take any payload.
//! - Of keyframes the good beginning is kept, and another can follow.

use std::{fs, path::Path};

use sandbox_guest::frame::Kind;
use sandboxctl::{
    id::SessionId,
    journal::{Draft, Entry, Index, Journal, JournalError, Keyframe, Position, Reader, verify},
    summary::Summary,
    timeline,
};

use super::frames::{frame_end, put, read_as_written, resealed};

/// See the top of the file.
pub fn journal_frames(data: &[u8]) {
    keyframes(data);
    frames(data);
    let sealed = resealed(data);
    if sealed != data {
        frames(&sealed);
    }
}

fn frames(bytes: &[u8]) {
    read_as_written(bytes);
    let scratch = super::scratch();
    let dir = scratch.path();
    let segments = segments(bytes);
    let count = segments.len();
    for (first, content) in &segments {
        fs::write(dir.join(format!("{first:020}.log")), content).expect("a segment");
    }
    let expected = oracle::look(&segments);
    let (read, fault) = read_all(dir);
    let told: Vec<_> = read.iter().map(|e| (e.seq, e.time, e.origin, e.kind as u8, &e.payload[..])).collect();
    assert_eq!(told, expected.frames, "what is good is read");
    assert_eq!(fault.is_some(), expected.torn.is_none(), "{fault:?}, and {:?} bytes are torn", expected.torn);
    fold(&read);
    let verified = verify(dir).ok();
    match Journal::open(dir, SessionId::default()) {
        Err(error) => {
            assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
            assert_eq!(content(dir), bytes.len() as u64, "damage is left as it is");
            let heads =
                segments.iter().all(|(_, content)| content.len() > 33 && content[32] == Kind::Segment as u8);
            assert!(
                expected.torn.is_none() || verified.is_none() || !heads,
                "it verifies, and cannot be opened: {error}"
            );
        }
        Ok((journal, recovered)) => {
            if count <= 2 {
                // Of a longer journal only the last two segments are looked at; readers look at all.
                assert!(fault.is_none(), "opened, and yet a reader says: {fault:?}");
                assert_eq!(Some(recovered.cut_bytes), expected.torn, "only a torn tail is cut");
                assert_eq!(recovered.last_seq, expected.next - 1);
                assert!(
                    recovered.last_seq - read.len() as u64 <= 1,
                    "a reader sees all but a new segment's head"
                );
            }
            let (again, _) = read_all(dir);
            assert_eq!(again[..read.len()], read[..], "opening takes nothing away");
            let draft = Draft { time: 1, origin: 0, kind: Kind::Output, payload: b"more" };
            let appended = journal.append(draft);
            drop(journal);
            if recovered.sealed {
                assert!(matches!(appended, Err(JournalError::Sealed { .. })));
            } else {
                let seq = appended.expect("it goes on");
                assert!(
                    (1..=2).contains(&(seq - recovered.last_seq)),
                    "a new segment's head may come before it"
                );
                let mut tail = Reader::open(dir, seq);
                let entry = tail.next().expect("a frame").expect("a good one");
                assert_eq!((entry.seq, &entry.payload[..]), (seq, &b"more"[..]));
                assert!(tail.next().is_none());
            }
            let (_, twice) = Journal::open(dir, SessionId::default()).expect("opened once, opened twice");
            assert_eq!((twice.cut_bytes, twice.sealed), (0, recovered.sealed));
            assert_eq!(twice.last_record, recovered.last_record);
            if verified.is_some() {
                verify(dir).expect("the chain that held still holds");
            }
        }
    }
}

/// The bytes as a folder's segments: a further one begins at each frame that could be a segment's first.
fn segments(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    let (mut first, mut begin, mut at) = (1, 0, 0);
    if frame_end(bytes, 0).is_some() && bytes[32] == Kind::Segment as u8 {
        first = seq_at(bytes, 0).max(1);
    }
    while let Some(end) = frame_end(bytes, at) {
        let seq = seq_at(bytes, at);
        if bytes[at + 32] == Kind::Segment as u8 && at > begin && seq > first {
            found.push((first, &bytes[begin..at]));
            (first, begin) = (seq, at);
        }
        at = end;
    }
    found.push((first, &bytes[begin..]));
    found
}

fn seq_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at + 8..at + 16].try_into().expect("eight bytes"))
}

/// The format, read from its description and with nobody's help: slow, and short enough to be seen to be right.
mod oracle {
    use sandbox_guest::frame::Kind;

    /// Number, time, origin, kind and payload.
    type Frame<'a> = (u64, u64, u64, u8, &'a [u8]);

    pub struct Found<'a> {
        /// The good frames in front of any damage.
        pub frames: Vec<Frame<'a>>,
        /// What comes after them.
        pub next: u64,
        /// Bytes of a torn tail; `None` where there is damage.
        pub torn: Option<u64>,
    }

    pub fn look<'a>(segments: &[(u64, &'a [u8])]) -> Found<'a> {
        let mut found = Found { frames: Vec::new(), next: 1, torn: Some(0) };
        for (first, content) in segments {
            if *first != found.next {
                found.torn = None;
                return found;
            }
            let mut rest = *content;
            while let Some(frame) = good(rest).filter(|frame| frame.0 == found.next) {
                found.frames.push(frame);
                found.next += 1;
                rest = &rest[33 + frame.4.len()..];
            }
            found.torn = is_torn(rest, found.next).then_some(rest.len() as u64);
            if found.torn.is_none() {
                return found;
            }
        }
        found
    }

    /// The good frame that these bytes begin with.
    fn good(bytes: &[u8]) -> Option<Frame<'_>> {
        let len = length(bytes)?;
        let whole = bytes.get(..33 + len).filter(|_| len <= 32 << 20)?;
        let sum = [&whole[..4], &whole[8..]].concat();
        let is_good = crc32c::crc32c(&sum).to_le_bytes() == whole[4..8];
        (is_good && Kind::from_u8(whole[32]).is_some())
            .then(|| (number(whole, 8), number(whole, 16), number(whole, 24), whole[32], &whole[33..]))
    }

    /// Whether these bytes, where frame `next` should begin, are what is left of a write: a part of one frame, or one
    /// that is not good and behind which stand only zeros; and nothing in it is a frame that comes later.
    fn is_torn(bytes: &[u8], next: u64) -> bool {
        let Some(len) = length(bytes) else { return true };
        if len > 32 << 20 || good(bytes).is_some() {
            return false;
        }
        let behind = bytes.get(33 + len..).unwrap_or_default();
        let later = |at: usize| {
            good(&bytes[at..]).is_some_and(|(seq, ..)| seq > next && seq - next <= at as u64 / 33)
        };
        behind.iter().all(|byte| *byte == 0) && !(33..bytes.len()).any(later)
    }

    fn length(bytes: &[u8]) -> Option<usize> {
        bytes
            .get(..33)
            .map(|header| u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize)
    }

    fn number(bytes: &[u8], at: usize) -> u64 {
        (0..8).rev().fold(0, |sum, byte| sum << 8 | u64::from(bytes[at + byte]))
    }
}

/// All that a reader sees, and what stops it if not the end.
fn read_all(dir: &Path) -> (Vec<Entry>, Option<JournalError>) {
    let mut reader = Reader::open(dir, 1);
    let mut found = Vec::new();
    loop {
        match reader.next() {
            None => return (found, None),
            Some(Ok(entry)) => {
                assert_eq!(entry.seq, found.len() as u64 + 1, "numbers without gaps");
                found.push(entry);
            }
            Some(Err(error)) => {
                assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
                assert!(reader.next().is_none(), "nothing is read behind damage");
                return (found, Some(error));
            }
        }
    }
}

fn fold(entries: &[Entry]) {
    let mut summary = Summary::default();
    for entry in entries {
        summary.apply(entry);
        timeline::events(entry);
    }
    let kept = serde_json::to_vec(&summary).expect("a summary can be kept");
    let read: Summary = serde_json::from_slice(&kept).expect("and read");
    assert_eq!(read.totals(), summary.totals());
}

/// Bytes of a folder's files: segments, and what was cut off them.
fn content(dir: &Path) -> u64 {
    fs::read_dir(dir).expect("the folder").flatten().map(|e| e.metadata().expect("a file").len()).sum()
}

fn keyframes(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    let mut rest = &mut sealed[..];
    while let Some((head, body)) = rest.split_first_chunk_mut::<8>() {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((body, next)) = body.split_at_mut_checked(len) else { break };
        head[4..].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        rest = next;
    }
    let scratch = super::scratch();
    fs::write(scratch.path().join("keyframes"), &sealed).expect("written");
    let mut index = Index::open(scratch.path()).expect("opened");
    let last = index.last();
    index.at_or_before(u64::MAX / 2);
    let next = keyframe(7);
    index.push(next.clone()).expect("pushed");
    assert_eq!(index.last(), Some(next.clone()));
    drop(index);
    let index = Index::open(scratch.path()).expect("opened again");
    assert_eq!(index.last(), Some(next), "after {last:?}");
}

fn keyframe(seq: u64) -> Keyframe {
    Keyframe {
        seq,
        time: 1_790_000_000_000_000,
        position: Position { segment: 1, offset: 100 * seq },
        output_bytes: seq,
        cols: 80,
        rows: 24,
        screen: b"\x1bcscreen\nof two lines".to_vec(),
    }
}

/// Real journals, and one of two segments with what the folds read.
pub fn seeds() -> Vec<Vec<u8>> {
    let scratch = super::scratch();
    let dir = scratch.path().join("journal");
    let id: SessionId = "01990000-0000-7000-8000-000000000000".parse().expect("an id");
    let journal = Journal::create(&dir, id).expect("created");
    let payloads = payloads();
    for (n, (kind, payload)) in payloads.iter().enumerate() {
        let draft = Draft { time: 1_790_000_000_000_000, origin: n as u64, kind: *kind, payload };
        journal.append(draft).expect("appended");
    }
    let mut whole = fs::read(dir.join(format!("{:020}.log", 1))).expect("read");
    // The one thing that differs from run to run: when it was begun.
    whole[16..24].fill(1);
    let whole = resealed(&whole);
    let mut two = whole.clone();
    let head = format!(r#"{{"version":1,"session":"{}","chain":"{}"}}"#, id, "00".repeat(32));
    let next = payloads.len() as u64 + 2;
    put(&mut two, next, 0, Kind::Segment, head.as_bytes());
    put(&mut two, next + 1, next, Kind::Output, b"in the second segment");
    let torn = two[..two.len() - 5].to_vec();
    let mut zeros = whole.clone();
    zeros.extend([0; 100]);
    // A length that points past the end, and good frames behind it.
    let mut long = whole.clone();
    let second = frame_end(&long, 0).expect("a first frame");
    long[second + 2] ^= 1 << 4;
    let index = scratch.path().join("keyframes");
    let mut keyframes = Index::open(scratch.path()).expect("opened");
    (1..4).for_each(|n| keyframes.push(keyframe(n)).expect("pushed"));
    vec![whole, two, torn, zeros, long, fs::read(index).expect("read")]
}

/// Something of each kind, as the daemon and the guest write it.
fn payloads() -> Vec<(Kind, Vec<u8>)> {
    let mut found: Vec<(Kind, Vec<u8>)> = vec![
        (Kind::Output, b"$ \x1b[31mred\x1b[m\r\n".to_vec()),
        (Kind::Resize, sandbox_guest::wire::encode_size(120, 40).to_vec()),
        (Kind::Marker, b"here".to_vec()),
        (Kind::Lifecycle, br#"{"event":"program_exited","code":0,"signal":null,"oom":false}"#.to_vec()),
        (Kind::Lifecycle, br#"{"event":"phase","phase":"running"}"#.to_vec()),
        (Kind::Hook, br#"{"event":"PreToolUse","tool":"Bash","decision":"deny","reason":"curl","input":{}}"#.to_vec()),
        (Kind::Mcp, br#"{"server":"s","direction":"to_server","message":{"method":"tools/call","id":1}}"#.to_vec()),
        (Kind::Model, br#"{"model":"claude-opus-5-5","status":200,"duration_ms":9,"input_tokens":3,"output_tokens":4,"cache_read_tokens":0,"cache_creation_tokens":0,"cost_usd":0.5}"#.to_vec()),
        (Kind::Egress, br#"{"host":"example.org","port":443,"allowed":false,"reason":"no rule"}"#.to_vec()),
        (Kind::Transcript, b"{\"path\":\"a.jsonl\",\"offset\":0}\n{}\n".to_vec()),
        (Kind::Injected, br#"{"settings.json":{}}"#.to_vec()),
    ];
    found.extend(
        super::otlp_body::requests()
            .into_iter()
            .zip([Kind::Traces, Kind::Metrics, Kind::Logs])
            .map(|(p, k)| (k, p)),
    );
    found
}
