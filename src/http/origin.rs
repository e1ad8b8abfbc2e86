//! Where a request claims to come from and whom it claims to ask: pure rules over two headers.
//!
//! A page of another site can make a browser send requests here, cookies and all. It cannot choose the
//! `Origin` header, and a name of its own that it points at this machine (DNS rebinding) shows in `Host`.

use std::net::IpAddr;

/// Host and port of a `Host` header or of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Authority> {
        let text = text.to_ascii_lowercase();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host.to_owned(), after.strip_prefix(':'))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (text.clone(), None),
            },
        };
        let port = match port {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        (!host.is_empty()).then_some(Authority { host, port })
    }

    /// The authority of `http(s)://host[:port]`, its scheme's own port left out.
    fn of_url(url: &str) -> Option<Authority> {
        let (scheme, rest) = url.split_once("://")?;
        let own = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let mut authority = Authority::parse(rest.split('/').next()?)?;
        authority.port = authority.port.filter(|port| *port != own);
        Some(authority)
    }

    fn without_own_port(mut self) -> Authority {
        self.port = self.port.filter(|port| !matches!(port, 80 | 443));
        self
    }
}

/// Whether this daemon answers for a `Host`: an address (which no name service can forge), this machine's
/// own name for itself, or the host that `public_url` names.
pub(super) fn is_our_host(host: &str, public_url: Option<&str>) -> bool {
    let Some(asked) = Authority::parse(host) else { return false };
    asked.host.parse::<IpAddr>().is_ok()
        || asked.host == "localhost"
        || public_url.and_then(Authority::of_url).is_some_and(|ours| ours.host == asked.host)
}

/// Whether an `Origin` is the page's own: the host that is asked, or `public_url`.
pub(super) fn is_our_origin(origin: &str, host: &str, public_url: Option<&str>) -> bool {
    let Some(origin) = Authority::of_url(origin) else { return false };
    Authority::parse(host).map(Authority::without_own_port).as_ref()
        == Some(&origin.clone().without_own_port())
        || public_url.and_then(Authority::of_url) == Some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_anybody_can_point_here_is_not_ours() {
        let url = Some("https://sandbox.example.org");
        for ours in
            ["127.0.0.1:7070", "[::1]:7070", "localhost", "LOCALHOST:1", "10.0.0.7", "Sandbox.Example.org"]
        {
            assert!(is_our_host(ours, url), "{ours}");
        }
        for foreign in
            ["evil.example", "127.0.0.1.evil.example:7070", "sandbox.example.org.evil", "", ":7070", "a:b"]
        {
            assert!(!is_our_host(foreign, url), "{foreign}");
        }
        assert!(!is_our_host("sandbox.example.org", None));
    }

    #[test]
    fn only_the_page_that_was_served_may_ask() {
        let url = Some("https://sandbox.example.org");
        for (origin, host) in [
            ("http://127.0.0.1:7070", "127.0.0.1:7070"),
            ("http://[::1]:7070", "[::1]:7070"),
            ("https://sandbox.example.org", "sandbox.example.org"),
            ("https://sandbox.example.org", "sandbox.example.org:443"),
            ("https://sandbox.example.org", "10.0.0.7:7070"),
        ] {
            assert!(is_our_origin(origin, host, url), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:7070"),
            ("http://evil.example", "127.0.0.1:7070"),
            ("http://127.0.0.1.evil.example:7070", "127.0.0.1:7070"),
            ("null", "127.0.0.1:7070"),
            ("", "127.0.0.1:7070"),
            ("file://", "127.0.0.1:7070"),
        ] {
            assert!(!is_our_origin(origin, host, url), "{origin} at {host}");
        }
    }
}
