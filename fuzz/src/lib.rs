//! What bytes from outside must not break: one function for each place where such bytes are read.
//!
//! ```text
//!   fuzz/fuzz_targets/NAME.rs ──▶ NAME(data)    cargo-fuzz, nightly: as long as one likes
//!   tests/fuzz.rs             ──▶ NAME(data)    every `cargo test`: seeds, mutations of them, kept cases
//! ```
//!
//! A target takes any bytes and panics when a promise is broken; what it promises stands above it. Its
//! seeds are made by the real encoders, so that mutations of them get past the first check, and where a
//! checksum would stop them it is set right on the way ([`frames::resealed`]).

use std::{fs, path::Path};

mod asciicast;
mod config;
mod frames;
mod guest_protocol;
mod journal_frames;
mod otlp_body;
mod websocket;

pub use asciicast::asciicast;
pub use config::config;
pub use guest_protocol::guest_protocol;
pub use journal_frames::journal_frames;
pub use otlp_body::otlp_body;
pub use websocket::websocket;

/// A target by its name.
pub struct Target {
    /// The name of the function, of the fuzzer's binary and of the folder of cases.
    pub name: &'static str,
    /// Takes any bytes; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that get deep.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "asciicast", run: asciicast, seeds: asciicast::seeds },
    Target { name: "config", run: config, seeds: config::seeds },
    Target { name: "guest_protocol", run: guest_protocol, seeds: guest_protocol::seeds },
    Target { name: "journal_frames", run: journal_frames, seeds: journal_frames::seeds },
    Target { name: "otlp_body", run: otlp_body, seeds: otlp_body::seeds },
    Target { name: "websocket", run: websocket, seeds: websocket::seeds },
];

/// Lays a target's seeds into `corpus`, where the fuzzer begins. It calls this before it looks there.
pub fn plant(name: &str, corpus: &Path) {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else { return };
    fs::create_dir_all(corpus).expect("a folder for the corpus");
    for (n, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(corpus.join(format!("seed-{n:02}")), seed).expect("a seed");
    }
}

/// An empty folder in memory, where there is such a thing: a target makes thousands a second.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a scratch folder")
}
