//! The terminal, and the thread that owns its stream.
//!
//! One thread reads the PTY, applies sizes and writes both down, so their order in the recording is the order
//! in which they happened: what the program wrote before a resize stands before it. The same thread writes
//! the first record of the session and drains the terminal at the end. It takes everything that the kernel
//! has as one record; of a program that writes without a pause, everything that comes before the buffer is full.
//!
//! Init keeps the terminal's other end open while the program runs: a program that closes its terminal and
//! opens it again is no end of the stream. The end is said by [`Terminal::finish`].

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use portable_pty::{MasterPty, PtySize, SlavePty, native_pty_system};
use sandbox_guest::{
    complain,
    frame::Kind,
    wire::{GuestEvent, encode_size},
};

use crate::{
    event::Event,
    identity::{STACK, User},
    signal::{Signaller, Target},
    spool::{Closed, Spool},
};

/// The longest `Output` record.
const BUFFER: usize = 64 << 10; // bytes

/// So much at once is a flood.
const FLOOD: usize = 4 << 10; // bytes

/// How often a reader in a flood lets others go first before it believes that it is over: about 0.1 ms.
const PATIENCE: u32 = 200;

nix::ioctl_read_bad!(fionread, nix::libc::FIONREAD, nix::libc::c_int);

/// After the program's end, the terminal counts as drained when nothing came for so long.
const QUIET: Duration = Duration::from_millis(300);

/// What processes that outlive the program may write for, after its end.
const DRAIN: Duration = Duration::from_secs(3);

/// A terminal that nobody reads yet.
pub struct OpenTerminal {
    master: Box<dyn MasterPty + Send>,
    slave: Box<dyn SlavePty + Send>,
    file: Arc<File>,
    path: PathBuf,
}

/// A terminal with its reader running. Clones share it.
#[derive(Clone)]
pub struct Terminal(Arc<Shared>);

struct Shared {
    master: Mutex<Box<dyn MasterPty + Send>>,
    notes: Mutex<VecDeque<Note>>,
    wake: UnixStream,
}

/// What the reader is told. Sizes replace each other and refusals add up, so only a few can wait.
enum Note {
    Resize(u16, u16),
    Refused(usize),
    Finish,
}

impl OpenTerminal {
    /// Opens a PTY whose slave is the user's, so that the program can open it by its name: devpts makes a
    /// terminal for who opens it.
    pub fn open(user: User, cols: u16, rows: u16) -> io::Result<OpenTerminal> {
        let size = size(cols, rows);
        let pair = user.run(|| native_pty_system().openpty(size))?.map_err(io::Error::other)?;
        let path = pair.master.tty_name().ok_or_else(|| io::Error::other("the terminal has no name"))?;
        let file = Arc::new(File::from(duplicate(pair.master.as_ref())?));
        let flags = OFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(file.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(OpenTerminal { master: pair.master, slave: pair.slave, file, path })
    }

    /// The slave's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The master, which does not block.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Starts the reader. It writes `first` before anything else.
    pub fn start(
        self,
        spool: Arc<Spool>,
        first: GuestEvent,
        signaller: Signaller,
        events: SyncSender<Event>,
    ) -> io::Result<Terminal> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let shared = Arc::new(Shared { master: Mutex::new(self.master), notes: Mutex::default(), wake });
        let (file, terminal) = (self.file, Terminal(shared.clone()));
        let mut slave = Some(self.slave);
        let thread = thread::Builder::new().name("terminal".into()).stack_size(STACK + BUFFER);
        thread.spawn(move || {
            let mut reader = Reader { spool, shared, file, woken, buffer: vec![0; BUFFER], ended: false };
            // A closed spool means that the session has been given up; there is nobody left to tell.
            if reader.run(&first, &mut slave, &signaller).is_ok() {
                events.send(Event::Drained).unwrap_or_default();
            }
        })?;
        Ok(terminal)
    }
}

impl Terminal {
    /// Sets the size, in the order of the stream.
    pub fn resize(&self, cols: u16, rows: u16) {
        self.tell(Note::Resize(cols, rows));
    }

    /// Writes down that so many typed bytes were refused.
    pub fn note_refused(&self, bytes: usize) {
        self.tell(Note::Refused(bytes));
    }

    /// The program has ended: drain, and say [`Event::Drained`].
    pub fn finish(&self) {
        self.tell(Note::Finish);
    }

    /// The foreground process group, if there is one.
    pub fn foreground(&self) -> Option<i32> {
        self.0.master.lock().unwrap_or_else(PoisonError::into_inner).process_group_leader()
    }

