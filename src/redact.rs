//! Masks secrets on the way out: by value, for what the daemon handed out, and by pattern, for the rest.
//!
//! ```text
//!   bytes ─▶ terminal sequences left out ─▶ search ─▶ ranges of the bytes ─▶ [REDACTED:kind]
//! ```
//!
//! The search does not see colours and cursor movements, so a secret that is drawn in two colours is found;
//! a given value is also found where a line end interrupts it. The sequences themselves stay. The mask has
//! neither quotes nor backslashes and may stand inside a JSON string.
//!
//! What is not seen:
//!
//! - a secret that a full-screen program draws in pieces out of order, or with a frame between the pieces;
//! - a pattern that a line end interrupts (a given value is found there);
//! - values shorter than [`SHORTEST`]: masking them would mask ordinary words;
//! - a secret in another encoding, such as base64; of escapes, only those of JSON are tried;
//! - in a stream, one whose pieces lie further apart than [`HELD`].
//!
//! Tokens that begin with `sandbox` are the placeholders that sessions get instead of a key: no secrets.

mod plain;
mod timed;

pub use timed::TimedStream;

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};

use plain::Plain;

/// Values shorter than this are not masked.
pub const SHORTEST: usize = 8; // bytes

/// What a stream keeps back: the end of it could be the beginning of a secret.
pub const HELD: usize = 4 << 10; // bytes

/// Longer values are looked for in pieces, each of which is masked wherever it stands.
const PIECE: usize = 512; // bytes

/// A private key whose end is further away is masked as far as it looks like one.
const KEY_LIMIT: usize = 16 << 10; // bytes

/// A kind of secret, its pattern, and whether it needs the beginning of a word before it.
struct Kind {
    name: &'static str,
    pattern: &'static str,
    whole_word: bool,
}

const KINDS: [Kind; 13] = [
    kind("anthropic-key", r"sk-ant-[A-Za-z0-9_-]{16,}", false),
    kind("api-key", r"sk-[A-Za-z0-9_-]{20,}", true),
    kind("aws-key", r"(?:AKIA|ASIA)[A-Z0-9]{16}", true),
    kind(
        "aws-secret",
        r"(?:SECRET_ACCESS_KEY|secret_access_key)[\x22' ]{0,3}[=:][\x22' ]{0,3}[A-Za-z0-9/+]{40}",
        false,
    ),
    kind("github-token", r"github_pat_[A-Za-z0-9_]{22,}", false),
    kind("github-token", r"gh[pousr]_[A-Za-z0-9]{36,}", false),
    kind("slack-token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}", false),
    kind("google-key", r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,}", true),
    kind("stripe-key", r"[sr]k_live_[A-Za-z0-9]{16,}", true),
    kind("package-token", r"npm_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20,}|pypi-[A-Za-z0-9_-]{40,}", true),
    kind("jwt", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}", true),
    kind("bearer", r"(?:Bearer|bearer|BEARER)(?: |%20)[A-Za-z0-9._~+/=-]{16,}", true),
    kind(PRIVATE_KEY, r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", false),
];

const PRIVATE_KEY: &str = "private-key";

const fn kind(name: &'static str, pattern: &'static str, whole_word: bool) -> Kind {
    Kind { name, pattern, whole_word }
}

/// Masks secrets.
#[derive(Clone, Debug)]
pub struct Redactor {
    patterns: Regex,
    /// One for each of [`KINDS`], anchored.
    kinds: Vec<Regex>,
    values: Option<Regex>,
}

/// A range of plain bytes that must not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    start: usize,
    end: usize,
    kind: &'static str,
}

impl Redactor {
    /// Masks `values` and everything that looks like a secret.
    pub fn new(values: &[String]) -> Redactor {
        let all = KINDS.map(|kind| format!("(?:{})", kind.pattern)).join("|");
        let anchored = |kind: &Kind| compile(&format!("^(?:{})", kind.pattern));
        Redactor {
            patterns: compile(&all),
            kinds: KINDS.iter().map(anchored).collect(),
            values: values_pattern(values).map(|pattern| compile(&pattern)),
        }
    }

