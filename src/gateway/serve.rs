//! Serving one session's socket: connections in, bounded; and an end that waits for them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{Context, Doors, assemble};

/// Connections that one session may have open. More are answered 503 and closed.
const CONNECTION_LIMIT: usize = 256;

/// How long the head of a request may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Longest head of a request, in bytes; hyper answers 431 beyond it.
const HEAD_LIMIT: usize = 64 << 10;

/// Most headers of a request.
const HEADER_LIMIT: usize = 128;

/// Streams of one HTTP/2 connection that may be open at once.
const STREAM_LIMIT: u32 = 8;

/// Longest head of a request over HTTP/2, in bytes: each stream that waits for its turn holds one.
const STREAM_HEAD_LIMIT: u32 = 16 << 10;

/// What may arrive unread over one HTTP/2 connection, in bytes. Whoever reads a body asks for more.
const WINDOW: u32 = 64 << 10;

/// How long requests may take to finish once the session ends.
const DRAIN_TIME: Duration = Duration::from_secs(5);

const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 15\r\nconnection: close\r\n\
                    content-type: text/plain\r\n\r\nThis session has too many connections open.\n";

/// Serves `listener` until `cancel`, then finishes what is under way, and returns once every connection and
/// tunnel has ended.
pub async fn serve(listener: UnixListener, ctx: Arc<Context>, cancel: CancellationToken) {
    let doors = Arc::new(Doors::new(cancel.clone()));
    let router = assemble(Arc::clone(&ctx), Arc::clone(&doors));
    let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let connection = connection(stream, router.clone(), cancel.clone(), place);
                    let abort = abort.clone();
                    connections.spawn(async move {
                        tokio::select! {
                            () = connection => {}
                            () = abort.cancelled() => {}
                        }
                    });
                }
                Err(_) => refuse(stream),
            },
            Err(error) => {
                // Out of file descriptors, most likely: those of others come back.
                tracing::warn!(session = %ctx.id, %error, "gateway: accepting a connection failed");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN_TIME, connections.wait()).await.is_err() {
        abort.cancel();
        connections.wait().await;
    }
    doors.tunnels.join().await;
    doors.calls.join().await;
}

async fn connection(
    stream: UnixStream,
    router: axum::Router,
    cancel: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let _place = place;
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADER_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAM_LIMIT)
        .max_header_list_size(STREAM_HEAD_LIMIT)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Some(HEAD_TIME))
        .keep_alive_timeout(HEAD_TIME);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The client's affair: it hung up, or spoke no HTTP.
        tracing::debug!(%error, "gateway: a connection ended early");
    }
}

/// Says so at once and hangs up: a small write into an empty socket buffer never waits.
fn refuse(stream: UnixStream) {
    let _said = stream.try_write(FULL.as_bytes());
}