    fn tell(&self, note: Note) {
        let mut notes = self.0.notes();
        match (notes.back_mut(), note) {
            (Some(Note::Refused(sum)), Note::Refused(more)) => *sum += more,
            (Some(last @ Note::Resize(..)), note @ Note::Resize(..)) => *last = note,
            (_, note) => notes.push_back(note),
        }
        drop(notes);
        // If the pipe is full, the reader has been woken often enough.
        (&self.0.wake).write(&[0]).unwrap_or_default();
    }
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    spool: Arc<Spool>,
    shared: Arc<Shared>,
    file: Arc<File>,
    woken: UnixStream,
    buffer: Vec<u8>,
    /// Nothing more can come.
    ended: bool,
}

impl Reader {
    fn run(
        &mut self,
        first: &GuestEvent,
        slave: &mut Option<Box<dyn SlavePty + Send>>,
        signaller: &Signaller,
    ) -> Result<(), Closed> {
        self.spool.append(Kind::Lifecycle, &json(first))?;
        loop {
            self.wait(PollTimeout::NONE);
            self.take()?;
            let notes = std::mem::take(&mut *self.shared.notes());
            for note in notes {
                match note {
                    Note::Resize(cols, rows) => self.resize(cols, rows)?,
                    Note::Refused(bytes) => {
                        let label = format!("{bytes} bytes of input refused: the program does not read");
                        self.spool.append(Kind::Marker, label.as_bytes())?;
                    }
                    Note::Finish => {
                        slave.take();
                        return self.drain(signaller);
                    }
                }
            }
        }
    }

    /// Waits for output, a note or the time; true if it was not the time.
    fn wait(&mut self, timeout: PollTimeout) -> bool {
        let (file, woken) = (self.file.clone(), self.woken.as_fd());
        let mut sources =
            [PollFd::new(woken, PollFlags::POLLIN), PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        // A terminal at its end is readable for ever; only notes matter then.
        let sources = if self.ended { &mut sources[..1] } else { &mut sources[..] };
        let ready = poll(sources, timeout).map_or(true, |n| n > 0);
        let mut bytes = [0; 64];
        while (&self.woken).read(&mut bytes).is_ok_and(|n| n > 0) {}
        ready
    }

    /// Takes what the kernel has, once there is room for it, and writes it down; whether there was any.
    fn take(&mut self) -> Result<bool, Closed> {
        self.spool.wait_for_room();
        let (mut filled, mut patience) = (0, 0);
        while filled < self.buffer.len() && !self.ended {
            // A read that asks for more than there is sleeps until the kernel has looked for more. While there
            // is a flood, sleeping and being woken for each 4 KiB would take longer than all the rest.
            let there = self.available();
            if there == 0 && patience > 0 {
                patience -= 1;
                thread::yield_now();
                continue;
            }
            if there == 0 && filled >= FLOOD {
                break;
            }
            let most = if there == 0 { self.buffer.len() } else { self.buffer.len().min(filled + there) };
            match (&*self.file).read(&mut self.buffer[filled..most]) {
                Ok(0) => self.ended = true,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.ended = true, // EIO: every slave is closed
            }
            patience = if filled >= FLOOD { PATIENCE } else { 0 };
        }
        if filled > 0 {
            self.spool.append(Kind::Output, &self.buffer[..filled])?;
        }
        Ok(filled > 0)
    }

    /// How many bytes a read would give now.
    fn available(&self) -> usize {
        let mut bytes = 0;
        #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
        // SAFETY: the descriptor is open, and the kernel writes one `int` where the pointer says.
        let asked = unsafe { fionread(self.file.as_raw_fd(), &mut bytes) };
        if asked.is_ok() { usize::try_from(bytes).unwrap_or(0) } else { 0 }
    }

    fn resize(&mut self, cols: u16, rows: u16) -> Result<(), Closed> {
        let master = self.shared.master.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = master.resize(size(cols, rows)) {
            complain!("sandbox-guest: the terminal keeps its size: {error}");
            return Ok(());
        }
        drop(master);
        self.spool.append(Kind::Resize, &encode_size(cols, rows)).map(drop)
    }

    fn drain(&mut self, signaller: &Signaller) -> Result<(), Closed> {
        let quiet = PollTimeout::try_from(QUIET).unwrap_or(PollTimeout::ZERO);
        let until = Instant::now() + DRAIN;
        while !self.ended && Instant::now() < until {
            if !self.take()? && (self.ended || !self.wait(quiet)) {
                break;
            }
        }
        signaller.send(Target::All, Signal::SIGKILL);
        let until = Instant::now() + QUIET;
        while !self.ended && self.take()? && Instant::now() < until {}
        Ok(())
    }
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn json(event: &GuestEvent) -> Vec<u8> {
    // Numbers and strings always serialize.
    serde_json::to_vec(event).unwrap_or_default()
}

#[expect(unsafe_code, reason = "portable-pty lends its descriptor as a number only")]
fn duplicate(master: &dyn MasterPty) -> io::Result<std::os::fd::OwnedFd> {
    let fd = master.as_raw_fd().ok_or_else(|| io::Error::other("the terminal has no descriptor"))?;
    // SAFETY: `master` owns the descriptor and is borrowed for as long as this function runs.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}
