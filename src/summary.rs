//! What a session did, folded from its journal (contract; the implementation is on its way).
use crate::{api::Totals, journal::Entry};
use serde::{Deserialize, Serialize};

/// The fold's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {}

impl Summary {
    /// Takes one more frame into account.
    pub fn apply(&mut self, _entry: &Entry) {}
    /// The counts.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
    /// Share of what must have been sent that has arrived; `None` before there is any.
    pub fn completeness(&self) -> Option<f64> {
        None
    }
}