    /// `bytes` with every secret in them masked.
    pub fn redact<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let hidden = self.hidden(bytes);
        if hidden.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        mask(bytes, &hidden, &mut out);
        Cow::Owned(out)
    }

    /// A stream that masks what passes through it.
    pub fn stream(&self) -> RedactStream {
        RedactStream { redactor: self.clone(), buffer: Vec::new(), seen: 0 }
    }

    /// The ranges of `bytes` to mask, in order and apart from each other.
    fn hidden(&self, bytes: &[u8]) -> Vec<Found> {
        let plain = Plain::without_sequences(bytes);
        let mut all: Vec<Found> = self.matches(plain.text()).map(|found| plain.raw(found)).collect();
        if let Some(values) = &self.values {
            let joined = plain.without_line_ends();
            let found: Vec<Found> = overlapping(values, joined.text()).collect();
            all.extend(found.into_iter().map(|found| joined.raw(found)));
            // A value's beginning may look like the end of a sequence that stands before it.
            all.extend(overlapping(values, bytes));
        }
        all.sort_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        let mut apart: Vec<Found> = Vec::new();
        for found in all {
            match apart.last_mut() {
                Some(last) if found.start < last.end => last.end = last.end.max(found.end),
                _ => apart.push(found),
            }
        }
        apart
    }

    fn matches<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Found> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            while let Some(candidate) = self.patterns.find_at(text, from) {
                let found = self.judge(text, candidate.start());
                from = found.map_or(candidate.start() + 1, |found| found.end);
                if found.is_some() {
                    return found;
                }
            }
            None
        })
    }

    /// What secret, if any, begins at `start`.
    fn judge(&self, text: &[u8], start: usize) -> Option<Found> {
        // Terminal sequences are gone from the text, so a letter before is a letter of the same word.
        let in_word = start > 0 && text[start - 1].is_ascii_alphanumeric();
        for (kind, pattern) in KINDS.iter().zip(&self.kinds) {
            let Some(found) = pattern.find(&text[start..]) else { continue };
            if (kind.whole_word && in_word) || is_placeholder(found.as_bytes()) {
                continue;
            }
            let end = start + found.end();
            let end = if kind.name == PRIVATE_KEY { key_end(text, end) } else { end };
            // The word before a token says what it is, and is none of it.
            let skip = match kind.name {
                "bearer" => token_start(found.as_bytes()),
                "aws-secret" => found.len() - 40,
                _ => 0,
            };
            return Some(Found { start: start + skip, end, kind: kind.name });
        }
        None
    }
}

fn compile(pattern: &str) -> Regex {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(64 << 20)
        .dfa_size_limit(8 << 20)
        .build()
        .expect("the patterns are constant, and values are escaped and cut to pieces")
}

fn is_placeholder(secret: &[u8]) -> bool {
    let token = secret.strip_prefix(b"sk-ant-").unwrap_or(&secret[token_start(secret)..]);
    token.starts_with(b"sandbox")
}

fn token_start(secret: &[u8]) -> usize {
    match secret {
        [b'B' | b'b', b'E' | b'e', b'A' | b'a', _, _, _, b'%', ..] => "Bearer%20".len(),
        [b'B' | b'b', b'E' | b'e', b'A' | b'a', _, _, _, b' ', ..] => "Bearer ".len(),
        _ => 0,
    }
}

/// Where the private key ends whose first line ends at `body`.
fn key_end(text: &[u8], body: usize) -> usize {
    const END: &[u8] = b"-----END ";
    let window = &text[body..text.len().min(body + KEY_LIMIT)];
    let mine = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\\\r\n".contains(byte);
    let header = |byte: &u8| mine(byte) || b" ,:-".contains(byte);
    if let Some(at) = memchr::memmem::find(window, END).filter(|&at| window[..at].iter().all(header)) {
        let rest = &window[at + END.len()..];
        let label =
            rest.iter().position(|byte| !(byte.is_ascii_uppercase() || *byte == b' ')).unwrap_or(rest.len());
        let dashes = rest[label..].iter().take(5).take_while(|byte| **byte == b'-').count();
        return body + at + END.len() + label + dashes;
    }
    body + window.iter().position(|byte| !mine(byte)).unwrap_or(window.len())
}

