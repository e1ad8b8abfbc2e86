//! Programs whose output is known, and what must be in the record of one.
//!
//! Each runs until a line is typed, and then says how far it came. So every byte that it wrote is known
//! afterwards, however long it ran and whatever happened meanwhile.

use std::{collections::BTreeMap, path::Path};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use prost::Message;
use sandboxctl::{
    id::SessionId,
    journal::{Draft, Journal, Kind, Reader},
};

/// A program of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Numbered lines, a thousand every now and then.
    Lines,
    /// Numbered lines, as fast as the terminal takes them; a breath after each MiB keeps the whole of them in bounds.
    Flood,
    /// One screen that is drawn anew again and again: numbers, colours, the cursor everywhere.
    Painter,
    /// Numbered OTLP requests, one after the other; prints the number of each that was answered 200.
    Telemetry,
    /// The real client, one prompt after the other.
    Client,
}

/// What was sent and what of it is on record.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Bytes that the program wrote, by its own account.
    pub bytes: u64,
    /// Bytes of them that are in the record, each once and in order.
    pub bytes_found: u64,
    /// Requests that were answered 200, by the program's own account.
    pub requests: u64,
    /// Requests of them that are in the record, each once.
    pub requests_found: u64,
    /// Whatever else is not as it must be.
    pub wrong: Vec<String>,
}

impl Tally {
    /// Bytes and requests that are not in the record.
    pub fn lost(&self) -> u64 {
        (self.bytes - self.bytes_found) + (self.requests - self.requests_found)
    }

    /// Adds another's.
    pub fn add(&mut self, other: Tally) {
        self.bytes += other.bytes;
        self.bytes_found += other.bytes_found;
        self.requests += other.requests;
        self.requests_found += other.requests_found;
        self.wrong.extend(other.wrong);
    }

    /// Fails unless everything is there and nothing else.
    pub fn assert_whole(&self) {
        assert!(self.lost() == 0 && self.wrong.is_empty(), "{self:?}");
        assert!(self.bytes > 0);
    }
}

/// Lines of a burst.
const BURST: u64 = 1000;
/// Lines of a burst at full rate: more than a MiB.
const FLOOD: u64 = 20_000;
/// How far the next piece is looked for where it does not stand.
const STRAY: usize = 4096; // bytes

