//! What `scripts/bench` runs: each row measures this product and a peer in the same run, interleaved, and
//! prints the ratio beside its bound.
//!
//! ```text
//!   row ──▶ peer, ours, ours, peer, … (pairs) ──▶ median of the pairs' ratios ──▶ table, JSON
//! ```
//!
//! The product is the released binary as a user has it: daemon, guest, CLI. A row that has no peer is held to
//! an absolute bound. What the machine was is printed with the figures, since the absolute ones are its own.

#![allow(missing_docs, reason = "a program")]

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Parser;

#[path = "../../tests/common/mod.rs"]
mod common;
mod echo;
mod export;
mod forward;
mod growth;
mod join;
mod machine;
mod memory;
mod otlp;
mod peers;
mod pty;
mod report;
mod start;
mod terminal;
mod usage;

use report::Report;

/// Measures sandboxctl against its peers.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  scripts/bench start echo --pairs 9 --json bench.json")]
pub struct Options {
    /// Groups of rows: start, terminal, echo, join, memory, otlp, forward, export, usage, growth [default: all but growth]
    groups: Vec<String>,
    /// Pairs of measurements for each ratio
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Where the figures go, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Runtime of the containers, such as runsc, for the rows that start them
    #[arg(long)]
    runtime: Option<String>,
    /// The session image
    #[arg(long, default_value = "sandboxctl/claude-code:latest")]
    image: String,
    /// Sessions up to which `growth` goes with the local engine
    #[arg(long, default_value_t = 1000)]
    most: usize,
    /// Exit with 1 when a bound is missed
    #[arg(long)]
    strict: bool,
    /// Leave the peers out: for a profiler
    #[arg(long)]
    alone: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const GROUPS: [&str; 10] =
    ["start", "terminal", "echo", "join", "memory", "otlp", "forward", "export", "usage", "growth"];

// One thread, as a viewer has: more would take turns with what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let groups = match options.groups.as_slice() {
        [] => GROUPS[..9].to_vec(),
        given => given.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = groups.iter().find(|g| !GROUPS.contains(g)) {
        anyhow::bail!("there is no group '{unknown}': choose among {}", GROUPS.join(", "));
    }
    let mut report = Report::new(machine::describe(), options.pairs);
    println!("{}", report.machine());
    for group in groups {
        eprintln!("… {group}");
        match group {
            "start" => start::measure(&options, &mut report).await?,
            "terminal" => terminal::measure(&options, &mut report).await?,
            "echo" => echo::measure(&options, &mut report).await?,
            "join" => join::measure(&options, &mut report).await?,
            "memory" => memory::measure(&options, &mut report).await?,
            "otlp" => otlp::measure(&options, &mut report).await?,
            "forward" => forward::measure(&options, &mut report).await?,
            "export" => export::measure(&options, &mut report).await?,
            "usage" => usage::measure(&options, &mut report).await?,
            _ => growth::measure(&options, &mut report).await?,
        }
    }
    println!("{}", report.table());
    if let Some(path) = &options.json {
        fs::write(path, report.json()?).with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(!options.strict || report.holds(), "a bound is missed");
    Ok(())
}
