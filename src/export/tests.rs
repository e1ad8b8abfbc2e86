use std::io::Read;

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder};

use super::*;
use crate::{
    api::Totals,
    id::SessionId,
    journal::{Draft, Journal},
    lifecycle::Phase,
    spec::{Credential, Profile, User},
};

const START: u64 = 1_790_000_000_000_000; // µs

fn session(id: SessionId) -> Session {
    Session {
        id,
        user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
        team: None,
        profile: "demo".to_owned(),
        credential: Credential::Demo,
        image: "image".to_owned(),
        program: vec!["sh".to_owned()],
        workspace: None,
        phase: Phase::Ended,
        reason: None,
        exit_code: Some(0),
        created_at: clock::timestamp(START),
        started_at: None,
        ended_at: Some(clock::timestamp(START + 9_000_000)),
        expires_at: None,
        active_at: None,
        cols: 80,
        rows: 24,
        title: String::new(),
        viewers: 0,
        warning: None,
        recorded_bytes: 0,
        totals: Totals::default(),
        completeness: None,
    }
}

fn bundle_of(frames: &[(Kind, Vec<u8>)]) -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a folder");
    let id = SessionId::new();
    let journal = Journal::create(&dir.path().join("j"), id).expect("a journal");
    for (n, (kind, payload)) in frames.iter().enumerate() {
        let time = START + n as u64 * 1_000_000;
        journal.append(Draft { time, origin: n as u64 + 1, kind: *kind, payload }).expect("appended");
    }
    let key = SigningKey::load_or_create(&dir.path().join("key")).expect("a key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(journal.seal(&key)).expect("sealed");
    let source = Source {
        session: session(id),
        spec: Spec {
            user: User { name: "Ada".to_owned(), email: "ada@example.org".to_owned() },
            team: None,
            profile_name: "demo".to_owned(),
            profile: Profile::default(),
            workspace: None,
            own_key: false,
            cols: 80,
            rows: 24,
        },
        journal: dir.path().join("j"),
        through: u64::MAX,
        scratch: dir.path().to_owned(),
        key: &key,
        redactor: Redactor::new(&[]),
        workspace: None,
        prometheus: None,
    };
    let mut bytes = Vec::new();
    write_bundle(source, &mut bytes).expect("a bundle");
    (dir, bytes)
}

fn transcript(path: &str, offset: u64, text: &str) -> (Kind, Vec<u8>) {
    let head = sandbox_guest::wire::FilePiece { path: path.to_owned(), offset };
    (Kind::Transcript, sandbox_guest::wire::join_head(&head, text.as_bytes()).expect("JSON"))
}

fn members(bundle: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(bundle));
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("read");
            (path, content)
        })
        .collect()
}

fn member(bundle: &[u8], end: &str) -> String {
    let all = members(bundle);
    let found = all.into_iter().find(|(path, _)| path.ends_with(end)).unwrap_or_else(|| panic!("no {end}"));
    String::from_utf8(found.1).expect("text")
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, mut content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, &mut content).expect("written");
}

#[test]
fn what_is_longer_than_a_block_comes_out_whole_and_the_same_each_time() {
    let frames: Vec<(Kind, Vec<u8>)> = (0..3000)
        .map(|n| (Kind::Output, format!("{n} {}\r\n", "word ".repeat(n % 100)).into_bytes()))
        .collect();
    let (_dir, bundle) = bundle_of(&frames);
    let cast = member(&bundle, "session.cast");
    assert!(cast.len() > 512 << 10, "it takes several blocks");
    let mut lines = cast.lines();
    let mut reader = crate::cast::Reader::new(lines.next().expect("a header")).expect("a header");
    let events = lines.map(|line| reader.line(line).expect("an event").expect("of a known kind"));
    let shown: String = events.map(|event| event.data).collect();
    let written: Vec<u8> = frames.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert!(shown.as_bytes() == written, "every byte is in the recording");
    assert!(bundle::verify(bundle.as_slice(), None).is_ok());
}

#[test]
fn each_output_keeps_its_time() {
    let (_dir, bundle) = bundle_of(&[(Kind::Output, b"one".to_vec()), (Kind::Output, b"two".to_vec())]);
    let cast = member(&bundle, "session.cast");
    // The journal's own first frame stands before them and says nothing.
    let events: Vec<&str> = cast.lines().skip(1).collect();
    assert_eq!(events, [r#"[0.000000,"o","one"]"#, r#"[1.000000,"o","two"]"#]);
}

#[test]
fn transcripts_are_put_together_and_cannot_leave_their_folder() {
    let (_dir, bundle) = bundle_of(&[
        transcript("w/a.jsonl", 0, "{\"n\":1}\n"),
        transcript("w/a.jsonl", 8, "{\"n\":2}\n"),
        transcript("../../etc/passwd", 0, "x\n"),
        transcript("w/b.jsonl", 0, "old\n"),
        transcript("w/b.jsonl", 0, "new\n"),
    ]);
    assert_eq!(member(&bundle, "transcript/w/a.jsonl"), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(member(&bundle, "transcript/w/b.jsonl"), "new\n");
    assert_eq!(member(&bundle, "transcript/etc/passwd"), "x\n");
    assert!(
        members(&bundle).iter().all(|(path, _)| path.starts_with("sandbox-session-") && !path.contains(".."))
    );
}

#[test]
fn every_change_to_a_bundle_is_noticed() {
    let (_dir, bundle) = bundle_of(&[(Kind::Output, b"truth".to_vec())]);
    let good = bundle::verify(bundle.as_slice(), None).expect("it verifies");
    assert!(bundle::verify(bundle.as_slice(), Some(&good.public_key)).is_ok());
    assert!(matches!(
        bundle::verify(bundle.as_slice(), Some(&"0".repeat(64))),
        Err(bundle::BundleError::Key { .. })
    ));
    type Change<'a> = &'a dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>>;
    let rewritten = |change: Change<'_>, extra: bool| {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), Compression::fast()));
        let mut last = String::new();
        for (path, content) in members(&bundle) {
            if let Some(content) = change(&path, content) {
                append(&mut tar, &path, &content);
            }
            last = path;
        }
        if extra {
            append(&mut tar, &format!("{last}.more"), b"x");
        }
        tar.into_inner().expect("a tar").finish().expect("gzip")
    };
    for path in members(&bundle).into_iter().map(|(path, _)| path) {
        let flipped = rewritten(
            &|p, mut c| {
                if p == path {
                    match c.last_mut() {
                        Some(last) => *last ^= 1,
                        None => c.push(b'x'),
                    }
                }
                Some(c)
            },
            false,
        );
        assert!(bundle::verify(flipped.as_slice(), None).is_err(), "{path} was changed");
        let missing = rewritten(&|p, c| (p != path).then_some(c), false);
        assert!(bundle::verify(missing.as_slice(), None).is_err(), "{path} is missing");
    }
    assert!(bundle::verify(rewritten(&|_, c| Some(c), true).as_slice(), None).is_err(), "a file was added");
    assert!(
        bundle::verify(rewritten(&|_, c| Some(c), false).as_slice(), None).is_ok(),
        "nothing was changed"
    );
    assert!(bundle::verify(&bundle[..bundle.len() / 2], None).is_err(), "it is cut off");
    assert!(bundle::verify(Bytes::from_static(b"no gzip").as_ref(), None).is_err());
}
