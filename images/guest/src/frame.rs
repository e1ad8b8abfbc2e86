//! A frame: the unit of the guest's spool, of the control connection and of the daemon's journal.
//!
//! ```text
//!  0        4        8                16               24               32   33
//!  ┌────────┬────────┬────────────────┬────────────────┬────────────────┬────┬─────────┐
//!  │ length │ CRC-32C│      seq       │     time       │     origin     │kind│ payload │
//!  │  u32   │  u32   │      u64       │  u64, µs       │      u64       │ u8 │ length B│
//!  └────────┴────────┴────────────────┴────────────────┴────────────────┴────┴─────────┘
//! ```
//!
//! All integers are little-endian. `length` counts the payload alone. The checksum covers the whole
//! frame but itself. `seq` numbers the frames of the log that a frame stands in (the journal counts its
//! own); `origin` is the number that the guest gave the record, so that a record sent twice is known by
//! it, and 0 for a frame that the daemon made itself.

use std::{
    fs::File,
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
};

/// Bytes before the payload.
pub const HEADER: usize = 33;

/// The longest payload, in bytes: the gateway's body limit and some room.
pub const MAX_PAYLOAD: usize = 32 << 20;

/// How much is checksummed in the search for frames behind a bad one. Chance makes little that is worth a look;
/// somebody who prints headers all day makes more.
const SEARCH: usize = 512 << 20; // bytes

/// What a frame holds. Kinds below 64 are recorded; those from 64 on are only ever on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Bytes that the program wrote to its terminal.
    Output = 1,
    /// Bytes typed into the terminal; recorded only where the profile says so.
    Input = 2,
    /// The terminal's new size: columns `u16`, rows `u16`.
    Resize = 3,
    /// A label that somebody set at this moment, UTF-8.
    Marker = 4,
    /// `ExportTraceServiceRequest`, protobuf, stamped.
    Traces = 5,
    /// `ExportMetricsServiceRequest`, protobuf, stamped.
    Metrics = 6,
    /// `ExportLogsServiceRequest`, protobuf, stamped.
    Logs = 7,
    /// A hook's question and the answer it got, JSON.
    Hook = 8,
    /// A message between Claude Code and a stdio MCP server, JSON.
    Mcp = 9,
    /// A call of the model API, JSON.
    Model = 10,
    /// An attempt to reach the network, JSON.
    Egress = 11,
    /// A step of the session's life, JSON.
    Lifecycle = 12,
    /// A piece of one of the client's own transcripts: see [`crate::wire::FilePiece`].
    Transcript = 13,
    /// What was injected into the container, secrets masked, JSON.
    Injected = 14,
    /// The first frame of a journal segment, JSON: which session, and the hash so far.
    Segment = 15,
    /// The last frame of a sealed journal, JSON: the last hash and its signature.
    Seal = 16,
    /// A request that the guest answered itself while the daemon was away; see
    /// [`crate::wire::SpooledRequest`]. On the wire and in the spool; the journal holds what it decodes to.
    Request = 17,

    /// The guest's greeting, JSON [`crate::wire::Hello`].
    Hello = 64,
    /// An order to the guest, JSON [`crate::wire::Order`].
    Order = 65,
    /// The guest cannot write its spool, so that everything waits: why, UTF-8; empty when it can again.
    Stalled = 66,
}

impl Kind {
    /// The kind with this number.
    pub fn from_u8(n: u8) -> Option<Kind> {
        use Kind::*;
        Some(match n {
            1 => Output,
            2 => Input,
            3 => Resize,
            4 => Marker,
            5 => Traces,
            6 => Metrics,
            7 => Logs,
            8 => Hook,
            9 => Mcp,
            10 => Model,
            11 => Egress,
            12 => Lifecycle,
            13 => Transcript,
            14 => Injected,
            15 => Segment,
            16 => Seal,
            17 => Request,
            64 => Hello,
            65 => Order,
            66 => Stalled,
            _ => return None,
        })
    }

