//! Where the collector sends, by which backends there are.
//!
//! A backend that nobody started leaves its queue to fill, and a full queue holds up whatever else comes in. So what the
//! collector sends to is what runs, unless the settings say otherwise.

use super::settings::Settings;

/// The part that sends.
pub(super) const SENDER: &str = "collector";
/// Each backend, the setting that names where its signal goes, what it is called there, and what that setting is
/// without it (`compose/README.md`).
const BACKENDS: [(&str, &str, &str, &str); 3] = [
    ("jaeger", "STACK_TRACES_TO", "otlp_grpc/jaeger", "[file/traces]"),
    ("loki", "STACK_LOGS_TO", "otlp_http/loki", "[debug]"),
    ("prometheus", "STACK_METRICS_TO", "otlp_http/prometheus", "[prometheus, file/metrics]"),
];

/// Whether a part is one that the collector sends to.
pub(super) fn is_backend(part: &str) -> bool {
    BACKENDS.iter().any(|(backend, ..)| *backend == part)
}

/// Settings for when only these parts run, beside those that the operator chose.
pub(super) fn without_absent(
    settings: &Settings,
    runs: impl Fn(&str) -> bool,
) -> Vec<(&'static str, &'static str)> {
    BACKENDS
        .into_iter()
        .filter(|(backend, setting, ..)| !runs(backend) && settings.get(setting).is_none())
        .map(|(_, setting, _, rest)| (setting, rest))
        .collect()
}

/// Whether the collector sends to a backend: as the settings say, else if the backend is there.
pub(super) fn sends_to(settings: &Settings, part: &str, is_there: impl Fn(&str) -> bool) -> bool {
    BACKENDS.iter().filter(|(backend, ..)| *backend == part).any(|(backend, setting, called, _)| {
        settings.get(setting).map_or_else(
            || is_there(backend),
            |list| list.split(['[', ']', ',', ' ', '"', '\'']).any(|name| name == *called),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_is_not_sent_to_unless_somebody_said_so() {
        let none = Settings::default();
        assert_eq!(without_absent(&none, |_| true), []);
        let only = without_absent(&none, |part| part == "prometheus");
        assert_eq!(only, [("STACK_TRACES_TO", "[file/traces]"), ("STACK_LOGS_TO", "[debug]")]);
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(".env"), "STACK_LOGS_TO=[otlp_http/loki]\n").expect("written");
        let chosen = without_absent(&Settings::read(dir.path()), |part| part == "prometheus");
        assert_eq!(chosen, [("STACK_TRACES_TO", "[file/traces]")]);
        // They are what compose.yaml calls them.
        let compose = include_str!("../../../compose/compose.yaml");
        for (backend, setting, called, _) in BACKENDS {
            assert!(compose.contains(&format!("${{{setting}:-[{called}")), "{setting}");
            assert!(is_backend(backend) && !is_backend(SENDER));
        }
    }

    #[test]
    fn who_is_sent_to_stands_in_the_settings_or_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let text = "STACK_LOGS_TO=[debug, \"otlp_http/loki\"]\nSTACK_METRICS_TO=[prometheus,file/metrics]\n";
        std::fs::write(dir.path().join(".env"), text).expect("written");
        let settings = Settings::read(dir.path());
        for (is_there, expected) in [(true, [true, true, false]), (false, [false, true, false])] {
            let found = ["jaeger", "loki", "prometheus"].map(|part| sends_to(&settings, part, |_| is_there));
            assert_eq!(found, expected);
        }
        assert!(!sends_to(&settings, "grafana", |_| true));
    }
}
