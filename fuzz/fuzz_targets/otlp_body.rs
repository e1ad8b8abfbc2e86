#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: sandboxctl_fuzz::plant("otlp_body", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/otlp_body"))),
    |data: &[u8]| sandboxctl_fuzz::otlp_body(data)
);
