//! Open connections to the network: how many, for how long, and how much went through.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Ending;

/// Connections to the network that one session may have open. More are answered 503.
const TUNNEL_LIMIT: usize = 64;

/// A connection in which nothing moves for this long is closed.
const IDLE_TIME: Duration = Duration::from_secs(600);

/// The open connections of one session.
pub(crate) struct Tunnels {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// The right to one connection.
pub(super) struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Tunnels {
    /// None yet. `cancel` ends them all.
    pub(crate) fn new(cancel: CancellationToken) -> Tunnels {
        Tunnels { places: Arc::new(Semaphore::new(TUNNEL_LIMIT)), tasks: TaskTracker::new(), cancel }
    }

    pub(super) fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Place)
    }

    /// Runs a connection to its end. It is given the token that says when to stop.
    pub(super) fn spawn<F>(&self, place: Place, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let run = run(self.cancel.clone());
        self.tasks.spawn(async move {
            run.await;
            drop(place);
        });
    }

    /// Waits until all have ended.
    pub(crate) async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Copies between the session and `stream` once the session's connection has become a tunnel.
pub(super) fn copy(
    upgrade: OnUpgrade,
    stream: TcpStream,
    ending: Ending,
) -> impl FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |cancel| {
        Box::pin(async move {
            let mut stream = Metered::new(stream);
            let meter = stream.meter();
            let copied = async {
                let mut session = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
                copy_bidirectional(&mut session, &mut stream).await
            };
            let reason = tokio::select! {
                copied = copied => copied.err().map(|e| e.to_string()),
                () = meter.idle() => Some("idle".to_owned()),
                () = cancel.cancelled() => Some("the session ended".to_owned()),
            };
            ending.record(meter.sent(), meter.received(), reason).await;
        })
    }
}

/// A stream that counts what goes through it.
pub(super) struct Metered<S> {
    inner: S,
    meter: Meter,
}

/// The counts of a stream, as they grow.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<Counts>);

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S) -> Metered<S> {
        Metered { inner, meter: Meter::default() }
    }

    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

impl Meter {
    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Waits until nothing has moved for [`IDLE_TIME`], and at most twice that.
    pub(super) async fn idle(&self) {
        let mut before = None;
        loop {
            let now = Some((self.sent(), self.received()));
            if before == now {
                return;
            }
            before = now;
            sleep(IDLE_TIME).await;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.meter.0.received.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.meter.0.sent.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
