//! `sandbox-guest init`: PID 1 of a session's container, and the whole story of it.
//!
//! ```text
//!   connect ─▶ Hello ─▶ wait for Start (a spare waits here) ─▶ files, listeners, terminal, program
//!     ─▶ the program runs: orders come in, records go out ─▶ it ends ─▶ drain ─▶ ProgramExited
//!     ─▶ wait until everything is acknowledged ─▶ exit
//!
//!   main            decides, and does nothing slow while the program runs
//!   ├─ signals      SIGCHLD, SIGTERM; buries the dead                                        [reap]
//!   ├─ link         control.sock: orders and input in; its sender: records out            [control]
//!   ├─ terminal     PTY ─▶ spool, sizes, the drain                                            [pty]
//!   ├─ typing       input that the terminal did not take at once                            [input]
//!   ├─ signaller    signals as the user                                                    [signal]
//!   ├─ doors        127.0.0.1 ─▶ gateway.sock; two threads a connection                [pipe, otlp]
//!   ├─ transcripts  follows the client's own files                                     [transcript]
//!   └─ disk         watches how much the user's folders hold                                 [disk]
//! ```
//!
//! Terminal and transcripts are waited for at the end; the others hold nothing of their own and end with the
//! process. If any of them should panic, the process ends at once: a session must not go on half alive, and
//! the spool keeps what it had.

