//! sandboxctl: the daemon and its command line. See the library's documentation for the map.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandboxctl::cli::main()
}
