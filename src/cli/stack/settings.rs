//! `.env`: the stack's settings. Written once, with passwords of its own and readable by its owner alone; from then
//! on it is the operator's.

use std::{collections::BTreeMap, fs, io, path::Path};

use rand::{RngExt, distr::Alphanumeric};

use super::layout;

/// The settings' file.
pub(super) const ENV: &str = ".env";
/// How long a generated password is: 32 letters and digits hold 190 bits.
const PASSWORD: usize = 32; // characters
/// How the names end of what has to be secret, and must not be absent.
const SECRET: &str = "PASSWORD";

/// Settings by name.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Those of a stack's folder; none where there is no file.
    pub(super) fn read(dir: &Path) -> Settings {
        Settings::parse(&fs::read_to_string(dir.join(ENV)).unwrap_or_default())
    }

    fn parse(text: &str) -> Settings {
        let unquoted = |value: &str| {
            let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
            match quoted('"').or_else(|| quoted('\'')) {
                Some(inner) => inner.to_owned(),
                None => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
            }
        };
        let pairs = text.lines().filter_map(setting);
        Settings(pairs.map(|(name, value)| (name.to_owned(), unquoted(value))).collect())
    }

    /// A setting that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Writes `.env` if there is none. Where there is one, it is left as it is; only secrets that it does not have are
/// filled in, where it names them, or else at its end. True if it was written.
pub(super) fn generate(dir: &Path, example: &str) -> io::Result<bool> {
    let path = dir.join(ENV);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            layout::write(&path, filled(example).as_bytes(), 0o600)?;
            Ok(true)
        }
        Err(error) => Err(error),
        Ok(text) => {
            let there = Settings::parse(&text);
            let missing = example.lines().filter(|line| is_secret(line)).filter_map(setting);
            let missing: Vec<&str> =
                missing.map(|(name, _)| name).filter(|name| there.get(name).is_none()).collect();
            if missing.is_empty() {
                return Ok(false);
            }
            let text = missing.into_iter().fold(text, |text, name| with_secret(&text, name));
            layout::write(&path, text.as_bytes(), 0o600)?;
            Ok(true)
        }
    }
}

/// The text with a password of this name: in its last line that names it, which counts, or else at its end.
fn with_secret(text: &str, name: &str) -> String {
    let mut lines: Vec<&str> = text.split_terminator('\n').collect();
    let at = lines.iter().rposition(|line| setting(line).is_some_and(|(named, _)| named == name));
    let line = format!("{name}={}", password());
    match at {
        Some(at) => lines[at] = &line,
        None => lines.push(&line),
    }
    lines.join("\n") + "\n"
}

/// The example with a password wherever one is missing.
fn filled(example: &str) -> String {
    example.lines().map(|line| filled_line(line) + "\n").collect()
}

fn filled_line(line: &str) -> String {
    if is_secret(line) { format!("{line}{}", password()) } else { line.to_owned() }
}

/// `NAME_PASSWORD=` with nothing after it.
fn is_secret(line: &str) -> bool {
    line.ends_with('=') && setting(line).is_some_and(|(name, _)| name.ends_with(SECRET))
}

fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then(|| (name, value.trim()))
}

fn password() -> String {
    rand::rng().sample_iter(Alphanumeric).take(PASSWORD).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EXAMPLE: &str =
        "# Grafana\nGRAFANA_ADMIN_PASSWORD=\nSTACK_METRICS_RETENTION=90d\nSTACK_OTLP_TOKEN=\n";

    #[test]
    fn settings_are_written_once_with_a_password_and_a_mode() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(generate(dir.path(), EXAMPLE).expect("written"));
        let path = dir.path().join(ENV);
        let text = fs::read_to_string(&path).expect("there");
        let settings = Settings::read(dir.path());
        let password = settings.get("GRAFANA_ADMIN_PASSWORD").expect("a password").to_owned();
        assert_eq!(password.len(), PASSWORD);
        assert!(password.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(text.replace(&password, ""), EXAMPLE);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(settings.get("STACK_METRICS_RETENTION"), Some("90d"));
        assert_eq!(settings.get("STACK_OTLP_TOKEN"), None, "empty is as good as absent");

        assert!(!generate(dir.path(), EXAMPLE).expect("left"));
        assert_eq!(fs::read_to_string(&path).expect("there"), text);

        let other = tempfile::tempdir().expect("a folder");
        generate(other.path(), EXAMPLE).expect("written");
        assert_ne!(Settings::read(other.path()).get("GRAFANA_ADMIN_PASSWORD"), Some(password.as_str()));
    }

    #[test]
    fn a_secret_of_a_new_version_is_added_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().expect("a folder");
        let mine = "GRAFANA_ADMIN_PASSWORD=chosen\n# mine\nSTACK_METRICS_RETENTION=1y";
        fs::write(dir.path().join(ENV), mine).expect("written");
        let example = format!("{EXAMPLE}LOKI_PASSWORD=\nNEW=1\n");
        assert!(generate(dir.path(), &example).expect("added"));
        let text = fs::read_to_string(dir.path().join(ENV)).expect("there");
        let added = text.strip_prefix(&format!("{mine}\nLOKI_PASSWORD=")).expect("at the end");
        assert_eq!(added.trim_end().len(), PASSWORD);
        assert!(!generate(dir.path(), &example).expect("left"));
    }

    #[test]
    fn a_secret_that_is_named_and_empty_is_filled_in_where_it_stands() {
        for empty in ["GRAFANA_ADMIN_PASSWORD=", "export GRAFANA_ADMIN_PASSWORD=\"\"  "] {
            let dir = tempfile::tempdir().expect("a folder");
            fs::write(dir.path().join(ENV), format!("A=1\n{empty}\n# mine\n")).expect("written");
            assert!(generate(dir.path(), EXAMPLE).expect("filled in"), "{empty}");
            let text = fs::read_to_string(dir.path().join(ENV)).expect("there");
            let password =
                Settings::parse(&text).get("GRAFANA_ADMIN_PASSWORD").expect("a password").to_owned();
            assert_eq!(password.len(), PASSWORD);
            assert_eq!(text, format!("A=1\nGRAFANA_ADMIN_PASSWORD={password}\n# mine\n"));
        }
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let text = "A=1\n # B=2\nexport C=3 # three\nD=\"four # 4\"\nE='5'\nno setting\n=x\nF =6\nG=a=b\n";
        let settings = Settings::parse(text);
        let shown: Vec<(&str, &str)> = settings.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(shown, [("A", "1"), ("C", "3"), ("D", "four # 4"), ("E", "5"), ("G", "a=b")]);
    }
}
