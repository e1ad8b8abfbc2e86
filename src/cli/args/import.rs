//! `import`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{public_key, telemetry::header, time};
use crate::{config::Protocol, signal::Signal};

/// Its examples.
pub const EXAMPLES: &str = "\
Examples:
  sandboxctl import sandbox-session-019a9f3e-….tar.gz --to otlp://127.0.0.1:4317
  sandboxctl import bundle.tar.gz --to https://collector.example.org:4318 --header 'Authorization=Bearer abc'
  sandboxctl import bundle.tar.gz --to http://127.0.0.1:9090/api/v1/otlp --signals metrics

Everything goes with the times that it was recorded with, and may be sent again: it is the same to the byte.
Resources get sandbox.imported = true; a backend that was forwarded the same session has it twice.";

/// `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The bundle
    pub file: PathBuf,
    /// Where to: otlp:// or grpc:// for OTLP/gRPC, http:// or otlp+http:// for OTLP/HTTP; with an s for TLS
    #[arg(long, value_name = "URL", value_parser = target)]
    pub to: Target,
    /// A header of every request; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// What to send, comma-separated: traces, metrics, logs [default: all three]
    #[arg(long, value_name = "SIGNAL,…", value_delimiter = ',', value_parser = signal, default_values = ["traces", "metrics", "logs"], hide_default_value = true)]
    pub signals: Vec<Signal>,
    /// Public key that must have signed it, hexadecimal [default: whichever signed it]
    #[arg(long, value_name = "HEX", value_parser = public_key, conflicts_with = "no_verify")]
    pub key: Option<String>,
    /// Send what is in it without checking hashes and signature first
    #[arg(long)]
    pub no_verify: bool,
    /// How long to try while the destination takes nothing
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    pub patience: Duration,
    /// What was sent as JSON
    #[arg(long)]
    pub json: bool,
}

/// An OTLP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Base URL.
    pub endpoint: String,
}

fn signal(text: &str) -> Result<Signal, &'static str> {
    let found = Signal::ALL.into_iter().find(|signal| signal.name() == text);
    found.ok_or("give one or more of traces, metrics and logs")
}

fn target(text: &str) -> Result<Target, &'static str> {
    const FORMS: [(&str, Protocol, &str, &str); 8] = [
        ("otlp+https://", Protocol::Http, "https", ":4318"),
        ("otlp+http://", Protocol::Http, "http", ":4318"),
        ("otlps://", Protocol::Grpc, "https", ":4317"),
        ("otlp://", Protocol::Grpc, "http", ":4317"),
        ("grpcs://", Protocol::Grpc, "https", ":4317"),
        ("grpc://", Protocol::Grpc, "http", ":4317"),
        ("https://", Protocol::Http, "https", ""),
        ("http://", Protocol::Http, "http", ""),
    ];
    let problem = "give an address such as otlp://127.0.0.1:4317 or http://127.0.0.1:4318";
    let form = FORMS.iter().find_map(|(prefix, protocol, scheme, port)| {
        text.strip_prefix(prefix).map(|rest| (rest, *protocol, scheme, port))
    });
    let (rest, protocol, scheme, port) = form.ok_or(problem)?;
    let rest = rest.trim_end_matches('/');
    let url = reqwest::Url::parse(&format!("{scheme}://{rest}")).map_err(|_| problem)?;
    let is_base = url.has_host() && url.query().is_none() && url.fragment().is_none();
    // A URL does not keep the port that its scheme implies, and a usual port goes where only a host is named.
    let is_bare = !rest.contains('/') && !rest.rsplit(']').next().unwrap_or_default().contains(':');
    let endpoint = format!("{scheme}://{rest}{}", if is_bare { port } else { &"" });
    if is_base { Ok(Target { protocol, endpoint }) } else { Err(problem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_one_of_two_protocols() {
        for (text, protocol, endpoint) in [
            ("otlp://collector", Protocol::Grpc, "http://collector:4317"),
            ("otlp://[::1]:1/", Protocol::Grpc, "http://[::1]:1"),
            ("otlp://[::1]", Protocol::Grpc, "http://[::1]:4317"),
            ("grpcs://c.example:443", Protocol::Grpc, "https://c.example:443"),
            ("otlp+http://c", Protocol::Http, "http://c:4318"),
            ("https://c.example/otlp", Protocol::Http, "https://c.example/otlp"),
        ] {
            assert_eq!(target(text), Ok(Target { protocol, endpoint: endpoint.to_owned() }), "{text}");
        }
        for wrong in ["", "collector:4317", "ftp://c", "otlp://", "http://c?x=1", "otlp://a b"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
