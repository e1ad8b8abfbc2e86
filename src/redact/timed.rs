//! Masking a stream of moments: what a secret hides may lie across several of them, and each keeps its time.

use std::collections::VecDeque;

use super::{Found, HELD, KEY_LIMIT, Redactor, plain};

/// From how much on the buffer is searched: what is held back is searched again the next time.
const SEARCHED: usize = 64 << 10; // bytes

/// Masks pieces of a stream, each with its time, as if they came in one. Holds the last [`HELD`] bytes back, and
/// up to [`SEARCHED`] until it is worth a search.
#[derive(Debug)]
pub struct TimedStream {
    redactor: Redactor,
    buffer: Vec<u8>,
    /// Time and length of each piece in the buffer.
    pieces: VecDeque<(u64, usize)>,
}

impl Redactor {
    /// A stream of moments that masks what passes through it.
    pub fn timed(&self) -> TimedStream {
        TimedStream { redactor: self.clone(), buffer: Vec::new(), pieces: VecDeque::new() }
    }
}

impl TimedStream {
    /// Takes a piece and gives those that can go out, with their times.
    pub fn push(&mut self, time: u64, bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        self.buffer.extend_from_slice(bytes);
        self.pieces.push_back((time, bytes.len()));
        if self.buffer.len() < SEARCHED {
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
            to = across.start;
        }
        self.give(to, &hidden)
    }

    /// Gives the rest.
    pub fn finish(&mut self) -> Vec<(u64, Vec<u8>)> {
        let hidden = self.redactor.hidden(&self.buffer);
        let given = self.give(self.buffer.len(), &hidden);
        self.buffer.clear();
        self.pieces.clear();
        given
    }

    /// Gives everything before `to`, which no secret crosses; a piece that does is split there.
    fn give(&mut self, to: usize, hidden: &[Found]) -> Vec<(u64, Vec<u8>)> {
        let mut given = Vec::new();
        let mut at = 0;
        while at < to
            && let Some((time, len)) = self.pieces.pop_front()
        {
            let end = (at + len).min(to);
            given.push((time, self.masked(at, end, hidden)));
            if at + len > to {
                self.pieces.push_front((time, at + len - to));
            }
            at = end;
        }
        self.buffer.drain(..at);
        given
    }

    fn masked(&self, from: usize, to: usize, hidden: &[Found]) -> Vec<u8> {
        let mut out = Vec::with_capacity(to - from);
        let mut at = from;
        for found in hidden.iter().filter(|f| f.end > from && f.start < to) {
            let (start, end) = (found.start.max(from), found.end.min(to));
            out.extend_from_slice(&self.buffer[at..start]);
            // The mask stands where the secret begins.
            if found.start >= from {
                out.extend_from_slice(format!("[REDACTED:{}]", found.kind).as_bytes());
            }
            plain::sequences(&self.buffer[start..end], &mut out);
            at = end;
        }
        out.extend_from_slice(&self.buffer[at..to]);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "correct-horse-battery-staple";

    proptest! {
        #[test]
        fn a_secret_is_masked_however_it_is_cut_and_every_time_is_kept(
            before in "[a-z \n]{0,6000}",
            after in "[a-z \n]{0,6000}",
            times in 1..30usize,
            cuts in proptest::collection::vec(1..400usize, 1..40),
        ) {
            // Sometimes more than is searched at once.
            let text = format!("{}{SECRET}{}", before.repeat(times), after.repeat(times));
            let redactor = Redactor::new(&[SECRET.to_owned()]);
            let mut stream = redactor.timed();
            let mut given = Vec::new();
            let (mut rest, mut time) = (text.as_bytes(), 0);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                time += 1;
                given.extend(stream.push(time, piece));
                rest = tail;
            }
            given.extend(stream.finish());
            let whole: Vec<u8> = given.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            prop_assert_eq!(whole, redactor.redact(text.as_bytes()).into_owned());
            prop_assert!(given.is_sorted_by_key(|(time, _)| *time));
            prop_assert_eq!(given.last().map(|(time, _)| *time), Some(time), "nothing is put off to a later moment");
        }
    }
}
