//! What went wrong underneath: an error's last cause, in words that can be shown.
//!
//! Libraries wrap what happened in what they were about. The cause alone says it, and holds no address, which may be a
//! secret.

use std::error::Error;

use crate::inert::inert;

/// The error that others were made of.
pub fn deepest<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

/// Why an HTTP request came to nothing.
pub fn of_request(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    inert(&deepest(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_chain_is_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("around")]
        struct Around(#[source] std::io::Error);
        let error = Around(std::io::Error::other("within"));
        assert_eq!(deepest(&error).to_string(), "within");
    }
}
