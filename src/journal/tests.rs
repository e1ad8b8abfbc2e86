use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::keys::SigningKey;

mod damage;
mod disk;

const SMALL: u64 = 2000; // bytes: segments are rolled often

fn draft(payload: &[u8], origin: u64) -> Draft<'_> {
    Draft { time: 1, origin, kind: Kind::Output, payload }
}

fn read_all(dir: &Path, from: u64) -> Vec<Entry> {
    Reader::open(dir, from).map(|e| e.expect("a good frame")).collect()
}

fn payloads(dir: &Path) -> Vec<Vec<u8>> {
    read_all(dir, 1).into_iter().filter(|e| e.kind == Kind::Output).map(|e| e.payload.to_vec()).collect()
}

fn last_segment(dir: &Path) -> PathBuf {
    segment_path(dir, *segments(dir).expect("a folder").last().expect("a segment"))
}

fn key(dir: &Path) -> SigningKey {
    SigningKey::load_or_create(&dir.join("key")).expect("a key")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A crash at any byte loses at most the frame that was being written, and nothing before it.
    #[test]
    fn a_crash_at_any_byte_keeps_a_prefix(
        written in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..30),
        cut in any::<proptest::sample::Index>(),
        more in proptest::collection::vec(any::<u8>(), 1..50),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("j");
        let id = SessionId::new();
        let journal = Journal::create_with(&path, id, SMALL).expect("created");
        for (n, payload) in written.iter().enumerate() {
            journal.append(draft(payload, n as u64 + 1)).expect("appended");
        }
        drop(journal);
        let last = last_segment(&path);
        let len = fs::metadata(&last).expect("it is there").len();
        let keep = cut.index(usize::try_from(len).expect("small") + 1) as u64;
        fs::OpenOptions::new().write(true).open(&last).expect("opened").set_len(keep).expect("cut");

        let (journal, recovered) = Journal::open_with(&path, id, SMALL).expect("a torn tail is no damage");
        let kept = payloads(&path);
        prop_assert_eq!(&kept[..], &written[..kept.len()], "a prefix");
        prop_assert_eq!(recovered.last_record, kept.len() as u64);
        journal.append(draft(&more, 99)).expect("it goes on");
        prop_assert_eq!(payloads(&path).pop(), Some(more));
        let entries = read_all(&path, 1);
        prop_assert!(entries.iter().zip(1..).all(|(e, n)| e.seq == n), "numbers without gaps");
        verify(&path).expect("the chain holds");
    }

    #[test]
    fn reading_from_any_frame_gives_the_rest(count in 1..60usize, from in 1..80u64) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("j");
        let journal = Journal::create_with(&path, SessionId::new(), SMALL).expect("created");
        for n in 0..count {
            journal.append(draft(&vec![b'x'; n * 7 % 200], 0)).expect("appended");
        }
        let all = read_all(&path, 1);
        let rest: Vec<Entry> = all.into_iter().filter(|e| e.seq >= from).collect();
        prop_assert_eq!(read_all(&path, from), rest);
    }

    /// A flipped bit is reported, or (in the last frame) looks torn; it never passes.
    #[test]
    fn a_flipped_bit_never_passes(at in any::<proptest::sample::Index>(), bit in 0..8u8) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("j");
        let id = SessionId::new();
        let journal = Journal::create(&path, id).expect("created");
        let mut expected = BTreeMap::new();
        for n in 0..20u64 {
            let payload = format!("payload {n}").into_bytes();
            expected.insert(journal.append(draft(&payload, n + 1)).expect("appended"), payload);
        }
        drop(journal);
        let file = last_segment(&path);
        let mut bytes = fs::read(&file).expect("read");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(&file, bytes).expect("written");
        for entry in Reader::open(&path, 1) {
            let Ok(entry) = entry else { break };
            if entry.kind == Kind::Output {
                prop_assert_eq!(Some(&entry.payload.to_vec()), expected.get(&entry.seq));
            }
        }
        if let Ok((_, recovered)) = Journal::open(&path, id) {
            prop_assert!(recovered.cut_bytes > 0, "only a tail may be cut, and it is told");
        }
    }
}

