use super::*;
use proptest::prelude::*;

fn body(request: &str, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut from = request.as_bytes();
    let head = read_request(&mut from)?.expect("a head");
    read_request_body(&mut from, &head.headers, limit)
}

#[test]
fn requests_follow_each_other_on_a_connection() {
    let mut from = "POST /v1/logs?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    \r\nGET / HTTP/1.1\r\nConnection: Close\r\n\r\n"
        .as_bytes();
    let first = read_request(&mut from).expect("good").expect("one");
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/v1/logs?x=1"));
    assert!(first.keep_alive);
    assert_eq!(read_request_body(&mut from, &first.headers, 3).expect("good"), b"abc");
    let second = read_request(&mut from).expect("good").expect("another");
    assert!(!second.keep_alive);
    assert_eq!(read_request_body(&mut from, &second.headers, 3).expect("good"), b"");
    assert!(read_request(&mut from).expect("good").is_none());
}

#[test]
fn an_old_client_gets_one_answer() {
    let head = read_request(&mut "GET / HTTP/1.0\r\n\r\n".as_bytes()).expect("good").expect("one");
    assert!(!head.keep_alive);
}

#[test]
fn limits_hold_for_both_framings() {
    let sized = "POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabcdef";
    let chunked =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n2\r\nef\r\n0\r\nT: 1\r\n\r\n";
    for request in [sized, chunked] {
        assert_eq!(body(request, 6).expect("it fits"), b"abcdef");
        assert!(matches!(body(request, 5), Err(HttpError::TooLong(5))), "{request}");
    }
}

#[test]
fn what_could_be_two_requests_is_refused() {
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: +3",
        "Content-Length: -1",
        "Transfer-Encoding: gzip",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\nabc");
        assert!(matches!(body(&request, 100), Err(HttpError::Malformed(_))), "{fields}");
    }
    for chunks in ["x\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "3"] {
        let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert!(body(&request, 100).is_err(), "{chunks}");
    }
}

#[test]
fn answers_come_in_every_framing() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nbody",
    ] {
        let response = read_response(&mut answer.as_bytes(), 100).expect("good");
        assert_eq!((response.status, response.body.as_slice()), (200, &b"body"[..]), "{answer}");
    }
    // A whole answer or none: that is what decides whether a request is kept.
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod";
    for end in 0..cut.len() {
        assert!(read_response(&mut &cut.as_bytes()[..end], 100).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn nothing_that_arrives_is_a_panic(bytes: Vec<u8>, head in "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n|") {
        let mut all = head.into_bytes();
        all.extend(bytes);
        let mut from = all.as_slice();
        if let Ok(Some(head)) = read_request(&mut from) {
            drop(read_request_body(&mut from, &head.headers, 64));
        }
        drop(read_response(&mut all.as_slice(), 64));
    }

    #[test]
    fn chunks_say_what_was_cut_up(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8)) {
        let mut request = b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n".to_vec();
        for piece in &pieces {
            request.extend(format!("{:x}\r\n", piece.len()).bytes());
            request.extend(piece);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\nrest");
        let mut from = request.as_slice();
        let head = read_request(&mut from).expect("good").expect("one");
        let body = read_request_body(&mut from, &head.headers, 1000).expect("good");
        prop_assert_eq!(body, pieces.concat());
        prop_assert_eq!(from, b"rest");
    }
}
