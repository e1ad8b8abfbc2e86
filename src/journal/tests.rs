use std::collections::BTreeMap;

use proptest::prelude::*;
use sandbox_guest::frame::HEADER;

use super::*;
use crate::keys::SigningKey;

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

#[test]
fn frames_that_are_missing_are_reported() {
    let id = SessionId::new();
    let written = |dir: &Path| {
        let journal = Journal::create_with(dir, id, SMALL).expect("created");
        (1..=60).for_each(|n| drop(journal.append(draft(&[b'x'; 150], n)).expect("appended")));
        let all = segments(dir).expect("a folder");
        assert!(all.len() > 4);
        all
    };
    let is_reported = |dir: &Path| {
        let last = Reader::open(dir, 1).last().expect("something is read");
        assert!(matches!(last, Err(JournalError::Damaged { .. })), "{last:?}");
        assert!(matches!(verify(dir), Err(JournalError::Damaged { .. })));
    };
    let cut = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).expect("opened");
        let len = file.metadata().expect("it is there").len();
        file.set_len(len - (HEADER as u64 + 150)).expect("cut");
    };

    let middle = tempfile::tempdir().expect("a folder");
    let all = written(middle.path());
    cut(&segment_path(middle.path(), all[1]));
    is_reported(middle.path());

    let first = tempfile::tempdir().expect("a folder");
    let all = written(first.path());
    fs::remove_file(segment_path(first.path(), all[0])).expect("removed");
    is_reported(first.path());

    let before_last = tempfile::tempdir().expect("a folder");
    let all = written(before_last.path());
    cut(&segment_path(before_last.path(), all[all.len() - 2]));
    is_reported(before_last.path());
    assert!(matches!(Journal::open_with(before_last.path(), id, SMALL), Err(JournalError::Damaged { .. })));
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
}