#[test]
fn damage_in_the_middle_is_reported_where_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let id = SessionId::new();
    let journal = Journal::create(dir.path(), id).expect("created");
    journal.append(draft(b"first", 1)).expect("appended");
    let at = journal.position().offset;
    journal.append(draft(b"second", 2)).expect("appended");
    journal.append(draft(b"third", 3)).expect("appended");
    drop(journal);
    let file = last_segment(dir.path());
    let mut bytes = fs::read(&file).expect("read");
    let place = usize::try_from(at).expect("small") + 35;
    bytes[place] ^= 1;
    fs::write(&file, bytes).expect("written");
    let read: Vec<_> = Reader::open(dir.path(), 1).collect();
    assert!(
        matches!(read.last(), Some(Err(JournalError::Damaged { at: found, .. })) if *found == at),
        "{read:?}"
    );
    assert!(matches!(Journal::open(dir.path(), id), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_reader_follows_across_segments() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Journal::create_with(dir.path(), SessionId::new(), SMALL).expect("created");
    let mut reader = journal.read(1);
    let mut seen = 0;
    for n in 0..100u64 {
        journal.append(draft(&[b'x'; 150], n + 1)).expect("appended");
        for entry in reader.by_ref() {
            seen += 1;
            assert_eq!(entry.expect("a good frame").seq, seen);
        }
    }
    assert_eq!(seen, *journal.head().borrow());
    assert!(segments(dir.path()).expect("a folder").len() > 5);
}

#[test]
fn only_the_wanted_kinds_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Journal::create(dir.path(), SessionId::new()).expect("created");
    for kind in [Kind::Output, Kind::Logs, Kind::Output, Kind::Hook] {
        journal.append(Draft { time: 1, origin: 0, kind, payload: b"x" }).expect("appended");
    }
    let kinds: Vec<Kind> =
        journal.read(1).only(&[Kind::Logs, Kind::Hook]).map(|e| e.expect("a good frame").kind).collect();
    assert_eq!(kinds, [Kind::Logs, Kind::Hook]);
}

#[test]
fn requests_are_known_again_after_opening() {
    let dir = tempfile::tempdir().expect("a folder");
    let id = SessionId::new();
    let journal = Journal::create(dir.path(), id).expect("created");
    journal.append(Draft { time: 1, origin: 41, kind: Kind::Logs, payload: b"x" }).expect("appended");
    journal.append(draft(b"x", 7)).expect("appended");
    assert!(journal.has_request(41) && !journal.has_request(7));
    drop(journal);
    let (journal, recovered) = Journal::open(dir.path(), id).expect("opened");
    assert!(journal.has_request(41) && !journal.has_request(7));
    assert_eq!(recovered.last_record, 7, "a request's number is no record's");
}

#[test]
fn the_last_record_is_found_however_much_telemetry_follows_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let id = SessionId::new();
    let journal = Journal::create_with(dir.path(), id, SMALL).expect("created");
    journal.append(draft(b"x", 7)).expect("appended");
    for request in 1..60 {
        let telemetry = Draft { time: 1, origin: request, kind: Kind::Logs, payload: &[b'x'; 200] };
        journal.append(telemetry).expect("appended");
    }
    drop(journal);
    let (_, recovered) = Journal::open_with(dir.path(), id, SMALL).expect("opened");
    assert_eq!(recovered.last_record, 7);
}

#[tokio::test]
async fn a_sealed_journal_verifies_and_takes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("j");
    let id = SessionId::new();
    let journal = Journal::create_with(&path, id, SMALL).expect("created");
    for n in 0..50u64 {
        journal.append(draft(&[b'x'; 100], n + 1)).expect("appended");
    }
    journal.seal(&key(dir.path())).await.expect("sealed");
    journal.seal(&key(dir.path())).await.expect("again, to no effect");
    assert!(matches!(journal.append(draft(b"late", 99)), Err(JournalError::Sealed { .. })));
    let verified = verify(&path).expect("it verifies");
    assert_eq!(verified.seal.expect("a seal").public_key, key(dir.path()).public_hex());
    let (journal, recovered) = Journal::open(&path, id).expect("opened");
    assert!(recovered.sealed);
    assert!(matches!(journal.append(draft(b"late", 99)), Err(JournalError::Sealed { .. })));
}

#[tokio::test]
async fn a_record_that_was_rewritten_whole_does_not_verify() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("j");
    let journal = Journal::create(&path, SessionId::new()).expect("created");
    journal.append(draft(b"truth", 1)).expect("appended");
    journal.seal(&key(dir.path())).await.expect("sealed");
    let file = last_segment(&path);
    let truth = read_all(&path, 1);
    let mut forged = Vec::new();
    for entry in truth {
        let payload = if entry.kind == Kind::Output { Bytes::from_static(b"false") } else { entry.payload };
        let head = sandbox_guest::frame::Head {
            seq: entry.seq,
            time: entry.time,
            origin: entry.origin,
            kind: entry.kind,
        };
        sandbox_guest::frame::encode(&head, &payload, &mut forged);
    }
    fs::write(file, forged).expect("written");
    assert!(matches!(verify(&path), Err(JournalError::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_many_callers_all_return() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Journal::create_with(dir.path(), SessionId::new(), SMALL).expect("created");
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let seq = journal.append(draft(&[b'x'; 100], n)).expect("appended");
                journal.commit(seq).await
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("joined").expect("committed");
    }
}

/// A journal whose files from here to there are gone is not read, or gone on with, as if it ended there.
#[test]
fn a_segment_that_is_missing_or_cut_is_reported() {
    let written = || {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::create_with(dir.path(), SessionId::new(), SMALL).expect("created");
        for n in 0..40u64 {
            journal.append(draft(&[b'x'; 150], n + 1)).expect("appended");
        }
        let all = segments(dir.path()).expect("a folder");
        assert!(all.len() > 3);
        (dir, all)
    };
    let is_reported = |dir: &Path, from: u64| {
        let last = Reader::open(dir, from).last().expect("something");
        assert!(matches!(last, Err(JournalError::Damaged { .. })), "{last:?}");
    };
    for missing in [0, 1] {
        let (dir, all) = written();
        fs::remove_file(segment_path(dir.path(), all[missing])).expect("removed");
        is_reported(dir.path(), 1);
    }
    let (dir, all) = written();
    let before_last = segment_path(dir.path(), all[all.len() - 2]);
    let len = fs::metadata(&before_last).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(before_last).expect("opened").set_len(len - 1).expect("cut");
    is_reported(dir.path(), 1);
    is_reported(dir.path(), all[all.len() - 1] - 1);
    assert!(matches!(
        Journal::open_with(dir.path(), SessionId::new(), SMALL),
        Err(JournalError::Damaged { .. })
    ));
}

/// A file system of 1 MiB for a test, unmounted at its end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> SmallDisk {
        let dir = tempfile::tempdir().expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .status()
            .is_ok_and(|s| s.success());
        assert!(mounted, "this test mounts a tmpfs: run it as root");
        SmallDisk(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|s| s.success()) || std::thread::panicking());
    }
}

