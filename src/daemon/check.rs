//! What of a profile only its users could tell to be wrong: policy, egress and environment are compiled once
//! before anything begins, so that the daemon names the key and no session meets it.

use crate::{
    config::{Config, ConfigError},
    gateway::egress::AllowList,
    inject::is_telemetry,
    policy::{Policy, PolicyError},
};

pub(super) fn profiles(config: &Config) -> Result<(), ConfigError> {
    for (name, profile) in &config.profiles {
        let wrong =
            |key: &str, problem: String| ConfigError::value(format!("profiles.{name}.{key}"), problem);
        Policy::new(&profile.policy).map_err(|error| {
            let key = match error {
                PolicyError::Glob { .. } => "policy.deny_paths",
                PolicyError::Command => "policy.deny_commands",
            };
            wrong(key, error.to_string())
        })?;
        AllowList::new(&profile.egress).map_err(|error| wrong("egress", error.to_string()))?;
        if let Some(variable) = profile.env.keys().find(|variable| is_telemetry(variable)) {
            let problem = "telemetry's own names cannot be set; leave it out".to_owned();
            return Err(wrong(&format!("env.{variable}"), problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(lines: &str) -> String {
        let config = Config::parse(&format!("[profiles.demo]\n{lines}")).expect("it can be read");
        profiles(&config).expect_err(lines).to_string()
    }

    #[test]
    fn the_defaults_are_good() {
        assert_eq!(profiles(&Config::default()), Ok(()));
    }

    #[test]
    fn what_means_nothing_is_named_with_its_key_and_a_remedy() {
        for (lines, key, remedy) in [
            ("egress = [\"\"]", "egress", "host:port"),
            ("egress = [\"a b\"]", "egress", "host:port"),
            ("egress = [\"example.org:http\"]", "egress", "host:port"),
            ("egress = [\"https://example.org\"]", "egress", "host:port"),
            ("egress = [\"10.0.0.1:443\"]", "egress", "private:"),
            ("egress = [\"private:169.254.169.254:80\"]", "egress", "no session is let to"),
            ("policy.deny_commands = [\" \"]", "policy.deny_commands", "write a command's name"),
            ("policy.deny_paths = [\"[\"]", "policy.deny_paths", "is no glob"),
            ("env.OTEL_SDK_DISABLED = \"true\"", "env.OTEL_SDK_DISABLED", "leave it out"),
            ("env.CLAUDE_CODE_ENABLE_TELEMETRY = \"0\"", "env.CLAUDE_CODE_ENABLE_TELEMETRY", "leave it out"),
        ] {
            let said = refused(lines);
            assert!(said.contains(&format!("profiles.demo.{key}: ")), "{lines}: {said}");
            assert!(said.contains(remedy), "{lines}: {said}");
        }
    }
}
