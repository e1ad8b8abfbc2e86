//! Makes sure that there is a page to build in: `npm run build` in `web/` makes the real one.

use std::{fs, io, path::Path};

const NOTE: &str = "<!doctype html><title>sandboxctl</title>\
    <p>The page was not built into this binary. Run <code>npm ci && npm run build</code> in <code>web/</code>, \
    then build again.</p>\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=web/dist");
    // `sqlx::migrate!` takes in what is there.
    println!("cargo::rerun-if-changed=migrations");
    let index = Path::new("web/dist/index.html");
    if !index.exists() {
        fs::create_dir_all("web/dist")?;
        fs::write(index, NOTE)?;
    }
    Ok(())
}
