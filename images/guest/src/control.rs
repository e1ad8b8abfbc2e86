//! The control connection: this end dials, again and again, for as long as the container lives.
//!
//! ```text
//!   link thread    connect, Hello, then read: Ack ─▶ spool, Input ─▶ terminal, orders ─▶ main thread
//!    └─ sender     spool ─▶ socket, from right after the last Ack; one per connection, joined by it
//! ```
//!
//! The link never waits for the program: see [`Input`] for what happens to input that nobody reads. A broken
//! connection loses nothing, since what was sent and not acknowledged is still in the spool.

use std::{
    io::{self, BufReader, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    thread,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandbox_guest::{
    complain,
    frame::{self, Frame, FrameError, Head, Kind},
    wire::{Hello, Order, PROTOCOL},
};

use crate::{
    event::Event,
    identity::STACK,
    input::Input,
    spool::{Reader, Spool},
};

/// First and longest pause between attempts to reach the daemon.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// The pause after a connection on which the daemon sent what this version cannot read: likely it will send the
/// same again.
const AFTER_FAULT: Duration = Duration::from_secs(1);

/// The most that one write hands to the socket.
const BATCH: usize = 256 << 10; // bytes

/// What the connection leads to on this side.
pub struct Link {
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// What is sent.
    pub spool: Arc<Spool>,
    /// Where typed bytes go.
    pub input: Input,
    /// Called with the number of bytes that were refused there.
    pub refused: Box<dyn Fn(usize) + Send>,
    /// Where orders go.
    pub events: SyncSender<Event>,
    /// Whether a session has been started here.
    pub started: bool,
    /// Why the last connection was given up, if what came on it could not be read.
    pub fault: Option<String>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the control connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the daemon does not speak the control protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the daemon sent an order that this version cannot read: {0}")]
    Order(#[from] serde_json::Error),
    #[error("the daemon sent a {} frame, which only a guest may", .0.name())]
    Unexpected(Kind),
}

impl Link {
    /// Starts the thread. It ends with the process, at [`Order::Leave`] if not before.
    pub fn start(mut self) -> io::Result<()> {
        let thread = thread::Builder::new().name("link".into()).stack_size(STACK);
        thread.spawn(move || {
            loop {
                let stream = dial(&self.socket);
                self.fault = match self.serve(stream) {
                    Ok(()) => None,
                    Err(LinkError::Io(error) | LinkError::Frame(FrameError::Io(error))) => {
                        complain!("sandbox-guest: the control connection failed: {error}; connecting again");
                        thread::sleep(PAUSES.1);
                        None
                    }
                    Err(fault) => {
                        complain!("sandbox-guest: {fault}; connecting again");
                        thread::sleep(AFTER_FAULT);
                        Some(fault.to_string())
                    }
                };
            }
        })?;
        Ok(())
    }

    fn serve(&mut self, stream: UnixStream) -> Result<(), LinkError> {
        let next = self.spool.first_unacked();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let fault = self.fault.take();
        let hello = Hello { protocol: PROTOCOL, version, started: self.started, next, fault };
        let head = Head { seq: 0, time: 0, origin: 0, kind: Kind::Hello };
        frame::write(&mut &stream, &head, &serde_json::to_vec(&hello)?)?;

        let (reader, to) = (self.spool.reader()?, stream.try_clone()?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = thread::Builder::new().name("sender".into()).stack_size(STACK);
        let sender = sender.spawn(move || send(reader, &to, &stopped))?;
        let ended = self.receive(&stream);
        // Either end may have failed; this wakes the sender wherever it waits.
        stop.store(true, Ordering::Release);
        stream.shutdown(Shutdown::Both).unwrap_or_default();
        self.spool.wake_readers();
        // A sender's own failure is a broken connection, which `receive` has seen too.
        sender.join().unwrap_or_default();
        ended
    }

    fn receive(&mut self, stream: &UnixStream) -> Result<(), LinkError> {
        let mut from = BufReader::new(Watched(stream));
        loop {
            match frame::read(&mut from) {
                Ok(Some(Frame { head, payload })) => self.dispatch(head.kind, &payload)?,
                // The daemon went away, politely or within a frame: it will be back.
                Ok(None) | Err(FrameError::Torn) => return Ok(()),
                Err(FrameError::Io(error)) if gone(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn dispatch(&mut self, kind: Kind, payload: &[u8]) -> Result<(), LinkError> {
        match kind {
            Kind::Input => {
                if self.input.push(payload).is_err() {
                    (self.refused)(payload.len());
                }
            }
            Kind::Order => match serde_json::from_slice(payload)? {
                Order::Ack { through } => self.spool.ack(through),
                Order::Leave => std::process::exit(0),
                Order::Start(start) => {
                    self.started = true;
                    self.tell(Event::Start(start));
                }
                Order::Resize { cols, rows } => self.tell(Event::Resize { cols, rows }),
                Order::Signal { signal } => self.tell(Event::Signal(signal)),
                Order::Stop { grace_ms } => self.tell(Event::Stop(Duration::from_millis(grace_ms))),
            },
            other => return Err(LinkError::Unexpected(other)),
        }
        Ok(())
    }

    fn tell(&self, event: Event) {
        // The main thread listens until the process ends.
        self.events.send(event).unwrap_or_default();
    }
}

fn send(mut reader: Reader, mut to: &UnixStream, stop: &AtomicBool) {
    let mut buffer = vec![0; BATCH];
    loop {
        let sent = match reader.read(&mut buffer, stop) {
            Ok(0) => return,
            Ok(read) => to.write_all(&buffer[..read]),
            Err(error) => {
                complain!("sandbox-guest: the spool cannot be read: {error}");
                Err(error)
            }
        };
        if sent.is_err() {
            // Ends the reading side too, which then connects anew.
            to.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
    }
}

/// Waits for something to read, and then reads. A read that waits by itself is woken each time the daemon takes
/// what the sender has sent on the same socket, for nothing.
struct Watched<'a>(&'a UnixStream);

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        (&mut &*self.0).read(buffer)
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn dial(socket: &Path) -> UnixStream {
    let mut pause = PAUSES.0;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}
