//! Records that the disk has damaged: a clear error or a clean cut, never a silent gap, and nobody else suffers.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use sandbox_guest::frame::{self, Frame, Kind};
use sandboxctl::{
    api::{Role, Session},
    lifecycle::{Phase, Reason},
};

use crate::{
    common::{Daemon, Rung, eventually, refusal},
    programs::Program,
};

fn segment(journal: &Path) -> PathBuf {
    let all = fs::read_dir(journal).expect("a journal").flatten().map(|e| e.path());
    all.filter(|path| path.extension().is_some_and(|e| e == "log")).max().expect("a segment")
}

/// Turns over one bit in the middle of the last frame but some.
fn flip(journal: &Path, needle: &[u8]) {
    let path = segment(journal);
    let mut bytes = fs::read(&path).expect("read");
    let at = bytes.windows(needle.len()).position(|w| w == needle).expect("it is recorded");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
}

/// Where the frames of a file begin.
fn frames(bytes: &[u8]) -> Vec<(usize, Frame)> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    loop {
        let at = bytes.len() - rest.len();
        match frame::read(&mut rest) {
            Ok(Some(frame)) => found.push((at, frame)),
            _ => return found,
        }
    }
}

/// Turns over one bit of a frame's length, so that it points past the end of the file.
fn lengthen(path: &Path, which: impl Fn(&Frame) -> bool) {
    let mut bytes = fs::read(path).expect("read");
    let at = frames(&bytes).iter().rev().find(|(_, frame)| which(frame)).expect("it is recorded").0;
    bytes[at + 2] ^= 1 << 4;
    fs::write(path, bytes).expect("written");
}

fn says(words: &'static str) -> impl Fn(&Frame) -> bool {
    move |frame| frame.head.kind == Kind::Output && String::from_utf8_lossy(&frame.payload).contains(words)
}

async fn driven(daemon: &Daemon, session: &Session) -> crate::common::Screen {
    let mut screen = daemon.join(session, Role::Driver, None).await;
    screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
    screen
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_told_and_the_session_goes_on() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("echo one; read x; echo two; read x").await;
    driven(&daemon, &session).await.until_shows("one").await;
    daemon.kill();
    // A write that the machine did not finish.
    let journal = daemon.journal(&session);
    let mut file = OpenOptions::new().append(true).open(segment(&journal)).expect("a segment");
    file.write_all(&[40, 0, 0, 0, 1, 2, 3, 4, 9, 9, 9]).expect("written");
    drop(file);
    daemon.restart().await;
    let mut screen = driven(&daemon, &session).await;
    screen.type_in("\n").await;
    screen.until_shows("two").await;
    screen.type_in("\n").await;
    daemon.ended(&session).await;
    let bundle = daemon.export(&session).await;
    assert_eq!(bundle.output().replace("\r\n", " ").split_whitespace().collect::<Vec<_>>(), ["one", "two"]);
    let repaired =
        bundle.lines("events.jsonl").into_iter().find(|e| e["name"] == "repaired").expect("it is told");
    assert_eq!(repaired["data"]["cut_bytes"], 11);
    let kept = fs::read_dir(&journal).expect("a journal").flatten();
    let kept = kept.filter(|e| e.file_name().to_string_lossy().contains(".cut-"));
    assert_eq!(kept.map(|e| e.metadata().expect("a file").len()).collect::<Vec<_>>(), [11], "and kept");
}

/// Exporting a damaged record fails with its code and a sentence, at the door and on the command line.
async fn assert_no_export(daemon: &Daemon, session: &Session, sentence: &str) {
    let path = format!("/api/v1/sessions/{}/export", session.id);
    let refused = daemon.client.stream(&path, "application/gzip").await.map(drop);
    assert_eq!(refusal(refused).0, "record_damaged");
    let to = daemon.dir().join("bundle.tar.gz");
    let out = daemon.cli(&["export", &session.id.to_string(), "-o"]).arg(&to).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(4), "{said}");
    assert!(said.contains("damaged") && said.contains(sentence), "{said}");
    let left = fs::read_dir(daemon.dir()).expect("a folder").flatten();
    assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().contains("bundle")), "no part of one");
}

