//! Every file of `compose/` is accepted by the part that reads it, and keeps the promises of its README.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::common::stack::{compose, config, docker_compose, part::binary};

/// The services that go on; the others prepare a volume and end.
const SERVICES: [&str; 7] =
    ["alertmanager", "collector", "grafana", "jaeger", "loki", "prometheus", "pushgateway"];

fn accepted(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {said}");
    said
}

fn at(path: &str) -> String {
    compose().join(path).display().to_string()
}

#[test]
fn the_collector_accepts_its_files_with_a_token_and_without() {
    for access in ["access", "access-token"] {
        let mut command = Command::new(binary("collector"));
        command.args(["validate", "--config", &at("collector/config.yaml")]);
        accepted(command.args(["--config", &at(&format!("collector/{access}.yaml"))]));
    }
}

#[test]
fn prometheus_accepts_its_file_and_every_rule() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(compose().join("prometheus/prometheus.yml")).expect("it is there");
    let copy = dir.path().join("prometheus.yml");
    std::fs::write(&copy, text.replace("/etc/prometheus", &at("prometheus"))).expect("it is written");
    accepted(
        Command::new(binary("promtool")).args(["check", "config", "--lint=all", "--lint-fatal"]).arg(&copy),
    );
}

#[test]
fn loki_accepts_its_file() {
    let file = format!("-config.file={}", at("loki/config.yaml"));
    accepted(Command::new(binary("loki")).args([&file, "-config.expand-env=true", "-verify-config"]));
}

#[test]
fn alertmanager_accepts_its_file() {
    accepted(Command::new(binary("amtool")).args(["check-config", &at("alertmanager/alertmanager.yml")]));
}

#[test]
fn jaeger_accepts_its_file() {
    accepted(Command::new(binary("jaeger")).args(["validate", "--config", &at("jaeger/config.yaml")]));
}

/// Grafana is not here to be asked; dashboards and links name these.
#[test]
fn grafana_has_each_backend_by_its_uid() {
    let text = std::fs::read_to_string(compose().join("grafana/provisioning/datasources/stack.yaml"));
    let text = text.expect("it is there");
    for uid in ["prometheus", "loki", "jaeger", "alertmanager"] {
        assert!(text.contains(&format!("    uid: {uid}\n    type: {uid}\n")), "{uid} has its uid");
    }
    let services = config(&[])["services"].clone();
    for url in text.lines().filter_map(|l| l.trim().strip_prefix("url: http://")) {
        let host = url.split(':').next().unwrap_or_default();
        assert!(services[host].is_object(), "{url} is a service");
    }
}

#[test]
fn a_missing_password_is_refused_with_the_remedy() {
    let name = "GRAFANA_ADMIN_PASSWORD";
    let missing = docker_compose(&[]).env_remove(name).arg("config").output().expect("Compose runs");
    let empty = docker_compose(&[(name, "")]).arg("config").output().expect("Compose runs");
    for out in [missing, empty] {
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            !out.status.success() && said.contains(name) && said.contains("sandboxctl stack up"),
            "{said}"
        );
    }
}

