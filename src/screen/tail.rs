//! What the parser has swallowed without an effect yet: the end of the stream, if it stops inside a sequence.
//!
//! An ESC aborts whatever was open, so the last ESC alone decides whether the stream stops inside a
//! sequence. The states mirror those of `vte`, where the bytes go.

use memchr::{memchr2, memchr3, memrchr};

/// A sequence longer than this loses its end: nothing that the model understands is as long.
pub(super) const LIMIT: usize = 16 << 10; // bytes

const ESC: u8 = 0x1b;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const BEL: u8 = 0x07;
/// String terminator in one byte; `vte` takes it in the body of a device control string only.
const ST: u8 = 0x9c;

/// The open sequence at the end of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    state: State,
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    EscapeIntermediate,
    Csi,
    Osc,
    DcsHead,
    DcsIntermediate,
    DcsIgnore,
    DcsBody,
    Other,
}

impl Tail {
    /// The bytes of the open sequence; none if the stream stops between sequences.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// True if the stream stops between sequences.
    pub fn is_ground(&self) -> bool {
        self.state == State::Ground
    }

    /// How many of `bytes` belong to a sequence that is too long already, and must not reach the parser,
    /// which would keep them.
    pub fn excess(&self, bytes: &[u8]) -> usize {
        if self.held.len() < LIMIT {
            return 0;
        }
        let end = bytes.iter().position(|&byte| byte == ESC || ends(self.state, byte));
        end.unwrap_or(bytes.len())
    }

    /// Takes note of what the parser gets.
    pub fn note(&mut self, bytes: &[u8]) {
        let rest = match memrchr(ESC, bytes) {
            Some(at) => {
                self.state = State::Escape;
                self.held.clear();
                self.held.push(ESC);
                &bytes[at + 1..]
            }
            None => bytes,
        };
        self.walk(rest);
        if self.state == State::Ground {
            self.held.clear();
        }
    }

    fn walk(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            let string = match self.state {
                State::Ground => return,
                State::Osc => memchr3(BEL, CAN, SUB, bytes),
                State::DcsBody => memchr3(ST, CAN, SUB, bytes),
                State::DcsIgnore | State::Other => memchr2(CAN, SUB, bytes),
                _ => {
                    self.step(byte);
                    bytes = &bytes[1..];
                    continue;
                }
            };
            if string.is_some() {
                self.state = State::Ground;
                return;
            }
            self.hold(bytes);
            return;
        }
    }

    fn step(&mut self, byte: u8) {
        if byte == CAN || byte == SUB {
            self.state = State::Ground;
            return;
        }
        if !(0x20..0x7f).contains(&byte) {
            return; // Ignored, or executed at once: no part of the sequence.
        }
        self.hold(&[byte]);
        self.state = match (self.state, byte) {
            (State::Escape, 0x20..=0x2f) => State::EscapeIntermediate,
            (State::Escape, b'[') => State::Csi,
            (State::Escape, b']') => State::Osc,
            (State::Escape, b'P') => State::DcsHead,
            (State::Escape, b'X' | b'^' | b'_') => State::Other,
            (State::Escape, _) => State::Ground,
            (State::EscapeIntermediate, 0x30..) => State::Ground,
            (State::Csi, 0x40..) => State::Ground,
            (State::DcsHead, 0x20..=0x2f) => State::DcsIntermediate,
            (State::DcsHead, 0x3c..=0x3f) if self.held.len() > 3 => State::DcsIgnore,
            (State::DcsIntermediate, 0x30..=0x3f) => State::DcsIgnore,
            (State::DcsHead | State::DcsIntermediate, 0x40..) => State::DcsBody,
            (state, _) => state,
        };
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = LIMIT - self.held.len();
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn ends(state: State, byte: u8) -> bool {
    matches!(
        (state, byte),
        (_, CAN | SUB)
            | (State::Osc, BEL)
            | (State::DcsBody, ST)
            | (State::Csi | State::DcsHead | State::DcsIntermediate, 0x40..=0x7e)
            | (State::EscapeIntermediate, 0x30..=0x7e)
    )
}

/// How many bytes at the end of `text` are the beginning of a character. What no further byte can complete,
/// such as half of a surrogate, is none.
pub(super) fn unfinished_char(text: &[u8]) -> usize {
    let ends = (1..=text.len().min(3)).find(|back| !(0x80..=0xbf).contains(&text[text.len() - back]));
    let Some(back) = ends else { return 0 };
    let begun = std::str::from_utf8(&text[text.len() - back..]);
    if begun.is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0) { back } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(pieces: &[&[u8]]) -> Vec<u8> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.note(piece);
        }
        tail.held().to_vec()
    }

    #[test]
    fn what_is_complete_leaves_nothing() {
        for text in [&b"plain"[..], b"\x1b[31mred", b"\x1b]0;t\x07x", b"\x1b]0;t\x1b\\", b"\x1b(0", b"\x1b7"]
        {
            assert_eq!(held(&[text]), b"", "{text:?}");
        }
    }

    #[test]
    fn an_open_sequence_is_held_wherever_it_was_cut() {
        assert_eq!(held(&[b"a\x1b[3", b"1;", b"4"]), b"\x1b[31;4");
        assert_eq!(held(&[b"\x1b]0;ti", b"tle"]), b"\x1b]0;title");
        assert_eq!(held(&[b"\x1bPq#0;", b"2"]), b"\x1bPq#0;2");
        assert_eq!(held(&[b"\x1b", b"("]), b"\x1b(");
        assert_eq!(held(&[b"\x1b]0;t\x1b"]), b"\x1b");
    }

    #[test]
    fn what_is_executed_inside_a_sequence_is_not_held() {
        assert_eq!(held(&[b"\x1b[3\n1"]), b"\x1b[31");
    }

    #[test]
    fn cancel_ends_everything() {
        for text in [&b"\x1b[3\x18"[..], b"\x1b]0;t\x1a", b"\x1bPq\x18", b"\x1b_x\x18"] {
            assert_eq!(held(&[text]), b"", "{text:?}");
        }
    }

    #[test]
    fn an_endless_string_is_bounded_and_its_excess_kept_from_the_parser() {
        let mut tail = Tail::default();
        tail.note(b"\x1b]52;c;");
        for _ in 0..100 {
            let excess = tail.excess(&[b'A'; 1024]);
            tail.note(&[b'A'; 1024][excess..]);
        }
        assert_eq!(tail.held().len(), LIMIT);
        assert_eq!(tail.excess(b"AAA\x07text"), 3);
        tail.note(b"\x07text");
        assert!(tail.is_ground());
    }

    #[test]
    fn the_beginning_of_a_character_is_seen() {
        assert_eq!(unfinished_char("é".as_bytes()), 0);
        assert_eq!(unfinished_char(&"é".as_bytes()[..1]), 1);
        assert_eq!(unfinished_char(&"x€".as_bytes()[..3]), 2);
        assert_eq!(unfinished_char(&"🦀".as_bytes()[..3]), 3);
        assert_eq!(unfinished_char(b"\x80\x80\x80\x80"), 0);
        assert_eq!(unfinished_char(b"abc"), 0);
    }
}