#[tokio::test]
async fn damage_in_an_ended_record_is_named_by_whoever_reads_it() {
    let daemon = Daemon::start(Rung::Local).await;
    let flipped = daemon.shell("echo a truth; echo more").await;
    let cut = daemon.shell("echo a truth; echo more").await;
    let gone = daemon.shell("echo a truth; echo more").await;
    for session in [&flipped, &cut, &gone] {
        daemon.ended(session).await;
        daemon.export(session).await;
    }
    flip(&daemon.journal(&flipped), b"a truth");
    assert_no_export(&daemon, &flipped, "at byte").await;
    let events = daemon.cli(&["events", &flipped.id.to_string()]).output().expect("it runs");
    assert!(!events.status.success(), "the timeline breaks off: {events:?}");
    assert!(String::from_utf8_lossy(&events.stdout).contains("requested"), "after what is good");

    let path = segment(&daemon.journal(&cut));
    let len = fs::metadata(&path).expect("it is there").len();
    OpenOptions::new().write(true).open(&path).expect("opened").set_len(len - 400).expect("cut");
    assert_no_export(&daemon, &cut, "seal is missing").await;

    fs::remove_file(segment(&daemon.journal(&gone))).expect("removed");
    assert_no_export(&daemon, &gone, "seal is missing").await;
}

#[tokio::test]
async fn a_damaged_record_ends_its_own_session_by_name_and_no_other() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let damaged = daemon
        .shell("echo kept > /workspace/note; echo a truth; sleep 0.1; echo more; read x; echo late")
        .await;
    let other = daemon.begin(sandboxctl::api::StartRequest {
        program: Program::Lines.argv(),
        ..sandboxctl::api::StartRequest::default()
    });
    let other = other.await;
    driven(&daemon, &damaged).await.until_shows("more").await;
    daemon.join(&other, Role::Observer, None).await.until_shows("the lazy dog").await;
    daemon.kill();
    flip(&daemon.journal(&damaged), b"a truth");
    daemon.restart().await;
    let ended = daemon.ended(&damaged).await;
    match &ended.reason {
        Some(Reason::Damaged { error }) => assert!(error.contains("damaged at byte"), "{error}"),
        reason => panic!("another reason: {reason:?}"),
    }
    assert_no_export(&daemon, &damaged, "at byte").await;
    let kept = daemon.journal(&damaged).parent().expect("a folder").to_owned();
    let mut workspace = tar::Archive::new(fs::File::open(kept.join("workspace.tar")).expect("the workspace"));
    let mut paths = workspace
        .entries()
        .expect("a tar")
        .map(|e| e.expect("an entry").path().expect("a path").into_owned());
    assert!(paths.any(|path| path.ends_with("note")), "the work is kept beside");
    assert!(kept.join("spool").is_dir(), "and what the guest had not delivered");
    assert!(!daemon.state().join("run").join(damaged.id.to_string()).exists());

    // That was it: the next daemon has nothing to say about it.
    daemon.kill();
    daemon.restart().await;
    let now = daemon.client.session(&other.id.to_string()).await.expect("it is known");
    assert_eq!(now.phase, Phase::Running);
    driven(&daemon, &other).await.type_in("\n").await;
    assert_eq!(daemon.ended(&other).await.reason, Some(Reason::Exited { code: 0 }));
    Program::Lines.check(&daemon.journal(&other), true).assert_whole();
}

/// A length that points past the end looks like a torn tail, and is none where committed frames stand behind it.
#[tokio::test]
async fn a_wrong_length_cuts_no_committed_frame_off() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 0.1; done; read x").await;
    driven(&daemon, &session).await.until_shows("line 8").await;
    daemon.kill();
    lengthen(&segment(&daemon.journal(&session)), says("line 3"));
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert!(matches!(ended.reason, Some(Reason::Damaged { .. })), "{:?}", ended.reason);
    assert_no_export(&daemon, &session, "at byte").await;
}