use std::{
    env,
    fmt::Display,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sandbox_guest::{
    complain,
    frame::Kind,
    wire::{GuestEvent, Start},
};

use crate::{
    control::Link,
    disk,
    event::{Event, Exit, QUEUE},
    exec::{self, Spec},
    files,
    identity::User,
    input::Input,
    loopback, oom,
    otlp::OtlpDoor,
    pids, pipe,
    pty::{OpenTerminal, Terminal},
    reap::Children,
    signal::{Signaller, Target},
    spool::Spool,
    transcript::Transcripts,
};

/// The folder that the daemon mounts, unless `SANDBOX_DIR` names another.
const DEFAULT_DIR: &str = "/run/sandbox";

/// Between one SIGKILL and the next, should the first not have reached everything.
const KILL_AGAIN: Duration = Duration::from_millis(500);

/// How long telemetry that is on its way may take after the program's end.
const TELEMETRY: Duration = Duration::from_secs(2);

/// The verb.
pub fn run() -> ExitCode {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        std::process::exit(70);
    }));
    let dir = PathBuf::from(env::var_os("SANDBOX_DIR").unwrap_or_else(|| DEFAULT_DIR.into()));
    match Guest::begin(dir).and_then(Guest::live) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("sandbox-guest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A container before it is anybody's.
struct Guest {
    dir: PathBuf,
    spool: Arc<Spool>,
    input: Input,
    terminal: Arc<OnceLock<Terminal>>,
    children: Children,
    tell: SyncSender<Event>,
    events: Receiver<Event>,
}

impl Guest {
    fn begin(dir: PathBuf) -> io::Result<Guest> {
        let (tell, events) = sync_channel(QUEUE);
        let children = Children::watch(tell.clone())?;
        if let Err(error) = loopback::up() {
            complain!("sandbox-guest: lo is down and cannot be brought up: {error}");
        }
        let folder = dir.join("spool");
        let spool = Spool::open(&folder)
            .map_err(|e| io::Error::other(format!("the spool {} cannot be opened: {e}", folder.display())))?;
        let (input, terminal) = (Input::default(), Arc::new(OnceLock::<Terminal>::new()));
        let typed_into = terminal.clone();
        Link {
            socket: dir.join("control.sock"),
            spool: spool.clone(),
            input: input.clone(),
            // Before there is a terminal there is no session whose recording could say it.
            refused: Box::new(move |bytes| typed_into.get().into_iter().for_each(|t| t.note_refused(bytes))),
            events: tell.clone(),
            started: false,
            fault: None,
        }
        .start()?;
        Ok(Guest { dir, spool, input, terminal, children, tell, events })
    }

    /// Waits for its session, lives through it, and returns when the daemon has all of it.
    fn live(self) -> io::Result<()> {
        let start = loop {
            match self.events.recv() {
                Ok(Event::Start(start)) => break start,
                Ok(Event::Stop(_) | Event::Terminate(_)) | Err(_) => return Ok(()),
                Ok(_) => {} // Orders to a session that is not.
            }
        };
        self.spool.set_limit(start.spool_limit);
        let last = match self.begin_session(*start) {
            Ok(session) => {
                let (exit, terminated) = session.run(&self.events);
                session.end(&self.events);
                let Exit { code, signal } = exit;
                GuestEvent::ProgramExited { code, signal, oom: oom::has_struck(), terminated }
            }
            Err(error) => GuestEvent::ProgramFailed { error: error.to_string() },
        };
        let last = serde_json::to_vec(&last)?;
        self.spool.append_last(Kind::Lifecycle, &last).map_err(io::Error::other)?;
        self.spool.wait_until_acked();
        Ok(())
    }

    fn begin_session(&self, start: Start) -> io::Result<Session> {
        let user = User { uid: start.uid, gid: start.gid };
        if let Some(Err(error)) = start.pids.map(pids::limit) {
            // The engine's own limit is behind it.
            complain!("sandbox-guest: the number of processes cannot be limited: {error}");
        }
        files::prepare(&start, user).map_err(io::Error::other)?;

        let gateway: Arc<Path> = self.dir.join("gateway.sock").into();
        let listen = &start.listen;
        let otlp = OtlpDoor::open(listen.otlp_http, gateway.clone(), self.spool.clone(), start.request_key)?;
        for port in [listen.otlp_grpc, listen.gateway, listen.proxy] {
            pipe::open(port, gateway.clone())?;
        }

        let open = OpenTerminal::open(user, start.cols, start.rows).map_err(about("no terminal"))?;
        let spec = Spec {
            argv: start.argv,
            env: start.env,
            cwd: start.cwd.into(),
            uid: start.uid,
            gid: start.gid,
            privileges: start.privileges,
            open_files: start.open_files,
            tty: open.path().to_owned(),
        };
        let pid = exec::start(&spec, &self.children)?;
        let signaller = Signaller::start(user, pid)?;
        let file = open.file();
        let started = GuestEvent::ProgramStarted { pid };
        let terminal = open.start(self.spool.clone(), started, signaller.clone(), self.tell.clone())?;
        self.terminal.get_or_init(|| terminal.clone());
        self.input.connect(file)?;

        let transcripts = start.transcripts.map(PathBuf::from);
        let transcripts = transcripts.map(|root| Transcripts::follow(root, user, self.spool.clone()));
        if let Some(limit) = start.disk_limit {
            disk::watch(start.own, limit, user, self.spool.clone())?;
        }
        Ok(Session { terminal, signaller, leader: pid as i32, transcripts: transcripts.transpose()?, otlp })
    }
}

/// A session whose program runs.
struct Session {
    terminal: Terminal,
    signaller: Signaller,
    leader: i32,
    transcripts: Option<Transcripts>,
    otlp: OtlpDoor,
}

impl Session {
    /// Carries out orders until the program has ended. Tells whether a signal to this process had asked for
    /// that first.
    fn run(&self, events: &Receiver<Event>) -> (Exit, bool) {
        let mut kill_at: Option<Instant> = None;
        let mut terminated = false;
        loop {
            let event = match kill_at {
                Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => events.recv().map_err(RecvTimeoutError::from),
            };
            match event {
                Ok(Event::Resize { cols, rows }) => self.terminal.resize(cols, rows),
                Ok(Event::Signal(number)) => self.signal_foreground(number),
                Ok(event @ (Event::Stop(grace) | Event::Terminate(grace))) => {
                    terminated |= kill_at.is_none() && matches!(event, Event::Terminate(_));
                    // Stopped processes have to go on before they can obey.
                    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGCONT] {
                        self.signaller.send(Target::All, signal);
                    }
                    let at = Instant::now() + grace;
                    kill_at = Some(kill_at.map_or(at, |before| before.min(at)));
                }
                Ok(Event::Ended(exit)) => return (exit, terminated),
                Ok(Event::Start(_) | Event::Drained) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.signaller.send(Target::All, Signal::SIGKILL);
                    kill_at = Some(Instant::now() + KILL_AGAIN);
                }
                // The signals thread holds the other end for as long as the process lives.
                Err(RecvTimeoutError::Disconnected) => return (Exit { code: 255, signal: None }, false),
            }
        }
    }

    /// Collects what the program left behind: terminal, transcripts, telemetry.
    fn end(self, events: &Receiver<Event>) {
        self.terminal.finish();
        while !matches!(events.recv(), Ok(Event::Drained) | Err(_)) {}
        if let Some(transcripts) = self.transcripts {
            transcripts.finish();
        }
        self.otlp.settle(TELEMETRY);
    }

    fn signal_foreground(&self, number: i32) {
        match Signal::try_from(number) {
            Ok(signal) => {
                let group = self.terminal.foreground().unwrap_or(self.leader);
                self.signaller.send(Target::Group(group), signal);
            }
            Err(_) => complain!("sandbox-guest: there is no signal {number}"),
        }
    }
}

fn about<E: Display>(what: &'static str) -> impl Fn(E) -> io::Error {
    move |error| io::Error::other(format!("{what}: {error}"))
}
