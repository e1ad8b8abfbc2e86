//! The same telemetry for a client outside a sandbox, where nothing holds its user to it.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};

use super::settings::{EXPORT, percent};
use crate::{config::Protocol, spec::Telemetry};

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
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.clone()),
            ("OTEL_LOG_USER_PROMPTS", on(self.telemetry.prompts).to_owned()),
            ("OTEL_LOG_ASSISTANT_RESPONSES", on(self.telemetry.prompts).to_owned()),
            ("OTEL_LOG_TOOL_DETAILS", on(self.telemetry.tool_details).to_owned()),
            ("OTEL_LOG_TOOL_CONTENT", on(self.telemetry.tool_content).to_owned()),
        ]);
        if !headers.is_empty() {
            all.insert("OTEL_EXPORTER_OTLP_HEADERS", headers.join(","));
        }
        if !attributes.is_empty() {
            all.insert("OTEL_RESOURCE_ATTRIBUTES", attributes.join(","));
        }
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// `managed-settings.json` for a fleet; the helper prints headers on each machine.
    pub fn managed(&self, helper: Option<&PathBuf>) -> Value {
        let mut settings = json!({ "env": self.variables() });
        if let Some(helper) = helper {
            settings["otelHeadersHelper"] = json!(helper);
        }
        settings
    }
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
        let managed = outside.managed(Some(&"/opt/token".into()));
        assert_eq!(managed["otelHeadersHelper"], "/opt/token");
        assert_eq!(managed["env"]["OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf");
    }
}
