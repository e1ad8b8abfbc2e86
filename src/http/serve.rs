//! The listeners: TCP, with TLS where it is configured, and the admin socket, where peers are known.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::{self, Next},
    response::Response,
    serve::IncomingStream,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use nix::unistd::{Group, Uid, User as SystemUser, getuid};
use tokio::net::{TcpListener, UnixListener, unix::UCred};
use tokio_util::sync::CancellationToken;

use super::{Admin, Caller};
use crate::{
    config::{Config, Tls},
    spec::User,
};

/// How long connections may take to end once the daemon stops.
const GRACE: Duration = Duration::from_secs(2);

/// Serves TCP until cancelled.
pub async fn serve_tcp(listener: TcpListener, router: Router, tls: Option<Tls>, cancel: CancellationToken) {
    let served = match tls {
        None => plain(listener, router, cancel).await,
        Some(tls) => encrypted(listener, router, tls, cancel).await,
    };
    if let Err(error) = served {
        tracing::error!(%error, "the page cannot be served");
    }
}

async fn plain(listener: TcpListener, router: Router, cancel: CancellationToken) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stopping = cancel.clone().cancelled_owned();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stopping).into_future();
    bounded(serving, cancel).await
}

async fn encrypted(
    listener: TcpListener,
    router: Router,
    tls: Tls,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = RustlsConfig::from_pem_file(&tls.cert, &tls.key).await?;
    let handle = Handle::new();
    let stop = handle.clone();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum_server::from_tcp_rustls(listener.into_std()?, config)?.handle(handle);
    tokio::select! {
        served = server.serve(service) => served,
        () = async { cancel.cancelled().await; stop.graceful_shutdown(Some(GRACE)); std::future::pending().await } => Ok(()),
    }
}

/// Serves the admin socket until cancelled.
pub async fn serve_admin(
    listener: UnixListener,
    router: Router,
    config: Arc<Config>,
    cancel: CancellationToken,
) {
    let router = router.layer(middleware::from_fn(move |peer, request, next| {
        known(Arc::clone(&config), peer, request, next)
    }));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let stopping = cancel.clone().cancelled_owned();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stopping).into_future();
    if let Err(error) = bounded(serving, cancel).await {
        tracing::error!(%error, "the admin socket cannot be served");
    }
}

/// Lets connections end by themselves for a while, then cuts them.
async fn bounded(
    serving: impl Future<Output = std::io::Result<()>>,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    tokio::select! {
        served = serving => served,
        () = async { cancel.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

/// Who is at the other end of a unix socket.
#[derive(Clone, Debug)]
struct Peer(Option<Arc<UCred>>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok().map(Arc::new))
    }
}

/// Names the peer, or leaves it nobody.
async fn known(
    config: Arc<Config>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller =
        peer.0.and_then(|credentials| admin(&config, &credentials)).map_or(Caller::Nobody, Caller::Admin);
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Root, the daemon's own user, and members of the admin group may do everything.
fn admin(config: &Config, peer: &UCred) -> Option<Admin> {
    let uid = Uid::from_raw(peer.uid());
    let user = SystemUser::from_uid(uid).ok().flatten();
    let name = user.as_ref().map_or_else(|| format!("uid {uid}"), |u| u.name.clone());
    let group = config.admin_group.as_deref().and_then(|g| Group::from_name(g).ok().flatten());
    let member = group.is_some_and(|g| g.mem.contains(&name) || g.gid.as_raw() == peer.gid());
    if !(uid.is_root() || uid == getuid() || member) {
        return None;
    }
    let gecos = user.and_then(|u| u.gecos.to_str().ok().and_then(|g| g.split(',').next()).map(str::to_owned));
    let shown = gecos.filter(|g| !g.is_empty()).unwrap_or_else(|| name.clone());
    let user = User::new(&shown, &format!("{}@localhost", name.replace(' ', "-"))).ok();
    Some(Admin { who: name, user, local: true, seat: None })
}
