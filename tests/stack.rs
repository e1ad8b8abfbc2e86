//! The stack that `compose/` is: its own files in the real parts, and what sessions send found in each backend.
//! The parts are built by scripts/stack-parts.

mod common;

#[path = "stack/boards.rs"]
mod boards;
#[path = "stack/counts.rs"]
mod counts;
#[path = "stack/files.rs"]
mod files;
#[path = "stack/queries.rs"]
mod queries;
#[path = "stack/queues.rs"]
mod queues;
#[path = "stack/records.rs"]
mod records;
#[path = "stack/rules.rs"]
mod rules;
#[path = "stack/sessions.rs"]
mod sessions;
#[path = "stack/way.rs"]
mod way;
