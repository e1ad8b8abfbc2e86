//! The listeners: the page and the API over TCP (with TLS, where configured), and the local admin socket.
//!
//! Both stop taking connections when they are told to, let what is under way finish for a moment, and end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};
use nix::unistd::{Gid, Group, Uid, User as Account, getgrouplist};
use tokio::net::{TcpListener, UnixListener, unix::UCred};
use tokio_util::sync::CancellationToken;

use super::{Admin, Caller, Failure, places::Places};
use crate::{
    config::{Config, Tls},
    spec::User,
};

/// How long a client may take over its request's head, and over a ping of HTTP/2.
const HEAD: Duration = Duration::from_secs(10);
/// How long answers that are under way may take when the daemon stops.
const LET_GO: Duration = Duration::from_secs(2);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("tls.{key} {path}: {error}; name a PEM file that the daemon may read")]
    File {
        /// Which of the two.
        key: &'static str,
        /// Where.
        path: String,
        /// What failed.
        error: std::io::Error,
    },
    /// The files make no certificate with its key.
    #[error("tls.cert and tls.key: {0}; give the certificate's chain and its own private key, both as PEM")]
    Pair(std::io::Error),
}

/// Reads certificate and key, so that the daemon says what is wrong with them before it serves anything.
pub async fn load_tls(tls: &Tls) -> Result<RustlsConfig, TlsError> {
    let read = |key, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| TlsError::File { key, path: path.display().to_string(), error })
    };
    let (cert, key) = (read("cert", &tls.cert)?, read("key", &tls.key)?);
    RustlsConfig::from_pem(cert, key).await.map_err(TlsError::Pair)
}

/// Serves TCP until `cancel`.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    connections: usize,
    cancel: CancellationToken,
) {
    if let Err(error) = try_serve_tcp(listener, router, tls, connections, cancel).await {
        tracing::error!(%error, "the page and the API are not served");
    }
}

async fn try_serve_tcp(
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    connections: usize,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let handle = Handle::new();
    let stop = handle.clone();
    let stopped = async move {
        cancel.cancelled().await;
        stop.graceful_shutdown(Some(LET_GO));
        std::future::pending::<std::io::Result<()>>().await
    };
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.into_std()?;
    match tls {
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle);
            let mut server = server.map(|plain| Places::new(plain, connections, HEAD));
            hurry(server.http_builder());
            tokio::select! { done = server.serve(service) => done, done = stopped => done }
        }
        Some(tls) => {
            let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle);
            let mut server = server.map(|secure| Places::new(secure, connections, HEAD));
            hurry(server.http_builder());
            tokio::select! { done = server.serve(service) => done, done = stopped => done }
        }
    }
}

/// Connections that ask nothing, or whose other side is gone, end. (Over HTTP/2 streams may be silent for long:
/// what is asked there is whether anybody is there.)
fn hurry(http: &mut Builder<TokioExecutor>) {
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut http2 = http.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(HEAD).keep_alive_timeout(HEAD);
}

/// Serves the admin socket until `cancel`. Root, the daemon's own user and `admin_group` may use it.
pub async fn serve_admin(
    listener: UnixListener,
    router: Router,
    config: Arc<Config>,
    cancel: CancellationToken,
) {
    let router = router.layer(middleware::from_fn(know_peer)).layer(Extension(config));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(listener, service).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let let_go = async {
        cancel.cancelled().await;
        tokio::time::sleep(LET_GO).await;
    };
    tokio::select! {
        done = served => if let Err(error) = done {
            tracing::error!(%error, "the admin socket is not served");
        },
        () = let_go => {}
    }
}

/// What the kernel says about whoever is at the other end of the admin socket.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<UCred>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok())
    }
}

/// Makes the peer the request's caller.
async fn know_peer(
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extension(config): Extension<Arc<Config>>,
    mut request: Request,
    next: Next,
) -> Response {
    match peer.0.and_then(|peer| admit(&peer, config.admin_group.as_deref())) {
        Some(admin) => {
            request.extensions_mut().insert(Caller::Admin(admin));
            next.run(request).await
        }
        None => Failure::Forbidden.into_response(),
    }
}

/// Who a peer is, if it may be here.
fn admit(peer: &UCred, group: Option<&str>) -> Option<Admin> {
    let uid = Uid::from_raw(peer.uid());
    let account = Account::from_uid(uid).ok().flatten();
    let by_group = || {
        let gid = Group::from_name(group?).ok().flatten()?.gid;
        let member = Gid::from_raw(peer.gid()) == gid || account.as_ref().is_some_and(|a| belongs(a, gid));
        member.then_some(())
    };
    if !uid.is_root() && uid != Uid::effective() {
        by_group()?;
    }
    let name = account.map_or_else(|| format!("uid {uid}"), |account| account.name);
    let user = User::new(&name, &format!("{}@localhost", name.replace(' ', "-"))).ok();
    Some(Admin { who: name, user, local: true, seat: None })
}

fn belongs(account: &Account, gid: Gid) -> bool {
    let name = std::ffi::CString::new(account.name.as_bytes());
    name.is_ok_and(|name| getgrouplist(&name, account.gid).is_ok_and(|groups| groups.contains(&gid)))
}
