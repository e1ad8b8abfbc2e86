//! Files of a bundle before it is one: hashed as they are written, and packed on a thread of their own.
//!
//! ```text
//!   Stage ─ mask, hash, cut into blocks ─▶ (bounded) ─▶ Packer: deflate ─▶ one unnamed temporary file
//! ```
//!
//! Each block is deflated by itself and ends at a byte, so that blocks follow each other in one gzip stream in
//! whatever order they were made (RFC 1951, 3.2.3; as pigz does). Where the blocks end depends on the content
//! alone: the same content gives the same bytes.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use flate2::{Compress, Compression, Crc, FlushCompress};
use sha2::{Digest, Sha256};

use crate::{
    keys::hex,
    redact::{RedactStream, Redactor},
};

/// What is deflated at once, of a file that may be long. Longer would pack no better and wait for longer.
const BLOCK: usize = 512 << 10; // bytes
/// The same, of files that there may be a thousand of.
const SMALL: usize = 32 << 10; // bytes
/// Blocks that wait for the packer; whoever makes more waits.
const WAITING: usize = 8;
/// How hard to try: as hard as `gzip` does unasked.
const LEVEL: u32 = 6;

/// Packs blocks on a thread of its own.
pub(super) struct Packer {
    blocks: SyncSender<(usize, Vec<u8>)>,
    thread: JoinHandle<io::Result<(File, Vec<Lane>)>>,
    lanes: usize,
}

/// Where the blocks of one file lie.
#[derive(Default)]
struct Lane {
    /// Begin and length in the temporary file.
    places: Vec<(u64, u64)>,
    crc: Crc,
}

/// A file that is written.
pub(super) struct Stage {
    path: String,
    lane: usize,
    blocks: SyncSender<(usize, Vec<u8>)>,
    block: Vec<u8>,
    block_size: usize,
    hash: Sha256,
    size: u64,
    redact: RedactStream,
}

/// A file that is whole.
pub(super) struct Staged {
    /// Below the bundle's folder.
    pub(super) path: String,
    /// Bytes.
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
    lane: usize,
}

/// All files, packed.
pub(super) struct Packed {
    file: File,
    lanes: Vec<Lane>,
}

impl Packer {
    /// Starts the thread; it ends when every stage has, and [`Packer::finish`] is called.
    pub(super) fn start(scratch: &Path) -> io::Result<Packer> {
        let file = tempfile::tempfile_in(scratch)?;
        let (blocks, waiting) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("export-pack".to_owned());
        Ok(Packer { blocks, thread: thread.spawn(move || pack(file, &waiting))?, lanes: 0 })
    }

    /// A file to be, masked as it is written.
    pub(super) fn stage(&mut self, path: &str, redactor: &Redactor) -> Stage {
        self.sized(path, redactor, BLOCK)
    }

    /// The same, for one of many.
    pub(super) fn small_stage(&mut self, path: &str, redactor: &Redactor) -> Stage {
        self.sized(path, redactor, SMALL)
    }

    fn sized(&mut self, path: &str, redactor: &Redactor, block_size: usize) -> Stage {
        let lane = self.lanes;
        self.lanes += 1;
        Stage {
            path: path.to_owned(),
            lane,
            blocks: self.blocks.clone(),
            block: Vec::new(),
            block_size,
            hash: Sha256::new(),
            size: 0,
            redact: redactor.stream(),
        }
    }

    /// A file of this text.
    pub(super) fn text(&mut self, path: &str, text: &str, redactor: &Redactor) -> io::Result<Staged> {
        let mut stage = self.small_stage(path, redactor);
        stage.write(text.as_bytes())?;
        stage.finish()
    }

    /// A file that is there already, as it is.
    pub(super) fn whole(&mut self, path: &str, mut from: File) -> io::Result<Staged> {
        from.rewind()?;
        let mut stage = self.stage(path, &Redactor::new(&[]));
        let mut buffer = vec![0; BLOCK];
        loop {
            match from.read(&mut buffer)? {
                0 => return stage.finish(),
                n => stage.write_masked(&buffer[..n])?,
            }
        }
    }

