//! The faults that must be survived, each a story. What is random has a seed, which is printed, and which
//! `SANDBOXCTL_SEED` gives again.

mod common;

#[path = "faults/between.rs"]
mod between;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/deaths.rs"]
mod deaths;
#[path = "faults/dice.rs"]
mod dice;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/dockerd.rs"]
mod dockerd;
#[path = "faults/engine.rs"]
mod engine;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/programs.rs"]
mod programs;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/storm.rs"]
mod storm;
#[path = "faults/two.rs"]
mod two;
#[path = "faults/watchers.rs"]
mod watchers;
