//! sandboxctl: recorded, attributed, hardened container sessions for Claude Code.

// 1. words: plain data, no I/O
pub mod api;
pub mod config;
pub mod event;
pub mod id;
pub mod spec;

// 2. rules: pure; time is an argument
pub mod lifecycle;
pub mod policy;
pub mod summary;

// 3. doors: one outside world each
pub mod clock;
pub mod journal;

// 4. actors
pub mod feed;
pub mod recorder;
pub mod session;
pub mod supervisor;

// 5. faces
pub mod gateway;
