#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: sandboxctl_fuzz::plant("config", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/config"))),
    |data: &[u8]| sandboxctl_fuzz::config(data)
);
