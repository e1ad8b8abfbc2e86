//! Slows down whoever guesses tokens: a bucket of wrong guesses for each address.
//!
//! Tokens hold 256 bits, so guessing is hopeless at any speed; this keeps a guesser from costing anything.
//! Right tokens are never counted, and browsers' cookies never pass here. The table is bounded: when it is
//! full, the addresses that have rested longest are forgotten.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Wrong guesses an address may make at once.
const BURST: u32 = 20;
/// After which one more is allowed.
const REFILL: Duration = Duration::from_secs(3);
/// Addresses remembered.
const ADDRESSES: usize = 1024;

/// Counts wrong tokens by address.
#[derive(Default)]
pub struct Throttle {
    /// When each address has its whole bucket back.
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Throttle {
    /// Whether an address may try; how long to wait where not.
    pub fn check(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let full_at = self.lock().get(&network(from)).copied();
        let owed = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let most = REFILL * (BURST - 1);
        if owed > most { Err(owed - most) } else { Ok(()) }
    }

    /// Notes a wrong token.
    pub fn wrong(&self, from: IpAddr, now: Instant) {
        let mut table = self.lock();
        if table.len() >= ADDRESSES {
            table.retain(|_, at| *at > now);
        }
        if table.len() >= ADDRESSES
            && let Some(rested) = table.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip)
        {
            table.remove(&rested);
        }
        let at = table.entry(network(from)).or_insert(now);
        *at = (*at).max(now) + REFILL;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One network is one guesser: an IPv6 host has a /64 to itself.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_burst_is_allowed_and_then_one_guess_for_each_refill() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(throttle.check(ip(1), start), Ok(()));
            throttle.wrong(ip(1), start);
        }
        assert_eq!(throttle.check(ip(1), start), Err(REFILL));
        assert_eq!(throttle.check(ip(2), start), Ok(()), "another address is not held back");
        assert_eq!(throttle.check(ip(1), start + REFILL), Ok(()));
        throttle.wrong(ip(1), start + REFILL);
        assert!(throttle.check(ip(1), start + REFILL).is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_guesser() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for n in 0..BURST {
            throttle.wrong(format!("2001:db8::{n:x}").parse().expect("an address"), start);
        }
        assert!(throttle.check("2001:db8::ffff".parse().expect("an address"), start).is_err());
        assert!(throttle.check("2001:db8:0:1::1".parse().expect("an address"), start).is_ok());
    }

    #[test]
    fn the_table_is_bounded() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for n in 0..3 * ADDRESSES as u32 {
            throttle.wrong(ip(n), start);
        }
        assert!(throttle.lock().len() <= ADDRESSES);
    }
}
