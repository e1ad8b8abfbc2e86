//! A person's own settings of Claude Code: their environment changed in place, and changed back.
//!
//! The text stays as it was written: only the values that change, and entries that come or go, are touched. What was
//! there before is remembered ([`Undo`]), so that it can be put back; what its owner has changed since stays theirs.

use std::{collections::BTreeMap, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The object that holds the environment.
const ENV: &str = "env";

/// Why a text is not taken for settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It is no JSON.
    #[error("it is no JSON: {0}; mend it first, it is left as it is")]
    Syntax(serde_json::Error),
    /// It is JSON of another shape.
    #[error("{0} is no object; mend it first, it is left as it is")]
    Shape(&'static str),
}

/// What to put back, of the keys that were set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What each key was set to, and what it was before, as JSON.
    pub keys: BTreeMap<String, Was>,
    /// There was no environment at all.
    pub no_env: bool,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// What it was set to.
    pub set: String,
    /// What was there, as it was written.
    pub before: Option<String>,
}

/// The text with these variables set, and what undoes that. A text of nothing is an object of nothing.
pub fn set(text: &str, variables: &BTreeMap<String, String>) -> Result<(String, Undo), SettingsError> {
    let mut text = if text.trim().is_empty() { "{}\n".to_owned() } else { text.to_owned() };
    let mut undo = Undo { no_env: env(&text)?.is_none(), ..Undo::default() };
    if undo.no_env {
        let whole = whole(&text)?;
        put(&mut text, whole, ENV, "{}")?;
    }
    for (key, value) in variables {
        let object = env(&text)?.ok_or(SettingsError::Shape(ENV))?;
        let before = find(&text, &object, key)?.map(|member| text[member.value].to_owned());
        if before.as_deref().and_then(read).as_deref() != Some(value) {
            put(&mut text, object, key, &quoted(value))?;
        }
        undo.keys.insert(key.clone(), Was { set: value.clone(), before });
    }
    Ok((text, undo))
}

/// The text with what was set taken back. A key that says something else by now is its owner's.
pub fn restore(text: &str, undo: &Undo) -> Result<String, SettingsError> {
    let mut text = text.to_owned();
    for (key, was) in &undo.keys {
        let Some(object) = env(&text)? else { break };
        let Some(member) = find(&text, &object, key)? else { continue };
        if read(&text[member.value.clone()]).as_deref() == Some(&was.set) {
            match &was.before {
                Some(before) => text.replace_range(member.value, before),
                None => remove(&mut text, object, key)?,
            }
        }
    }
    if undo.no_env
        && let Some(object) = env(&text)?
        && members(&text, &object)?.is_empty()
    {
        let whole = whole(&text)?;
        remove(&mut text, whole, ENV)?;
    }
    Ok(text)
}

/// The environment that a text of settings sets; what is no text is as it is written.
pub fn variables(text: &str) -> Result<BTreeMap<String, String>, SettingsError> {
    let Some(object) = env(text)? else { return Ok(BTreeMap::new()) };
    let all = members(text, &object)?.into_iter();
    Ok(all
        .map(|m| (m.key, read(&text[m.value.clone()]).unwrap_or_else(|| text[m.value].to_owned())))
        .collect())
}

/// A text outside the environment.
pub fn text(settings: &str, key: &str) -> Result<Option<String>, SettingsError> {
    let found = find(settings, &whole(settings)?, key)?;
    Ok(found.and_then(|member| read(&settings[member.value])))
}

/// Whether settings hold nothing.
pub fn is_empty(text: &str) -> Result<bool, SettingsError> {
    Ok(members(text, &whole(text)?)?.is_empty())
}

/// A member of an object, and where it stands.
struct Member {
    key: String,
    name: Range<usize>,
    value: Range<usize>,
}

