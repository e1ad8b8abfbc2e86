//! The backends, asked by their own APIs for one mark.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::super::settings::Settings;
use crate::{cause::deepest, cli::args::stack::Verify, clock, inert::inert, signal::Signal};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How far back Loki looks.
const BACK: u64 = 3600; // seconds

/// A backend, and what of the three signals it keeps.
#[derive(Debug)]
pub(super) struct Backend {
    /// Its name: of the part, of the flag, of the hop.
    pub name: &'static str,
    /// What it is to have.
    pub what: &'static str,
    /// The signal.
    pub signal: Signal,
    path: &'static str,
    setting: &'static str,
    port: u16,
}

/// All of them, in the order of their hops.
pub(super) const BACKENDS: [Backend; 3] = [
    Backend {
        name: "prometheus",
        what: "metric",
        signal: Signal::Metrics,
        path: "/api/v1/query",
        setting: "STACK_PORT_PROMETHEUS",
        port: 9090,
    },
    Backend {
        name: "loki",
        what: "log record",
        signal: Signal::Logs,
        path: "/loki/api/v1/query_range",
        setting: "STACK_PORT_LOKI",
        port: 3100,
    },
    Backend {
        name: "jaeger",
        what: "span",
        signal: Signal::Traces,
        path: "/api/traces",
        setting: "STACK_PORT_JAEGER",
        port: 16686,
    },
];

/// What a backend said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is not asked: the collector does not send there.
    Skipped,
    /// It has the mark.
    Found,
    /// It answers, and does not have it.
    Missing,
    /// It does not answer as it should; a sentence.
    Away(String),
}

/// The backends of one stack, and the mark to look for.
pub(super) struct Backends {
    http: reqwest::Client,
    /// Each with the question; without one it is skipped.
    asked: Vec<(&'static Backend, Option<Url>)>,
    health: Url,
    /// Where the collector takes OTLP over HTTP.
    pub door: String,
    /// Ports where the collector takes OTLP.
    pub ports: Vec<u16>,
}

impl Backends {
    /// By the flags, else by the stack's settings. Of the backends without a flag, those are asked that are sent to.
    pub(super) fn new(
        args: &Verify,
        settings: &Settings,
        mark: &str,
        sends_to: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Backends> {
        let bound = settings.get("STACK_BIND");
        let (host, door) = (host(bound), host(settings.get("STACK_BIND_OTLP").or(bound)));
        let port =
            |name: &str, default: u16| settings.get(name).and_then(|p| p.parse().ok()).unwrap_or(default);
        let address = |setting: &str, default: u16| format!("http://{host}:{}", port(setting, default));
        let named = [&args.prometheus, &args.loki, &args.jaeger];
        let mut asked = Vec::new();
        for (backend, named) in BACKENDS.iter().zip(named) {
            let ours = || sends_to(backend.name).then(|| address(backend.setting, backend.port));
            let base = named.clone().or_else(ours);
            asked.push((backend, base.map(|base| backend.question(&base, mark)).transpose()?));
        }
        let health = args.collector.clone().unwrap_or_else(|| address("STACK_PORT_COLLECTOR_HEALTH", 13133));
        let otlp_http = port("STACK_PORT_COLLECTOR_HTTP", 4318);
        let otlp_grpc = port("STACK_PORT_COLLECTOR_GRPC", 4317);
        Ok(Backends {
            http: reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?,
            asked,
            health: Url::parse(&health)?,
            door: format!("http://{door}:{otlp_http}"),
            ports: vec![otlp_http, otlp_grpc],
        })
    }

    /// Asks each.
    pub(super) async fn look(&self) -> Vec<(&'static Backend, Look)> {
        let looks = self.asked.iter().map(async |(backend, url)| {
            let look = match url {
                None => Look::Skipped,
                Some(url) => match self.get(url).await {
                    Ok((status, body)) => backend.read(status, &body),
                    Err(error) => Look::Away(error),
                },
            };
            (*backend, look)
        });
        futures_util::future::join_all(looks).await
    }

    /// Whether the collector says that it is well.
    pub(super) async fn collector(&self) -> Result<(), String> {
        match self.get(&self.health).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(format!("{} answers {status}", self.health)),
        }
    }

    async fn get(&self, url: &Url) -> Result<(StatusCode, Value), String> {
        let at = || format!("{}://{}", url.scheme(), url.authority());
        let answer =
            self.http.get(url.clone()).send().await.map_err(|error| {
                format!("{} does not answer: {}", at(), inert(&deepest(&error).to_string()))
            })?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| format!("{}: its answer broke off: {e}", at()))?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// Where a port that is bound to this address is reached on this machine.
fn host(bound: Option<&str>) -> String {
    match bound {
        None | Some("0.0.0.0") => "127.0.0.1".to_owned(),
        Some("::" | "[::]") => "[::1]".to_owned(),
        Some(ip) if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]"),
        Some(ip) => ip.to_owned(),
    }
}

impl Backend {
    /// The URL that asks for the mark.
    fn question(&self, base: &str, mark: &str) -> anyhow::Result<Url> {
        let mut url = Url::parse(&format!("{}{}", base.trim_end_matches('/'), self.path))?;
        match self.signal {
            Signal::Metrics => {
                let query = format!("{{__name__=~\"stack_verify.*\", verify_mark=\"{mark}\"}}");
                url.query_pairs_mut().append_pair("query", &query);
            }
            Signal::Logs => {
                // Whatever the service's name became on the way, the mark stayed.
                let query = format!("{{service_name=~\".+\"}} | verify_mark=\"{mark}\"");
                let start = (clock::now() / 1_000_000).saturating_sub(BACK).to_string();
                url.query_pairs_mut().append_pair("query", &query).append_pair("start", &start);
            }
            // The mark is the trace's id.
            Signal::Traces => url.set_path(&format!("{}/{mark}", url.path())),
        }
        Ok(url)
    }

    /// What an answer says.
    pub(super) fn read(&self, status: StatusCode, body: &Value) -> Look {
        let found = match self.signal {
            Signal::Metrics | Signal::Logs => &body["data"]["result"],
            Signal::Traces => &body["data"],
        };
        match found.as_array() {
            Some(found) if status.is_success() && !found.is_empty() => Look::Found,
            Some(_) if status.is_success() => Look::Missing,
            // Jaeger's word for a trace that it does not know.
            _ if status == StatusCode::NOT_FOUND
                && self.signal == Signal::Traces
                && body["errors"].is_array() =>
            {
                Look::Missing
            }
            _ => Look::Away(format!("it answers {status}, which is not what {} says", self.name)),
        }
    }
}
