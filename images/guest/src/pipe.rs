//! Doors that are byte pipes: a port on 127.0.0.1 whose every connection leads to `gateway.sock`.
//!
//! While the daemon is away a connection is held, and the dialling goes on, for up to [`PATIENCE`]. A door
//! has [`CONNECTIONS`] places. Beyond them connections are not accepted: they wait in the kernel's backlog,
//! and behind that the client's own connecting waits. Each door has its own places, so a crowd at the proxy
//! does not keep hooks and model calls waiting.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    identity::STACK,
    slots::{Slot, Slots},
};

/// Connections that one door serves at once.
pub const CONNECTIONS: usize = 256;

/// How long a connection is held while the daemon is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(50);

/// What is carried at a time.
const BUFFER: usize = 32 << 10; // bytes

/// Opens a door that is a pipe. Port 0 is no door.
pub fn open(port: u16, gateway: Arc<Path>) -> io::Result<()> {
    listen(port, Slots::new(CONNECTIONS), move |client, slot| {
        let _slot = slot;
        // A connection that fails is closed, which is all that its client can be told.
        serve(&client, &gateway).unwrap_or_default();
    })
}

/// Accepts connections on a port, each with a place taken and a thread of its own.
pub fn listen(
    port: u16,
    slots: Slots,
    serve: impl Fn(TcpStream, Slot) + Send + Sync + 'static,
) -> io::Result<()> {
    if port == 0 {
        return Ok(());
    }
    let listener = TcpListener::bind(("127.0.0.1", port))
        .map_err(|e| io::Error::other(format!("127.0.0.1:{port} cannot be listened on: {e}")))?;
    let serve = Arc::new(serve);
    thread::Builder::new().name(format!("door {port}")).stack_size(STACK).spawn(move || {
        loop {
            let slot = slots.take();
            let Ok((client, _)) = listener.accept() else {
                thread::sleep(PAUSE); // Out of descriptors, say: some will be closed.
                continue;
            };
            client.set_nodelay(true).unwrap_or_default();
            let serve = serve.clone();
            let thread = thread::Builder::new().name(format!("at {port}")).stack_size(STACK);
            // Where no thread can be had (the container's process limit), the connection is closed.
            thread.spawn(move || serve(client, slot)).map(drop).unwrap_or_default();
        }
    })?;
    Ok(())
}

fn serve(client: &TcpStream, gateway: &Path) -> io::Result<()> {
    let daemon = &dial(gateway, PATIENCE)?;
    thread::scope(|scope| {
        let back = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || {
            carry(daemon, client, || client.shutdown(Shutdown::Write), || abandon(client, daemon));
        });
        match back {
            Ok(_) => carry(client, daemon, || daemon.shutdown(Shutdown::Write), || abandon(client, daemon)),
            Err(_) => abandon(client, daemon),
        }
    });
    Ok(())
}

/// Carries bytes one way until they end; then the other side is told so, and can go on talking.
fn carry(mut from: impl Read, mut to: impl Write, end: impl Fn() -> io::Result<()>, abandon: impl Fn()) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return end().unwrap_or_default(),
            Ok(read) if to.write_all(&buffer[..read]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return abandon(),
        }
    }
}

fn abandon(client: &TcpStream, daemon: &UnixStream) {
    // Whatever is closed already is as it should be.
    client.shutdown(Shutdown::Both).unwrap_or_default();
    daemon.shutdown(Shutdown::Both).unwrap_or_default();
}

/// Connects to the daemon, trying again for as long as the patience lasts.
pub fn dial(gateway: &Path, patience: Duration) -> io::Result<UnixStream> {
    let until = Instant::now() + patience;
    loop {
        match UnixStream::connect(gateway) {
            Err(_) if Instant::now() + PAUSE < until => thread::sleep(PAUSE),
            connected => return connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_connection_is_held_until_the_daemon_is_there_and_half_closes_pass() {
        let dir = tempfile::tempdir().expect("a folder");
        let gateway = dir.path().join("gateway.sock");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
        let (served, _) = listener.accept().expect("accepted");
        let held = gateway.clone();
        let door = thread::spawn(move || serve(&served, &held));
        client.write_all(b"question").expect("the kernel takes it");
        client.shutdown(Shutdown::Write).expect("half closed");
        let daemon = UnixListener::bind(&gateway).expect("the daemon is back");
        let (mut from, _) = daemon.accept().expect("the connection arrives");
        let mut question = String::new();
        from.read_to_string(&mut question).expect("all of it, then its end");
        from.write_all(b"answer").expect("the other way is open");
        drop(from);
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the answer");
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        door.join().expect("joined").expect("served");
    }
}
