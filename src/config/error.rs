//! Why a configuration is refused: the key's whole path, where it stands, what is wrong, what would be right.

use std::path::PathBuf;

use figment::{
    Error, Figment, Metadata, Source,
    error::{Actual, Kind},
};

/// What the variables of the environment that set a key begin with.
pub(super) const PREFIX: &str = "SANDBOXCTL__";

/// Why a configuration is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for is not there.
    #[error(
        "configuration {}: there is no such file; write one, or leave --config out to use the defaults", .0.display()
    )]
    Missing(PathBuf),
    /// The file cannot be read, or is no TOML.
    #[error("configuration{place}: {problem}")]
    Text {
        /// Where it is from, for a sentence.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Nothing knows the key.
    #[error("configuration key {}{place} is unknown; {remedy}", key.escape_debug())]
    Unknown {
        /// Path of the key, with dots.
        key: String,
        /// Where it stands, for a sentence; empty where that is not known.
        place: String,
        /// What to do.
        remedy: String,
    },
    /// A value is wrong.
    #[error("configuration key {}{place}: {problem}", key.escape_debug())]
    Value {
        /// Path of the key, with dots.
        key: String,
        /// Where it stands, for a sentence; empty where that is not known.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl ConfigError {
    /// A value that is well formed and makes no sense.
    pub fn value(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value { key: key.into(), place: String::new(), problem: problem.into() }
    }

    /// Says where the value stands.
    pub(super) fn found_in(mut self, figment: &Figment) -> ConfigError {
        if let ConfigError::Value { key, place, .. } = &mut self {
            *place = place_of(figment.find_metadata(key), key);
        }
        self
    }

    /// What could not be read as what the key holds.
    pub(super) fn of_type(error: &Error) -> ConfigError {
        let key = error.path.iter().fold(String::new(), |key, name| join(&key, name));
        let place = place_of(error.metadata.as_ref(), &key);
        let problem = match &error.kind {
            Kind::UnknownField(name, known) => {
                // The path of a field in the environment ends in the field, and of one in a file too.
                let key = if error.path.last() == Some(name) { key } else { join(&key, name) };
                return ConfigError::Unknown { key, place, remedy: instead_of(name, known) };
            }
            Kind::MissingField(name) => {
                return ConfigError::Value {
                    key: join(&key, name),
                    place,
                    problem: "is missing; give it, or leave the whole section out".to_owned(),
                };
            }
            Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
                // A number where a text should be may be a password.
                let secret = error.path.iter().any(|name| name == "env");
                let found = if secret { "the value".to_owned() } else { shown(found) };
                format!("{found} does not fit; give {}", in_words(wanted))
            }
            Kind::UnknownVariant(found, known) => format!("{found:?} does not fit; give {}", either(known)),
            // The one type of ours that says neither.
            Kind::Message(said) if said.contains("socket address") => {
                format!("give {}", in_words("socket address"))
            }
            other => other.to_string(),
        };
        if key.is_empty() {
            return ConfigError::Text { place, problem };
        }
        ConfigError::Value { key, place, problem }
    }
}

/// Where a value stands, as the end of a sentence's first part.
fn place_of(metadata: Option<&Metadata>, key: &str) -> String {
    match metadata {
        Some(Metadata { source: Some(Source::File(path)), .. }) => format!(" (in {})", path.display()),
        Some(metadata) if metadata.name.contains("environment") => {
            format!(" (set by {PREFIX}{})", key.to_ascii_uppercase().replace('.', "__"))
        }
        _ => String::new(),
    }
}

/// The path of a key; one without a name is said to be.
fn join(parent: &str, name: &str) -> String {
    let name = if name.is_empty() { "(empty)" } else { name };
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// A value as it was written. What is not one is named.
fn shown(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Str(value) => format!("{value:?}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}

/// What serde says it expects, as an operator would say it.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "usize" | "u64" | "u32" | "u16" => "a whole number, zero or more",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "path string" => "a path in quotes",
        "a sequence" => "a list, such as [\"one\", \"two\"]",
        "a map" => "a section of names and values",
        "a duration" => "a time such as \"90s\", \"30m\" or \"2h\"",
        "an integer or string" | "parsable string" | "integer overflow" => "a size such as \"512 MiB\"",
        "socket address" => "an address with its port, such as \"127.0.0.1:7070\"",
        wanted if wanted.starts_with("struct ") => "a section of names and values",
        "string or map" => "one of its names in quotes",
        wanted => wanted,
    }
}

fn either(known: &[&str]) -> String {
    known.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ")
}

/// What to do about a name that is not among those there are.
pub(super) fn instead_of(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("is {near} meant?"),
        None => format!("there are {}", known.join(", ")),
    }
}

/// The name that this one is a slip of the hand away from.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    let near = known.iter().map(|known| (distance(&name, known), *known)).min()?;
    (near.0 <= 1 + name.chars().count() / 4).then_some(near.1)
}

/// How many characters must be put in, left out or changed to come from one to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
