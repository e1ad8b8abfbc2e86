//! As much of HTTP/1.1 as the guest needs: reading requests and answers whole, writing both, and a client
//! for the doors on 127.0.0.1. Heads are parsed by `httparse`; bodies come with a length, in chunks or, for
//! answers, until the end.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The longest head.
const HEAD: usize = 64 << 10; // bytes

/// The most header fields of one head.
const FIELDS: usize = 128;

/// Why something is not a message of HTTP/1.1.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed, or ended within a message.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It makes no sense.
    #[error("this is not HTTP/1.1: {0}")]
    Malformed(String),
    /// The body is longer than allowed.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
}

/// Header fields, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    /// The first field of this name, if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Whether a field of this name lists this word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name));
        named.filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header fields.
    pub headers: Headers,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer of our own.
    pub fn new(status: u16, content_type: &str, body: &[u8]) -> Response {
        let headers = Headers(vec![("content-type".to_owned(), content_type.into())]);
        Response { status, headers, body: body.to_vec() }
    }
}

/// Reads a request's head; `None` when the connection ends before it.
pub fn read_request(from: &mut impl BufRead) -> Result<Option<RequestHead>, HttpError> {
    let Some(bytes) = read_head(from)? else { return Ok(None) };
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&bytes).map_err(|e| HttpError::Malformed(e.to_string()))?;
    let headers = owned(request.headers);
    let keep_alive = request.version == Some(1) && !headers.lists("connection", "close");
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    Ok(Some(RequestHead { method: method.to_owned(), path: path.to_owned(), headers, keep_alive }))
}

/// Reads a request's body.
pub fn read_request_body(
    from: &mut impl BufRead,
    headers: &Headers,
    limit: usize,
) -> Result<Vec<u8>, HttpError> {
    let chunked = headers.get("transfer-encoding").is_some();
    match (chunked, content_length(headers)?) {
        (false, None) => Ok(Vec::new()),
        (false, Some(length)) => read_exactly(from, length, limit),
        (true, None) if headers.lists("transfer-encoding", "chunked") => read_chunks(from, limit),
        // Two framings are how a second request is smuggled into the first.
        (true, _) => Err(HttpError::Malformed("a body framed in two ways, or in an unknown one".into())),
    }
}

/// Reads an answer, passing over interim ones.
pub fn read_response(from: &mut impl BufRead, limit: usize) -> Result<Response, HttpError> {
    let (status, headers) = read_response_head(from)?;
    let body = match content_length(&headers)? {
        _ if matches!(status, 204 | 304) => Vec::new(),
        _ if headers.lists("transfer-encoding", "chunked") => read_chunks(from, limit)?,
        Some(length) => read_exactly(from, length, limit)?,
        None => read_to_end(from, limit)?,
    };
    Ok(Response { status, headers, body })
}

fn read_response_head(from: &mut impl BufRead) -> Result<(u16, Headers), HttpError> {
    loop {
        let bytes = read_head(from)?.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(&bytes).map_err(|e| HttpError::Malformed(e.to_string()))?;
        let (status, headers) = (response.code.unwrap_or_default(), owned(response.headers));
        if !(100..200).contains(&status) {
            return Ok((status, headers));
        }
    }
}

/// Writes a head with this first line and these fields, then the body; adds `content-length`.
pub fn write_message(
    to: &mut impl Write,
    first_line: &str,
    fields: &[(&str, &[u8])],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("{first_line}\r\n").into_bytes();
    let length = body.len().to_string();
    for (name, value) in fields.iter().chain([&("content-length", length.as_bytes())]) {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    to.write_all(&head)?;
    to.write_all(body)?;
    to.flush()
}

/// Sends one request to a door on 127.0.0.1 and reads its answer. The time is for each step on the wire.
pub fn post(
    port: u16,
    path: &str,
    content_type: &str,
    body: &[u8],
    step: Duration,
) -> Result<Response, HttpError> {
    let stream = connect(SocketAddr::from(([127, 0, 0, 1], port)), step)?;
    let fields = [
        ("host", "127.0.0.1".as_bytes()),
        ("content-type", content_type.as_bytes()),
        ("connection", "close".as_bytes()),
    ];
    write_message(&mut &stream, &format!("POST {path} HTTP/1.1"), &fields, body)?;
    read_response(&mut BufReader::new(stream), 16 << 20)
}

/// Asks for a path and reads only the answer's status, however long its body.
pub fn status(at: SocketAddr, path: &str, step: Duration) -> Result<u16, HttpError> {
    let stream = connect(at, step)?;
    let host = at.to_string();
    let fields = [("host", host.as_bytes()), ("connection", "close".as_bytes())];
    write_message(&mut &stream, &format!("GET {path} HTTP/1.1"), &fields, b"")?;
    Ok(read_response_head(&mut BufReader::new(stream))?.0)
}

fn connect(at: SocketAddr, step: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, step)?;
    stream.set_read_timeout(Some(step))?;
    stream.set_write_timeout(Some(step))?;
    Ok(stream)
}

fn read_head(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, HttpError> {
    let mut head = Vec::new();
    loop {
        let line = read_line(from, HEAD - head.len())?;
        if line.is_empty() && head.is_empty() {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            return Err(HttpError::Malformed("a head that ends early, or is too long".into()));
        }
        let blank = matches!(line.as_slice(), b"\r\n" | b"\n");
        if blank && head.is_empty() {
            continue; // Blank lines before a request are to be passed over.
        }
        head.extend_from_slice(&line);
        if blank {
            return Ok(Some(head));
        }
    }
}

fn read_line(from: &mut impl BufRead, limit: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(limit as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn content_length(headers: &Headers) -> Result<Option<usize>, HttpError> {
    let mut lengths = headers.all("content-length");
    let first = lengths.next();
    if lengths.any(|other| Some(other) != first) {
        return Err(HttpError::Malformed("two lengths".into()));
    }
    let parse = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or(HttpError::Malformed("a length that is none".into()))
    };
    first.map(parse).transpose()
}

fn read_exactly(from: &mut impl BufRead, length: usize, limit: usize) -> Result<Vec<u8>, HttpError> {
    if length > limit {
        return Err(HttpError::TooLong(limit));
    }
    // Grows with what comes: a length alone reserves nothing.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(body) }
}

fn read_chunks(from: &mut impl BufRead, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from, 1 << 10)?;
        let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&line) else {
            return Err(HttpError::Malformed("a chunk without its size".into()));
        };
        if size == 0 {
            break;
        }
        let room = (limit - body.len()) as u64;
        if size > room {
            return Err(HttpError::TooLong(limit));
        }
        body.append(&mut read_exactly(from, size as usize, limit)?);
        if !matches!(read_line(from, 2)?.as_slice(), b"\r\n" | b"\n") {
            return Err(HttpError::Malformed("a chunk longer than its size".into()));
        }
    }
    // Trailers end with a blank line, as heads do; nobody here has a use for them.
    let mut trailers = HEAD;
    loop {
        let line = read_line(from, trailers)?;
        if matches!(line.as_slice(), b"\r\n" | b"\n") {
            return Ok(body);
        }
        trailers -= line.len();
        if !line.ends_with(b"\n") {
            return Err(HttpError::Malformed("trailers that end early".into()));
        }
    }
}

fn read_to_end(from: &mut impl BufRead, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut body)?;
    if body.len() > limit { Err(HttpError::TooLong(limit)) } else { Ok(body) }
}

fn owned(fields: &[httparse::Header<'_>]) -> Headers {
    Headers(fields.iter().map(|f| (f.name.to_owned(), f.value.to_owned())).collect())
}

#[cfg(test)]
mod tests;