/// The members of an object as they are written, those that come twice twice.
struct Written<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Written<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Written<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Written(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Where the outermost object lies.
fn whole(text: &str) -> Result<Range<usize>, SettingsError> {
    let value: &RawValue = serde_json::from_str(text).map_err(SettingsError::Syntax)?;
    let range = range(text, value);
    if text[range.clone()].starts_with('{') { Ok(range) } else { Err(SettingsError::Shape("the file")) }
}

/// Where the environment lies, if there is one.
fn env(text: &str) -> Result<Option<Range<usize>>, SettingsError> {
    let Some(member) = find(text, &whole(text)?, ENV)? else { return Ok(None) };
    if text[member.value.clone()].starts_with('{') {
        Ok(Some(member.value))
    } else {
        Err(SettingsError::Shape("env"))
    }
}

fn members(text: &str, object: &Range<usize>) -> Result<Vec<Member>, SettingsError> {
    let Written(all) = serde_json::from_str(&text[object.clone()]).map_err(SettingsError::Syntax)?;
    let of = |(key, value): (&RawValue, &RawValue)| Member {
        key: read(key.get()).unwrap_or_default(),
        name: range(text, key),
        value: range(text, value),
    };
    Ok(all.into_iter().map(of).collect())
}

/// The last of this name, since that is the one that counts.
fn find(text: &str, object: &Range<usize>, key: &str) -> Result<Option<Member>, SettingsError> {
    Ok(members(text, object)?.into_iter().rfind(|member| member.key == key))
}

/// A part of a text, as its place in it.
fn range(text: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + part.get().len()
}

/// Sets a member of an object, after those that are there.
fn put(text: &mut String, object: Range<usize>, key: &str, value: &str) -> Result<(), SettingsError> {
    if let Some(member) = find(text, &object, key)? {
        text.replace_range(member.value, value);
        return Ok(());
    }
    match members(text, &object)?.last() {
        // As the last one stands: what is between its key and whatever comes before is what sets members apart.
        Some(last) => {
            let before = &text[..last.name.start];
            let space = &before[before.trim_end().len()..];
            let colon = &text[last.name.end..last.value.start];
            let member = format!(",{space}{}{colon}{value}", quoted(key));
            text.insert_str(last.value.end, &member);
        }
        None => {
            let (outer, step) = indentation(text, &object);
            let inner = format!("{{\n{outer}{step}{}: {value}\n{outer}}}", quoted(key));
            text.replace_range(object, &inner);
        }
    }
    Ok(())
}

fn remove(text: &mut String, object: Range<usize>, key: &str) -> Result<(), SettingsError> {
    let all = members(text, &object)?;
    let Some(n) = all.iter().rposition(|member| member.key == key) else { return Ok(()) };
    let gone = match (n.checked_sub(1).map(|n| &all[n]), all.get(n + 1)) {
        (Some(last), _) => last.value.end..all[n].value.end,
        (None, Some(next)) => all[n].name.start..next.name.start,
        (None, None) => object.start + 1..object.end - 1,
    };
    text.replace_range(gone, "");
    Ok(())
}

/// The indentation of the line on which an object begins, and one step of it.
fn indentation(text: &str, object: &Range<usize>) -> (String, String) {
    let spaces = |line: &str| line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect::<String>();
    let line = text[..object.start].rfind('\n').map_or(0, |at| at + 1);
    let step = text.lines().map(spaces).find(|space| !space.is_empty()).unwrap_or_else(|| "  ".to_owned());
    (spaces(&text[line..]), step)
}

fn read(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> BTreeMap<String, String> {
        [("A", "1"), ("B", "\"quoted\""), ("C", "3")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn what_was_there_stays_as_it_was_written_and_comes_back() {
        for text in [
            "{}",
            "{}\n",
            "{ }",
            "{\n  \"env\": {}\n}\n",
            "{\"model\":\"opus\",\"n\":1.0e2,\"big\":123456789012345678901234567890}",
            "{\"env\":{\"X\":\"y\"},\"z\":[1,  2]}",
            "{\n\t\"env\": {\n\t\t\"A\": \"old\",\n\t\t\"X\"  :  \"y\"\n\t},\n\t\"hooks\": {}\n}\n",
            "{\r\n    \"permissions\": { \"allow\": [ \"Bash(git *)\" ] },\r\n    \"env\": { \"B\": 5, \"D\": null }\r\n}",
            "{\"env\": {\"A\": \"1\", \"\\u0041B\": \"x\"}}",
        ] {
            let (changed, undo) = set(text, &ours()).expect("settings");
            let found = variables(&changed).expect("settings");
            for (key, value) in ours() {
                assert_eq!(found.get(&key), Some(&value), "{changed}");
            }
            let before: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let after: serde_json::Value = serde_json::from_str(&changed).expect("JSON");
            for (key, value) in before.as_object().expect("an object").iter().filter(|(key, _)| *key != "env")
            {
                assert_eq!(after.get(key), Some(value));
            }
            assert_eq!(set(&changed, &ours()).expect("settings").0, changed, "twice is once");
            let restored = restore(&changed, &undo).expect("settings");
            let same: serde_json::Value = serde_json::from_str(&restored).expect("JSON");
            assert_eq!(same, before, "{restored}");
            // Only the space inside an object that was empty is not remembered.
            if !before["env"].as_object().is_some_and(serde_json::Map::is_empty)
                && !is_empty(text).expect("settings")
            {
                assert_eq!(restored, text);
            }
        }
    }

    #[test]
    fn what_its_owner_changed_since_stays() {
        let (changed, undo) =
            set("{\n  \"env\": {\n    \"A\": \"old\"\n  }\n}\n", &ours()).expect("settings");
        let theirs = changed.replace("\"C\": \"3\"", "\"C\": \"mine\",\n    \"E\": \"new\"");
        let restored = restore(&theirs, &undo).expect("settings");
        assert_eq!(
            restored,
            "{\n  \"env\": {\n    \"A\": \"old\",\n    \"C\": \"mine\",\n    \"E\": \"new\"\n  }\n}\n"
        );
    }

    #[test]
    fn new_entries_look_like_their_neighbours() {
        let (changed, _) = set("{\n\t\"model\" : \"opus\"\n}", &ours()).expect("settings");
        assert_eq!(
            changed,
            "{\n\t\"model\" : \"opus\",\n\t\"env\" : {\n\t\t\"A\": \"1\",\n\t\t\"B\": \"\\\"quoted\\\"\",\n\t\t\"C\": \"3\"\n\t}\n}"
        );
    }

    #[test]
    fn texts_outside_the_environment_are_found() {
        let settings = "{\"otelHeadersHelper\": \"/opt/\\u0074oken\", \"n\": 1}";
        assert_eq!(text(settings, "otelHeadersHelper").expect("settings").as_deref(), Some("/opt/token"));
        assert_eq!((text(settings, "n").ok(), text(settings, "env").ok()), (Some(None), Some(None)));
    }

    #[test]
    fn what_is_no_settings_is_said_and_left() {
        for (text, said) in [
            ("{\"a\": 1,}", "line 1"),
            ("// mine\n{}", "no JSON"),
            ("[]", "the file is no object"),
            ("{\"env\": []}", "env is no object"),
            ("{} {}", "trailing"),
        ] {
            let error = set(text, &ours()).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
