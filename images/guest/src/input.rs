//! What is typed: from the control connection into the PTY.
//!
//! Usually the kernel takes it at once, on the thread that read it. When the program does not read its
//! terminal, up to [`QUEUE`] bytes wait here for a thread of their own. Acknowledgements and orders arrive on
//! the same connection, so its reader must never wait for the program: beyond the bound a frame is refused
//! whole, and the refusal is a marker in the recording, where everybody sees it.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::identity::STACK;

/// Input that may wait for the program.
const QUEUE: usize = 1 << 20; // bytes

/// The way into the terminal. Clones share it.
#[derive(Clone, Default)]
pub struct Input(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has a piece in its hands, so the kernel must not be given another first.
    busy: bool,
    terminal: Option<Arc<File>>,
}

/// More input than may wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl Input {
    /// Opens the way: what has been waiting goes first. The descriptor does not block.
    pub fn connect(&self, terminal: Arc<File>) -> io::Result<()> {
        self.lock().terminal = Some(terminal.clone());
        let shared = self.clone();
        let thread = thread::Builder::new().name("typing".into()).stack_size(STACK);
        thread.spawn(move || shared.pump(&terminal))?;
        Ok(())
    }

    /// Takes a piece of input, at once.
    pub fn push(&self, mut piece: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        if let Some(terminal) = state.terminal.clone().filter(|_| !state.busy && state.bytes == 0) {
            while !piece.is_empty() {
                match (&*terminal).write(piece) {
                    Ok(written) => piece = &piece[written..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        if state.bytes + piece.len() > QUEUE {
            return Err(Refused);
        }
        state.bytes += piece.len();
        state.waiting.push_back(piece.to_vec());
        self.0.more.notify_one();
        Ok(())
    }

    fn pump(&self, terminal: &File) {
        loop {
            let idle = |state: &mut State| state.waiting.is_empty();
            let mut state = self.0.more.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let Some(piece) = state.waiting.pop_front() else { continue };
            state.busy = true;
            drop(state);
            let written = write_waiting(terminal, &piece);
            let mut state = self.lock();
            state.busy = false;
            state.bytes -= piece.len();
            if written.is_err() {
                return; // The terminal is gone, and with it the session.
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_waiting(mut terminal: &File, mut piece: &[u8]) -> io::Result<()> {
    while !piece.is_empty() {
        match terminal.write(piece) {
            Ok(written) => piece = &piece[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_it_is_refused_whole_and_later_taken_again() {
        let input = Input::default();
        assert_eq!(input.push(&vec![1; QUEUE - 1]), Ok(()));
        assert_eq!(input.push(&[2, 2]), Err(Refused));
        assert_eq!(input.push(&[3]), Ok(()));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("non-blocking");
        input.connect(Arc::new(File::from(std::os::fd::OwnedFd::from(ours)))).expect("a thread");
        let mut got = vec![0; QUEUE];
        io::Read::read_exact(&mut &theirs, &mut got).expect("all that was taken");
        assert_eq!((got[0], got[QUEUE - 2], got[QUEUE - 1]), (1, 1, 3));
        while input.push(&[4]).is_err() {}
    }
}
