//! How many connections the page and the API may have at once. Files that sessions need are kept for them: whoever
//! comes when all places are taken is turned away at the door, before a byte is read.
//!
//! A place is for who asks something. One address (of IPv6, one network) has a share of them, so that nobody takes
//! all; connections from this machine are not held to that, since a proxy may stand behind them. And a connection
//! that begins no request is ended: the server's own patience counts from where it knows what is spoken.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

use super::throttle::network;

/// What one address may have of all places: one in so many.
const SHARE: usize = 4;

/// With so many bytes it is clear what is spoken: the length of HTTP/2's preface (RFC 9113, 3.4).
const BEGUN: usize = 24;

/// Accepts as `A` does, as long as there are places.
#[derive(Clone)]
pub struct Places<A> {
    inner: A,
    free: Arc<Semaphore>,
    shares: Arc<Shares>,
    patience: Duration,
}

impl<A> Places<A> {
    /// So many places, each for who begins a request within `patience`.
    pub fn new(inner: A, places: usize, patience: Duration) -> Places<A> {
        let free = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Places { inner, free, shares: Arc::new(Shares::new(places.div_ceil(SHARE))), patience }
    }

    fn take(&self, from: io::Result<SocketAddr>) -> Option<Place> {
        let share = self.shares.take(from.ok()?.ip())?;
        let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Place { _place: place, _share: share })
    }
}

impl<A, S> Accept<TcpStream, S> for Places<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
    S: 'static,
{
    type Stream = Placed<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Some(place) = self.take(stream.peer_addr()) else {
            return ready(Err(io::ErrorKind::ResourceBusy.into())).boxed();
        };
        let (accepted, patience) = (self.inner.accept(stream, service), self.patience);
        async move {
            let (stream, service) = accepted.await?;
            let waits = Some(Box::pin(sleep(patience)));
            Ok((Placed { stream, read: 0, waits, _place: place }, service))
        }
        .boxed()
    }
}

/// Connections by address.
struct Shares {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    fn new(most: usize) -> Shares {
        Shares { most, taken: Mutex::default() }
    }

    /// One more connection from there; `None` if there are too many.
    fn take(self: &Arc<Self>, from: IpAddr) -> Option<Share> {
        let is_here = from.to_canonical().is_loopback();
        let from = network(from);
        let mut taken = self.lock();
        let count = taken.entry(from).or_default();
        if *count >= self.most && !is_here {
            return None;
        }
        *count += 1;
        Some(Share { of: Arc::clone(self), from })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's part of its address's share.
struct Share {
    of: Arc<Shares>,
    from: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        if let Some(count) = taken.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.from);
            }
        }
    }
}

struct Place {
    _place: OwnedSemaphorePermit,
    _share: Share,
}

/// A connection that has a place until it ends.
pub struct Placed<S> {
    stream: S,
    read: usize,
    /// While it has begun nothing and has been answered nothing: how long it may take.
    waits: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.read = self.read.saturating_add(buffer.filled().len() - before);
        if self.read >= BEGUN {
            self.waits = None;
        }
        match &mut self.waits {
            Some(waits) if read.is_pending() => {
                waits.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            _ => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.waits = None;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.waits = None;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_share_and_this_machine_has_all() {
        let shares = Arc::new(Shares::new(3));
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut held: Vec<Share> = (0..3).filter_map(|_| shares.take(ip("192.0.2.1"))).collect();
        assert_eq!(held.len(), 3);
        assert!(shares.take(ip("192.0.2.1")).is_none() && shares.take(ip("::ffff:192.0.2.1")).is_none());
        assert!(shares.take(ip("192.0.2.2")).is_some(), "another one has its own");
        let network: Vec<Share> = (0..3).filter_map(|n| shares.take(ip(&format!("2001:db8::{n}")))).collect();
        assert!(network.len() == 3 && shares.take(ip("2001:db8::ffff")).is_none());
        let here: Vec<Share> = (0..9).filter_map(|_| shares.take(ip("127.0.0.1"))).collect();
        assert_eq!(here.len(), 9);
        let here_too: Vec<Share> = (0..9).filter_map(|_| shares.take(ip("::1"))).collect();
        assert_eq!(here_too.len(), 9);
        held.pop();
        assert!(shares.take(ip("192.0.2.1")).is_some(), "who leaves makes room");
        drop((held, network, here, here_too));
        assert!(shares.lock().is_empty());
    }
}
