//! What the links on the way to others carry, as routers have said (path MTU discovery, RFC 1191 and RFC 8201).

use crate::sync::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Destinations that are remembered: of those whose links carry less than the first there are few.
const PATHS_MAX: usize = 1024;
/// For how long, as ways change (`mtu_expires`).
const LIFE: Duration = Duration::from_secs(600);
/// No link is believed to carry less (`min_pmtu`, and RFC 8200).
const LEAST: (usize, usize) = (552, 1280);

/// Longest packets by destination.
#[derive(Debug, Default)]
pub(in crate::net) struct Paths {
    known: Mutex<HashMap<IpAddr, (usize, Instant)>>,
}

impl Paths {
    /// Packets to `ip` may not be longer.
    pub(super) fn learn(&self, ip: IpAddr, mtu: usize) {
        let mut known = self.known.lock();
        if known.len() >= PATHS_MAX {
            known.retain(|_, (_, since)| since.elapsed() < LIFE);
        }
        if known.len() < PATHS_MAX || known.contains_key(&ip) {
            known.insert(ip, (mtu.max(if ip.is_ipv4() { LEAST.0 } else { LEAST.1 }), Instant::now()));
        }
    }

    /// Nothing was said about those of a family.
    pub(in crate::net) fn forget(&self, is_ipv4: bool) {
        self.known.lock().retain(|ip, _| ip.is_ipv4() != is_ipv4);
    }

    /// The longest packets that get to `ip` over a link that carries so much.
    pub(in crate::net) fn longest(&self, ip: IpAddr, mtu: usize) -> usize {
        let known = self.known.lock();
        known.get(&ip).filter(|(_, since)| since.elapsed() < LIFE).map_or(mtu, |(path, _)| mtu.min(*path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bounded() {
        let paths = Paths::default();
        for n in 0..2 * PATHS_MAX as u32 {
            paths.learn(std::net::Ipv4Addr::from(n).into(), 10);
        }
        assert_eq!(paths.known.lock().len(), PATHS_MAX);
        let ip = "0.0.0.7".parse().unwrap();
        assert_eq!((paths.longest(ip, 1500), paths.longest(ip, 500)), (LEAST.0, 500));
    }
}
