//! Where the proxy may connect to: names from the profile, and addresses that no name may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Port of an entry that names none.
const DEFAULT_PORT: u16 = 443;

/// The hosts that a session may connect to; compiled from `egress` of its profile.
///
/// | entry | allows |
/// |---|---|
/// | `example.org` | that host, port 443 |
/// | `example.org:8443` | that host, that port |
/// | `*.example.org:443` | every host below it, not itself |
/// | `*:443` | every host with a public address |
/// | `192.0.2.7:443`, `[2001:db8::7]:443` | that address |
/// | `private:wiki.internal:8443` | as without `private:`, private and loopback addresses included |
///
/// Link-local addresses (cloud metadata among them), multicast and the like are never connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    host: Host,
    port: u16,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Below(String),
    Name(String),
    Address(IpAddr),
}

/// What an entry says about addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Public ones only.
    Public,
    /// Private ones too.
    Private,
}

/// Why an entry of a profile's `egress` means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// It is not of the form.
    #[error("egress entry '{0}': write 'host:port', '*.domain:port', or 'private:host:port'")]
    Form(String),
    /// It names an address that is not public.
    #[error("egress entry '{0}' names an address that is not public: write 'private:{0}' if that is meant")]
    Private(String),
    /// It names an address that is never connected to.
    #[error(
        "egress entry '{0}' names an address that no session is let to: link-local, multicast or reserved"
    )]
    Never(String),
}

impl AllowList {
    /// The list of a profile's entries.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a String>) -> Result<AllowList, EgressError> {
        Ok(AllowList { entries: entries.into_iter().map(|text| entry(text)).collect::<Result<_, _>>()? })
    }

    /// What holds for this host, in lower case, if it is allowed. Where several entries fit, the widest.
    pub(super) fn rule(&self, host: &str, port: u16) -> Option<Rule> {
        let literal: Option<IpAddr> = host.parse().ok();
        let fits = |entry: &&Entry| {
            entry.port == port
                && match &entry.host {
                    Host::Any => true,
                    Host::Name(name) => name == host,
                    Host::Below(domain) => literal.is_none() && host.ends_with(domain.as_str()),
                    Host::Address(address) => literal == Some(*address),
                }
        };
        let rules = self.entries.iter().filter(fits).map(|entry| entry.rule);
        rules.reduce(|a, b| if a == Rule::Private { a } else { b })
    }
}

impl Rule {
    /// Whether an address may be connected to.
    pub(super) fn admits(self, address: IpAddr) -> bool {
        match (class(address), self) {
            (Class::Public, _) | (Class::Private, Rule::Private) => true,
            (Class::Private, Rule::Public) | (Class::Never, _) => false,
        }
    }
}

fn entry(text: &str) -> Result<Entry, EgressError> {
    let form = || EgressError::Form(text.to_owned());
    let (rule, rest) = match text.strip_prefix("private:") {
        Some(rest) => (Rule::Private, rest),
        None => (Rule::Public, text),
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(form)?;
            host.parse::<Ipv6Addr>().map_err(|_| form())?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(form)?) })
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(form)?,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let host = match host.strip_prefix('*') {
        Some("") => Host::Any,
        Some(domain) if domain.starts_with('.') && is_name(&domain[1..]) => Host::Below(domain.to_owned()),
        Some(_) => return Err(form()),
        None => match host.parse::<IpAddr>() {
            Ok(address) => Host::Address(address),
            Err(_) if is_name(&host) => Host::Name(host),
            Err(_) => return Err(form()),
        },
    };
    if let Host::Address(address) = host {
        match class(address) {
            Class::Never => return Err(EgressError::Never(text.to_owned())),
            Class::Private if rule == Rule::Public => return Err(EgressError::Private(text.to_owned())),
            Class::Private | Class::Public => {}
        }
    }
    Ok(Entry { host, port, rule })
}

/// Whether this is a host name as DNS has them.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // A last label of digits alone is an address to some resolvers, such as `127.1`.
    name.len() <= 253
        && name.split('.').all(label)
        && !name
            .split('.')
            .next_back()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Public,
    Private,
    Never,
}

/// What kind of address this is, by the registries of special-purpose addresses (RFC 6890 and after).
fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        [0, ..] | [169, 254, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [224..=255, ..] => Class::Never,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => Class::Never,
        // The metadata service of a cloud that chose an address of the public range for it.
        [168, 63, 129, 16] => Class::Never,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    /// Where clouds put their metadata service in the private range.
    const METADATA: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        class_v4(Ipv4Addr::new(a, b, c, d))
    };
    if METADATA.contains(&address) {
        return Class::Never;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Private,
        // An IPv4 address in another dress: mapped, compatible, translated (NAT64), 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => match embedded(high, low) {
            Class::Public if address.to_ipv4_mapped().is_none() => Class::Never,
            class => class,
        },
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, ..] => Class::Never,
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfc00..=0xfdff, ..] => Class::Private,
        // 2001::/23 holds protocols (Teredo among them), 2001:db8::/32 documentation; what is not below
        // 2000::/3 is link-local, multicast, or nobody's.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Never,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Never,
    }
}

#[cfg(test)]
mod tests;