/// What does not fit is refused whole, and when there is room it goes on.
#[test]
fn a_full_disk_refuses_frames_and_nothing_is_torn() {
    let disk = SmallDisk::mount();
    let path = disk.0.path().join("j");
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 500 << 10]).expect("written");
    let journal = Journal::create(&path, SessionId::new()).expect("created");
    let mut written = 0;
    let full = loop {
        match journal.append(draft(&[b'x'; 10_000], 0)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, JournalError::Full { .. }), "{full}");
    assert_eq!(payloads(&path).len(), written);
    fs::remove_file(&ballast).expect("removed");
    journal.append(draft(b"after", 0)).expect("there is room again");
    assert_eq!(payloads(&path).len(), written + 1);
    verify(&path).expect("the chain holds");
}

/// A disk that is full just when a segment begins leaves an empty file, which begins as it should later.
#[test]
fn a_segment_that_found_no_room_begins_when_there_is() {
    let disk = SmallDisk::mount();
    let path = disk.0.path().join("j");
    let id = SessionId::new();
    let journal = Journal::create_with(&path, id, 4096).expect("created");
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 1 << 20]).expect_err("the disk is full");
    let mut written = 0;
    while journal.append(draft(&[b'x'; 500], 0)).is_ok() {
        written += 1;
    }
    assert_eq!(segments(&path).expect("a folder").len(), 2, "it was to roll");
    assert_eq!(payloads(&path).len(), written);
    fs::remove_file(&ballast).expect("removed");
    journal.append(draft(b"after", 0)).expect("there is room again");
    assert_eq!(payloads(&path).len(), written + 1);
    verify(&path).expect("the chain holds");
    drop(journal);
    Journal::open_with(&path, id, 4096).expect("it can be opened");
}

#[tokio::test]
async fn a_seal_speaks_of_every_frame_before_it_wherever_a_segment_ends() {
    for length in 1400..1500 {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("j");
        let journal = Journal::create_with(&path, SessionId::new(), SMALL).expect("created");
        journal.append(draft(&vec![b'x'; length], 1)).expect("appended");
        journal.seal(&key(dir.path())).await.expect("sealed");
        assert!(verify(&path).expect("the chain holds").seal.is_some(), "{length}");
    }
}

#[test]
fn the_index_keeps_its_good_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let keyframe = |seq: u64| Keyframe {
        seq,
        time: seq * 10,
        position: Position { segment: 1, offset: seq * 100 },
        output_bytes: seq,
        cols: 80,
        rows: 24,
        screen: format!("screen {seq}\n\x1b[m").into_bytes(),
    };
    let mut index = Index::open(dir.path()).expect("opened");
    for seq in 1..=3 {
        index.push(keyframe(seq)).expect("pushed");
    }
    drop(index);
    let file = dir.path().join("keyframes");
    let len = fs::metadata(&file).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(&file).expect("opened").set_len(len - 3).expect("cut");
    let mut index = Index::open(dir.path()).expect("opened again");
    assert_eq!(index.last(), Some(keyframe(2)));
    index.push(keyframe(4)).expect("pushed");
    assert_eq!(index.at_or_before(39), Some(keyframe(2)));
    assert_eq!(index.at_or_before(40), Some(keyframe(4)));
    assert_eq!(index.at_or_before(5), None);
    index.forget_after(3).expect("forgotten");
    assert_eq!(index.last(), Some(keyframe(2)));
    assert_eq!(Index::open(dir.path()).expect("opened").last(), Some(keyframe(2)));
}
