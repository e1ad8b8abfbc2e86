//! What is rightly empty, each with its reason. An excuse that no query needs any more is an error.

use super::gather::Query;

/// The beginning of a query's place, and why it finds nothing in the test's sessions.
pub const EXCUSES: &[(&str, &str)] = &[];

/// Fields of events that no session here has: `event.field`, or `*.field` wherever it stands.
pub const FIELDS: [(&str, &str); 0] = [];

/// Metrics that are not there before something goes wrong.
const METRICS: &[(&str, &str)] = &[];

/// Why a query may find nothing.
pub fn reason(query: &Query) -> Option<&'static (&'static str, &'static str)> {
    EXCUSES.iter().find(|(place, _)| query.place.starts_with(place))
}

/// Why a metric may not be there.
pub fn metric(name: &str) -> Option<&'static str> {
    METRICS.iter().find(|(metric, _)| *metric == name).map(|(_, why)| *why)
}
