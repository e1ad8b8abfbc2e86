//! The observability stack of `compose/`, its parts as processes on loopback.
//!
//! Flags, settings and files are compose's own: Compose itself resolves them, and what a container would see below a
//! mount is found where the mount comes from. Only addresses and folders are other ones. They go by the environment
//! where a part reads it; of Prometheus' file there is a copy, scraped and evaluated each second.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

pub mod ask;
pub mod part;

use part::{Launch, Part, binary, free_ports};

/// The stack. What is dropped is killed, and its state goes.
pub struct Stack {
    dir: TempDir,
    parts: BTreeMap<&'static str, Part>,
    launches: BTreeMap<&'static str, Launch>,
    /// Where the collector takes OTLP over HTTP.
    pub otlp_url: String,
    /// Where it takes OTLP over gRPC.
    pub otlp_grpc_url: String,
    /// Where it shows its own metrics.
    pub collector_metrics_url: String,
    /// Where it shows everybody's metrics, to be scraped.
    pub scraped_url: String,
    /// zpages.
    pub zpages_url: String,
    /// The backends.
    pub prometheus_url: String,
    /// Of Prometheus' alerts.
    pub alertmanager_url: String,
    /// Of what is pushed.
    pub pushgateway_url: String,
    /// Of logs.
    pub loki_url: String,
    /// Of traces.
    pub jaeger_url: String,
}

/// Every part that can be run here.
pub const PARTS: [&str; 6] = ["prometheus", "alertmanager", "pushgateway", "loki", "jaeger", "collector"];

impl Stack {
    /// Starts all of it, and waits until each part is healthy.
    pub async fn start() -> Stack {
        Stack::of(&PARTS).await
    }

