#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: sandboxctl_fuzz::plant("websocket", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/websocket"))),
    |data: &[u8]| sandboxctl_fuzz::websocket(data)
);
