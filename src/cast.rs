//! asciicast: a terminal session as lines of JSON that players understand.
//!
//! Writes version 3, reads versions 2 and 3.
//!
//! ```text
//!   {"version":3,"term":{"cols":80,"rows":24}, …}      header
//!   [0.250000,"o","hello\r\n"]                         seconds since the event before, code, data
//! ```
//!
//! Codes: `o` output, `i` input, `r` size as `80x24`, `m` marker, `x` exit status. Intervals are written with
//! six decimals and times come in whole microseconds, so nothing is rounded and nothing can drift. Data is
//! text: a character that is cut by the end of an event is carried over to the next of the same code.

use std::{borrow::Cow, fmt::Write as _};

use serde::Serialize;
use serde_json::{Map, Value};

/// What the first line tells about the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Columns at the start.
    #[serde(skip)]
    pub cols: u16,
    /// Rows at the start.
    #[serde(skip)]
    pub rows: u16,
    /// Value of `TERM`.
    #[serde(skip)]
    pub term: Option<String>,
    /// When the session started, in whole seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// The program and its arguments, as one would type them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A name for the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// What happened in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The program wrote.
    Output,
    /// Somebody typed.
    Input,
    /// The terminal has a new size.
    Resize,
    /// A place in the recording has a name.
    Marker,
    /// The program ended.
    Exit,
}

impl Code {
    fn letter(self) -> char {
        match self {
            Code::Output => 'o',
            Code::Input => 'i',
            Code::Resize => 'r',
            Code::Marker => 'm',
            Code::Exit => 'x',
        }
    }

    fn from_letter(letter: &str) -> Option<Code> {
        Some(match letter {
            "o" => Code::Output,
            "i" => Code::Input,
            "r" => Code::Resize,
            "m" => Code::Marker,
            "x" => Code::Exit,
            _ => return None,
        })
    }
}

/// Writes a recording line by line; each line ends with a newline.
#[derive(Debug)]
pub struct Cast {
    /// Time of the last event written, in µs.
    last: u64,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Cast {
    /// A recording that starts at `start` (µs, on the clock of the events to come), and its first line.
    pub fn new(header: &Header, start: u64) -> (Cast, String) {
        let mut term = Map::new();
        term.insert("cols".to_owned(), header.cols.into());
        term.insert("rows".to_owned(), header.rows.into());
        if let Some(name) = &header.term {
            term.insert("type".to_owned(), name.as_str().into());
        }
        let mut line = Map::new();
        line.insert("version".to_owned(), 3.into());
        line.insert("term".to_owned(), term.into());
        // A struct of strings and numbers is always a JSON object.
        if let Ok(Value::Object(rest)) = serde_json::to_value(header) {
            line.extend(rest);
        }
        (Cast { last: start, output: Vec::new(), input: Vec::new() }, format!("{}\n", Value::Object(line)))
    }

    /// The program wrote `bytes`. Empty if they only begin a character.
    pub fn output(&mut self, time: u64, bytes: &[u8]) -> String {
        let text = decode(&mut self.output, bytes);
        self.text_event(time, Code::Output, &text)
    }

    /// Somebody typed `bytes`. Empty if they only begin a character.
    pub fn input(&mut self, time: u64, bytes: &[u8]) -> String {
        let text = decode(&mut self.input, bytes);
        self.text_event(time, Code::Input, &text)
    }

    /// The terminal has a new size.
    pub fn resize(&mut self, time: u64, cols: u16, rows: u16) -> String {
        self.event(time, Code::Resize, &format!("{cols}x{rows}"))
    }

    /// This place has a name.
    pub fn marker(&mut self, time: u64, label: &str) -> String {
        self.event(time, Code::Marker, label)
    }

    /// The program ended. Writes out what is left of a character that never became whole.
    pub fn exit(&mut self, time: u64, status: i32) -> String {
        let mut lines = self.finish(time);
        lines += &self.event(time, Code::Exit, &status.to_string());
        lines
    }

    /// Writes out what is left of characters that never became whole. Empty if nothing is.
    pub fn finish(&mut self, time: u64) -> String {
        let mut lines = String::new();
        for code in [Code::Output, Code::Input] {
            let left = std::mem::take(if code == Code::Output { &mut self.output } else { &mut self.input });
            if !left.is_empty() {
                lines += &self.event(time, code, &String::from_utf8_lossy(&left));
            }
        }
        lines
    }

    fn text_event(&mut self, time: u64, code: Code, text: &str) -> String {
        if text.is_empty() { String::new() } else { self.event(time, code, text) }
    }

    /// A clock that was set back gives an interval of zero; time goes on from the latest event.
    fn event(&mut self, time: u64, code: Code, data: &str) -> String {
        let interval = time.saturating_sub(self.last);
        self.last = self.last.max(time);
        let (seconds, micros) = (interval / 1_000_000, interval % 1_000_000);
        let data = serde_json::to_string(data).unwrap_or_default();
        let mut line = String::with_capacity(data.len() + 40);
        // Writing to a string cannot fail.
        let _ = write!(line, "[{seconds}.{micros:06},\"{}\",", code.letter());
        line.push_str(&data);
        line.push_str("]\n");
        line
    }
}

/// The text in `carry` and `bytes`; the beginning of a character stays in `carry`. Bytes that cannot be text
/// become U+FFFD, as in a terminal.
fn decode<'a>(carry: &mut Vec<u8>, bytes: &'a [u8]) -> Cow<'a, str> {
    if carry.is_empty()
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    let mut all = std::mem::take(carry);
    all.extend_from_slice(bytes);
    let mut text = String::with_capacity(all.len());
    let mut chunks = all.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        let at_end = chunks.peek().is_none();
        if at_end && is_unfinished(invalid) {
            *carry = invalid.to_vec();
        } else if !invalid.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(text)
}

