//! Who has which port.

use crate::errno::{Errno, SysResult};
use crate::net::stack::random;
use crate::net::sysctl::Sysctls;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

/// `net.ipv4.ip_local_port_range`, if nobody has changed it.
const EPHEMERAL: [i64; 2] = [32768, 60999];

/// The ports to choose from.
fn ephemeral(sysctl: &Sysctls) -> RangeInclusive<u16> {
    let [first, last] = sysctl.numbers("net/ipv4/ip_local_port_range", EPHEMERAL).map(|port| port as u16);
    first..=last
}

/// Whether `port` may not be chosen (`net.ipv4.ip_local_reserved_ports`): numbers and ranges with commas between.
fn is_reserved(reserved: &str, port: u16) -> bool {
    reserved.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<u16>(), last.trim().parse::<u16>());
        first.is_ok_and(|first| first <= port) && last.is_ok_and(|last| port <= last)
    })
}

/// What a socket wants of a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) ip: IpAddr,
    /// An IPv6 wildcard that leaves IPv4 alone.
    pub(super) v6only: bool,
    /// `SO_REUSEADDR`.
    pub(super) reuse_addr: bool,
    /// `SO_REUSEPORT`.
    pub(super) reuse_port: bool,
    pub(super) uid: u32,
    /// Between which ports one is chosen, as far as those of the namespace go; 0 for no bound.
    pub(super) range: (u16, u16),
}

