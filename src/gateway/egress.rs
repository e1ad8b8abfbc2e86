//! Egress: the proxy that is a container's only way to the network, and only as far as the profile allows.
//!
//! ```text
//!   CONNECT host:port ─▶ on the list? ─▶ resolve ─▶ public? ─▶ connect to that address ─▶ copy both ways
//!   GET http://host/… ─▶     │ no                    │ no                                    │
//!                            └──── 403, recorded ◀───┘                recorded at the end ◀──┘
//! ```
//!
//! A name is resolved once, and what is connected to is the address that was judged: a name that changes
//! its mind in between gains nothing. Denied attempts are recorded when they are made, allowed ones when
//! they end, with the bytes of each direction.
//!
//! The list says which hosts may be *connected to*. What is said inside a TLS connection is not read; a host
//! that itself leads on to others is as wide as its operator made it.

mod allow;
mod tunnel;

pub use allow::{AllowList, EgressError};
pub(crate) use tunnel::Tunnels;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, Version, header, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{Context, Doors};
use crate::{event::Egress, journal::Kind};
use allow::Rule;
use tunnel::Metered;

/// How long resolving and connecting may take together.
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// How long the head of a plain HTTP answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(300);

/// Headers that concern one hop only (RFC 9110, 7.6.1).
const HOP: [header::HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes what is meant for the proxy off the router's way.
pub(super) async fn intercept(
    State(ctx): State<Arc<Context>>,
    Extension(doors): Extension<Arc<Doors>>,
    request: Request,
    next: Next,
) -> Response {
    // In HTTP/2 every request has an authority; only before it does one ask for a proxy.
    let absolute = request.version() <= Version::HTTP_11 && request.uri().authority().is_some();
    if request.method() != Method::CONNECT && !absolute {
        return next.run(request).await;
    }
    let target = match target(request.method(), request.uri()) {
        Ok(target) => target,
        Err(sentence) => return say(StatusCode::BAD_REQUEST, sentence),
    };
    let Some(place) = doors.tunnels.place() else {
        return say(
            StatusCode::SERVICE_UNAVAILABLE,
            "this session has too many connections open to the network",
        );
    };
    let stream = match open(&ctx.egress, &target).await {
        Ok(stream) => stream,
        Err(denial) => {
            let (status, allowed) = match denial {
                Denial::NotAllowed | Denial::Private => (StatusCode::FORBIDDEN, false),
                Denial::Unresolved | Denial::Unreachable(_) | Denial::Slow => (StatusCode::BAD_GATEWAY, true),
            };
            let reason = denial.sentence(&target);
            record(&ctx, &target, allowed, Some(reason.clone()), 0, 0).await;
            return say(status, reason);
        }
    };
    let ending = Ending { ctx, target, doors: Arc::clone(&doors) };
    if request.method() == Method::CONNECT {
        let upgrade = hyper::upgrade::on(request);
        doors.tunnels.spawn(place, tunnel::copy(upgrade, stream, ending));
        StatusCode::OK.into_response()
    } else {
        forward(request, Metered::new(stream), place, ending).await
    }
}

/// Where a connection is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

fn target(method: &Method, uri: &Uri) -> Result<Target, &'static str> {
    let authority = uri.authority().ok_or("name a host")?;
    let default = match (method, uri.scheme_str()) {
        (&Method::CONNECT, _) => None,
        (_, Some("http")) => Some(80),
        _ => return Err("only http:// is proxied; for TLS use CONNECT"),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let port = authority.port_u16().or(default).ok_or("name a port")?;
    if host.is_empty() || authority.as_str().contains('@') {
        Err("name a host")
    } else {
        Ok(Target { host, port })
    }
}

/// Why a connection is not made.
#[derive(Debug)]
enum Denial {
    NotAllowed,
    Private,
    Unresolved,
    Unreachable(io::Error),
    Slow,
}

impl Denial {
    fn sentence(&self, Target { host, port }: &Target) -> String {
        match self {
            Denial::NotAllowed => format!("{host}:{port} is not on this session's list of allowed hosts"),
            Denial::Private => format!("{host} leads to an address that is not public"),
            Denial::Unresolved => format!("{host} cannot be resolved"),
            Denial::Unreachable(error) => format!("{host}:{port} cannot be reached: {error}"),
            Denial::Slow => format!("{host}:{port} did not answer in time"),
        }
    }
}

async fn open(list: &AllowList, target: &Target) -> Result<TcpStream, Denial> {
    let rule = list.rule(&target.host, target.port).ok_or(Denial::NotAllowed)?;
    timeout(CONNECT_TIME, connect(rule, target)).await.unwrap_or(Err(Denial::Slow))
}

async fn connect(rule: Rule, target: &Target) -> Result<TcpStream, Denial> {
    let found = lookup_host((target.host.as_str(), target.port)).await.map_err(|_| Denial::Unresolved)?;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() {
        return Err(Denial::Unresolved);
    }
    let mut problem = Denial::Private;
    for address in found.into_iter().filter(|address| rule.admits(address.ip())) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = Denial::Unreachable(error),
        }
    }
    Err(problem)
}

/// A connection's place in the record, written when it ends.
struct Ending {
    ctx: Arc<Context>,
    target: Target,
    doors: Arc<Doors>,
}

impl Ending {
    async fn record(self, sent: u64, received: u64, reason: Option<String>) {
        record(&self.ctx, &self.target, true, reason, sent, received).await;
    }
}

async fn record(
    ctx: &Context,
    Target { host, port }: &Target,
    allowed: bool,
    reason: Option<String>,
    sent_bytes: u64,
    received_bytes: u64,
) {
    let event = Egress { host: host.clone(), port: *port, allowed, reason, sent_bytes, received_bytes };
    ctx.metrics.egress(allowed);
    let kept = match ctx.recorder.event(Kind::Egress, &event) {
        Ok(seq) => ctx.recorder.commit(seq).await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(session = %ctx.id, %error, allowed, "an egress attempt could not be recorded");
    }
}

/// Sends a plain HTTP request on, over a connection of its own.
async fn forward(
    mut request: Request,
    stream: Metered<TcpStream>,
    place: tunnel::Place,
    ending: Ending,
) -> Response {
    let meter = stream.meter();
    let answer = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await;
    let (mut sender, connection) = match answer {
        Ok(halves) => halves,
        Err(error) => {
            ending.record(0, 0, Some(error.to_string())).await;
            return say(StatusCode::BAD_GATEWAY, "the host spoke no HTTP");
        }
    };
    let host = request.uri().authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    strip(request.headers_mut());
    if let Ok(host) = host.parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    let doors = Arc::clone(&ending.doors);
    doors.tunnels.spawn(place, async move |cancel| {
        let reason = tokio::select! {
            ended = connection => ended.err().map(|e| e.to_string()),
            () = meter.idle() => Some("idle".to_owned()),
            () = cancel.cancelled() => Some("the session ended".to_owned()),
        };
        ending.record(meter.sent(), meter.received(), reason).await;
    });
    match timeout(ANSWER_TIME, sender.send_request(request)).await {
        Ok(Ok(mut response)) => {
            strip(response.headers_mut());
            response.map(Body::new)
        }
        Ok(Err(_)) => say(StatusCode::BAD_GATEWAY, "the host broke the connection off"),
        Err(_) => say(StatusCode::GATEWAY_TIMEOUT, "the host did not answer in time"),
    }
}

/// Removes what concerns this hop, and what the sender's `Connection` header names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<header::HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
    headers.remove("proxy-connection");
    headers.remove("keep-alive");
}

fn say(status: StatusCode, sentence: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain")], sentence.into() + "\n").into_response()
}
