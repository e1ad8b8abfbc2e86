#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: sandboxctl_fuzz::plant("guest_protocol", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/guest_protocol"))),
    |data: &[u8]| sandboxctl_fuzz::guest_protocol(data)
);