impl Program {
    /// The program and its arguments.
    pub fn argv(self) -> Vec<String> {
        let script = match self {
            Program::Lines | Program::Flood => {
                "stty -echo; echo ready; n=0
                 until read -t 0; do
                   seq -f '%012.0f the quick brown fox jumps over the lazy dog' $((n+1)) $((n+BURST))
                   n=$((n+BURST)); sleep 0.1
                 done; echo end $n"
            }
            Program::Painter => {
                r"stty -echo; echo ready; n=0
                 until read -t 0; do
                   for _ in 1 2 3 4 5 6 7 8 9 10; do
                     n=$((n+1))
                     printf '\033[H\033[3%dm%08d\033[m\033[K\033[%d;%dH%d\033[K' $((n%8)) $n $((n%30+2)) $((n%50+1)) $n
                   done; sleep 0.02
                 done; echo end $n"
            }
            Program::Telemetry => {
                r#"stty -echo; echo ready; n=0 took=0 bytes=0
                 until read -t 0; do
                   n=$((n+1)); status=
                   body="{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"intValue\":\"$n\"}}]}]}]}"
                   if exec 3<>/dev/tcp/127.0.0.1/4318; then
                     printf 'POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %s\r\nconnection: close\r\n\r\n%s' ${#body} "$body" >&3
                     read -r _ status _ <&3
                     exec 3>&-
                   fi
                   if [ "$status" = 200 ]; then
                     line="took $n"; echo "$line"
                     took=$((took+1)) bytes=$((bytes+${#line}+2))
                   else sleep 0.2; fi
                 done; echo end $took $bytes"#
            }
            Program::Client => {
                "stty -echo; echo ready; n=0
                 until read -t 0; do
                   n=$((n+1)); claude -p 'List the files here' < /dev/null > /tmp/said 2>&1 || cat /tmp/said
                 done; echo end $n"
            }
        };
        let burst = if self == Program::Flood { FLOOD } else { BURST };
        let script = script.replace("BURST", &burst.to_string());
        ["bash", "-c", &script].map(str::to_owned).to_vec()
    }

    /// Holds a record to what the program must have written, by its own account at its end. One that was cut short by
    /// force has none, and is to be a beginning of what it would have written.
    pub fn check(self, journal: &Path, whole: bool) -> Tally {
        let output = Output::read(journal);
        let mut tally = Tally { wrong: output.wrong, ..Tally::default() };
        let text = output.text.as_slice();
        let account = if whole { account(text) } else { None };
        if whole && account.is_none() {
            let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(80)..]);
            tally.wrong.push(format!("its account is not there; it ends with {tail:?}"));
        }
        let (count, bytes, end) = account.unwrap_or_default();
        let last = (!end.is_empty()).then_some(count);
        let mut found = Follow { rest: text, tally: &mut tally, open: last.is_none() };
        found.piece("ready\r\n");
        match self {
            Program::Lines | Program::Flood => {
                found.pieces(last, |n| format!("{n:012} the quick brown fox jumps over the lazy dog\r\n"))
            }
            Program::Painter => found.pieces(last, |n| {
                let (row, column) = (n % 30 + 2, n % 50 + 1);
                format!("\x1b[H\x1b[3{}m{n:08}\x1b[m\x1b[K\x1b[{row};{column}H{n}\x1b[K", n % 8)
            }),
            Program::Telemetry => found.requests(&output.numbers, count, bytes),
            Program::Client => {}
        }
        found.piece(&end);
        let strange = found.rest.len();
        if strange > 0 {
            tally.wrong.push(format!("{strange} bytes more stand at its end"));
        }
        tally
    }
}

/// What a program says at its end: how far it came, and (where its lines differ in length) in how many bytes; with
/// the line that says so.
fn account(text: &[u8]) -> Option<(u64, u64, String)> {
    let at = text.windows(4).rposition(|window| window == b"end ")?;
    let end = std::str::from_utf8(&text[at..]).ok()?;
    let mut numbers = end.strip_prefix("end ")?.strip_suffix("\r\n")?.split(' ').map(str::parse);
    let count = numbers.next()?.ok()?;
    let bytes = numbers.next().unwrap_or(Ok(0)).ok()?;
    Some((count, bytes, end.to_owned()))
}

/// Goes along a record, piece by piece.
struct Follow<'a> {
    rest: &'a [u8],
    tally: &'a mut Tally,
    /// The record may end anywhere.
    open: bool,
}

impl Follow<'_> {
    /// What must stand here. Where it does not, it is lost, or stands behind what should not be there.
    fn piece(&mut self, expected: &str) {
        let expected = expected.as_bytes();
        let len = expected.len() as u64;
        if self.open && expected.starts_with(self.rest) {
            self.tally.bytes += self.rest.len() as u64;
            self.tally.bytes_found += self.rest.len() as u64;
            self.rest = &[];
            return;
        }
        self.tally.bytes += len;
        let near = &self.rest[..self.rest.len().min(STRAY + expected.len())];
        let at = if near.starts_with(expected) {
            Some(0)
        } else {
            near.windows(expected.len().max(1)).position(|window| window == expected)
        };
        if at != Some(0) && self.tally.wrong.len() < 5 {
            let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            self.tally.wrong.push(format!("where {:?} should stand: {:?}", shown(expected), shown(near)));
        }
        if let Some(at) = at {
            self.rest = &self.rest[at + expected.len()..];
            self.tally.bytes_found += len;
        }
    }

    /// Pieces 1 to `last`; where that is not known, as many as there are.
    fn pieces(&mut self, last: Option<u64>, piece: impl Fn(u64) -> String) {
        let mut n = 0;
        while last.map_or(!self.rest.is_empty() && self.tally.wrong.is_empty(), |last| n < last) {
            n += 1;
            self.piece(&piece(n));
        }
    }

