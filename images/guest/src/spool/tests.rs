use super::*;
use proptest::prelude::*;
use std::thread;

static NEVER: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Ack(u64),
    Read(usize),
    NewReader,
    /// The process is killed, perhaps within a write: so many bytes of a next frame are in the file.
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![0..200usize, 200_000..400_000usize].prop_map(Step::Append),
        2 => (0..40u64).prop_map(Step::Ack),
        4 => (1..600_000usize).prop_map(Step::Read),
        1 => Just(Step::NewReader),
        1 => (0..40usize).prop_map(Step::Crash),
    ]
}

/// What a record of this number and length holds.
fn payload(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number as usize * 31 + i) as u8).collect()
}

/// Checks a stream of frames from a record on, as it is read in pieces.
struct Check {
    reader: Reader,
    bytes: Vec<u8>,
    next: u64,
    /// Why the spool could not be written, each time; empty when it could again.
    told: Vec<String>,
}

impl Check {
    fn new(spool: &Arc<Spool>) -> Check {
        Check {
            reader: spool.reader().expect("a reader"),
            bytes: Vec::new(),
            next: spool.first_unacked(),
            told: Vec::new(),
        }
    }

    fn read(&mut self, most: usize, lengths: &[usize]) {
        if self.next > lengths.len() as u64 && self.bytes.is_empty() {
            return; // It would wait.
        }
        let mut buffer = vec![0; most];
        let stop = AtomicBool::new(true);
        let read = self.reader.read(&mut buffer, &stop).expect("readable");
        self.bytes.extend_from_slice(&buffer[..read]);
        let mut rest = self.bytes.as_slice();
        loop {
            let before = rest;
            match frame::read(&mut rest) {
                Ok(Some(frame)) if frame.head.kind == Kind::Stalled => {
                    self.told.push(String::from_utf8(frame.payload).expect("UTF-8"));
                }
                Ok(Some(frame)) => {
                    // A reader may pass over what has been acknowledged, and never over anything else.
                    assert!(frame.head.seq >= self.next);
                    let len = lengths[frame.head.seq as usize - 1];
                    assert_eq!(frame.payload, payload(frame.head.seq, len));
                    self.next = frame.head.seq + 1;
                }
                Ok(None) => break self.bytes.clear(),
                Err(frame::FrameError::Torn) => break self.bytes = before.to_vec(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_not_acknowledged_is_read_whole_and_in_order(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut spool = Spool::open(dir.path()).expect("opened");
        let mut lengths = Vec::new();
        let mut acked = 0;
        let mut check = Check::new(&spool);
        for step in steps {
            match step {
                Step::Append(len) => {
                    let number = lengths.len() as u64 + 1;
                    lengths.push(len);
                    prop_assert_eq!(spool.append(Kind::Output, &payload(number, len)).expect("open"), number);
                }
                Step::Ack(more) => {
                    spool.ack(acked + more);
                    acked = (acked + more).min(lengths.len() as u64);
                    prop_assert_eq!(spool.first_unacked(), acked + 1);
                }
                Step::Read(most) => check.read(most, &lengths),
                Step::NewReader => check = Check::new(&spool),
                Step::Crash(torn) => {
                    drop((spool, check));
                    tear(dir.path(), torn);
                    spool = Spool::open(dir.path()).expect("opened again");
                    // Only a folder that holds no record at all cannot tell what was before.
                    if spool.lock().segments.is_empty() {
                        prop_assert_eq!(acked, lengths.len() as u64);
                        lengths.clear();
                        acked = 0;
                    } else {
                        prop_assert_eq!(spool.lock().next, lengths.len() as u64 + 1);
                        prop_assert!(spool.first_unacked() <= acked + 1);
                        acked = spool.first_unacked() - 1;
                    }
                    check = Check::new(&spool);
                }
            }
        }
        let mut check = Check::new(&spool);
        while check.next <= lengths.len() as u64 {
            check.read(1 << 20, &lengths);
        }
        spool.ack(lengths.len() as u64);
        spool.wait_until_acked();
        let left: u64 = std::fs::read_dir(dir.path()).expect("the folder").flatten()
            .map(|e| e.metadata().expect("a file").len()).sum();
        prop_assert!(left < KEPT, "{} bytes are kept of what is acknowledged", left);
    }
}

/// Leaves the beginning of a frame at the end of the last segment.
fn tear(dir: &Path, bytes: usize) {
    let last = std::fs::read_dir(dir).expect("the folder").flatten().map(|e| e.path()).max();
    if let Some(path) = last {
        let mut frame = Vec::new();
        let head = Head { seq: 1, time: 1, origin: 1, kind: Kind::Output };
        frame::encode(&head, &[7; 50], &mut frame);
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("a segment");
        io::Write::write_all(&mut file, &frame[..bytes]).expect("written");
    }
}

/// A length that is wrong on the disk costs what stands behind it, and the daemon can tell by the numbers.
#[test]
fn a_wrong_length_leaves_a_gap_and_cuts_nothing() {
    for bit in 0..32 {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(dir.path()).expect("opened");
        for n in 1..=5u64 {
            spool.append(Kind::Output, &payload(n, 50)).expect("open");
        }
        drop(spool);
        let path =
            std::fs::read_dir(dir.path()).expect("the folder").flatten().next().expect("a segment").path();
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[2 * (HEADER + 50) + bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).expect("written");
        let spool = Spool::open(dir.path()).expect("opened again");
        assert_eq!(spool.append(Kind::Output, b"more").expect("open"), 6, "bit {bit}");
        assert_eq!(std::fs::read(&path).expect("read"), bytes, "it is kept for whoever looks");
        let (mut reader, mut buffer) = (spool.reader().expect("a reader"), [0; 4096]);
        let mut numbers = Vec::new();
        while numbers.last() != Some(&6) {
            let read = reader.read(&mut buffer, &NEVER).expect("readable");
            let mut rest = &buffer[..read];
            while let Some(frame) = frame::read(&mut rest).expect("a good frame") {
                numbers.push(frame.head.seq);
            }
        }
        assert_eq!(numbers, [1, 2, 6], "bit {bit}");
    }
}

#[test]
fn producers_wait_at_the_limit_and_go_on_after_an_acknowledgement() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(dir.path()).expect("opened");
    spool.set_limit(100_000);
    let producer = {
        let spool = spool.clone();
        thread::spawn(move || (0..500).for_each(|_| drop(spool.append(Kind::Output, &[1; 10_000]))))
    };
    let mut reader = spool.reader().expect("a reader");
    let (mut bytes, mut seen) = (Vec::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    while seen < 500 {
        let read = reader.read(&mut buffer, &NEVER).expect("readable");
        bytes.extend_from_slice(&buffer[..read]);
        let mut rest = bytes.as_slice();
        while let Ok(Some(frame)) = frame::read(&mut rest) {
            seen += 1;
            assert_eq!(frame.head.seq, seen);
            // Ten records reach the limit; the next one has to wait for us.
            assert!(spool.lock().next - 1 <= seen + 10);
            spool.ack(seen);
        }
        let used = bytes.len() - rest.len();
        // What is left is a torn frame, which `frame::read` may have taken some of.
        bytes.drain(..used / (HEADER + 10_000) * (HEADER + 10_000));
    }
    producer.join().expect("joined");
}

#[test]
fn a_closed_spool_takes_no_more_and_a_stopped_reader_returns() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(dir.path()).expect("opened");
    spool.append_last(Kind::Lifecycle, b"last").expect("open");
    assert!(spool.append(Kind::Output, b"later").is_err());
    spool.ack(1);
    let (mut reader, stop) = (spool.reader().expect("a reader"), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    // It begins in the kept segment, right behind the acknowledged record.
    let waits = thread::spawn(move || reader.read(&mut [0; 100], &stopped).expect("readable"));
    stop.store(true, Ordering::Release);
    spool.wake_readers();
    assert_eq!(waits.join().expect("joined"), 0);
}

#[test]
fn a_full_disk_tears_no_frame_and_is_survived() {
    if !nix::unistd::geteuid().is_root() {
        return; // A disk of our own takes a mount.
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mounted = nix::mount::mount(
        Some("tmpfs"),
        dir.path(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=1m"),
    );
    if mounted.is_err() {
        return; // Root, but in a container that may not.
    }
    let spool = Spool::open(dir.path()).expect("opened");
    let producer = {
        let spool = spool.clone();
        thread::spawn(move || {
            (1..=200u64).for_each(|n| drop(spool.append(Kind::Output, &payload(n, 30_000))));
        })
    };
    while spool.lock().stalled.is_empty() {
        thread::yield_now();
    }
    let there = spool.lock().next - 1;
    let file = std::fs::read_dir(dir.path()).expect("the folder").flatten().next().expect("a segment");
    assert_eq!(file.metadata().expect("a file").len(), there * (HEADER as u64 + 30_000));
    let (mut check, lengths) = (Check::new(&spool), [30_000; 200]);
    while check.told.is_empty() {
        check.read(1 << 20, &lengths);
    }
    while check.next <= 200 {
        check.read(1 << 20, &lengths);
        spool.ack(check.next - 1);
        thread::yield_now();
    }
    producer.join().expect("joined");
    assert!(check.told[0].contains("No space left"), "who reads is told: {:?}", check.told);
    drop((spool, check, file));
    nix::mount::umount(dir.path()).expect("unmounted");
}
