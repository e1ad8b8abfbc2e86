#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: sandboxctl_fuzz::plant("asciicast", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/asciicast"))),
    |data: &[u8]| sandboxctl_fuzz::asciicast(data)
);
