//! What is typed here.
//!
//! A terminal or a pipe is watched, and read when there is something, on the thread that sends it on: a
//! keystroke should not wait for two to wake up. What cannot be watched, such as a file, is read on a thread of
//! its own, for as long as the process lives. Standard input stays as it is: others have it too.

use std::{
    io::{self, Read, Stdin},
    os::fd::AsFd,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

/// Pieces that wait for the connection; when it is full, the reading waits.
const WAITING: usize = 64;
/// The longest piece.
const PIECE: usize = 4096; // bytes

/// Standard input.
pub(super) enum Keyboard {
    /// It tells when there is something.
    Watched(AsyncFd<Stdin>),
    /// A thread reads it.
    Read(mpsc::Receiver<Vec<u8>>),
    /// Nothing comes any more; the session is not over for that.
    Over,
}

impl Keyboard {
    pub(super) fn open() -> Keyboard {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for descriptors that may be closed; standard input is not"
        )]
        let watched = AsyncFd::with_interest(io::stdin(), Interest::READABLE);
        match watched {
            Ok(stdin) => Keyboard::Watched(stdin),
            Err(_) => Keyboard::Read(read_on_a_thread()),
        }
    }

    /// The next piece; waits for ever once nothing comes any more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        loop {
            let piece = match self {
                Keyboard::Watched(stdin) => watch(stdin).await.unwrap_or_default(),
                Keyboard::Read(pieces) => pieces.recv().await.unwrap_or_default(),
                Keyboard::Over => std::future::pending().await,
            };
            if !piece.is_empty() {
                return piece;
            }
            *self = Keyboard::Over;
        }
    }
}

/// The next piece; empty at the end.
async fn watch(stdin: &AsyncFd<Stdin>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; PIECE];
    loop {
        let mut ready = stdin.readable().await?;
        let fd = stdin.get_ref().as_fd();
        // The descriptor blocks, so it is read only when that cannot be.
        if poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO)? == 0 {
            ready.clear_ready();
            continue;
        }
        let length = unistd::read(fd, &mut buffer)?;
        return Ok(buffer[..length].to_vec());
    }
}

fn read_on_a_thread() -> mpsc::Receiver<Vec<u8>> {
    let (send, pieces) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut buffer = [0; PIECE];
        while let Ok(n @ 1..) = io::stdin().lock().read(&mut buffer) {
            if send.blocking_send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    pieces
}
