//! `sandboxctl stack`, told with the real binary, the real Compose and the real engine, on a small stack of the
//! tests' own; and `stack verify`, with a collector and backends that the test plays.
//!
//! Compose is `docker compose`, or what SANDBOXCTL_COMPOSE or SANDBOXCTL_STACK name: scripts/stack-parts builds it.

mod common;

#[path = "stack_verbs/life.rs"]
mod life;
#[path = "stack_verbs/stack.rs"]
mod stack;
#[path = "stack_verbs/verify.rs"]
mod verify;
