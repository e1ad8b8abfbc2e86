//! The configuration's file, when it holds anything at all.
//!
//! - Reading never panics.
//! - A refusal names the key, or the line where the text is no TOML.
//! - A configuration that is taken can be printed, and what is printed is the same configuration.
//! - Its limits limit: none is zero in the engine's units, or no number at all, and no time overflows a clock.

use std::time::Instant;

use sandboxctl::config::{Config, ConfigError};

/// See the top of the file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            it_limits(&config);
            // TOML has no integer beyond 63 bits; such a limit is as good as none.
            let Ok(printed) = toml::to_string(&config) else { return };
            let again = Config::parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(again, config, "{printed}");
        }
        Err(ConfigError::Value { key, problem, .. }) => assert!(!key.is_empty() && !problem.is_empty()),
        Err(ConfigError::Unknown { key, remedy, .. }) => assert!(!key.is_empty() && !remedy.is_empty()),
        Err(ConfigError::Text { problem, .. }) => {
            assert!(problem.contains("TOML parse error at line"), "{problem}");
        }
        Err(ConfigError::Missing(path)) => panic!("no file was asked for, and {} is missed", path.display()),
    }
}

fn it_limits(config: &Config) {
    for profile in config.profiles.values() {
        assert!((profile.limits.cpus * 1e9) as i64 > 0 && profile.limits.cpus.is_finite());
        assert!(profile.limits.memory.as_u64() > 0 && profile.limits.pids > 0);
        assert!(profile.budget.usd.is_none_or(|usd| usd >= 0.0));
        for time in [profile.ttl, profile.idle, profile.warn, profile.grace] {
            assert!(Instant::now().checked_add(time + time).is_some());
        }
    }
}

/// The defaults as they are printed, and files with something in every section.
pub fn seeds() -> Vec<Vec<u8>> {
    let sections = r#"
listen = "0.0.0.0:7070"
public_url = "https://sandbox.example.org"
mcp_servers.files = { command = "mcp-files", args = ["/"] }

[tls]
cert = "/etc/cert.pem"
key = "/etc/key.pem"

[forward]
endpoint = "https://collector.example.org:4318"
timeout = "10s 5ms"

[model]
key_file = "/etc/sandboxctl/key"
prices.claude = { input = 1, output = 2.5, cache_read = 0.1, cache_write = 1e1 }

[profiles.default]
credential = "gateway"
ttl = "2h 30min"
egress = ["*.example.org:443"]
limits = { cpus = 0.5, memory = "1.5 GiB", pids = 10 }
env = { A = "b" }
budget = { usd = 1.5, tokens = 1000 }
policy.deny_commands = ["git push"]
"#;
    let wrong = [
        "listn = 1",
        "listen = 1",
        "[profiles.x]\nttl = \"soon\"",
        "max_sessions = -1",
        "a = [",
        "engine = \"podman\"",
    ];
    let mut seeds = vec![toml::to_string(&Config::default()).expect("TOML").into_bytes(), sections.into()];
    seeds.extend(wrong.map(|text| text.as_bytes().to_vec()));
    seeds
}
