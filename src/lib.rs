//! sandboxctl: recorded, attributed, hardened container sessions for Claude Code.
//!
//! ```text
//!    browser        sandboxctl            shared collector
//!       │               │                        ▲
//!       │   HTTP, WebSocket, SSE                 │ OTLP
//!       ▼               ▼                        │
//!  ┌──────────────── http ──────────────┐        │
//!  │             one daemon             │        │
//!  │   supervisor ──▶ session (1 task)  │        │
//!  │        │            │    ▲         │        │
//!  │        ▼            ▼    │         │        │
//!  │     engine       journal ┴─▶ feed · summary · export · forwarder
//!  └────────┼─────────────▲────▲────────┘
//!           │             │    │
//!     Docker API   control.sock  gateway.sock        one pair of sockets per container
//!           │             │    │
//!  ┌────────▼─────────────┴────┴────────┐
//!  │  guest init (PID 1, root)          │
//!  │    ├─ PTY ── claude (uid 1000)     │
//!  │    └─ 127.0.0.1: 4318 4317 8080 3128
//!  └────────────────────────────────────┘
//! ```
//!
//! **Commands go down, events come up, and the journal is the only truth.** What happens in a session is
//! written to its journal first and only then seen by anyone; viewers, summaries, exports and the forwarder
//! all read that one ordered log.
//!
//! # Where to start
//!
//! - Where a keystroke goes: [`session::Hands::input`] → the session's link → the guest's PTY. What the
//!   program answers comes back as a record: journal, then screen, then feed (`session/record.rs`).
//! - Who may say no: [`supervisor`] (admission), [`lifecycle::decide`] (phases), [`policy`] (tools),
//!   [`gateway`] (network, model, budget), `http/auth.rs` (callers).
//! - What happens on SIGTERM: the top of [`daemon`].
//!
//! # The ladder
//!
//! A module uses only the groups above its own, or its own children. `tests/layers.rs` holds us to it.

// 1. words: plain data, no I/O
pub mod api;
pub mod config;
pub mod detach;
pub mod event;
pub mod id;
pub mod signal;
pub mod spec;

// 2. rules: pure; time is an argument
pub mod bundle;
pub mod cast;
pub mod cause;
pub mod inert;
pub mod lifecycle;
pub mod policy;
pub mod raw;
pub mod redact;
pub mod report;
pub mod screen;
pub mod settings;
pub mod summary;
pub mod text;
pub mod timeline;

// 3. doors: one outside world each
pub mod bounds;
pub mod clock;
pub mod engine;
pub mod inject;
pub mod journal;
pub mod keys;
pub mod metrics;
pub mod prometheus;
pub mod store;

// 4. actors
pub mod export;
pub mod feed;
pub mod forwarder;
pub mod gateway;
pub mod pushgateway;
pub mod recorder;
pub mod session;
pub mod supervisor;

// 5. faces
pub mod cli;
pub mod client;
pub mod http;

// 6. composition
pub mod daemon;