    /// Starts some parts. The others have their addresses, at which nothing answers before [`Stack::up`].
    pub async fn of(parts: &[&'static str]) -> Stack {
        Stack::of_with(parts, &[]).await
    }

    /// The same, with settings that would stand in compose's `.env`.
    pub async fn of_with(parts: &[&'static str], settings: &[(&str, &str)]) -> Stack {
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut stack = Stack::lay_out(settings);
        for part in parts {
            stack.launch(part);
        }
        for part in parts {
            stack.part(part).healthy().await;
        }
        stack
    }

    /// Starts a part that does not run, and waits until it is healthy.
    pub async fn up(&mut self, part: &'static str) {
        match self.parts.get_mut(part) {
            Some(part) => part.up(),
            None => self.launch(part),
        }
        self.part(part).healthy().await;
    }

    /// One that was started.
    pub fn part(&mut self, part: &str) -> &mut Part {
        self.parts.get_mut(part).unwrap_or_else(|| panic!("{part} was not started"))
    }

    /// A folder that is in the part's volume.
    pub fn volume(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// Has Prometheus scrape a daemon at this address, as a file in compose's `targets` would.
    pub fn scrape(&self, address: &str) {
        let file = self.dir.path().join("targets/daemons.yaml");
        std::fs::write(file, format!("- targets: [\"{address}\"]\n")).expect("it is written");
    }

    fn launch(&mut self, part: &'static str) {
        let launch = self.launches[part].clone();
        self.parts.insert(part, Part::start(launch, self.dir.path()));
    }

    fn lay_out(settings: &[(&str, &str)]) -> Stack {
        let dir = tempfile::Builder::new().prefix("stk").tempdir().expect("a temporary folder");
        let config = config(settings);
        let [grpc, http, own, scraped, health, zpages, prometheus, alertmanager, pushgateway, others @ ..] =
            free_ports::<16>();
        let [loki, loki_grpc, jaeger, jaeger_otlp, jaeger_health, jaeger_own, jaeger_grpc] = others;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let at = |port: u16| format!("127.0.0.1:{port}");
        let env = |pairs: &[(&str, String)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
        };
        let listen = |port: u16| vec![format!("--web.listen-address={}", at(port))];

        let rewritten = dir.path().join("prometheus.yml");
        let mut text =
            std::fs::read_to_string(compose().join("prometheus/prometheus.yml")).expect("it is there");
        for (name, address) in [
            ("localhost:9090", at(prometheus)),
            ("alertmanager:9093", at(alertmanager)),
            ("collector:8888", at(own)),
            ("loki:3100", at(loki)),
            ("jaeger:8888", at(jaeger_own)),
            ("pushgateway:9091", at(pushgateway)),
            ("/etc/prometheus/rules", hasty_rules(dir.path())),
            ("/etc/prometheus/targets", dir.path().join("targets").display().to_string()),
            ("_interval: 15s", "_interval: 1s".to_owned()),
        ] {
            assert!(text.contains(name), "prometheus.yml has no {name} any more");
            text = text.replace(name, &address);
        }
        std::fs::write(&rewritten, text).expect("it is written");
        std::fs::create_dir(dir.path().join("targets")).expect("a folder");

        let service = |part: &'static str, binary, more: Vec<String>, env, health| {
            let launch = launch(&config["services"][part], &dir.path().join(part), binary, more, env, health);
            (part, launch)
        };
        let mut launches = BTreeMap::from([
            service("prometheus", "prometheus", listen(prometheus), env(&[]), url(prometheus) + "/-/ready"),
            service(
                "alertmanager",
                "alertmanager",
                listen(alertmanager),
                env(&[]),
                url(alertmanager) + "/-/ready",
            ),
            service(
                "pushgateway",
                "pushgateway",
                listen(pushgateway),
                env(&[]),
                url(pushgateway) + "/-/ready",
            ),
            service(
                "loki",
                "loki",
                vec![],
                env(&[
                    ("LOKI_HOST", "127.0.0.1".to_owned()),
                    ("LOKI_PORT", loki.to_string()),
                    ("LOKI_GRPC_PORT", loki_grpc.to_string()),
                    ("LOKI_DATA", dir.path().join("loki").display().to_string()),
                ]),
                url(loki) + "/ready",
            ),
            service(
                "jaeger",
                "jaeger",
                vec![],
                env(&[
                    ("JAEGER_OTLP", at(jaeger_otlp)),
                    ("JAEGER_QUERY", at(jaeger)),
                    ("JAEGER_QUERY_GRPC", at(jaeger_grpc)),
                    ("JAEGER_HEALTH", at(jaeger_health)),
                    ("JAEGER_METRICS_HOST", "127.0.0.1".to_owned()),
                    ("JAEGER_METRICS_PORT", jaeger_own.to_string()),
                    ("JAEGER_DATA", dir.path().join("jaeger").display().to_string()),
                ]),
                url(jaeger_health) + "/status",
            ),
            service(
                "collector",
                "collector",
                vec![],
                env(&[
                    ("COLLECTOR_OTLP_GRPC", at(grpc)),
                    ("COLLECTOR_OTLP_HTTP", at(http)),
                    ("COLLECTOR_SCRAPED", at(scraped)),
                    ("COLLECTOR_HEALTH", at(health)),
                    ("COLLECTOR_ZPAGES", at(zpages)),
                    ("COLLECTOR_METRICS_HOST", "127.0.0.1".to_owned()),
                    ("COLLECTOR_METRICS_PORT", own.to_string()),
                    ("COLLECTOR_JAEGER", at(jaeger_otlp)),
                    ("COLLECTOR_PROMETHEUS", url(prometheus) + "/api/v1/otlp"),
                    ("COLLECTOR_LOKI", url(loki) + "/otlp"),
                    ("COLLECTOR_DATA", dir.path().join("collector").display().to_string()),
                ]),
                url(health) + "/",
            ),
        ]);
        let prometheus_file = &mut launches.get_mut("prometheus").expect("it is there").arguments[0];
        *prometheus_file = format!("--config.file={}", rewritten.display());
        Stack {
            dir,
            parts: BTreeMap::new(),
            launches,
            otlp_url: url(http),
            otlp_grpc_url: url(grpc),
            collector_metrics_url: url(own) + "/metrics",
            scraped_url: url(scraped) + "/metrics",
            zpages_url: url(zpages) + "/debug",
            prometheus_url: url(prometheus),
            alertmanager_url: url(alertmanager),
            pushgateway_url: url(pushgateway),
            loki_url: url(loki),
            jaeger_url: url(jaeger),
        }
    }
}

/// A copy of the rules in which every group is evaluated each second.
fn hasty_rules(dir: &Path) -> String {
    let copies = dir.join("rules");
    std::fs::create_dir(&copies).expect("a folder");
    for rules in std::fs::read_dir(compose().join("prometheus/rules")).expect("a folder").flatten() {
        let text = std::fs::read_to_string(rules.path()).expect("it can be read");
        let text = text.replace("    interval: 1m\n", "").replace("    interval: 5m\n", "");
        std::fs::write(copies.join(rules.file_name()), text).expect("it is written");
    }
    copies.display().to_string()
}

/// A service as a process: its command and its settings, with paths of its mounts where those come from.
fn launch(
    service: &Value,
    volume: &Path,
    binary: &'static str,
    more: Vec<String>,
    addresses: BTreeMap<String, String>,
    health: String,
) -> Launch {
    std::fs::create_dir_all(volume).expect("a folder for its volume");
    let mounts: Vec<(String, String)> = service["volumes"]
        .as_array()
        .expect("it has mounts")
        .iter()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().unwrap_or_default().to_owned();
            let ours = if mount["type"] == "volume" { volume.display().to_string() } else { text("source") };
            (text("target"), ours)
        })
        .collect();
    let command = service["command"].as_array().expect("it has a command");
    let mut arguments: Vec<String> = command
        .iter()
        .map(|argument| {
            let argument = argument.as_str().expect("a text");
            let mount = mounts.iter().find_map(|(target, ours)| {
                let (before, after) = argument.split_once(&format!("={target}"))?;
                Some(format!("{before}={ours}{after}"))
            });
            mount.unwrap_or_else(|| argument.to_owned())
        })
        .collect();
    arguments.extend(more);
    let mut env: BTreeMap<String, String> = service["environment"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    env.extend(addresses);
    Launch { binary, arguments, env, health }
}

/// compose.yaml as Compose itself resolves it, with every profile.
pub fn config(settings: &[(&str, &str)]) -> Value {
    let out = docker_compose(settings).args(["--profile", "all", "config", "--format", "json"]).output();
    let out = out.expect("Compose runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

/// The built Compose on compose.yaml, with what has no default, and nothing of this machine's own.
pub fn docker_compose(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary("docker-compose"));
    command
        .arg("--file")
        .arg(compose().join("compose.yaml"))
        .args(["--env-file", "/dev/null"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("SANDBOX_GUEST", "/usr/bin/sandbox-guest")
        .env("GRAFANA_ADMIN_PASSWORD", "of the tests")
        .envs(settings.iter().copied());
    command
}

/// The folder of the stack's files.
pub fn compose() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose")
}
