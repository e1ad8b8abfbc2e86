use super::*;
use sandbox_guest::{frame, wire::split_head};
use std::{io::Write, sync::atomic::AtomicBool};

struct Scene {
    dir: tempfile::TempDir,
    follower: Follower,
    read: crate::spool::Reader,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(&dir.path().join("spool")).expect("a spool");
        let root = dir.path().join("projects");
        fs::create_dir_all(root.join("p")).expect("a folder");
        let read = spool.reader().expect("a reader");
        let spool = Relay::start(spool).expect("a thread");
        Scene { dir, follower: Follower { root, spool, seen: HashMap::new() }, read }
    }

    fn append(&self, text: &str) {
        let path = self.dir.path().join("projects/p/t.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// What a pass records: offsets and texts.
    fn pass(&mut self, last: bool) -> Vec<(u64, String)> {
        self.follower.pass(last).expect("open");
        let mut bytes = vec![0; 4 << 20];
        let read = self.read.read(&mut bytes, &AtomicBool::new(true)).expect("readable");
        let (mut from, mut pieces) = (&bytes[..read], Vec::new());
        while let Some(frame) = frame::read(&mut from).expect("whole frames") {
            let (piece, text): (FilePiece, _) = split_head(&frame.payload).expect("a piece");
            assert_eq!(piece.path, "p/t.jsonl");
            pieces.push((piece.offset, String::from_utf8_lossy(text).into_owned()));
        }
        pieces
    }
}

#[test]
fn lines_are_recorded_once_they_are_whole() {
    let mut scene = Scene::new();
    scene.append("one\ntw");
    assert_eq!(scene.pass(false), [(0, "one\n".to_owned())]);
    assert_eq!(scene.pass(false), []);
    scene.append("o\nthree");
    assert_eq!(scene.pass(false), [(4, "two\n".to_owned())]);
    assert_eq!(scene.pass(true), [(8, "three".to_owned())]);
}

#[test]
fn long_lines_come_in_pieces_and_a_rewritten_file_begins_again() {
    let mut scene = Scene::new();
    let long = "x".repeat(PIECE + 10) + "\n";
    scene.append(&long);
    let pieces = scene.pass(false);
    assert_eq!(
        pieces.iter().map(|(at, text)| (*at, text.len())).collect::<Vec<_>>(),
        [(0, PIECE), (PIECE as u64, 11)]
    );
    fs::write(scene.dir.path().join("projects/p/t.jsonl"), "new\n").expect("rewritten");
    assert_eq!(scene.pass(false), [(0, "new\n".to_owned())]);
}

#[test]
fn links_pipes_and_depths_are_passed_over() {
    let mut scene = Scene::new();
    let root = scene.follower.root.clone();
    fs::write(scene.dir.path().join("outside.jsonl"), "secret\n").expect("a file");
    std::os::unix::fs::symlink(scene.dir.path().join("outside.jsonl"), root.join("l.jsonl")).expect("a link");
    std::os::unix::fs::symlink(scene.dir.path(), root.join("d")).expect("a link");
    nix::unistd::mkfifo(&root.join("f.jsonl"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let deep = root.join("1/2/3/4/5/6");
    fs::create_dir_all(&deep).expect("folders");
    fs::write(deep.join("t.jsonl"), "deep\n").expect("a file");
    fs::write(root.join("p/t.txt"), "text\n").expect("a file");
    assert_eq!(scene.pass(true), []);
}

/// The spool's folder is root's, and whoever reads transcripts has become the user: a file that is full is followed by
/// another all the same.
#[test]
fn what_the_user_wrote_reaches_the_next_file_of_roots_spool() {
    use std::os::unix::fs::{PermissionsExt, chown};
    const LINES: usize = 40;
    let user = User { uid: 4321, gid: 4321 };
    if !user.differs() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let spool = Spool::open(&at("spool")).expect("a spool");
    fs::set_permissions(at("spool"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::create_dir(at("projects")).expect("a folder");
    // Ten megabytes: a file of the spool holds four.
    let lines = format!("{}\n", "x".repeat(PIECE - 1)).repeat(LINES);
    fs::write(at("projects/t.jsonl"), lines).expect("written");
    chown(at("projects"), Some(4321), Some(4321)).expect("chown");
    let transcripts = Transcripts::follow(at("projects"), user, Arc::clone(&spool)).expect("a thread");
    let (done, finished) = sync_channel(1);
    thread::spawn(move || {
        transcripts.finish();
        done.send(()).expect("the test waits");
    });
    finished.recv_timeout(Duration::from_secs(30)).expect("it ends");
    assert!(fs::read_dir(at("spool")).expect("the spool").count() > 2, "in more than two files");
    let mut read = spool.reader().expect("a reader");
    let (mut bytes, mut all) = (vec![0; 4 << 20], Vec::new());
    loop {
        match read.read(&mut bytes, &AtomicBool::new(true)).expect("readable") {
            0 => break,
            more => all.extend_from_slice(&bytes[..more]),
        }
    }
    let (mut from, mut pieces) = (&all[..], 0);
    while frame::read(&mut from).expect("whole frames").is_some() {
        pieces += 1;
    }
    assert_eq!(pieces, LINES);
}