    /// The kind's name, as the timeline, the CLI's `--kind` and the bundle's counts spell it.
    pub fn name(self) -> &'static str {
        use Kind::*;
        match self {
            Output => "output",
            Input => "input",
            Resize => "resize",
            Marker => "marker",
            Traces => "traces",
            Metrics => "metrics",
            Logs => "logs",
            Hook => "hook",
            Mcp => "mcp",
            Model => "model",
            Egress => "egress",
            Lifecycle => "lifecycle",
            Transcript => "transcript",
            Injected => "injected",
            Segment => "segment",
            Seal => "seal",
            Request => "request",
            Hello => "hello",
            Order => "order",
            Stalled => "stalled",
        }
    }
}

/// Everything of a frame but its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The frame's number in its log, from 1.
    pub seq: u64,
    /// When it happened, in µs since the Unix epoch.
    pub time: u64,
    /// The guest's number for the record, or 0.
    pub origin: u64,
    /// What the payload is.
    pub kind: Kind,
}

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Everything but the payload.
    pub head: Head,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The input ends inside a frame: a torn tail, or simply not all of it yet.
    #[error("the input ends inside a frame")]
    Torn,
    /// The checksum does not match.
    #[error("a frame's checksum is wrong")]
    Checksum,
    /// The length is beyond [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is longer than the {MAX_PAYLOAD} allowed")]
    TooLong(usize),
    /// The kind is none that this version knows.
    #[error("a frame is of the unknown kind {0}")]
    UnknownKind(u8),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Encodes the header of a frame, checksum included, for a payload that is written right after it.
pub fn header(head: &Head, payload: &[u8]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&head.seq.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.time.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.origin.to_le_bytes());
    bytes[32] = head.kind as u8;
    let crc = checksum(&bytes, payload);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Appends the whole frame to `out`.
pub fn encode(head: &Head, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(head, payload));
    out.extend_from_slice(payload);
}

/// Writes one frame.
pub fn write(to: &mut impl Write, head: &Head, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    encode(head, payload, &mut frame);
    to.write_all(&frame)
}

/// Writes a frame whose header is made already, with one call where the system takes it whole.
pub fn write_parts(to: &mut impl Write, header: &[u8; HEADER], payload: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(header), IoSlice::new(payload)];
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match to.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A payload may be empty, and an empty slice is never written.
        while left.first().is_some_and(|slice| slice.is_empty()) {
            left = &mut left[1..];
        }
    }
    Ok(())
}

/// Reads one frame; `None` when the input ends before its first byte.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>, FrameError> {
    let mut bytes = [0; HEADER];
    match read_full(from, &mut bytes)? {
        0 => return Ok(None),
        HEADER => {}
        _ => return Err(FrameError::Torn),
    }
    let mut payload = vec![0; payload_len(&bytes)?];
    if read_full(from, &mut payload)? < payload.len() {
        return Err(FrameError::Torn);
    }
    let head = check(&bytes, &payload)?;
    Ok(Some(Frame { head, payload }))
}

/// How many payload bytes follow this header.
pub fn payload_len(header: &[u8; HEADER]) -> Result<usize, FrameError> {
    let len = u32_at(header, 0) as usize;
    if len > MAX_PAYLOAD { Err(FrameError::TooLong(len)) } else { Ok(len) }
}

/// Checks a header against its payload and decodes it.
pub fn check(header: &[u8; HEADER], payload: &[u8]) -> Result<Head, FrameError> {
    if u32_at(header, 4) != checksum(header, payload) {
        return Err(FrameError::Checksum);
    }
    Ok(Head {
        seq: u64_at(header, 8),
        time: u64_at(header, 16),
        origin: u64_at(header, 24),
        kind: Kind::from_u8(header[32]).ok_or(FrameError::UnknownKind(header[32]))?,
    })
}

