//! Chance that can be had again.

use std::{env, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Random choices, all from one seed.
pub struct Dice {
    random: StdRng,
    /// What to give as `SANDBOXCTL_SEED` for the same choices.
    pub seed: u64,
}

impl Dice {
    /// The seed is `SANDBOXCTL_SEED`, or drawn; either way it is printed.
    pub fn new() -> Dice {
        let given =
            env::var("SANDBOXCTL_SEED").ok().map(|seed| seed.parse().expect("SANDBOXCTL_SEED is a number"));
        let seed = given.unwrap_or_else(|| u64::from(rand::random::<u32>()));
        eprintln!("the seed: SANDBOXCTL_SEED={seed}");
        Dice { random: StdRng::seed_from_u64(seed), seed }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.random.random_range(0..n)
    }

    /// A moment of at most so many milliseconds.
    pub fn moment(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.below(most_ms + 1))
    }
}
