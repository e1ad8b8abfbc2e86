//! Text from inside a session, made harmless to show: in listings, logs, titles and JSON.

use reqwest::Url;

/// The longest text that is shown.
const LONGEST: usize = 512; // characters

/// `text` without control characters, escape sequences' beginnings and characters that turn text around, on
/// one line, at most 512 characters long. What remains is words: nothing of it is an instruction to a
/// terminal. (Markup is for the page to escape: it only ever sets text.)
pub fn inert(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST).map(|c| if is_plain(c) { c } else { ' ' }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// JSON whose texts are inert, and are still what they were to whoever parses it: the characters above, which
/// JSON may hold as they are, are written as escapes. They stand nowhere else in it.
pub fn json(text: String) -> String {
    if text.bytes().all(|b| b.is_ascii() && b != 0x7f) {
        return text; // JSON has escaped the ASCII ones but this itself; line ends between its parts stay.
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) || c == '\n' {
            shown.push(c);
        } else {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    shown
}

/// An address without the name and password that it may hold.
pub fn endpoint(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.has_host() => {
            // A URL with a host takes both.
            let _ = (url.set_username(""), url.set_password(None));
            url.as_str().trim_end_matches('/').to_owned()
        }
        _ => inert(text.rsplit('@').next().unwrap_or_default()),
    }
}

fn is_plain(c: char) -> bool {
    // Cc; then line and paragraph separators, and the bidirectional controls (Unicode, UAX #9).
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_turned_text_are_words_only() {
        let shown = inert("a\x1b[31mb\x07c\u{9b}d\ne\u{202e}f");
        assert_eq!(shown, "a [31mb c d e f");
    }

    #[test]
    fn json_says_the_same_and_shows_nothing() {
        let value = serde_json::json!({ "k\u{202e}": ["\u{9b}31m\x7f\x1b\n", "ä 🧑 plain"] });
        let text = json(serde_json::to_string_pretty(&value).expect("JSON"));
        assert!(text.chars().all(|c| is_plain(c) || c == '\n'), "{text:?}");
        assert!(text.contains("ä 🧑 plain"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn nobody_is_named_in_an_address() {
        for (address, shown) in [
            ("http://ada:secret@c:4318/x/", "http://c:4318/x"),
            ("https://c", "https://c"),
            ("ada:secret@c:4317", "c:4317"),
            ("c:4317", "c:4317"),
            ("http://ada:sec/ret@c:4317", "c:4317"),
            ("http://ada:secret@", ""),
        ] {
            assert_eq!(endpoint(address), shown);
        }
    }

    #[test]
    fn length_is_bounded() {
        assert_eq!(inert(&"ä".repeat(2000)).chars().count(), LONGEST + 1);
    }
}