/// Behind the last frame stands nothing, so that it is cut off; but it was on the disk, and that is known.
#[tokio::test]
async fn a_committed_frame_that_is_cut_off_is_told_as_lost() {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("echo one; read x; echo two").await;
    let journal = daemon.journal(&session);
    eventually("what it printed is the last frame, and committed", || async {
        let last = frames(&fs::read(segment(&journal)).unwrap_or_default()).pop();
        let committed = frames(&fs::read(journal.join("committed")).unwrap_or_default()).pop();
        last.zip(committed)
            .is_some_and(|((_, last), (_, mark))| says("one")(&last) && last.head.seq == mark.head.seq)
    })
    .await;
    daemon.kill();
    lengthen(&segment(&journal), says("one"));
    daemon.restart().await;
    driven(&daemon, &session).await.type_in("\n").await;
    let ended = daemon.ended(&session).await;
    assert_eq!((ended.reason, ended.completeness), (Some(Reason::Exited { code: 0 }), Some(0.0)));
    let bundle = daemon.export(&session).await;
    assert!(!bundle.output().contains("one"));
    let lost =
        bundle.lines("events.jsonl").into_iter().find(|e| e["name"] == "frames_lost").expect("it is told");
    assert_eq!(lost["data"]["from"], lost["data"]["through"], "one frame: {lost}");
    assert_eq!(bundle.json("manifest.json")["completeness"]["records_lost"], 1);
}

/// The guest's spool is on the same disk.
#[tokio::test]
async fn a_damaged_spool_is_told_and_what_is_good_of_it_is_kept() {
    let spoil = |path: &Path| {
        let mut bytes = fs::read(path).expect("read");
        let at = bytes.windows(14).rposition(|w| w == b"program_exited").expect("it is there");
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    let output = spoiled_spool(spoil).await;
    assert!(output.ends_with("three\r\n"), "{output:?}");
}

#[tokio::test]
async fn a_wrong_length_in_the_spool_is_told_too() {
    let output = spoiled_spool(|path| lengthen(path, says("three"))).await;
    assert!(output.ends_with("two\r\n"), "{output:?}");
}

/// The output of a session whose daemon was killed, and whose guest's spool was spoiled in this way.
async fn spoiled_spool(spoil: impl FnOnce(&Path)) -> String {
    let mut daemon = Daemon::start(Rung::Local).await;
    let session = daemon.shell("echo one; read x; echo two; sleep 0.2; echo three; exit 5").await;
    let mut screen = driven(&daemon, &session).await;
    screen.until_shows("one").await;
    screen.type_in("\n").await;
    screen.until_shows("two").await;
    drop(screen);
    daemon.kill();
    eventually("the program has ended", || async {
        crate::between::spooled(&daemon, &session).iter().any(crate::between::exited)
    })
    .await;
    // Killed, so that nothing but the spool is left of it; and the last of the spool is bad.
    let note = daemon.state().join("local").join(format!("{}.pid", session.id));
    let pid = fs::read_to_string(note).expect("a note").split(' ').next().expect("a number").to_owned();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("killed");
    let spool = daemon.state().join("run").join(session.id.to_string()).join("spool");
    let last = fs::read_dir(spool).expect("a spool").flatten().map(|e| e.path()).max().expect("a segment");
    spoil(&last);
    daemon.restart().await;
    let ended = daemon.ended(&session).await;
    assert_eq!(ended.reason, Some(Reason::DaemonLostContainer), "how it ended is not known any more");
    let bundle = daemon.export(&session).await;
    assert!(bundle.lines("events.jsonl").iter().any(|e| e["name"] == "spool_damaged"));
    bundle.output()
}

#[tokio::test]
async fn a_database_that_is_none_keeps_the_daemon_from_starting_with_a_sentence() {
    let mut daemon = Daemon::start(Rung::Local).await;
    daemon.terminate();
    let path = daemon.state().join("sandboxctl.db");
    let good = fs::read(&path).expect("read");
    for beside in ["sandboxctl.db-wal", "sandboxctl.db-shm"] {
        fs::remove_file(daemon.state().join(beside)).ok();
    }
    fs::write(&path, "this is no database, and never was one").expect("written");
    let refused = daemon.cli(&["serve"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(said.contains("sandboxctl.db") && said.contains("restore it from a backup"), "{said}");
    fs::write(&path, good).expect("written");
    daemon.restart().await;
}
