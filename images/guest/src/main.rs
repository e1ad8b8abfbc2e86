//! The one program of ours inside a container. Seven verbs, of which people call none:
//!
//! | verb | who calls it | what it is |
//! |---|---|---|
//! | `init` | the container engine, as PID 1 | tells the whole story: see [`init`] |
//! | `exec` | `init` | the moment between root and the session's user: see [`exec`] |
//! | `hook` | Claude Code | asks the daemon's policy; without an answer it denies: see [`hook`] |
//! | `tap` | Claude Code | a stdio MCP server with every message reported: see [`tap`] |
//! | `probe` | the container engine, in containers of the stack | a health check: see [`probe`] |
//! | `own` | the stack, before a service first writes to its volume | gives it the volume: see [`own`] |
//! | `emit` | `sandboxctl stack verify` | one marked record of each signal: see [`emit`] |

mod control;
mod disk;
mod emit;
mod event;
mod exec;
mod files;
mod hook;
mod http;
mod identity;
mod init;
mod input;
mod loopback;
mod oom;
mod otlp;
mod own;
mod pids;
mod pipe;
mod probe;
mod pty;
mod reap;
mod relay;
mod signal;
mod slots;
mod tap;
mod transcript;

use std::process::ExitCode;

use sandbox_guest::{complain, spool};

const USAGE: &str = "usage: sandbox-guest init | hook [--observe] | tap --name NAME -- COMMAND [ARGUMENT]... \
                     | probe URL [--timeout TIME] | own UID:GID FOLDER | emit MARK";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["init"] => init::run(),
        ["exec"] => exec::run(),
        ["hook"] => hook::run(hook::Mode::Decide),
        ["hook", "--observe"] => hook::run(hook::Mode::Observe),
        ["tap", "--name", name, "--", command, rest @ ..] => tap::run(name, command, rest),
        ["probe", url] => probe::run(url, None),
        ["probe", url, "--timeout", time] => probe::run(url, Some(time)),
        ["own", owner, folder] => own::run(owner, folder),
        ["emit", mark] => emit::run(mark),
        ["--version"] => {
            println!("sandbox-guest {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            complain!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
