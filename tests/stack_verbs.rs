//! `sandboxctl stack`, told with the real binary, the real Compose and the real engine, on a small stack of the
//! tests' own; and `stack verify`, with a collector and backends that the test plays.
//!
//! Compose is the one that scripts/stack-parts built, unless SANDBOXCTL_COMPOSE names another.

mod common;

#[path = "stack_verbs/life.rs"]
mod life;
#[path = "stack_verbs/stack.rs"]
mod stack;
#[path = "stack_verbs/verify.rs"]
mod verify;
