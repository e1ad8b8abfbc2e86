//! Where the collector sends, by which backends there are.
//!
//! A backend that nobody started leaves its queue to fill, and a full queue holds up whatever else comes in. So what the
//! collector sends to is what runs, unless the settings say otherwise.

use super::settings::Settings;

/// The part that sends.
pub(super) const SENDER: &str = "collector";
/// Each backend, the setting that names where its signal goes, and what that is without it (`compose/README.md`).
const BACKENDS: [(&str, &str, &str); 3] = [
    ("jaeger", "STACK_TRACES_TO", "[file/traces]"),
    ("loki", "STACK_LOGS_TO", "[debug]"),
    ("prometheus", "STACK_METRICS_TO", "[prometheus, file/metrics]"),
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
        .filter(|(backend, setting, _)| !runs(backend) && settings.get(setting).is_none())
        .map(|(_, setting, rest)| (setting, rest))
        .collect()
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
        for (backend, setting, _) in BACKENDS {
            assert!(compose.contains(&format!("${{{setting}:-")), "{setting}");
            assert!(is_backend(backend) && !is_backend(SENDER));
        }
    }
}
