//! The faults that must be survived, each a story. What is random has a seed, which is printed, and which
//! `SANDBOXCTL_SEED` gives again.

mod common;

#[path = "faults/dice.rs"]
mod dice;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/programs.rs"]
mod programs;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/storm.rs"]
mod storm;
#[path = "faults/watchers.rs"]
mod watchers;