/// All places where `pattern` begins, also inside one another.
fn overlapping<'t>(pattern: &'t Regex, text: &'t [u8]) -> impl Iterator<Item = Found> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let found = pattern.find_at(text, from)?;
        from = found.start() + 1;
        Some(Found { start: found.start(), end: found.end(), kind: "value" })
    })
}

/// An alternation of the values' pieces, the longest first; `None` if there are none.
fn values_pattern(values: &[String]) -> Option<String> {
    let mut pieces: Vec<String> = Vec::new();
    for value in values {
        let escaped = serde_json::to_string(value).unwrap_or_default();
        for form in [value.as_str(), escaped.trim_matches('"')] {
            // Line ends are not in the text that is searched.
            let form: String = form.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            pieces.extend(cut(&form).filter(|piece| piece.len() >= SHORTEST).map(regex::escape));
        }
    }
    pieces.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    pieces.dedup();
    (!pieces.is_empty()).then(|| pieces.join("|"))
}

fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let piece = &rest[..rest.floor_char_boundary(PIECE)];
        rest = &rest[piece.len()..];
        (!piece.is_empty()).then_some(piece)
    })
}

/// Appends `bytes` with what is hidden masked. Sequences and line ends inside a secret stay, after its mask.
fn mask(bytes: &[u8], hidden: &[Found], out: &mut Vec<u8>) {
    let mut from = 0;
    for found in hidden {
        out.extend_from_slice(&bytes[from..found.start]);
        out.extend_from_slice(format!("[REDACTED:{}]", found.kind).as_bytes());
        plain::sequences(&bytes[found.start..found.end], out);
        from = found.end;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Masks what passes, in pieces of any size, as if it came in one.
///
/// Keeps up to about twice [`HELD`] back until more comes or the stream ends; for files, not for watching.
#[derive(Debug)]
pub struct RedactStream {
    redactor: Redactor,
    buffer: Vec<u8>,
    /// How much of the buffer's beginning has gone out and is kept to tell what stands before the rest.
    seen: usize,
}

impl RedactStream {
    /// Takes `bytes` and gives what can go out.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < self.seen + 2 * HELD {
            return Vec::new();
        }
        let hidden = self.redactor.hidden(&self.buffer);
        let end = self.buffer.len();
        let mut to = end - HELD;
        // What reaches the end may go on: all of it waits, unless it is longer than anything that should.
        if let Some(last) = hidden.last().filter(|last| last.end + 1 >= end && last.start + KEY_LIMIT > end) {
            to = to.min(last.start);
        }
        if let Some(across) = hidden.iter().find(|found| found.start < to && found.end > to) {
            to = across.end;
        }
        self.give(to, &hidden)
    }

    /// Gives the rest.
    pub fn finish(mut self) -> Vec<u8> {
        let hidden = self.redactor.hidden(&self.buffer);
        self.give(self.buffer.len(), &hidden)
    }

    fn give(&mut self, to: usize, hidden: &[Found]) -> Vec<u8> {
        const CONTEXT: usize = 32; // bytes
        let mut out = Vec::with_capacity(to.saturating_sub(self.seen));
        if to > self.seen {
            let due: Vec<Found> = hidden
                .iter()
                .filter(|found| found.end > self.seen && found.end <= to)
                .map(|found| Found {
                    start: found.start.saturating_sub(self.seen),
                    end: found.end - self.seen,
                    ..*found
                })
                .collect();
            mask(&self.buffer[self.seen..to], &due, &mut out);
            self.seen = to;
        }
        let forget = plain::outside(&self.buffer, self.seen.saturating_sub(CONTEXT));
        self.buffer.drain(..forget);
        self.seen -= forget;
        out
    }
}

#[cfg(test)]
mod tests;