impl Claim {
    /// Whether packets to `ip` are for this socket.
    pub(super) fn takes(&self, ip: IpAddr) -> bool {
        if self.ip == ip {
            return true;
        }
        match (self.ip, ip) {
            (IpAddr::V4(mine), IpAddr::V4(_)) => mine.is_unspecified(),
            (IpAddr::V6(mine), IpAddr::V6(_)) => mine.is_unspecified(),
            (IpAddr::V6(mine), IpAddr::V4(_)) => mine.is_unspecified() && !self.v6only,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    fn overlaps(&self, other: &Claim) -> bool {
        let both_any = self.ip.is_unspecified() && other.ip.is_unspecified();
        self.takes(other.ip) || other.takes(self.ip) || (both_any && self.ip.is_ipv4() == other.ip.is_ipv4())
    }

    /// Whether the two cannot stand side by side. `listens`: the other one takes connections.
    fn conflicts(&self, other: &Claim, listens: bool) -> bool {
        let share_port = self.reuse_port && other.reuse_port && self.uid == other.uid;
        let share_addr = self.reuse_addr && other.reuse_addr && !listens;
        self.overlaps(other) && !share_port && !share_addr
    }
}

/// Someone who can have a port.
pub(super) trait Holder {
    /// Whether it takes connections: no other socket may then have the port by `SO_REUSEADDR` alone.
    fn listens(&self) -> bool;
}

#[derive(Debug)]
struct Held<T> {
    claim: Claim,
    holder: Weak<T>,
}

/// The ports of a protocol.
#[derive(Debug)]
pub(super) struct Ports<T> {
    held: HashMap<u16, Vec<Held<T>>>,
    /// Spreads senders over sockets that share a port.
    hasher: RandomState,
}

impl<T> Default for Ports<T> {
    fn default() -> Ports<T> {
        Ports { held: HashMap::new(), hasher: RandomState::new() }
    }
}

impl<T: Holder> Ports<T> {
    /// Gives `port` to `holder`, or a free one if it is 0; returns which.
    pub(super) fn bind(&mut self, sysctl: &Sysctls, port: u16, claim: Claim, holder: &Arc<T>) -> SysResult<u16> {
        let port = if port == 0 { self.free_port(sysctl, &claim)? } else { port };
        if self.is_taken(port, &claim) {
            return Err(Errno::ADDRINUSE);
        }
        self.held.entry(port).or_default().push(Held { claim, holder: Arc::downgrade(holder) });
        Ok(port)
    }

    fn is_taken(&self, port: u16, claim: &Claim) -> bool {
        self.held.get(&port).into_iter().flatten().any(|held| {
            let holder = held.holder.upgrade();
            holder.is_some_and(|holder| claim.conflicts(&held.claim, holder.listens()))
        })
    }

    /// Whether `holder`, which has `port`, may take connections there: those that share it by `SO_REUSEADDR` may
    /// not listen both.
    pub(super) fn may_listen(&self, port: u16, holder: &T) -> bool {
        let Some(held) = self.held.get(&port) else { return true };
        let Some(mine) = held.iter().find(|held| std::ptr::eq(held.holder.as_ptr(), holder)) else { return true };
        let others = held.iter().filter(|held| !std::ptr::eq(held.holder.as_ptr(), holder));
        others.into_iter().all(|held| match held.holder.upgrade() {
            Some(other) => !other.listens() || !mine.claim.conflicts(&held.claim, true),
            None => true,
        })
    }

    fn free_port(&self, sysctl: &Sysctls, claim: &Claim) -> SysResult<u16> {
        // Who could guess the next one could speak in another's name.
        let all = ephemeral(sysctl);
        let within = |port: u16, end: u16| if all.contains(&port) { port } else { end };
        let range = within(claim.range.0, *all.start())..=within(claim.range.1, *all.end());
        let first = *range.start() + (random() % range.len().max(1) as u32) as u16;
        let reserved = sysctl.text("net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        for port in (first..=*range.end()).chain(*range.start()..first) {
            if is_reserved(&reserved, port) {
                continue;
            }
            // One that nobody has at all, or what the guest asked to share would go to two.
            let sharing = claim.reuse_addr || claim.reuse_port;
            let free = if sharing { !self.held.contains_key(&port) } else { !self.is_taken(port, claim) };
            if free {
                return Ok(port);
            }
        }
        Err(Errno::ADDRINUSE)
    }

    /// Takes a port back.
    pub(super) fn release(&mut self, port: u16, holder: &T) {
        if let Some(held) = self.held.get_mut(&port) {
            held.retain(|held| !std::ptr::eq(held.holder.as_ptr(), holder));
            if held.is_empty() {
                self.held.remove(&port);
            }
        }
    }

    /// The claim was changed by a later `connect`: the holder is at `ip` only.
    pub(super) fn narrow(&mut self, port: u16, holder: &T, ip: IpAddr) {
        for held in self.held.get_mut(&port).into_iter().flatten() {
            if std::ptr::eq(held.holder.as_ptr(), holder) {
                held.claim.ip = ip;
            }
        }
    }

    /// All holders for packets that reach many.
    pub(super) fn all(&self, to: SocketAddr) -> Vec<Arc<T>> {
        let held = self.held.get(&to.port()).into_iter().flatten();
        held.filter(|held| held.claim.takes(to.ip())).filter_map(|held| held.holder.upgrade()).collect()
    }

    /// The best holder for packets to `to`: most `score`, then an exact address, then always the same one for the same
    /// sender, so that those who share a port share its senders. `score` leaves out those that do not take them.
    pub(super) fn find(&self, to: SocketAddr, from: SocketAddr, score: impl Fn(&T) -> Option<u32>) -> Option<Arc<T>> {
        let mut best: Option<u32> = None;
        let mut found: Vec<Arc<T>> = Vec::new();
        for held in self.held.get(&to.port())?.iter().filter(|held| held.claim.takes(to.ip())) {
            let Some(holder) = held.holder.upgrade() else { continue };
            let Some(points) = score(&holder) else { continue };
            let points = points * 2 + u32::from(held.claim.ip == to.ip());
            if best.is_none_or(|best| points > best) {
                best = Some(points);
                found.clear();
            }
            if best == Some(points) {
                found.push(holder);
            }
        }
        if found.len() <= 1 {
            return found.pop();
        }
        let at = self.hasher.hash_one((to, from)).checked_rem(found.len() as u64)?;
        found.into_iter().nth(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Socket(bool);

    impl Holder for Socket {
        fn listens(&self) -> bool {
            self.0
        }
    }

    fn claim(ip: &str) -> Claim {
        Claim { ip: ip.parse().unwrap(), v6only: false, reuse_addr: false, reuse_port: false, uid: 0, range: (0, 0) }
    }

    fn both(a: Claim, b: Claim, listens: bool) -> SysResult<u16> {
        let (first, second) = (Arc::new(Socket(listens)), Arc::new(Socket(false)));
        let mut ports = Ports::default();
        ports.bind(&Sysctls::new(false), 80, a, &first).unwrap();
        ports.bind(&Sysctls::new(false), 80, b, &second)
    }

    #[test]
    fn overlapping_addresses_conflict() {
        for (a, b, fits) in [
            ("127.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.2", true),
            ("0.0.0.0", "127.0.0.2", false),
            ("127.0.0.1", "0.0.0.0", false),
            ("::", "127.0.0.1", false),
            ("::", "0.0.0.0", false),
            ("::1", "0.0.0.0", true),
            ("::1", "::", false),
        ] {
            assert_eq!(both(claim(a), claim(b), false).is_ok(), fits, "{a} {b}");
        }
        assert!(both(Claim { v6only: true, ..claim("::") }, claim("0.0.0.0"), false).is_ok());
    }

    #[test]
    fn sharing_needs_both_and_no_listener() {
        let addr = Claim { reuse_addr: true, ..claim("0.0.0.0") };
        assert!(both(addr, addr, false).is_ok());
        assert!(both(addr, addr, true).is_err());
        assert!(both(addr, claim("0.0.0.0"), false).is_err());
        let port = Claim { reuse_port: true, ..claim("0.0.0.0") };
        assert!(both(port, port, true).is_ok());
        assert!(both(port, Claim { uid: 1, ..port }, true).is_err());
    }

    #[test]
    fn ephemeral_ports_are_free_and_come_back() {
        let mut ports = Ports::default();
        let sockets: Vec<_> = (0..28232).map(|_| Arc::new(Socket(false))).collect();
        let sysctl = Sysctls::new(false);
        let mut seen = std::collections::HashSet::new();
        for socket in &sockets {
            let port = ports.bind(&sysctl, 0, claim("127.0.0.1"), socket).unwrap();
            assert!(ephemeral(&sysctl).contains(&port) && seen.insert(port));
        }
        assert_eq!(ports.bind(&sysctl, 0, claim("127.0.0.1"), &sockets[0]), Err(Errno::ADDRINUSE));
        ports.release(40000, &sockets[0]);
        let holder = ports.find("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:1".parse().unwrap(), |_| Some(0));
        if let Some(holder) = holder {
            ports.release(40000, &holder);
            assert_eq!(ports.bind(&sysctl, 0, claim("127.0.0.1"), &sockets[0]), Ok(40000));
        }
    }
}
