//! Text without the terminal's sequences, and the way back to the bytes it came from.

use std::borrow::Cow;

use super::Found;

const ESC: u8 = 0x1b;

/// The text of some bytes.
pub(super) struct Plain<'a> {
    text: Cow<'a, [u8]>,
    /// Where each uninterrupted piece begins: in the text, and in the bytes.
    pieces: Vec<(usize, usize)>,
}

impl<'a> Plain<'a> {
    /// `bytes` without sequences and control characters, but with line ends and tabs.
    ///
    /// Of a string sequence, such as a title or a link, only the brackets go: what is in it is text too.
    pub fn without_sequences(bytes: &'a [u8]) -> Plain<'a> {
        let mut plain = Plain { text: Cow::Borrowed(&[]), pieces: Vec::new() };
        let mut from = 0;
        while from < bytes.len() {
            let stop = bytes[from..].iter().position(|&byte| is_sequence(byte));
            let to = stop.map_or(bytes.len(), |at| from + at);
            if from == 0 && to == bytes.len() {
                return Plain { text: Cow::Borrowed(bytes), pieces: vec![(0, 0)] };
            }
            plain.add(&bytes[from..to], from);
            from = to + sequence_len(&bytes[to..]);
        }
        plain
    }

    /// The same text without line ends.
    pub fn without_line_ends(&'a self) -> Plain<'a> {
        let mut joined = Plain { text: Cow::Borrowed(&[]), pieces: Vec::new() };
        let bounds = self.pieces.iter().skip(1).map(|piece| piece.0).chain([self.text.len()]);
        for (&(start, raw), end) in self.pieces.iter().zip(bounds) {
            let mut from = start;
            let ends = memchr::memchr2_iter(b'\r', b'\n', &self.text[start..end]).map(|at| start + at);
            for to in ends.chain([end]) {
                joined.add(&self.text[from..to], raw + from - start);
                from = to + 1;
            }
        }
        joined
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// A range of the text as a range of the bytes.
    pub fn raw(&self, found: Found) -> Found {
        Found { start: self.raw_at(found.start), end: self.raw_at(found.end - 1) + 1, ..found }
    }

    fn raw_at(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|piece| piece.0 <= at) - 1;
        let (start, raw) = self.pieces[piece];
        raw + at - start
    }

    fn add(&mut self, piece: &[u8], raw: usize) {
        if !piece.is_empty() {
            self.pieces.push((self.text.len(), raw));
            self.text.to_mut().extend_from_slice(piece);
        }
    }
}

fn is_sequence(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n') || byte == 0x7f
}

/// Length of the sequence, or part of one, that `bytes` begin with; at least 1.
fn sequence_len(bytes: &[u8]) -> usize {
    match bytes {
        [ESC, b'[', rest @ ..] => {
            let last = rest.iter().position(|byte| !(0x20..=0x3f).contains(byte));
            2 + last.map_or(rest.len(), |at| at + usize::from((0x40..=0x7e).contains(&rest[at])))
        }
        [ESC, b'(' | b')' | b'*' | b'+' | b'#' | b'%' | b' ', _, ..] => 3,
        [ESC, 0x20..=0x7e, ..] => 2,
        _ => 1,
    }
}

/// Appends only what is no text: sequences, control characters and line ends.
pub(super) fn sequences(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| is_sequence(byte) || matches!(byte, b'\r' | b'\n')) {
        let len = sequence_len(&rest[at..]);
        out.extend_from_slice(&rest[at..at + len]);
        rest = &rest[at + len..];
    }
}

/// The last place up to `at` that is not inside a sequence that ends after it.
pub(super) fn outside(bytes: &[u8], at: usize) -> usize {
    let from = at.saturating_sub(256);
    match memchr::memrchr(ESC, &bytes[from..at]).map(|back| from + back) {
        Some(start) if start + sequence_len(&bytes[start..]) > at => start,
        _ => at,
    }
}