    /// Lines that each tell of a request that was answered, `count` of them in so many bytes.
    fn requests(&mut self, on_record: &BTreeMap<u64, u64>, count: u64, bytes: u64) {
        let wrong = &mut self.tally.wrong;
        let (mut lines, mut long) = (0, 0);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n').map(|at| at + 1) {
            let line = std::str::from_utf8(&self.rest[..end]).unwrap_or_default();
            let number = line.strip_prefix("took ").and_then(|n| n.strip_suffix("\r\n")?.parse::<u64>().ok());
            let Some(number) = number else { break };
            self.rest = &self.rest[end..];
            (lines, long) = (lines + 1, long + end as u64);
            match on_record.get(&number) {
                Some(1) => self.tally.requests_found += 1,
                times => {
                    wrong.push(format!("request {number} was answered 200 and is {times:?} times on record"))
                }
            }
        }
        if self.open && b"took ".starts_with(&self.rest[..self.rest.len().min(5)]) {
            self.rest = &[];
        }
        wrong.extend(
            on_record
                .iter()
                .filter(|(_, times)| **times > 1)
                .map(|(n, t)| format!("request {n} is {t} times on record")),
        );
        let (count, bytes) = if self.open { (lines, long) } else { (count, bytes) };
        if lines > count || long > bytes {
            wrong.push(format!("{lines} lines of {long} bytes, and it wrote {count} of {bytes}"));
        }
        self.tally.requests += count;
        self.tally.bytes += bytes;
        self.tally.bytes_found += long.min(bytes);
        self.tally.requests_found = self.tally.requests_found.min(count);
    }
}

/// What a journal holds of a program.
struct Output {
    text: Vec<u8>,
    /// How often each number came by telemetry.
    numbers: BTreeMap<u64, u64>,
    /// Why it cannot be read to its end.
    wrong: Vec<String>,
}

impl Output {
    fn read(journal: &Path) -> Output {
        let mut bytes = Vec::new();
        let mut numbers = BTreeMap::new();
        let mut wrong = Vec::new();
        for entry in Reader::open(journal, 1) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    wrong.push(error.to_string());
                    break;
                }
            };
            match entry.kind {
                Kind::Output => bytes.extend_from_slice(&entry.payload),
                Kind::Logs => {
                    let request = ExportLogsServiceRequest::decode(entry.payload).expect("a request");
                    let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
                    for record in scopes.flat_map(|s| &s.log_records) {
                        if let Some(Value::IntValue(n)) = record.body.as_ref().and_then(|b| b.value.as_ref())
                        {
                            *numbers.entry(n.cast_unsigned()).or_insert(0) += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        Output { text: bytes, numbers, wrong }
    }
}

/// The account must be able to come out otherwise.
#[test]
fn what_is_missing_or_too_much_in_a_record_is_counted() {
    let line = |n: u64| format!("{n:012} the quick brown fox jumps over the lazy dog\r\n");
    let check = |pieces: &[String], program: Program| {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::create(dir.path(), SessionId::new()).expect("a journal");
        let payload = pieces.concat();
        let draft = Draft { time: 1, origin: 1, kind: Kind::Output, payload: payload.as_bytes() };
        journal.append(draft).expect("appended");
        program.check(dir.path(), true)
    };
    let good: Vec<String> = std::iter::once("ready\r\n".to_owned())
        .chain((1..=4).map(line))
        .chain(["end 4\r\n".to_owned()])
        .collect();
    let tally = check(&good, Program::Lines);
    tally.assert_whole();
    assert_eq!(tally.bytes, good.concat().len() as u64);
    for missing in 0..4 {
        let mut pieces = good.clone();
        let gone = pieces.remove(missing).len() as u64;
        let tally = check(&pieces, Program::Lines);
        assert_eq!((tally.lost(), tally.wrong.is_empty()), (gone, false), "{tally:?}");
    }
    let mut twice = good.clone();
    twice.insert(2, line(1));
    let tally = check(&twice, Program::Lines);
    assert_eq!((tally.lost(), tally.wrong.len()), (0, 1), "{tally:?}");
    assert!(!check(&good[..5], Program::Lines).wrong.is_empty(), "an account is missing");
    let tally = check(&["ready\r\ntook 1\r\nend 2 16\r\n".to_owned()], Program::Telemetry);
    assert_eq!((tally.requests - tally.requests_found, tally.bytes - tally.bytes_found), (2, 8), "{tally:?}");
}
