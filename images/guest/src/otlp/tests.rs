use super::*;
use crate::http::Headers;
use sandbox_guest::{frame, wire::split_head};
use std::{net::TcpListener, os::unix::net::UnixListener, sync::atomic::AtomicBool, thread};
use tempfile::TempDir;

struct Scene {
    dir: TempDir,
    passage: Arc<Passage>,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(&dir.path().join("spool")).expect("a spool");
        let gateway: Arc<Path> = dir.path().join("gateway.sock").into();
        let numbers = AtomicU64::new(1);
        let passage = Passage { gateway, spool, bodies: Slots::new(BODIES), numbers, key: "key".to_owned() };
        let passage = Arc::new(passage);
        Scene { dir, passage }
    }

    /// A connection to the door.
    fn connect(&self) -> BufReader<TcpStream> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
        let (served, _) = listener.accept().expect("accepted");
        let passage = self.passage.clone();
        thread::spawn(move || passage.serve(&served));
        BufReader::new(client)
    }

    fn ask(client: &mut BufReader<TcpStream>, path: &str, body: &[u8]) -> Response {
        let fields: [(&str, &[u8]); 2] = [("content-type", b"application/json"), (REQUEST_HEADER, b"999")];
        let line = format!("POST {path} HTTP/1.1");
        http::write_message(client.get_mut(), &line, &fields, body).expect("sent");
        http::read_response(client, 1000).expect("an answer")
    }

    /// A daemon that answers each connection's request with this, and tells what it was asked.
    fn daemon(&self, answer: &'static [u8], times: usize) -> thread::JoinHandle<Vec<(Headers, Vec<u8>)>> {
        let listener = UnixListener::bind(self.dir.path().join("gateway.sock")).expect("a socket");
        thread::spawn(move || {
            let serve = |_| {
                let (mut to, _) = listener.accept().expect("a connection");
                let mut from = BufReader::new(to.try_clone().expect("a clone"));
                let head = http::read_request(&mut from).expect("good").expect("a request");
                let body = http::read_request_body(&mut from, &head.headers, 1000).expect("good");
                to.write_all(answer).expect("answered");
                (head.headers, body)
            };
            (0..times).map(serve).collect()
        })
    }
}

#[test]
fn requests_are_passed_on_with_our_number_and_answers_come_back() {
    let scene = Scene::new();
    let answer = b"HTTP/1.1 503 Nope\r\nRetry-After: 15\r\nContent-Type: text/x\r\nX-Inner: 1\r\nContent-Length: 4\r\n\r\nfull";
    let daemon = scene.daemon(answer, 2);
    let mut client = scene.connect();
    for _ in 0..2 {
        let response = Scene::ask(&mut client, "/v1/logs", b"hello");
        assert_eq!((response.status, response.body.as_slice()), (503, &b"full"[..]));
        assert_eq!(response.headers.get("retry-after"), Some("15"));
        assert_eq!(response.headers.get("content-type"), Some("text/x"));
        assert_eq!(response.headers.get("x-inner"), None);
    }
    let asked = daemon.join().expect("joined");
    let numbers: Vec<_> = asked.iter().map(|(h, body)| (h.get(REQUEST_HEADER), body.as_slice())).collect();
    assert_eq!(
        numbers,
        [(Some("1 key"), &b"hello"[..]), (Some("2 key"), b"hello")],
        "and never the client's own"
    );
    assert_eq!(scene.passage.spool.first_unacked(), 1);
}

#[test]
fn a_request_whose_answer_breaks_off_is_kept_with_the_same_number() {
    let scene = Scene::new();
    let daemon = scene.daemon(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", 1);
    let mut client = scene.connect();
    let response = Scene::ask(&mut client, "/mcp", b"hello");
    assert_eq!((response.status, response.body.as_slice()), (200, &b"{}"[..]));
    let asked = daemon.join().expect("joined");
    let mut bytes = [0; 1000];
    let mut reader = scene.passage.spool.reader().expect("a reader");
    let read = reader.read(&mut bytes, &AtomicBool::new(true)).expect("readable");
    let record = frame::read(&mut &bytes[..read]).expect("good").expect("a record");
    assert_eq!(record.head.kind, Kind::Request);
    let (kept, body): (SpooledRequest, _) = split_head(&record.payload).expect("a request");
    assert_eq!((kept.path.as_str(), body), ("/mcp", &b"hello"[..]));
    assert_eq!(asked[0].0.get(REQUEST_HEADER), Some(format!("{} key", kept.request).as_str()));
}

#[test]
fn too_long_a_body_is_refused_before_it_is_read() {
    let scene = Scene::new();
    let mut client = scene.connect();
    let head = format!("POST /v1/logs HTTP/1.1\r\nContent-Length: {}\r\n\r\n", BODY + 1);
    client.get_mut().write_all(head.as_bytes()).expect("sent");
    assert_eq!(http::read_response(&mut client, 1000).expect("an answer").status, 413);
}

#[test]
fn a_body_is_asked_for_where_the_client_waits() {
    let scene = Scene::new();
    let mut client = scene.connect();
    let head = "POST /v1/logs HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.get_mut().write_all(head.as_bytes()).expect("sent");
    let mut line = String::new();
    io::BufRead::read_line(&mut client, &mut line).expect("a line");
    assert!(line.starts_with("HTTP/1.1 100 "), "{line}");
    io::BufRead::read_line(&mut client, &mut line).expect("a blank line");
    client.get_mut().write_all(b"hi").expect("sent");
    assert_eq!(http::read_response(&mut client, 1000).expect("an answer").status, 200);
}
