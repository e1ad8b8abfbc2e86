//! Where each signal goes: the variables, read as Claude Code reads them.
//!
//! What stands for one signal is stronger than what stands for all; its address is taken as it is. What an administrator
//! sets for all is stronger than what anybody else sets for one. `OTEL_SDK_DISABLED` is not read, since Claude Code (2.1.329)
//! exports all the same.

use std::collections::BTreeMap;

use super::status::Variable;
use crate::{config::Protocol, inert::inert, signal::Signal};

/// Where a signal goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) signal: Signal,
    pub(super) endpoint: String,
    /// Nothing is added to the endpoint.
    pub(super) whole: bool,
    pub(super) protocol: Protocol,
    pub(super) headers: Vec<(String, String)>,
}

/// Where a signal goes by these variables, or why it goes nowhere.
pub(super) fn of<'a>(signal: Signal, get: impl Fn(&str) -> Option<&'a str>) -> Result<Route, String> {
    let get = |key: &str| get(key).map(str::trim).filter(|value| !value.is_empty());
    let is_on = |key: &str| get(key).is_some_and(is_true);
    let upper = signal.name().to_uppercase();
    let of_it = |what: &str| get(&format!("OTEL_EXPORTER_OTLP_{upper}_{what}"));
    let of_all = |what: &str| get(&format!("OTEL_EXPORTER_OTLP_{what}"));

    // What the client makes nothing of in one signal keeps it from exporting any.
    for other in Signal::ALL {
        protocol(other, get)?;
    }
    let Some(protocol) = protocol(signal, get)? else {
        let exporter = format!("OTEL_{upper}_EXPORTER");
        let is = get(&exporter).map_or_else(|| "not set".to_owned(), inert);
        return Err(format!("not exported: {exporter} is {is}"));
    };
    let (beta, alias) = ("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA", "ENABLE_ENHANCED_TELEMETRY_BETA");
    if signal == Signal::Traces && !is_on(beta) && !is_on(alias) {
        return Err(format!("not exported: {beta} is not set"));
    }
    let (endpoint, whole) = match (of_it("ENDPOINT"), of_all("ENDPOINT")) {
        (Some(endpoint), _) => (endpoint, true),
        (None, Some(endpoint)) => (endpoint, false),
        (None, None) => return Err("not exported: OTEL_EXPORTER_OTLP_ENDPOINT is not set".to_owned()),
    };
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in [of_all("HEADERS"), of_it("HEADERS")]
        .into_iter()
        .flatten()
        .flat_map(|list| headers(list, protocol == Protocol::Grpc))
    {
        all.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        all.push((name, value));
    }
    Ok(Route { signal, endpoint: endpoint.to_owned(), whole, protocol, headers: all })
}

/// What is spoken for a signal; none where it is not sent over OTLP.
fn protocol<'a>(signal: Signal, get: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Protocol>, String> {
    let upper = signal.name().to_uppercase();
    let exporter = format!("OTEL_{upper}_EXPORTER");
    let all: Vec<&str> = get(&exporter).unwrap_or_default().split(',').map(str::trim).collect();
    let is_known = |one: &&str| match *one {
        "otlp" | "console" | "none" | "" => true,
        "prometheus" => signal == Signal::Metrics,
        _ => false,
    };
    if let Some(other) = all.iter().find(|one| !is_known(one)) {
        return Err(format!("not exported: {exporter} names '{}', which there is not", inert(other)));
    }
    if !all.contains(&"otlp") {
        return Ok(None);
    }
    let of_it = format!("OTEL_EXPORTER_OTLP_{upper}_PROTOCOL");
    match get(&of_it).or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL")) {
        Some("grpc") => Ok(Some(Protocol::Grpc)),
        Some("http/protobuf" | "http/json") | None => Ok(Some(Protocol::Http)),
        Some(other) => Err(format!("not exported: there is no protocol '{}'", inert(other))),
    }
}

/// The headers as the client reads them.
pub(super) fn headers(list: &str, grpc: bool) -> Vec<(String, String)> {
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    let value =
        |text: &str| if grpc { text.replace("%20", " ").replace("%25", "%") } else { text.to_owned() };
    pairs.map(|(name, text)| (name.trim().to_owned(), value(text.trim()))).collect()
}

