//! Keyframes: screens along a session, so that joining, seeking and taking over need not begin at the start.
//!
//! One file, `keyframes`, of records: length `u32`, CRC-32C `u32`, then JSON head, newline, screen bytes. It
//! can be thrown away: what is missing or damaged costs time, never content. Opening keeps the good
//! beginning and cuts the rest.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::Position;

/// The longest record that is believed.
const LONGEST: u32 = 16 << 20; // bytes

/// A screen at one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyframe {
    /// The last frame that the screen shows.
    pub seq: u64,
    /// When, in µs since the Unix epoch.
    pub time: u64,
    /// Where the frame after it begins, or the segment ends.
    pub position: Position,
    /// Bytes of output up to there.
    pub output_bytes: u64,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// ANSI that restores the screen on a fresh terminal of this size.
    pub screen: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    seq: u64,
    time: u64,
    position: Position,
    output_bytes: u64,
    cols: u16,
    rows: u16,
    #[serde(skip)]
    at: u64,
}

/// The keyframes of a session.
pub struct Index {
    file: File,
    entries: Vec<Entry>,
    end: u64,
}

impl Index {
    /// Opens the index in a session's folder, or begins one.
    pub fn open(dir: &Path) -> io::Result<Index> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("keyframes"))?;
        let mut index = Index { file, entries: Vec::new(), end: 0 };
        while let Some((entry, _, end)) = index.read_at(index.end)? {
            index.entries.push(entry);
            index.end = end;
        }
        index.file.set_len(index.end)?;
        Ok(index)
    }

    /// Adds the next keyframe.
    pub fn push(&mut self, keyframe: Keyframe) -> io::Result<()> {
        let Keyframe { seq, time, position, output_bytes, cols, rows, screen } = keyframe;
        let entry = Entry { seq, time, position, output_bytes, cols, rows, at: self.end };
        let mut body = serde_json::to_vec(&entry)?;
        body.push(b'\n');
        body.extend_from_slice(&screen);
        let mut record = Vec::with_capacity(8 + body.len());
        record.extend_from_slice(&u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes());
        record.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        record.extend_from_slice(&body);
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&record)?;
        self.end += record.len() as u64;
        self.entries.push(entry);
        Ok(())
    }

    /// Forgets those that stand for frames after this one: a journal that was cut has other frames there now.
    pub fn forget_after(&mut self, seq: u64) -> io::Result<()> {
        if let Some(first) = self.entries.iter().position(|entry| entry.seq > seq) {
            self.end = self.entries[first].at;
            self.entries.truncate(first);
            self.file.set_len(self.end)?;
        }
        Ok(())
    }

    /// The last one.
    pub fn last(&self) -> Option<Keyframe> {
        self.entries.last().and_then(|entry| self.load(entry))
    }

    /// Bytes of output up to the last one.
    pub fn output_bytes(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.output_bytes)
    }

    /// The last one at or before a moment, in µs since the Unix epoch.
    pub fn at_or_before(&self, time: u64) -> Option<Keyframe> {
        let after = self.entries.partition_point(|entry| entry.time <= time);
        self.entries[..after].last().and_then(|entry| self.load(entry))
    }

    fn load(&self, entry: &Entry) -> Option<Keyframe> {
        let (_, screen, _) = self.read_at(entry.at).ok()??;
        let Entry { seq, time, position, output_bytes, cols, rows, .. } = *entry;
        Some(Keyframe { seq, time, position, output_bytes, cols, rows, screen })
    }

    /// The record at a byte, its screen, and where it ends; `None` where there is no good one.
    fn read_at(&self, at: u64) -> io::Result<Option<(Entry, Vec<u8>, u64)>> {
        let mut file = BufReader::new(&self.file);
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 8];
        if file.read_exact(&mut head).is_err() {
            return Ok(None);
        }
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let mut body = Vec::new();
        file.take(u64::from(len.min(LONGEST))).read_to_end(&mut body)?;
        if body.len() as u64 != u64::from(len) || crc32c::crc32c(&body) != crc {
            return Ok(None);
        }
        let Some(end) = body.iter().position(|b| *b == b'\n') else { return Ok(None) };
        let Ok(entry) = serde_json::from_slice::<Entry>(&body[..end]) else { return Ok(None) };
        let screen = body.split_off(end + 1);
        Ok(Some((Entry { at, ..entry }, screen, at + 8 + u64::from(len))))
    }
}
