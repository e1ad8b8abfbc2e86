//! Bounds that only a test sets otherwise: one that takes gigabytes to reach would never be seen reached.

use std::env;

/// The bound in the environment's `variable`, in bytes; `usual` where it is not there or no size.
pub fn bytes(variable: &str, usual: u64) -> u64 {
    let set = env::var(variable).ok().and_then(|value| value.parse().ok());
    set.filter(|bytes| *bytes > 0).unwrap_or(usual)
}
