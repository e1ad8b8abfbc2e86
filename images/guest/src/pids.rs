//! Inside gVisor the container's kernel is gVisor's own, and so is its count of processes. The engine's limit
//! holds the host's tasks, of which gVisor itself dies; this one holds the session's, with `EAGAIN`.

use std::{fs::OpenOptions, io, io::Write};

/// Where the limit stands: cgroup v1, which is gVisor's usual, and v2. Root's, in a kernel that is ours alone.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"];

/// Limits the processes and threads of this container.
pub fn limit(pids: i64) -> io::Result<()> {
    let set = |path| OpenOptions::new().write(true).open(path)?.write_all(pids.to_string().as_bytes());
    LIMITS.into_iter().map(set).reduce(Result::or).unwrap_or(Ok(()))
}
