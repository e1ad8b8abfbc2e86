//! What people type: every flag of the command line, every field of the API, every message of a terminal and
//! every key that only shows to be wrong when the daemon starts, each wrong; and each told by its name, with
//! what would be right. The tables are held to the command line's and the API's own account of themselves.

#[path = "input/api.rs"]
mod api;
#[path = "input/cli.rs"]
mod cli;
mod common;
#[path = "input/start.rs"]
mod start;
#[path = "input/terminal.rs"]
mod terminal;