/// Takes out what the client drops: what others than the administrator say beside what the administrator says for all.
pub(super) fn drop_claimed(all: &mut BTreeMap<String, Variable>) {
    const FAMILY: &str = "OTEL_EXPORTER_OTLP_";
    let claims = |what: &str| all.get(&format!("{FAMILY}{what}")).is_some_and(|variable| variable.managed);
    let [endpoint, protocol, headers] = ["ENDPOINT", "PROTOCOL", "HEADERS"].map(claims);
    all.retain(|key, variable| {
        let what = key.strip_prefix(FAMILY).map(|rest| rest.rsplit('_').next().unwrap_or_default());
        let claimed = match what {
            // Nobody else says where an administrator's token goes.
            Some("ENDPOINT") => endpoint || headers,
            Some("PROTOCOL") => protocol,
            Some("HEADERS") => headers,
            _ => false,
        };
        variable.managed || !claimed
    });
}

/// How the client reads a switch.
pub(super) fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let usual = [
            ("CLAUDE_CODE_ENHANCED_TELEMETRY_BETA", "1"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "console, otlp"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ];
        usual.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn route(signal: Signal, more: &[(&str, &str)]) -> Result<Route, String> {
        let all = on(more);
        of(signal, |key| all.get(key).map(String::as_str))
    }

    #[test]
    fn what_stands_for_a_signal_is_stronger() {
        let plain = route(Signal::Metrics, &[]).expect("a route");
        assert_eq!((plain.endpoint.as_str(), plain.whole), ("http://c:4318", false));
        let more = [
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://p:9090/otlp/v1/metrics"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "A=1,B=2"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "b=3"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ];
        let metrics = route(Signal::Metrics, &more).expect("a route");
        let headers = [("A".to_owned(), "1".to_owned()), ("b".to_owned(), "3".to_owned())];
        assert_eq!(
            metrics,
            Route {
                signal: Signal::Metrics,
                endpoint: "http://p:9090/otlp/v1/metrics".to_owned(),
                whole: true,
                protocol: Protocol::Http,
                headers: headers.into(),
            }
        );
        assert_eq!(route(Signal::Traces, &more).map(|route| route.protocol), Ok(Protocol::Grpc));
    }

    #[test]
    fn what_goes_nowhere_says_why() {
        for (signal, key, value) in [
            (Signal::Logs, "OTEL_LOGS_EXPORTER", ""),
            (Signal::Logs, "OTEL_LOGS_EXPORTER", "none"),
            (Signal::Metrics, "OTEL_METRICS_EXPORTER", "console,prometheus"),
            (Signal::Traces, "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA", "0"),
            (Signal::Logs, "OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            (Signal::Logs, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "otlp"),
            (Signal::Traces, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "otlp"),
            (Signal::Traces, "OTEL_METRICS_EXPORTER", "otlp,carbon"),
        ] {
            let why = route(signal, &[(key, value)]).expect_err(key);
            assert!(why.starts_with("not exported: "), "{why}");
            assert!(why.contains(key) || why.contains(value), "{key}: {why}");
        }
        let logs = [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "otlp")];
        assert!(route(Signal::Traces, &logs).is_ok(), "nobody asks what is not exported how it is spoken");
        assert!(route(Signal::Traces, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "")]).is_ok(), "HTTP is usual");
    }

    #[test]
    fn nobody_redirects_what_an_administrator_sets() {
        let all = |claimed: &str| {
            let keys = ["ENDPOINT", "TRACES_ENDPOINT", "LOGS_PROTOCOL", "METRICS_HEADERS", "TIMEOUT"];
            let mut all: BTreeMap<String, Variable> = keys
                .iter()
                .map(|key| (key, false))
                .chain([(&claimed, true)])
                .map(|(key, managed)| {
                    let variable = Variable { value: "x".to_owned(), from: String::new(), managed };
                    (format!("OTEL_EXPORTER_OTLP_{key}"), variable)
                })
                .collect();
            drop_claimed(&mut all);
            all.into_keys().map(|key| key["OTEL_EXPORTER_OTLP_".len()..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(all("ENDPOINT"), ["ENDPOINT", "LOGS_PROTOCOL", "METRICS_HEADERS", "TIMEOUT"]);
        assert_eq!(
            all("PROTOCOL"),
            ["ENDPOINT", "METRICS_HEADERS", "PROTOCOL", "TIMEOUT", "TRACES_ENDPOINT"]
        );
        assert_eq!(all("HEADERS"), ["HEADERS", "LOGS_PROTOCOL", "TIMEOUT"]);
        assert_eq!(all("TIMEOUT").len(), 5);
    }
}