    /// Waits until all is packed. What kept the packer from it is told here.
    pub(super) fn finish(self) -> io::Result<Packed> {
        drop(self.blocks);
        let (file, lanes) = self.thread.join().map_err(|_| io::Error::other("the packer panicked"))??;
        Ok(Packed { file, lanes })
    }
}

fn pack(file: File, blocks: &Receiver<(usize, Vec<u8>)>) -> io::Result<(File, Vec<Lane>)> {
    let mut file = BufWriter::with_capacity(BLOCK, file);
    let mut deflate = Deflate::new();
    let (mut lanes, mut at): (Vec<Lane>, u64) = (Vec::new(), 0);
    for (lane, block) in blocks {
        if lanes.len() <= lane {
            lanes.resize_with(lane + 1, Lane::default);
        }
        let packed = deflate.block(&block)?;
        file.write_all(packed)?;
        lanes[lane].crc.update(&block);
        lanes[lane].places.push((at, packed.len() as u64));
        at += packed.len() as u64;
    }
    Ok((file.into_inner().map_err(io::IntoInnerError::into_error)?, lanes))
}

impl Stage {
    /// Adds to it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let masked = self.redact.push(bytes);
        self.write_masked(&masked)
    }

    /// Adds what is masked already. A stage takes one or the other.
    pub(super) fn write_masked(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        while self.block.len() + bytes.len() >= self.block_size {
            let (now, later) = bytes.split_at(self.block_size - self.block.len());
            self.block.extend_from_slice(now);
            self.hand_on()?;
            bytes = later;
        }
        self.block.extend_from_slice(bytes);
        Ok(())
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        self.blocks.send((self.lane, block)).map_err(|_| io::Error::other("the packer has stopped"))
    }

    /// Completes it.
    pub(super) fn finish(mut self) -> io::Result<Staged> {
        let redact = std::mem::replace(&mut self.redact, Redactor::new(&[]).stream());
        self.write_masked(&redact.finish())?;
        if !self.block.is_empty() {
            self.hand_on()?;
        }
        let sha256 = hex(&self.hash.finalize());
        Ok(Staged { path: self.path, size: self.size, sha256, lane: self.lane })
    }
}

/// One gzip stream (RFC 1952), from bytes and from what is packed.
pub(super) struct Gzip<W> {
    out: W,
    deflate: Deflate,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    /// Begins the stream. It holds no moment and no name.
    pub(super) fn new(mut out: W) -> io::Result<Gzip<W>> {
        const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        out.write_all(&HEAD)?;
        Ok(Gzip { out, deflate: Deflate::new(), crc: Crc::new() })
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for block in bytes.chunks(BLOCK) {
            self.crc.update(block);
            self.out.write_all(self.deflate.block(block)?)?;
        }
        Ok(())
    }

    /// Adds a file.
    pub(super) fn copy(&mut self, file: &Staged, from: &mut Packed) -> io::Result<()> {
        let Some(lane) = from.lanes.get(file.lane) else { return Ok(()) };
        for &(begin, length) in &lane.places {
            from.file.seek(SeekFrom::Start(begin))?;
            io::copy(&mut (&mut from.file).take(length), &mut self.out)?;
        }
        self.crc.combine(&lane.crc);
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> io::Result<()> {
        const EMPTY_LAST_BLOCK: [u8; 2] = [3, 0];
        self.out.write_all(&EMPTY_LAST_BLOCK)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        self.out.flush()
    }
}

/// Deflates blocks, each by itself.
struct Deflate {
    compress: Compress,
    packed: Vec<u8>,
}

impl Deflate {
    fn new() -> Deflate {
        Deflate { compress: Compress::new(Compression::new(LEVEL), false), packed: Vec::new() }
    }

    fn block(&mut self, block: &[u8]) -> io::Result<&[u8]> {
        self.compress.reset();
        self.packed.clear();
        // More than a block can need: stored, it grows by five bytes in 16 KiB.
        self.packed.reserve(block.len() + block.len() / 1000 + 64);
        self.compress.compress_vec(block, &mut self.packed, FlushCompress::Sync)?;
        if self.compress.total_in() != block.len() as u64 {
            return Err(io::Error::other("a block did not fit its own size"));
        }
        Ok(&self.packed)
    }
}
