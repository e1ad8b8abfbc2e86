//! Programs whose output is known, and what must be in the record of one.
//!
//! Each runs until a line is typed, and then says how far it came. So every byte that it wrote is known
//! afterwards, however long it ran and whatever happened meanwhile.

use std::{collections::BTreeMap, path::Path};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use prost::Message;
use sandboxctl::journal::{Kind, Reader};

/// A program of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Numbered lines, in bursts as fast as the terminal takes them.
    Lines,
    /// One screen that is drawn anew again and again: numbers, colours, the cursor everywhere.
    Painter,
    /// Numbered OTLP requests, one after the other; prints the number of each that was answered 200.
    Telemetry,
    /// The real client, one prompt after the other.
    Client,
}

/// What was sent and what of it is on record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Bytes that the program wrote, by its own account.
    pub bytes: u64,
    /// Bytes of them that are in the record, each once and in order.
    pub bytes_found: u64,
    /// Requests that were answered 200.
    pub requests: u64,
    /// Requests of them that are in the record, each once.
    pub requests_found: u64,
}

/// Lines of a burst.
const BURST: u64 = 1000;

impl Program {
    /// The program and its arguments.
    pub fn argv(self) -> Vec<String> {
        let script = match self {
            Program::Lines => {
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
                r#"stty -echo; echo ready; n=0
                 until read -t 0; do
                   n=$((n+1)); status=
                   body="{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"intValue\":\"$n\"}}]}]}]}"
                   if exec 3<>/dev/tcp/127.0.0.1/4318; then
                     printf 'POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %s\r\nconnection: close\r\n\r\n%s' ${#body} "$body" >&3
                     read -r _ status _ <&3
                     exec 3>&-
                   fi
                   if [ "$status" = 200 ]; then echo took $n; else sleep 0.2; fi
                 done; echo end $n"#
            }
            Program::Client => {
                "stty -echo; echo ready; n=0
                 until read -t 0; do
                   n=$((n+1)); claude -p 'List the files here' < /dev/null > /tmp/said 2>&1 || cat /tmp/said
                 done; echo end $n"
            }
        };
        let script = script.replace("BURST", &BURST.to_string());
        ["bash", "-c", &script].map(str::to_owned).to_vec()
    }

    /// Holds a record to what the program must have written. A whole one ends with its end; one that was cut
    /// short by force is a beginning of it.
    pub fn check(self, journal: &Path, whole: bool) -> Tally {
        let output = Output::read(journal);
        let text = output.text.strip_prefix("ready\r\n").unwrap_or_else(|| {
            assert!(!whole && "ready\r\n".starts_with(&output.text), "it begins with {:.40?}", output.text);
            ""
        });
        let (text, end) = match text.rfind("end ") {
            Some(at) if whole => (&text[..at], Some(&text[at..])),
            _ => (text, None),
        };
        let count: Option<u64> = end.map(|end| {
            let number = end.strip_prefix("end ").and_then(|e| e.strip_suffix("\r\n"));
            number.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("it ends with {end:?}"))
        });
        assert!(count.is_some() == whole, "it ends with {:?}", tail(text));
        let mut tally = Tally { bytes: output.text.len() as u64, ..Tally::default() };
        match self {
            Program::Lines => {
                let line = |n| format!("{n:012} the quick brown fox jumps over the lazy dog\r\n");
                follow(text, count, &line);
            }
            Program::Painter => {
                let frame = |n: u64| {
                    let (row, column) = (n % 30 + 2, n % 50 + 1);
                    format!("\x1b[H\x1b[3{}m{n:08}\x1b[m\x1b[K\x1b[{row};{column}H{n}\x1b[K", n % 8)
                };
                follow(text, count, &frame);
            }
            Program::Telemetry => {
                for line in text.lines() {
                    let number = line.strip_prefix("took ").and_then(|n| n.parse::<u64>().ok());
                    let Some(number) = number else {
                        assert!(!whole || line.is_empty(), "it wrote {line:?}");
                        continue;
                    };
                    tally.requests += 1;
                    let found = output.numbers.get(&number).copied().unwrap_or(0);
                    assert_eq!(found, 1, "request {number} was answered 200 and is {found} times on record");
                    tally.requests_found += 1;
                }
                let twice: Vec<_> = output.numbers.iter().filter(|(_, times)| **times > 1).collect();
                assert!(twice.is_empty(), "on record more than once: {twice:?}");
            }
            Program::Client => assert_eq!(text, "", "the client failed"),
        }
        tally.bytes_found = tally.bytes;
        tally
    }
}

/// Holds `text` to pieces 1 to `count`; or to a beginning of them, of any length.
fn follow(text: &str, count: Option<u64>, piece: &dyn Fn(u64) -> String) {
    let mut rest = text;
    let mut n = 0;
    while count.is_none_or(|count| n < count) {
        n += 1;
        let expected = piece(n);
        match rest.strip_prefix(expected.as_str()) {
            Some(after) => rest = after,
            None if count.is_none() && expected.starts_with(rest) => return,
            None => panic!("where piece {n} should stand, {:.120?}", rest),
        }
    }
    assert_eq!(rest, "", "nothing else stands there");
}

fn tail(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars[chars.len().saturating_sub(80)..].iter().collect()
}

/// What a journal holds of a program.
struct Output {
    text: String,
    /// How often each number came by telemetry.
    numbers: BTreeMap<u64, u64>,
}

impl Output {
    fn read(journal: &Path) -> Output {
        let mut bytes = Vec::new();
        let mut numbers = BTreeMap::new();
        for entry in Reader::open(journal, 1) {
            let entry = entry.expect("a good frame");
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
        Output { text: String::from_utf8(bytes).expect("what was written is text"), numbers }
    }
}
