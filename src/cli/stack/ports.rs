//! Ports of this machine that somebody else has.

use std::{fs, io, net::TcpListener, path::PathBuf};

use super::plan::{Address, Plan};

/// A port that a part wants and cannot have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    part: String,
    address: String,
    by: Option<String>,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} is taken", self.address, self.part)?;
        self.by.as_ref().map_or(Ok(()), |by| write!(f, " by {by}"))
    }
}

/// Those that these parts want and somebody else has. The parts must not run.
pub(super) fn taken(plan: &Plan, parts: &[String]) -> Vec<Taken> {
    let wanted = parts.iter().filter_map(|name| Some((name, plan.parts.get(name)?)));
    let addresses = wanted.flat_map(|(name, part)| part.addresses.iter().map(move |address| (name, address)));
    addresses
        .filter(|(_, address)| is_taken(address))
        .map(|(name, address)| taken_by(name, address))
        .collect()
}

fn is_taken(address: &Address) -> bool {
    // Any other failure is for the engine to find: it may be able to bind what we may not.
    TcpListener::bind((address.ip, address.port)).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
}

fn taken_by(part: &str, address: &Address) -> Taken {
    Taken {
        part: part.to_owned(),
        address: format!("{}:{}", address.ip, address.port),
        by: listener(address.port),
    }
}

/// The process that listens on a port, if we may look.
fn listener(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().flat_map(|table| table.lines()).find_map(|line| inode(line, port))?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let by_number =
        |path: &PathBuf| path.file_name().is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit());
    let process = processes.map(|entry| entry.path()).filter(by_number).find(|process| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files
            .map(|file| file.path())
            .any(|file| fs::read_link(file).is_ok_and(|to| to.as_os_str() == socket.as_str()))
    })?;
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("{} (process {})", crate::inert::inert(name.trim()), process.file_name()?.to_string_lossy()))
}

/// The inode of a socket that listens on this port, out of a line of `/proc/net/tcp` (proc(5)).
fn inode(line: &str, port: u16) -> Option<&str> {
    const LISTENS: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = fields.get(1)?.rsplit_once(':')?.1;
    let found = u16::from_str_radix(local, 16).ok()? == port && fields.get(3) == Some(&LISTENS);
    found.then(|| fields.get(9).copied()).flatten()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::cli::stack::plan::Part;

    #[test]
    fn a_taken_port_is_told_with_its_owner_and_a_free_one_is_not() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a port");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let port = held.local_addr().expect("its address").port();
        let address = |port| Address { what: "", ip: Ipv4Addr::LOCALHOST.into(), port, is_http: false };
        let mut plan = Plan::default();
        plan.parts.insert(
            "grafana".to_owned(),
            Part { addresses: vec![address(port), address(free)], ..Part::default() },
        );
        let found = taken(&plan, &["grafana".to_owned(), "none".to_owned()]);
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1);
        let own = format!("127.0.0.1:{port} of grafana is taken by ");
        assert!(
            said[0].starts_with(&own) && said[0].ends_with(&format!("(process {})", std::process::id())),
            "{said:?}"
        );
        assert_eq!(taken(&plan, &[]), []);
    }

    #[test]
    fn only_who_listens_counts() {
        let line = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100";
        assert_eq!(inode(line, 3000), Some("4242"));
        assert_eq!(inode(line, 3001), None);
        assert_eq!(inode(&line.replace(" 0A ", " 01 "), 3000), None);
        assert_eq!(inode("  sl  local_address rem_address   st", 3000), None);
    }
}
