//! A daemon that a test can hold in its hand: it listens on `control.sock` and keeps what it is sent.

use std::{
    io::{BufReader, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixListener, net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sandbox_guest::{
    frame::{self, Frame, Head, Kind},
    wire::{GuestEvent, Hello, Listen, Order, Start},
};
use tempfile::TempDir;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real binary, running in namespaces of its own (as far as the tester's rights go).
pub struct Guest {
    dir: TempDir,
    listener: UnixListener,
    child: Child,
}

impl Guest {
    pub fn start() -> Guest {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(dir.path().join("control.sock")).expect("control.sock");
        let guest = env!("CARGO_BIN_EXE_sandbox-guest");
        let mut command = if is_root() {
            let mut unshare = Command::new("unshare");
            unshare.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", guest]);
            unshare
        } else {
            Command::new(guest)
        };
        command.arg("init").env("SANDBOX_DIR", dir.path()).process_group(0);
        let child = command.spawn().expect("the guest starts");
        Guest { dir, listener, child }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// SIGTERM to the guest itself, which is the child of `unshare` where there is one.
    pub fn terminate(&self) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("/proc");
        let guest = if is_root() { children.trim().parse().expect("one child") } else { id as i32 };
        kill(Pid::from_raw(guest), Signal::SIGTERM).expect("it is ours");
    }

    /// Waits until the guest dials; its greeting comes first.
    pub fn accept(&self) -> (Link, Hello) {
        let mut sources = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut sources, PollTimeout::try_from(PATIENCE).expect("fits")).expect("poll");
        assert!(ready > 0, "the guest does not dial");
        let (stream, _) = self.listener.accept().expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut link = Link { from: BufReader::new(stream.try_clone().expect("a clone")), stream };
        let hello = link.frame().expect("a greeting");
        assert_eq!(hello.head.kind, Kind::Hello);
        let hello = serde_json::from_slice(&hello.payload).expect("Hello");
        (link, hello)
    }

    /// Accepts, and starts a program that a shell runs.
    pub fn run(&self, script: &str) -> Link {
        self.run_with(start(&["/bin/sh", "-c", script]))
    }

    pub fn run_with(&self, start: Start) -> Link {
        let (mut link, hello) = self.accept();
        assert!(!hello.started);
        assert_eq!(hello.next, 1);
        link.order(&Order::Start(Box::new(start)));
        link
    }

    /// Bytes in the spool.
    pub fn spooled(&self) -> u64 {
        let entries = std::fs::read_dir(self.dir().join("spool")).expect("the spool");
        entries.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("waited")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("waited");
    }
}

/// One connection.
pub struct Link {
    stream: UnixStream,
    from: BufReader<UnixStream>,
}

impl Link {
    pub fn frame(&mut self) -> Option<Frame> {
        frame::read(&mut self.from).expect("a good frame")
    }

    pub fn order(&mut self, order: &Order) {
        self.send(Kind::Order, &serde_json::to_vec(order).expect("JSON"));
    }

    /// An order of another version.
    pub fn order_unread(&mut self, order: &str) {
        self.send(Kind::Order, order.as_bytes());
    }

    pub fn ack(&mut self, through: u64) {
        self.order(&Order::Ack { through });
    }

    pub fn input(&mut self, bytes: &[u8]) {
        self.send(Kind::Input, bytes);
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) {
        let head = Head { seq: 0, time: 0, origin: 0, kind };
        // A guest that has just left does not read it any more.
        frame::write(&mut self.stream, &head, payload).unwrap_or_default();
        self.stream.flush().expect("a socket has nothing to flush");
    }
}

/// What a daemon has on its disk: every record once and in order.
#[derive(Default)]
pub struct Record {
    pub frames: Vec<Frame>,
}

impl Record {
    pub fn last(&self) -> u64 {
        self.frames.last().map_or(0, |f| f.head.seq)
    }

    /// Takes a record that has arrived; one that is there already is dropped, a gap is an error.
    pub fn take(&mut self, frame: Frame) {
        let next = self.last() + 1;
        assert!(frame.head.seq <= next, "record {} is missing", next);
        match self.frames.get(frame.head.seq as usize - 1) {
            Some(before) => assert_eq!(before, &frame, "sent again, and changed"),
            None => self.frames.push(frame),
        }
    }

    /// Reads until a record of this kind contains the text.
    pub fn until(&mut self, link: &mut Link, kind: Kind, text: &str) {
        self.until_that(link, |frames| {
            let last = frames.last().expect("one");
            last.head.kind == kind && String::from_utf8_lossy(&last.payload).contains(text)
        });
    }

    /// Reads, acknowledging, until this holds after a record.
    pub fn until_that(&mut self, link: &mut Link, holds: impl Fn(&[Frame]) -> bool) {
        loop {
            self.take(link.frame().expect("the guest goes on"));
            link.ack(self.last());
            if holds(&self.frames) {
                return;
            }
        }
    }

    /// Reads to the last record of the session and acknowledges it.
    pub fn finish(&mut self, link: &mut Link) -> GuestEvent {
        self.until_that(link, |frames| {
            let event = frames.last().and_then(event);
            matches!(event, Some(GuestEvent::ProgramExited { .. } | GuestEvent::ProgramFailed { .. }))
        });
        self.frames.last().and_then(event).expect("just seen")
    }

    pub fn output(&self) -> Vec<u8> {
        let output = self.frames.iter().filter(|f| f.head.kind == Kind::Output);
        output.flat_map(|f| f.payload.iter().copied()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output()).into_owned()
    }
}

pub fn event(frame: &Frame) -> Option<GuestEvent> {
    let lifecycle = frame.head.kind == Kind::Lifecycle;
    lifecycle.then(|| serde_json::from_slice(&frame.payload).expect("an event"))
}

pub fn start(argv: &[&str]) -> Start {
    let (uid, gid, listen) = if is_root() {
        (1000, 1000, Listen::default())
    } else {
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        (uid, gid, Listen { otlp_http: 0, otlp_grpc: 0, gateway: 0, proxy: 0 })
    };
    Start {
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()), ("TERM".into(), "xterm".into())],
        cwd: "/".into(),
        uid,
        gid,
        cols: 80,
        rows: 24,
        privileges: false,
        open_files: 4096,
        pids: None,
        request_key: String::new(),
        files: Vec::new(),
        own: Vec::new(),
        transcripts: None,
        disk_limit: None,
        spool_limit: 256 << 20,
        listen,
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
