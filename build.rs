//! The page is built by `npm run build` into `web/dist`, which is embedded. Where that was not run, a note
//! takes its place, so that the daemon builds without Node.

use std::{fs, path::Path};

const NOTE: &str = "<!doctype html><meta charset=utf-8><title>sandboxctl</title>\
    <p>The page was not built into this binary: run <code>npm ci && npm run build</code> in <code>web/</code>, \
    then build the binary again (<code>./scripts/run</code> does both).";

fn main() {
    let page = Path::new("web/dist/index.html");
    if !page.exists() {
        fs::create_dir_all("web/dist").expect("web/dist can be made");
        fs::write(page, NOTE).expect("web/dist can be written");
    }
    println!("cargo:rerun-if-changed=web/dist");
    println!("cargo:rerun-if-changed=migrations");
}
