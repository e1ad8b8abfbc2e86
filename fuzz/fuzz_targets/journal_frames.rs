#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: sandboxctl_fuzz::plant("journal_frames", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/journal_frames"))),
    |data: &[u8]| sandboxctl_fuzz::journal_frames(data)
);
