//! The same telemetry for a client outside a sandbox, where nothing holds its user to it.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::settings::{EXPORT, percent};
use crate::{config::Protocol, signal::Signal, spec::Telemetry};

const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What such a client is told.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The collector's base URL.
    pub endpoint: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Headers of every request, names and values.
    pub headers: Vec<(String, String)>,
    /// Attributes of everything that is sent.
    pub attributes: Vec<(String, String)>,
    /// What of people's own words is sent.
    pub telemetry: Telemetry,
}

impl Outside {
    /// The environment.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let on = |yes: bool| if yes { "1" } else { "0" };
        let protocol = match self.protocol {
            Protocol::Http => "http/protobuf",
            Protocol::Grpc => "grpc",
        };
        // Over HTTP the client sends what stands here as it is; over gRPC it takes percent signs for escapes.
        let value = |value: &str| match self.protocol {
            Protocol::Http => value.to_owned(),
            Protocol::Grpc => value.replace('%', "%25"),
        };
        let headers: Vec<String> =
            self.headers.iter().map(|(name, text)| format!("{name}={}", value(text))).collect();
        let attributes: Vec<String> =
            self.attributes.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        let mut all: BTreeMap<&str, String> =
            EXPORT.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        all.extend([
            (PROTOCOL, protocol.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.clone()),
            ("OTEL_LOG_USER_PROMPTS", on(self.telemetry.prompts).to_owned()),
            ("OTEL_LOG_ASSISTANT_RESPONSES", on(self.telemetry.prompts).to_owned()),
            ("OTEL_LOG_TOOL_DETAILS", on(self.telemetry.tool_details).to_owned()),
            ("OTEL_LOG_TOOL_CONTENT", on(self.telemetry.tool_content).to_owned()),
        ]);
        if !headers.is_empty() {
            all.insert(HEADERS, headers.join(","));
        }
        if !attributes.is_empty() {
            all.insert(ATTRIBUTES, attributes.join(","));
        }
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The environment over one that is there: lists keep what ours do not name, and what is there for one signal
    /// alone, which would be stronger, says the same as ours.
    pub fn over(&self, there: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let ours = self.variables();
        let mut all = ours.clone();
        for list in [HEADERS, ATTRIBUTES] {
            if let (Some(ours), Some(theirs)) = (ours.get(list), there.get(list)) {
                all.insert(list.to_owned(), merged(theirs, ours, list == HEADERS));
            }
        }
        for signal in Signal::ALL {
            let name = |what| format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name().to_uppercase());
            let same = [
                (name("ENDPOINT"), Some(self.endpoint_of(signal))),
                (name("PROTOCOL"), ours.get(PROTOCOL).cloned()),
            ];
            all.extend(
                same.into_iter().filter_map(|(key, value)| there.contains_key(&key).then_some((key, value?))),
            );
            if let (Some(ours), Some(theirs)) = (ours.get(HEADERS), there.get(&name("HEADERS"))) {
                all.insert(name("HEADERS"), merged(theirs, ours, true));
            }
        }
        all
    }

    /// What stands for a signal alone is taken as it is.
    fn endpoint_of(&self, signal: Signal) -> String {
        match self.protocol {
            Protocol::Http => format!("{}{}", self.endpoint, signal.path()),
            Protocol::Grpc => self.endpoint.clone(),
        }
    }

    /// `managed-settings.json` for a fleet; the helper prints headers on each machine.
    pub fn managed(&self, helper: Option<&str>) -> Value {
        let mut settings = json!({ "env": self.variables() });
        if let Some(helper) = helper {
            settings["otelHeadersHelper"] = json!(shell_line(helper));
        }
        settings
    }
}

/// A list with another over it; names of headers have no case.
fn merged(theirs: &str, ours: &str, headers: bool) -> String {
    let name = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().trim();
        if headers { name.to_lowercase() } else { name.to_owned() }
    };
    let named: Vec<String> = ours.split(',').map(name).collect();
    let kept = theirs.split(',').filter(|pair| !pair.trim().is_empty() && !named.contains(&name(pair)));
    kept.chain([ours]).collect::<Vec<_>>().join(",")
}

