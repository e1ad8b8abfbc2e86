//! Text from inside a session, made harmless to show: in listings, logs, titles and JSON.

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
    fn length_is_bounded() {
        assert_eq!(inert(&"ä".repeat(2000)).chars().count(), LONGEST + 1);
    }
}