/// The last good frame's number in `bytes`, which begin where frame `number` should, and where none is whole: a
/// length that points past what is there looks like a torn tail, and only what stands behind it tells them apart.
///
/// What looks like a frame may be a payload's, so only numbers count that could stand where they do. Where there is
/// too much of that to look at, one that might be good counts as good.
pub fn last_behind(bytes: &[u8], number: u64) -> Option<u64> {
    let (mut last, mut begins, mut found) = (number, 0, None);
    let (mut at, mut left) = (HEADER, SEARCH);
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let seq = u64_at(header, 8);
        // Each frame between takes a header at least.
        let fits = seq > last && seq - last <= ((at - begins) / HEADER) as u64;
        let payload = payload_len(header).ok().and_then(|len| bytes.get(at + HEADER..at + HEADER + len));
        match payload.filter(|_| fits && Kind::from_u8(header[32]).is_some()) {
            Some(payload) if left < payload.len() => return Some(seq),
            Some(payload) if check(header, payload).is_ok() => {
                (last, begins, found) = (seq, at, Some(seq));
                at += HEADER + payload.len();
            }
            Some(payload) => {
                left -= payload.len();
                at += 1;
            }
            None => at += 1,
        }
    }
    found
}

/// The same, of a file from `offset` on, of which at most `most` bytes are looked at. Moves where it is read.
pub fn last_behind_in(mut file: &File, offset: u64, number: u64, most: u64) -> io::Result<Option<u64>> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(most).read_to_end(&mut rest)?;
    Ok(last_behind(&rest, number))
}

fn checksum(header: &[u8; HEADER], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&header[0..4]);
    let crc = crc32c::crc32c_append(crc, &header[8..]);
    crc32c::crc32c_append(crc, payload)
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match from.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        Head { seq: 7, time: 1_700_000_000_000_000, origin: 5, kind: Kind::Output }
    }

    proptest! {
        #[test]
        fn reads_what_was_written(payload: Vec<u8>) {
            let mut bytes = Vec::new();
            encode(&head(), &payload, &mut bytes);
            let frame = read(&mut bytes.as_slice()).expect("a good frame").expect("one frame");
            prop_assert_eq!(frame, Frame { head: head(), payload });
        }

        #[test]
        fn any_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..64), at: proptest::sample::Index, bit in 0..8u8) {
            let mut bytes = Vec::new();
            encode(&head(), &payload, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(!matches!(read(&mut bytes.as_slice()), Ok(Some(_))));
        }
    }

    #[test]
    fn every_cut_is_torn() {
        let mut bytes = Vec::new();
        encode(&head(), b"payload", &mut bytes);
        for cut in 1..bytes.len() {
            assert!(matches!(read(&mut &bytes[..cut]), Err(FrameError::Torn)), "cut at {cut}");
        }
        assert!(matches!(read(&mut &bytes[..0]), Ok(None)));
    }

    proptest! {
        #[test]
        fn what_stands_behind_a_wrong_length_is_found(
            lengths in proptest::collection::vec(0..90usize, 2..8),
            wrong in any::<u32>(),
            torn in 0..40usize,
        ) {
            let mut bytes = Vec::new();
            for (number, len) in (7..).zip(&lengths) {
                encode(&Head { seq: number, ..head() }, &vec![0; *len], &mut bytes);
            }
            bytes[..4].copy_from_slice(&wrong.to_le_bytes());
            let last = 6 + lengths.len() as u64;
            encode(&Head { seq: last + 1, ..head() }, &[1; 40], &mut bytes);
            bytes.truncate(bytes.len() - 1 - torn);
            prop_assert_eq!(last_behind(&bytes, 7), Some(last));
        }

        #[test]
        fn nothing_is_found_behind_a_torn_frame(payload: Vec<u8>, cut in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&head(), &payload, &mut bytes);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(last_behind(&bytes, 7), None);
        }
    }

    #[test]
    fn bytes_that_look_like_frames_for_ever_are_not_searched_for_ever() {
        let mut header = header(&Head { seq: 8, ..head() }, &[]);
        header[0..4].copy_from_slice(&(1u32 << 20).to_le_bytes());
        assert_eq!(last_behind(&header.repeat((4 << 20) / HEADER), 7), Some(8));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for n in 0..=255 {
            if let Some(kind) = Kind::from_u8(n) {
                assert_eq!(kind as u8, n);
            }
        }
    }
}