/// `.env.example` is what `stack up` makes an `.env` of: it has every setting that compose.yaml reads, with the
/// value that holds without it.
#[test]
fn every_setting_stands_in_the_example_with_its_default() {
    let text = std::fs::read_to_string(compose().join("compose.yaml")).expect("it is there");
    // One setting may be another's default.
    let text = text.replace(":-${STACK_BIND:-127.0.0.1}}", ":-127.0.0.1}");
    let read = regex::Regex::new(r"\$\{([A-Z_]+)(:[-?+])?([^}]*)\}").expect("an expression");
    let mut expected = BTreeMap::new();
    for found in read.captures_iter(&text) {
        let default = if &found[2] == ":-" { found[3].to_owned() } else { String::new() };
        let default = if &found[1] == "STACK_OTLP_TOKEN" { String::new() } else { default };
        let before = expected.insert(found[1].to_owned(), default.clone());
        assert!(before.is_none_or(|b| b == default), "{} has one default", &found[1]);
    }
    // Compose itself reads this one.
    expected.insert("COMPOSE_PROFILES".to_owned(), "all".to_owned());
    let example = std::fs::read_to_string(compose().join(".env.example")).expect("it is there");
    let settings = example.lines().filter_map(|l| l.trim_start_matches("# ").split_once('='));
    let settings = settings.filter(|(k, _)| k.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
    let found: BTreeMap<String, String> = settings.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn each_service_is_hardened_bounded_and_watched() {
    let config = config(&[]);
    let services = config["services"].as_object().expect("services");
    for (name, service) in services {
        let (_, version) = service["image"].as_str().and_then(|i| i.rsplit_once(':')).expect("a version");
        assert!(version.contains('.') && version != "latest", "{name}: {version} is pinned");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        let limits = &service["deploy"]["resources"]["limits"];
        for limit in ["cpus", "memory", "pids"] {
            assert!(!limits[limit].is_null(), "{name} has a limit of {limit}");
        }
        if SERVICES.contains(&name.as_str()) {
            assert!(!service["user"].as_str().expect("a user").starts_with("0:"), "{name} is not root");
            assert!(service["cap_add"].is_null(), "{name}");
            assert_eq!(service["healthcheck"]["test"][1], "/probe", "{name}");
            assert_eq!(service["profiles"], serde_json::json!([name, "all"]), "{name}");
            let volumes = service["volumes"].as_array().expect("volumes");
            assert!(volumes.iter().any(|v| v["type"] == "volume" && v["source"] == **name), "{name}");
            let binds = volumes.iter().filter(|v| v["type"] == "bind");
            assert!(binds.clone().all(|v| v["read_only"] == true), "{name}");
        } else {
            assert_eq!(service["cap_add"], serde_json::json!(["CHOWN"]), "{name}");
            assert_eq!(service["network_mode"], "none", "{name}");
        }
    }
    assert!(SERVICES.iter().all(|s| services.contains_key(*s)));
}

#[test]
fn only_loopback_hears_the_ports_until_they_are_told_otherwise() {
    let published = |settings: &[(&str, &str)]| -> BTreeSet<(String, String)> {
        let config = config(settings);
        let services = config["services"].as_object().expect("services").values();
        let ports = services.flat_map(|s| s["ports"].as_array().cloned().unwrap_or_default());
        let text = |port: &Value, key: &str| port[key].as_str().unwrap_or_default().to_owned();
        ports.map(|p| (text(&p, "host_ip"), text(&p, "published"))).collect()
    };
    let usual =
        ["3000", "3100", "4317", "4318", "8888", "8889", "9090", "9091", "9093", "13133", "16686", "55679"];
    let expected = |ip: &str| usual.map(|port| (ip.to_owned(), port.to_owned())).into_iter().collect();
    assert_eq!(published(&[]), expected("127.0.0.1"));
    assert_eq!(published(&[("STACK_BIND", "0.0.0.0")]), expected("0.0.0.0"));
    for (setting, opened) in [("STACK_BIND_OTLP", &["4317", "4318"][..]), ("STACK_BIND_GRAFANA", &["3000"])] {
        let open: BTreeSet<String> = published(&[(setting, "0.0.0.0")])
            .into_iter()
            .filter(|(ip, _)| ip == "0.0.0.0")
            .map(|(_, p)| p)
            .collect();
        assert_eq!(open, opened.iter().map(|port| (*port).to_owned()).collect(), "{setting}");
    }
    let moved = published(&[("STACK_PORT_COLLECTOR_HTTP", "5318")]);
    assert!(moved.contains(&("127.0.0.1".to_owned(), "5318".to_owned())));
}

/// One part may be had alone; with `all`, all of them.
#[test]
fn a_profile_starts_its_part() {
    for name in SERVICES {
        let mut command = docker_compose(&[]);
        let said = accepted(command.args(["--profile", name, "config", "--services"]));
        let of: BTreeSet<&str> = said.lines().collect();
        assert!(of.contains(name), "{of:?}");
        assert!(of.iter().all(|s| *s == name || **s == format!("{name}-storage")), "{of:?}");
    }
}

/// What a test writes below `targets` would be scraped by everybody.
#[test]
fn nobody_is_scraped_to_begin_with() {
    let names = std::fs::read_dir(Path::new(&at("prometheus/targets"))).expect("a folder");
    let names: Vec<_> = names.flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["daemons.yaml"]);
}
