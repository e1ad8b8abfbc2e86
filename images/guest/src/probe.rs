//! `sandbox-guest probe URL [--timeout 3s]`: whether a service in the same container answers.
//!
//! The stack's images hold little besides their service: no shell, no curl. So this binary, which is static, is
//! mounted into their containers and is their health check. It asks over plain HTTP, and only loopback: exit code
//! 0 where the answer's status is 2xx, and else 1 with a sentence, which the engine keeps beside the check.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::mpsc::sync_channel,
    thread,
    time::Duration,
};

use sandbox_guest::complain;

use crate::http;

/// For the whole exchange, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What to ask.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    at: SocketAddr,
    path: String,
}

/// The verb.
pub fn run(url: &str, timeout: Option<&str>) -> ExitCode {
    let asked = address(url).and_then(|a| Ok((a, timeout.map_or(Ok(TIMEOUT), time)?)));
    let (address, timeout) = match asked {
        Ok(asked) => asked,
        Err(sentence) => {
            complain!("sandbox-guest probe: {sentence}");
            return ExitCode::from(2);
        }
    };
    match probe(address, timeout) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            complain!("{url}: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn probe(address: Address, timeout: Duration) -> Result<(), String> {
    let (tell, answer) = sync_channel(1);
    // A thread, so that a service which answers byte by byte cannot outlast the time.
    thread::spawn(move || tell.send(http::status(address.at, &address.path, timeout)));
    match answer.recv_timeout(timeout) {
        Ok(Ok(200..300)) => Ok(()),
        Ok(Ok(status)) => Err(format!("it answers with status {status}")),
        Ok(Err(error)) => Err(format!("it does not answer: {error}")),
        Err(_) => Err(format!("it does not answer within {timeout:?}")),
    }
}

/// `http://HOST[:PORT][/PATH]`, where HOST is this machine itself.
fn address(url: &str) -> Result<Address, String> {
    let wrong = |why: &str| format!("'{url}' {why}; give a URL such as http://127.0.0.1:13133/");
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("is no plain HTTP URL"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong("holds white space"));
    }
    // A name would have to be looked up, and the images need not have what that takes.
    let named = host.strip_prefix("localhost").map(|port| format!("{}{port}", Ipv4Addr::LOCALHOST));
    let host = named.as_deref().unwrap_or(host);
    let alone = |host: &str| host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 80));
    let at = host.parse().ok().or_else(|| alone(host)).ok_or_else(|| wrong("names no address"))?;
    if !at.ip().is_loopback() {
        return Err(wrong("is not loopback"));
    }
    Ok(Address { at, path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
}

/// `3s` or `500ms`.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1000),
    };
    let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("'{text}' is no time; give one such as 3s or 500ms"))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufReader, Write},
        net::TcpListener,
        time::Instant,
    };

    use super::*;

    /// Serves one connection with these bytes, and keeps it open; what was asked comes back.
    fn service(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("its address");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let head = http::read_request(&mut BufReader::new(&stream)).expect("HTTP").expect("a request");
            stream.write_all(answer).expect("written");
            // Until the caller has gone: an answer without an end is one to the probe.
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default();
            format!("{} {}", head.method, head.path)
        });
        (at, served)
    }

    fn probed(at: SocketAddr, path: &str, timeout: Duration) -> Result<(), String> {
        probe(Address { at, path: path.to_owned() }, timeout)
    }

    #[test]
    fn a_service_is_well_when_its_status_says_so() {
        for (answer, well) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nshort"[..], true),
            (b"HTTP/1.1 204 No Content\r\n\r\n", true),
            (b"HTTP/1.0 200 OK\r\n\r\n", true),
            (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", false),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            (b"ready\r\n\r\n", false),
        ] {
            let (at, served) = service(answer);
            let found = probed(at, "/ready?x=1", Duration::from_secs(10));
            assert_eq!(found.is_ok(), well, "{found:?}");
            assert_eq!(served.join().expect("served"), "GET /ready?x=1");
        }
    }

    #[test]
    fn nobody_and_silence_are_told() {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let refused = probed(free, "/", Duration::from_secs(3)).expect_err("nobody is there");
        assert!(refused.contains("does not answer"), "{refused}");
        let (at, served) = service(b"HTTP/1.1 200 OK\r\nX-Slow: ");
        let began = Instant::now();
        let silent = probed(at, "/", Duration::from_millis(200)).expect_err("no answer");
        assert!(silent.contains("does not answer"), "{silent}");
        assert!(began.elapsed() < Duration::from_secs(5));
        served.join().expect("served");
    }

    #[test]
    fn only_loopback_is_asked() {
        let good = |url: &str| address(url).map(|a| format!("{} {}", a.at, a.path));
        assert_eq!(good("http://127.0.0.1:13133/"), Ok("127.0.0.1:13133 /".to_owned()));
        assert_eq!(good("http://127.0.0.1:9090"), Ok("127.0.0.1:9090 /".to_owned()));
        assert_eq!(good("http://localhost:9090/-/ready"), Ok("127.0.0.1:9090 /-/ready".to_owned()));
        assert_eq!(good("http://[::1]:3100/ready?a=b"), Ok("[::1]:3100 /ready?a=b".to_owned()));
        assert_eq!(good("http://127.0.0.1/x"), Ok("127.0.0.1:80 /x".to_owned()));
        for url in [
            "https://127.0.0.1/",
            "127.0.0.1:80",
            "http://",
            "http://192.0.2.1:80/",
            "http://localhost.example.org/",
            "http://example.org/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:80/a b",
            "http://127.0.0.1:80/\r\nX: y",
        ] {
            assert!(address(url).is_err_and(|why| why.contains("give a URL")), "{url}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "3", "s", "ms", "0s", "-1s", "3m", "99999999999999999999s", "18446744073709551615s"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
