//! A wrong length: what it points past is looked for, and what was on the disk is not quietly missing.

use sandbox_guest::frame::{Head, encode};

use super::*;

/// A journal of eight records, on the disk; and where each of its frames begins.
async fn written() -> (tempfile::TempDir, SessionId, Vec<u64>) {
    let dir = tempfile::tempdir().expect("a folder");
    let id = SessionId::new();
    let journal = Journal::create(dir.path(), id).expect("created");
    let mut begins = vec![0];
    for n in 1..=8u64 {
        begins.push(journal.position().offset);
        journal.append(draft(format!("line {n}\r\n").as_bytes(), n)).expect("appended");
    }
    journal.commit(9).await.expect("committed");
    (dir, id, begins)
}

/// The journal's only segment with one bit of one frame's length turned over, for each such bit.
fn each_wrong_length(dir: &Path, begins: u64, mut look: impl FnMut(usize)) {
    let path = last_segment(dir);
    let good = fs::read(&path).expect("read");
    for bit in 0..32usize {
        let mut bytes = good.clone();
        bytes[usize::try_from(begins).expect("small") + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).expect("written");
        look(bit);
        fs::write(&path, &good).expect("written");
    }
}

#[tokio::test]
async fn a_wrong_length_in_the_middle_is_damage_and_nothing_is_cut() {
    let (dir, id, begins) = written().await;
    let whole = fs::metadata(last_segment(dir.path())).expect("it is there").len();
    for middle in [1, 4, 7] {
        each_wrong_length(dir.path(), begins[middle], |bit| {
            let at = begins[middle];
            let is_told = |result: Result<(), JournalError>| {
                assert!(
                    matches!(&result, Err(JournalError::Damaged { at: found, .. }) if *found == at),
                    "frame {middle}, bit {bit}: {result:?}"
                );
            };
            is_told(Reader::open(dir.path(), 1).last().expect("something").map(drop));
            is_told(verify(dir.path()).map(drop));
            is_told(Journal::open(dir.path(), id).map(drop));
            assert_eq!(fs::metadata(last_segment(dir.path())).expect("it is there").len(), whole);
        });
    }
}

#[tokio::test]
async fn a_wrong_length_of_the_last_frame_is_damage_or_a_loss_that_is_told() {
    let (dir, id, begins) = written().await;
    let mut cut = 0;
    each_wrong_length(dir.path(), begins[8], |bit| match Journal::open(dir.path(), id) {
        Err(error) => assert!(matches!(error, JournalError::Damaged { .. }), "bit {bit}: {error}"),
        Ok((_, recovered)) => {
            cut += 1;
            assert_eq!((recovered.last_seq, recovered.last_record), (8, 7));
            assert_eq!(recovered.lost, Some((9, 9)), "bit {bit}: it was on the disk");
        }
    });
    assert!(cut > 10, "it mostly looks like a torn tail: {cut}");
}

#[tokio::test]
async fn a_torn_tail_that_no_commit_spoke_of_is_no_loss() {
    let (dir, id, _) = written().await;
    let (journal, recovered) = Journal::open(dir.path(), id).expect("opened");
    assert_eq!(recovered.lost, None);
    journal.append(draft(b"not on the disk yet", 9)).expect("appended");
    drop(journal);
    let path = last_segment(dir.path());
    let len = fs::metadata(&path).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(&path).expect("opened").set_len(len - 1).expect("cut");
    let (_, recovered) = Journal::open(dir.path(), id).expect("opened");
    assert_eq!((recovered.lost, recovered.last_record), (None, 8));
    assert!(recovered.cut_bytes > 0);
}

/// What a program prints may look like frames; only one that could stand where it does counts as one.
#[tokio::test]
async fn a_torn_frame_that_holds_frames_of_another_log_is_a_torn_tail() {
    let (dir, id, _) = written().await;
    let (journal, _) = Journal::open(dir.path(), id).expect("opened");
    let mut printed = Vec::new();
    for seq in [1, 9, 10, 500, u64::MAX] {
        encode(&Head { seq, time: 1, origin: 0, kind: Kind::Output }, b"as if", &mut printed);
    }
    journal.append(draft(&printed, 9)).expect("appended");
    drop(journal);
    let path = last_segment(dir.path());
    let len = fs::metadata(&path).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(&path).expect("opened").set_len(len - 1).expect("cut");
    let (_, recovered) = Journal::open(dir.path(), id).expect("no damage");
    assert_eq!(recovered.last_seq, 9);
}
