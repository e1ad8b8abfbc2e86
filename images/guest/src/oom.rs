//! Whether the kernel has killed something in this container because its memory ran out.

use std::fs;

/// Where the count stands: cgroup v2 (as the container sees its own group), and v1.
const COUNTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Whether there has been such a kill; false where the kernel does not tell.
pub fn has_struck() -> bool {
    COUNTS.iter().filter_map(|path| fs::read_to_string(path).ok()).any(|text| kills(&text) > 0)
}

fn kills(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(name, _)| *name == "oom_kill")
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::kills;

    #[test]
    fn both_spellings_are_read() {
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n"), 2);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), 0);
        assert_eq!(kills(""), 0);
    }
}
