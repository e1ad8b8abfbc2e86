//! The telemetry door, 127.0.0.1:4318: requests are read here, and never lost while the daemon is away.
//!
//! ```text
//!   client ──▶ read whole ──▶ gateway.sock, with the request's number ──▶ its answer, relayed
//!                                  │ cannot be reached, or breaks before a whole answer
//!                                  ▼
//!                             spool, as a record with the same number ──▶ 200
//! ```
//!
//! The daemon keeps the number with what it journals, so a request whose answer was lost on the way, and
//! which is in the spool therefore, counts once.

use std::{
    io::{self, BufReader, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sandbox_guest::{
    frame::Kind,
    wire::{REQUEST_HEADER, SpooledRequest, join_head},
};

use crate::{
    http::{self, HttpError, RequestHead, Response},
    pipe,
    slots::Slots,
    spool::Spool,
};

/// The longest body.
const BODY: usize = 16 << 20; // bytes

/// Requests whose bodies are in memory at once; the next waits, before its body is read.
const BODIES: usize = 8;

/// How long the client may stay silent, within a request or before the next one.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the daemon may take for a step of its answer. It is a good deal less than a client that exits waits for
/// its last export, and a request that is given up on too early merely arrives twice, with one number.
const ANSWER: Duration = Duration::from_secs(3);

/// What is kept while the daemon is away.
const KEPT: [&str; 4] = ["/v1/traces", "/v1/metrics", "/v1/logs", "/mcp"];

/// Fields that concern one connection only, or that are said anew for the next.
const HOP: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The door, open.
pub struct OtlpDoor {
    connections: Slots,
}

struct Passage {
    gateway: Arc<Path>,
    spool: Arc<Spool>,
    bodies: Slots,
    numbers: AtomicU64,
    key: String,
}

impl OtlpDoor {
    /// Opens it. Port 0 is no door. `key` goes with each request's number.
    pub fn open(port: u16, gateway: Arc<Path>, spool: Arc<Spool>, key: String) -> io::Result<OtlpDoor> {
        let connections = Slots::new(pipe::CONNECTIONS);
        let numbers = AtomicU64::new(1);
        let passage = Passage { gateway, spool, bodies: Slots::new(BODIES), numbers, key };
        pipe::listen(port, connections.clone(), move |client, slot| {
            let _slot = slot;
            // A connection that fails is closed, which is all that its client can be told.
            passage.serve(&client).unwrap_or_default();
        })?;
        // One place is always taken: by the connection that the door is waiting for.
        Ok(OtlpDoor { connections })
    }

    /// Waits until every connection has ended, at most this long. Their clients are dead by now, so what is
    /// left of them is what they had sent.
    pub fn settle(&self, at_most: Duration) {
        self.connections.wait_until(1, at_most);
    }
}

impl Passage {
    fn serve(&self, client: &TcpStream) -> Result<(), HttpError> {
        client.set_read_timeout(Some(SILENCE))?;
        client.set_write_timeout(Some(SILENCE))?;
        let mut from = BufReader::new(client);
        let mut to = client;
        loop {
            let head = match http::read_request(&mut from) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(()),
                Err(error) => return refuse(to, error),
            };
            let body = self.bodies.take();
            if head.headers.lists("expect", "100-continue") {
                to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let content = match http::read_request_body(&mut from, &head.headers, BODY) {
                Ok(content) => content,
                Err(error) => return refuse(to, error),
            };
            let answer = self.answer(&head, &content);
            drop((content, body));
            write_answer(to, &answer, head.keep_alive)?;
            if !head.keep_alive {
                return Ok(());
            }
        }
    }

    fn answer(&self, head: &RequestHead, body: &[u8]) -> Response {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.ask(head, body, number).unwrap_or_else(|_| self.keep(head, body, number))
    }

    fn ask(&self, head: &RequestHead, body: &[u8], number: u64) -> Result<Response, HttpError> {
        let stream = pipe::dial(&self.gateway, Duration::ZERO)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let number = format!("{number} {}", self.key);
        let mut fields: Vec<(&str, &[u8])> =
            vec![("host", b"sandbox"), ("connection", b"close"), (REQUEST_HEADER, number.as_bytes())];
        let ours = |name: &str| HOP.iter().chain([&REQUEST_HEADER]).any(|n| n.eq_ignore_ascii_case(name));
        let theirs = head.headers.0.iter().filter(|(name, _)| !ours(name));
        fields.extend(theirs.map(|(name, value)| (name.as_str(), value.as_slice())));
        http::write_message(&mut &stream, &format!("{} {} HTTP/1.1", head.method, head.path), &fields, body)?;
        http::read_response(&mut BufReader::new(&stream), BODY)
    }

    /// Keeps a request for the daemon to find. Waits while the spool is full, as everybody does.
    fn keep(&self, head: &RequestHead, body: &[u8], request: u64) -> Response {
        let path = head.path.split('?').next().unwrap_or_default();
        if head.method != "POST" || !KEPT.contains(&path) {
            return away();
        }
        let text = |name| head.headers.get(name).map(str::to_owned);
        let (content_type, content_encoding) = (text("content-type"), text("content-encoding"));
        let json = path == "/mcp" || content_type.as_deref().is_some_and(|t| t.contains("json"));
        let spooled = SpooledRequest { request, path: path.to_owned(), content_type, content_encoding };
        let Ok(record) = join_head(&spooled, body) else { return away() };
        match self.spool.append(Kind::Request, &record) {
            Ok(_) if json => Response::new(200, "application/json", b"{}"),
            Ok(_) => Response::new(200, "application/x-protobuf", b""),
            Err(_) => away(),
        }
    }
}

fn away() -> Response {
    let mut response = Response::new(503, "text/plain", b"the daemon is away; try again in 15 seconds\n");
    response.headers.0.push(("retry-after".to_owned(), b"15".to_vec()));
    response
}

fn refuse(to: &TcpStream, error: HttpError) -> Result<(), HttpError> {
    let status = match &error {
        HttpError::Io(_) => return Err(error),
        HttpError::TooLong(_) => 413,
        HttpError::Malformed(_) => 400,
    };
    let response = Response::new(status, "text/plain", format!("{error}\n").as_bytes());
    // What is left of the request is not read, so nothing else can come on this connection.
    Ok(write_answer(to, &response, false)?)
}

fn write_answer(mut to: &TcpStream, response: &Response, keep_alive: bool) -> io::Result<()> {
    let relayed = |name: &str| {
        ["content-type", "content-encoding", "retry-after"].iter().any(|n| n.eq_ignore_ascii_case(name))
    };
    let theirs = response.headers.0.iter().filter(|(name, _)| relayed(name));
    let mut fields: Vec<(&str, &[u8])> = theirs.map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    if !keep_alive {
        fields.push(("connection", b"close"));
    }
    http::write_message(
        &mut to,
        &format!("HTTP/1.1 {} {}", response.status, reason(response.status)),
        &fields,
        &response.body,
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        413 => "Content Too Large",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}

#[cfg(test)]
mod tests;
