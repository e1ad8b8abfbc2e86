//! Frames for the targets: walking bytes as frames, and setting their checksums right.

use sandbox_guest::frame::{self, HEADER, Head, Kind, MAX_PAYLOAD};

/// `bytes`, with the checksum of each frame in it set right: otherwise nearly every mutation ends there.
/// Lengths, numbers and kinds stay as they are.
pub fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    let mut at = 0;
    while let Some(end) = frame_end(&sealed, at) {
        let crc = crc32c::crc32c(&sealed[at..at + 4]);
        let crc = crc32c::crc32c_append(crc, &sealed[at + 8..end]);
        sealed[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    sealed
}

/// Where the frame that begins at `at` ends, if all of it is there.
pub fn frame_end(bytes: &[u8], at: usize) -> Option<usize> {
    let len = bytes.get(at..at + 4)?.try_into().map(u32::from_le_bytes).ok()? as usize;
    let end = at + HEADER + len;
    (len <= MAX_PAYLOAD && end <= bytes.len()).then_some(end)
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, seq: u64, origin: u64, kind: Kind, payload: &[u8]) {
    frame::encode(&Head { seq, time: 1_790_000_000_000_000 + seq, origin, kind }, payload, out);
}

/// What is read as a frame is written as it was.
pub fn read_as_written(bytes: &[u8]) -> Vec<frame::Frame> {
    let mut rest = bytes;
    let mut found = Vec::new();
    loop {
        let before = rest;
        let Ok(Some(frame)) = frame::read(&mut rest) else { return found };
        let mut again = Vec::new();
        frame::encode(&frame.head, &frame.payload, &mut again);
        assert_eq!(again, before[..before.len() - rest.len()], "a frame is written as it was read");
        found.push(frame);
    }
}
