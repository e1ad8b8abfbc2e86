//! A bundle, taken apart.

use std::{collections::BTreeMap, io::Read};

use flate2::read::GzDecoder;
use serde_json::Value;

/// A bundle's files by their path below its folder.
pub struct Bundle {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// Unpacks and verifies one.
    pub fn read(bytes: &[u8]) -> Bundle {
        sandboxctl::bundle::verify(bytes, None).expect("a bundle verifies");
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes));
        for entry in archive.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").components().skip(1).collect::<std::path::PathBuf>();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            files.insert(path.display().to_string(), content);
        }
        Bundle { files }
    }

    /// A text file.
    pub fn text(&self, path: &str) -> String {
        let bytes = self.files.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", self.files.keys()));
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// A JSON file.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).expect("JSON")
    }

    /// A file of JSON lines.
    pub fn lines(&self, path: &str) -> Vec<Value> {
        self.text(path).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Everything that the terminal showed, from the cast.
    pub fn output(&self) -> String {
        let cast = self.text("terminal/session.cast");
        let mut shown = String::new();
        for line in cast.lines().skip(1) {
            let event: (f64, String, String) = serde_json::from_str(line).expect("an event");
            if event.1 == "o" {
                shown.push_str(&event.2);
            }
        }
        shown
    }
}

/// Every value under this key, anywhere in a JSON value.
pub fn attribute_values(value: &Value, key: &str) -> Vec<Value> {
    let mut found = Vec::new();
    walk(value, &mut |v| {
        if v.get("key").and_then(Value::as_str) == Some(key) {
            found.push(v["value"].clone());
        }
    });
    found
}

/// Looks at every object in a JSON value.
pub fn walk(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(items) => items.iter().for_each(|v| walk(v, look)),
        Value::Object(fields) => fields.values().for_each(|v| walk(v, look)),
        _ => {}
    }
}
