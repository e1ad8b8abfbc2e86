//! What the stack is to be, as Compose understands its files: parts, their addresses, their volumes.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    compose::{Compose, ComposeError},
    ps::{Condition, Container},
};
use crate::cli::usage;

/// Every part, whether it is switched on or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Parts by name.
    pub parts: BTreeMap<String, Part>,
    /// Names of the volumes in the engine, by their names in the file.
    pub volumes: BTreeMap<String, String>,
}

/// A part: a service of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it can be reached on this machine.
    pub addresses: Vec<Address>,
    /// Whether a health check says how it is.
    pub checked: bool,
    /// Volumes and where they are mounted in it.
    pub volumes: Vec<(String, String)>,
}

/// An address on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Address {
    /// What listens there, where it is known.
    pub what: &'static str,
    /// Address that it is bound to.
    pub ip: IpAddr,
    /// Port on this machine.
    pub port: u16,
    /// Whether a browser or a program speaks HTTP to it.
    #[serde(skip)]
    pub is_http: bool,
}

impl Address {
    /// As it is to be typed: from this machine, every address is loopback.
    pub(super) fn shown(&self) -> String {
        let ip = match self.ip {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        };
        let at = std::net::SocketAddr::new(ip, self.port);
        if self.is_http { format!("http://{at}") } else { at.to_string() }
    }
}

/// What listens on the parts' own ports, inside; the ports on the machine are settings.
const KNOWN: [(&str, u16, &str, bool); 12] = [
    ("collector", 4317, "OTLP over gRPC", false),
    ("collector", 4318, "OTLP over HTTP", true),
    ("collector", 8888, "own metrics", true),
    ("collector", 8889, "metrics for scraping", true),
    ("collector", 13133, "health check", true),
    ("collector", 55679, "zpages", true),
    ("prometheus", 9090, "metrics", true),
    ("pushgateway", 9091, "pushed metrics", true),
    ("alertmanager", 9093, "alerts", true),
    ("jaeger", 16686, "traces", true),
    ("loki", 3100, "logs", true),
    ("grafana", 3000, "dashboards", true),
];

/// As much of `compose config --format json` as matters here.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: BTreeMap<String, Service>,
    #[serde(default)]
    volumes: BTreeMap<String, Option<Volume>>,
}

#[derive(Deserialize)]
struct Service {
    /// A service that is not started again is a step on the way of another.
    #[serde(default)]
    restart: Option<String>,
    #[serde(default)]
    healthcheck: Option<Healthcheck>,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    volumes: Vec<Mount>,
}

#[derive(Deserialize)]
struct Healthcheck {
    #[serde(default)]
    disable: bool,
}

#[derive(Deserialize)]
struct Port {
    #[serde(default)]
    host_ip: Option<String>,
    target: u16,
    #[serde(default)]
    published: Option<String>,
}

#[derive(Deserialize)]
struct Mount {
    r#type: String,
    #[serde(default)]
    source: String,
    target: String,
    #[serde(default)]
    read_only: bool,
}

#[derive(Deserialize)]
struct Volume {
    name: Option<String>,
}

impl Plan {
    /// Asks Compose.
    pub(super) async fn of(compose: &Compose) -> Result<Plan, ComposeError> {
        let doing = "reading the stack's files";
        let text = compose.output(doing, &["--profile", "all", "config", "--format", "json"]).await?;
        Plan::parse(&text).map_err(|error| ComposeError::Failed {
            doing: doing.to_owned(),
            said: format!("Compose's answer makes no sense: {error}"),
            remedy: "install a newer Docker Compose".to_owned(),
        })
    }

