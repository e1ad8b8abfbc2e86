//! Where every session's telemetry goes: any number of OTLP destinations, by name.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::signal::Signal;

/// An OTLP destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Base URL. Over HTTP, `/v1/traces` and so on are appended.
    pub endpoint: String,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: Protocol,
    /// What is sent there.
    #[serde(default = "all")]
    pub signals: BTreeSet<Signal>,
    /// Whether metrics keep a label for each session; without, they are summed over sessions.
    #[serde(default)]
    pub session_labels: bool,
    /// How requests are packed; where absent gzip, and nothing on the way to this machine itself.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// File with a header a line, `Name: value`, readable by the daemon only.
    #[serde(default)]
    pub headers_file: Option<PathBuf>,
    /// Program and arguments that print such lines. Run at first, every half hour, and when the destination says
    /// that it does not know us.
    #[serde(default)]
    pub headers_helper: Vec<String>,
    /// What makes the destination believe us, and us believe it.
    #[serde(default)]
    pub tls: ForwardTls,
    /// What of the people's own words leaves this machine.
    #[serde(default)]
    pub privacy: Privacy,
    /// Longest wait for an answer.
    #[serde(default = "timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// OTLP/HTTP, protobuf in gzip; port 4318 as a rule.
    #[default]
    Http,
    /// OTLP/gRPC, gzip; port 4317 as a rule.
    Grpc,
}

/// How requests are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Gzip.
    Gzip,
    /// Not at all.
    None,
}

impl Forward {
    /// A destination at this address, all else as usual.
    pub fn to(endpoint: &str) -> Forward {
        Forward {
            endpoint: endpoint.to_owned(),
            protocol: Protocol::default(),
            signals: all(),
            session_labels: false,
            compression: None,
            headers_file: None,
            headers_helper: Vec::new(),
            tls: ForwardTls::default(),
            privacy: Privacy::default(),
            timeout: timeout(),
        }
    }

    /// Whether requests are packed: on the way to this machine itself that only costs time.
    pub fn gzip(&self) -> bool {
        self.compression.map_or_else(|| !is_here(&self.endpoint), |asked| asked == Compression::Gzip)
    }
}

/// Certificates for a destination; all PEM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardTls {
    /// Certificate authorities to believe, besides the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, for a destination that asks for one; with `key`.
    pub cert: Option<PathBuf>,
    /// Its private key, readable by the daemon only.
    pub key: Option<PathBuf>,
}

/// What becomes of each kind of content before it leaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// What was asked and answered.
    pub prompts: Keep,
    /// Who asked: name, e-mail address, account.
    pub users: Keep,
    /// What tools were given and what they said.
    pub tools: Keep,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// It is sent as it is.
    #[default]
    Keep,
    /// The same values stay the same, and nobody can tell what they were: BLAKE3 under a key of this daemon's.
    Hash,
    /// It is left out.
    Drop,
}

/// Whether a URL's host is this machine.
fn is_here(url: &str) -> bool {
    let host =
        reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

fn all() -> BTreeSet<Signal> {
    Signal::ALL.into()
}

pub(super) fn timeout() -> Duration {
    Duration::from_secs(30)
}
