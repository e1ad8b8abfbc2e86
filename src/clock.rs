//! The wall clock, in the journal's unit. Rules take time as an argument; only edges look here.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in µs since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

/// The same moment as a timestamp. `micros` beyond the year 9999 is cut to it.
pub fn timestamp(micros: u64) -> jiff::Timestamp {
    i64::try_from(micros)
        .ok()
        .and_then(|m| jiff::Timestamp::from_microsecond(m).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}

/// A timestamp in the journal's unit; 0 for one before 1970.
pub fn micros(timestamp: jiff::Timestamp) -> u64 {
    u64::try_from(timestamp.as_microsecond()).unwrap_or(0)
}
