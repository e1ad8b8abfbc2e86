//! JSON that is kept and passed on, and of which little is ever read.
//!
//! Eight MiB of it, built as a tree, take a gigabyte. So what a session sends stays text: it is checked, brought
//! on one line, and bounded in depth, so that whoever reads it later may build what they like.

use serde_json::value::RawValue;

/// Deepest nesting of what a session sends. Readers give up at 128 (`serde_json`) or beyond.
pub const MAX_DEPTH: usize = 100;

/// The same JSON on one line, without space between its parts; `None` if it is nested deeper than `depth`.
pub fn compact(raw: &RawValue, depth: usize) -> Option<Box<RawValue>> {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    let mut keeps = |c: char| {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            return true;
        }
        match c {
            '"' => quoted = true,
            '[' | '{' => open += 1,
            ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
        !matches!(c, ' ' | '\t' | '\r' | '\n')
    };
    let mut kept = String::with_capacity(raw.get().len());
    kept.extend(raw.get().chars().filter(|c| keeps(*c)));
    if deepest > depth { None } else { RawValue::from_string(kept).ok() }
}

/// Whether it is an object.
pub fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// What it says, if it is text.
pub fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        compact(raw, 3).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn space_between_the_parts_goes_and_space_in_texts_stays() {
        let text = " { \"a b\\\\\" :\r\n [ 1 , \"\\\" ] { \" ],\t\"c\" : \" x \" } ";
        let kept = r#"{"a b\\":[1,"\" ] { "],"c":" x "}"#;
        assert_eq!(compacted(text).as_deref(), Some(kept));
        assert_eq!(compacted(kept).as_deref(), Some(kept));
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_texts_are_none() {
        assert!(compacted(r#"[[["[[[[", 1]]]"#).is_some());
        assert!(compacted(r#"[[[{}]]]"#).is_none());
        assert!(compacted(&("[".repeat(1 << 20) + &"]".repeat(1 << 20))).is_none());
    }
}
