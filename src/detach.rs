//! The key that leaves an attached terminal, in every spelling that terminals send it in.

use std::str::FromStr;

/// A control key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKey {
    name: String,
    spellings: Vec<Vec<u8>>,
}

/// Why a text names no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("detach key '{0}': write ctrl- and one of a-z [ ] \\ ^ _, such as ctrl-]")]
pub struct KeyError(String);

impl FromStr for DetachKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<DetachKey, KeyError> {
        let wrong = || KeyError(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let rest = lower.strip_prefix("ctrl-").or_else(|| lower.strip_prefix('^')).ok_or_else(wrong)?;
        let [key @ (b'a'..=b'z' | b'[' | b']' | b'\\' | b'^' | b'_')] = rest.as_bytes() else {
            return Err(wrong());
        };
        let spellings = vec![
            // The byte itself; the kitty keyboard protocol; xterm's modifyOtherKeys.
            vec![key & 0x1f],
            format!("\x1b[{key};5u").into_bytes(),
            format!("\x1b[27;5;{key}~").into_bytes(),
        ];
        Ok(DetachKey { name: format!("Ctrl-{}", char::from(*key)), spellings })
    }
}

impl DetachKey {
    /// As a person would write it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where in `typed` the key begins, if it is there.
    pub fn find(&self, typed: &[u8]) -> Option<usize> {
        let found = |spelling: &Vec<u8>| typed.windows(spelling.len()).position(|w| w == spelling.as_slice());
        self.spellings.iter().filter_map(found).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_in_every_spelling() {
        let key: DetachKey = "ctrl-]".parse().expect("a key");
        assert_eq!(key.name(), "Ctrl-]");
        assert_eq!(key.find(b"ab\x1d"), Some(2));
        assert_eq!(key.find(b"\x1b[93;5u"), Some(0));
        assert_eq!(key.find(b"x\x1b[27;5;93~"), Some(1));
        assert_eq!(key.find(b"]"), None);
    }

    #[test]
    fn what_is_no_control_key_is_refused() {
        for text in ["", "x", "ctrl-", "ctrl-ab", "ctrl-1", "alt-x"] {
            assert_eq!(text.parse::<DetachKey>(), Err(KeyError(text.to_owned())));
        }
    }
}
