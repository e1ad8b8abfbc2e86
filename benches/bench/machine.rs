//! What the figures were measured on.

use std::{fs, process::Command};

/// One line: processors, memory, kernel, engine, load.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|k| k.parse().ok()).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} × {}, {} GiB, Linux {}, {}; load at the beginning {}",
        cores,
        model.unwrap_or("unknown processor"),
        kib >> 20,
        said("uname", &["-r"]),
        said("docker", &["version", "-f", "Docker {{.Server.Version}}"]),
        load.split(' ').next().unwrap_or_default(),
    )
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}