fn is_unfinished(invalid: &[u8]) -> bool {
    !invalid.is_empty() && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

/// One event of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the start of the recording, in µs.
    pub time: u64,
    /// What happened.
    pub code: Code,
    /// The text, size, label or status.
    pub data: String,
}

impl Event {
    /// Columns and rows of a [`Code::Resize`].
    pub fn size(&self) -> Option<(u16, u16)> {
        let (cols, rows) = self.data.split_once('x')?;
        Some((cols.parse().ok()?, rows.parse().ok()?))
    }
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CastError {
    /// The first line is not an asciicast header.
    #[error("line 1 is not an asciicast header: {0}")]
    Header(String),
    /// The version is not known here.
    #[error("asciicast version {0} cannot be read; versions 2 and 3 can")]
    Version(u64),
    /// A line is neither an event nor a comment.
    #[error("line {line} is not an asciicast event: {reason}")]
    Event {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a recording line by line.
#[derive(Debug)]
pub struct Reader {
    header: Header,
    version: u64,
    line: usize,
    time: u64,
}

impl Reader {
    /// Reads the first line.
    pub fn new(first: &str) -> Result<Reader, CastError> {
        let value: Value = serde_json::from_str(first.trim_start_matches('\u{feff}'))
            .map_err(|error| CastError::Header(error.to_string()))?;
        let version =
            value["version"].as_u64().ok_or_else(|| CastError::Header("it has no version".to_owned()))?;
        let (size, term) = match version {
            2 => ((&value["width"], &value["height"]), &value["env"]["TERM"]),
            3 => ((&value["term"]["cols"], &value["term"]["rows"]), &value["term"]["type"]),
            other => return Err(CastError::Version(other)),
        };
        let dimension = |value: &Value| value.as_u64().and_then(|value| u16::try_from(value).ok());
        let (Some(cols), Some(rows)) = (dimension(size.0), dimension(size.1)) else {
            return Err(CastError::Header("it has no size".to_owned()));
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let header = Header {
            cols,
            rows,
            term: text(term),
            timestamp: value["timestamp"].as_f64().map(|seconds| seconds as u64),
            command: text(&value["command"]),
            title: text(&value["title"]),
        };
        Ok(Reader { header, version, line: 1, time: 0 })
    }

    /// What the first line said.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads a further line. `None` for an empty line, a comment, or an event of a kind that is not known;
    /// the time of the latter still passes.
    pub fn line(&mut self, line: &str) -> Result<Option<Event>, CastError> {
        self.line += 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let fault = |reason: String| CastError::Event { line: self.line, reason };
        let (seconds, letter, data): (f64, String, Value) =
            serde_json::from_str(line).map_err(|error| fault(error.to_string()))?;
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(fault("its time is negative".to_owned()));
        }
        // Six decimals survive a double up to 285 years.
        let micros = (seconds * 1e6).round() as u64;
        self.time = if self.version == 2 { micros } else { self.time.saturating_add(micros) };
        let data = match data {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Code::from_letter(&letter).map(|code| Event { time: self.time, code, data }))
    }
}

#[cfg(test)]
mod tests;