/// The client hands the helper to a shell. A path is one word there, whatever it holds; all else is a line already.
fn shell_line(helper: &str) -> Cow<'_, str> {
    let is_path = helper.starts_with('/') || Path::new(helper).exists();
    let is_plain = helper.chars().all(|c| c.is_alphanumeric() || "/._-+:@%,".contains(c));
    if is_plain || !is_path { helper.into() } else { format!("'{}'", helper.replace('\'', r"'\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_in_its_own_words() {
        let mut outside = Outside {
            endpoint: "http://c:4317".to_owned(),
            protocol: Protocol::Grpc,
            headers: vec![("Authorization".to_owned(), "Bearer a%b".to_owned())],
            attributes: vec![("team".to_owned(), "R & D, Köln".to_owned()), ("x".to_owned(), "y".to_owned())],
            telemetry: Telemetry { prompts: false, tool_details: true, tool_content: false },
        };
        let all = outside.variables();
        assert_eq!(all["OTEL_EXPORTER_OTLP_HEADERS"], "Authorization=Bearer a%25b");
        assert_eq!(all["OTEL_RESOURCE_ATTRIBUTES"], "team=R%20%26%20D%2C%20K%C3%B6ln,x=y");
        assert_eq!(
            (all["OTEL_LOG_USER_PROMPTS"].as_str(), all["OTEL_LOG_TOOL_DETAILS"].as_str()),
            ("0", "1")
        );
        assert_eq!(all["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"], "cumulative");
        assert!(all.keys().all(|key| super::super::is_telemetry(key)));
        outside.protocol = Protocol::Http;
        assert_eq!(outside.variables()["OTEL_EXPORTER_OTLP_HEADERS"], "Authorization=Bearer a%b");
        let managed = outside.managed(Some("/opt/token"));
        assert_eq!(managed["otelHeadersHelper"], "/opt/token");
        assert_eq!(managed["env"]["OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf");
    }

    #[test]
    fn what_is_there_is_kept_but_for_what_says_otherwise() {
        let outside = Outside {
            endpoint: "http://c:4318".to_owned(),
            protocol: Protocol::Http,
            headers: vec![("Authorization".to_owned(), "Bearer a".to_owned())],
            attributes: vec![("team".to_owned(), "lab".to_owned())],
            telemetry: Telemetry::default(),
        };
        let there = [
            ("OTEL_RESOURCE_ATTRIBUTES", "site=K%C3%B6ln,team=old,Team=x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-Scope-OrgID=1, authorization=Bearer b"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://elsewhere/v1/traces"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "AUTHORIZATION=Bearer c"),
            ("FOO", "bar"),
        ];
        let there: BTreeMap<String, String> =
            there.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let all = outside.over(&there);
        assert_eq!(all["OTEL_RESOURCE_ATTRIBUTES"], "site=K%C3%B6ln,Team=x,team=lab");
        assert_eq!(all["OTEL_EXPORTER_OTLP_HEADERS"], "X-Scope-OrgID=1,Authorization=Bearer a");
        assert_eq!(all["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], "http://c:4318/v1/traces");
        assert_eq!(all["OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"], "http/protobuf");
        assert_eq!(all["OTEL_EXPORTER_OTLP_METRICS_HEADERS"], "Authorization=Bearer a");
        assert_eq!(all.len(), outside.variables().len() + 3, "and nothing that is not there: {all:?}");
        assert_eq!(outside.over(&BTreeMap::new()), outside.variables());
    }

    #[test]
    fn a_helpers_path_is_one_word_to_a_shell() {
        for (helper, line) in [
            ("/opt/token", "/opt/token"),
            ("/Library/Application Support/x'y", r"'/Library/Application Support/x'\''y'"),
            ("/opt/$(id)", "'/opt/$(id)'"),
            ("~/bin/token", "~/bin/token"),
            ("token --for otel", "token --for otel"),
        ] {
            assert_eq!(shell_line(helper), line);
        }
    }
}