    fn parse(text: &str) -> serde_json::Result<Plan> {
        let file: File = serde_json::from_str(text)?;
        let name = |(key, volume): (String, Option<Volume>)| {
            let name = volume.and_then(|v| v.name).unwrap_or_else(|| key.clone());
            (key, name)
        };
        let lasting = file.services.into_iter().filter(|(_, s)| s.restart.as_deref() != Some("no"));
        let parts = lasting.map(|(name, service)| {
            let addresses = service.ports.iter().filter_map(|port| address(&name, port)).collect();
            // What is mounted to be read only is written by another part, and copied there.
            let mounts = service.volumes.into_iter().filter(|m| m.r#type == "volume" && !m.read_only);
            let volumes = mounts.map(|m| (m.source, m.target)).collect();
            let checked = service.healthcheck.is_some_and(|check| !check.disable);
            (name, Part { addresses, checked, volumes })
        });
        Ok(Plan { parts: parts.collect(), volumes: file.volumes.into_iter().map(name).collect() })
    }

    /// How a part is, whose container this is. One that was started this moment runs, and its check has not begun.
    pub(super) fn condition(&self, part: &str, container: Option<&Container>) -> Condition {
        let checked = self.parts.get(part).is_some_and(|p| p.checked);
        match container.map_or(Condition::Absent, Container::condition) {
            Condition::Running if checked => Condition::Starting,
            other => other,
        }
    }

    /// That these are parts.
    pub(super) fn check(&self, parts: &[String]) -> anyhow::Result<()> {
        match parts.iter().find(|part| !self.parts.contains_key(*part)) {
            Some(part) => {
                let names: Vec<&str> = self.parts.keys().map(String::as_str).collect();
                Err(usage(format!("the stack has no part '{part}'; its parts are {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }
}

fn address(part: &str, port: &Port) -> Option<Address> {
    let known = KNOWN.iter().find(|(of, inside, ..)| *of == part && *inside == port.target);
    let ip = port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
    Some(Address {
        what: known.map_or("", |(_, _, what, _)| what),
        ip: ip.parse().ok()?,
        port: port.published.as_deref()?.parse().ok()?,
        is_http: known.is_some_and(|known| known.3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_addresses_and_volumes() {
        let text = r#"{"name": "sandboxctl-stack", "services": {
            "grafana": {"image": "g", "healthcheck": {"test": ["CMD", "/probe"]}, "ports": [
                {"mode": "ingress", "host_ip": "127.0.0.1", "target": 3000, "published": "3030", "protocol": "tcp"}],
              "volumes": [
                {"type": "volume", "source": "grafana", "target": "/var/lib/grafana", "volume": {}},
                {"type": "volume", "source": "shared", "target": "/shared", "read_only": true},
                {"type": "bind", "source": "/x", "target": "/y", "read_only": true}]},
            "collector": {"image": "c", "healthcheck": {"disable": true}, "ports": [
                {"target": 4317, "published": "4317"}, {"host_ip": "::", "target": 4318, "published": "4318"},
                {"target": 9}]},
            "collector-storage": {"image": "c", "restart": "no",
              "volumes": [{"type": "volume", "source": "grafana", "target": "/x"}]}},
          "volumes": {"grafana": {"name": "sandboxctl-stack_grafana"}, "shared": null}}"#;
        let plan = Plan::parse(text).expect("a plan");
        let shown = |part: &str| plan.parts[part].addresses.iter().map(Address::shown).collect::<Vec<_>>();
        assert_eq!(shown("grafana"), ["http://127.0.0.1:3030"]);
        assert_eq!(shown("collector"), ["127.0.0.1:4317", "http://[::1]:4318"]);
        let volume = ("grafana".to_owned(), "/var/lib/grafana".to_owned());
        assert_eq!(plan.parts["grafana"].volumes, [volume]);
        assert_eq!(plan.volumes["grafana"], "sandboxctl-stack_grafana");
        assert_eq!(plan.volumes["shared"], "shared");
        let error = plan.check(&["graffana".to_owned()]).expect_err("no such part").to_string();
        assert!(error.contains("'graffana'") && error.contains("collector, grafana"), "{error}");
        assert!(plan.parts["grafana"].checked && !plan.parts["collector"].checked);
        assert_eq!(plan.parts.len(), 2, "a step is no part");
        assert!(Plan::parse("no JSON").is_err());
    }
}
