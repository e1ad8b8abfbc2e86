//! The ladder of `src/lib.rs`: a module uses only the groups above its own, or its own children; and each
//! outside library has its home.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Group of each module, from the comments in `lib.rs`.
fn groups() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut group = 0;
    for line in fs::read_to_string(source().join("lib.rs")).expect("lib.rs").lines() {
        if let Some(number) = line.strip_prefix("// ").and_then(|l| l.split('.').next()?.parse().ok()) {
            group = number;
        }
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|l| l.strip_suffix(';')) {
            found.insert(name.to_owned(), group);
        }
    }
    found
}

/// Every file of the source, with the module at the top that it belongs to.
fn files() -> Vec<(String, PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }
    let mut paths = Vec::new();
    walk(&source(), &mut paths);
    paths
        .into_iter()
        .filter(|path| !path.ends_with("lib.rs") && !path.ends_with("main.rs"))
        .map(|path| {
            let below = path.strip_prefix(source()).expect("below src").to_owned();
            let top = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("text");
            (top.trim_end_matches(".rs").to_owned(), below, text)
        })
        .collect()
}

/// Modules that a text uses as `crate::name` or inside `use crate::{…}`.
fn uses(text: &str, modules: &BTreeMap<String, usize>) -> Vec<String> {
    // Documentation may point anywhere.
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        });
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned(),
            );
            continue;
        };
        let (mut depth, mut name) = (1, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                c if depth == 1 && (c.is_alphanumeric() || c == '_') => {
                    name.push(c);
                    continue;
                }
                ':' | ',' if depth == 1 && !name.is_empty() => found.push(name.clone()),
                _ => {}
            }
            if c == ',' || c.is_whitespace() || depth != 1 {
                if depth <= 1 && !name.is_empty() && modules.contains_key(&name) {
                    found.push(name.clone());
                }
                name.clear();
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|name| modules.contains_key(name));
    found
}

#[test]
fn modules_use_only_what_stands_above_them() {
    /// What the ladder lets pass, each with its reason.
    const EXCEPTIONS: [(&str, &str); 7] = [
        // A lifecycle event is a word that speaks of phases and reasons.
        ("event", "lifecycle"),
        // The same of a session's view.
        ("api", "lifecycle"),
        // Rules fold the journal's entries, which are plain data; they read no file.
        ("summary", "journal"),
        ("timeline", "journal"),
        // Turning a number into a timestamp looks at no clock.
        ("timeline", "clock"),
        // Checking a signature reads no file.
        ("bundle", "keys"),
        // `serve` is a verb among others.
        ("cli", "daemon"),
    ];
    let groups = groups();
    assert!(groups.len() > 30, "lib.rs names the modules");
    let mut wrong = Vec::new();
    for (top, path, text) in files() {
        let Some(own) = groups.get(&top) else { panic!("{} is in no group of lib.rs", path.display()) };
        if path.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for used in uses(code, &groups) {
            let allowed = groups[&used] <= *own || EXCEPTIONS.contains(&(top.as_str(), used.as_str()));
            if !allowed {
                wrong.push(format!("{} (group {own}) uses {used} (group {})", path.display(), groups[&used]));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_library_stays_at_home() {
    const HOMES: [(&str, &[&str]); 9] = [
        ("bollard", &["engine"]),
        ("sqlx", &["store"]),
        ("axum", &["http", "gateway"]),
        ("tonic", &["forwarder", "gateway"]),
        ("clap", &["cli"]),
        ("alacritty_terminal", &["screen", "text"]),
        ("brush_parser", &["policy"]),
        ("ed25519_dalek", &["keys"]),
        ("crossterm", &["cli"]),
    ];
    let is_test = |path: &Path| path.iter().any(|part| part == "tests" || part == "tests.rs");
    for (top, path, text) in files().into_iter().filter(|(_, path, _)| !is_test(path)) {
        for (library, homes) in HOMES {
            let used =
                text.contains(&format!("use {library}::")) || text.contains(&format!("    {library}::"));
            assert!(
                !used || homes.contains(&top.as_str()),
                "{} uses {library}, whose home is {homes:?}",
                path.display()
            );
        }
    }
}
