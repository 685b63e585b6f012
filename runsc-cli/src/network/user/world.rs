//! Where the addresses that guests use lead: the one place that decides what may be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The guests' own addresses, and the length of their networks' prefixes; as users of slirp know them.
pub(super) const GUEST4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(super) const PREFIX4: u8 = 24;
pub(super) const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfd72, 0x756e, 0x7363, 0, 0, 0, 0, 0x15);
pub(super) const PREFIX6: u8 = 64;
/// The router, which stands for the host itself.
pub(super) const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(super) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd72, 0x756e, 0x7363, 0, 0, 0, 0, 2);
/// The host's resolver.
pub(crate) const RESOLVER4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub(super) const RESOLVER6: Ipv6Addr = Ipv6Addr::new(0xfd72, 0x756e, 0x7363, 0, 0, 0, 0, 3);
const DNS: u16 = 53;

/// Why an address leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is forbidden.
    Forbidden,
    /// There is nobody.
    Nobody,
    /// It means many.
    Group,
}

/// What of the host's world guests see.
#[derive(Debug, Default)]
pub(super) struct World {
    /// The host's resolvers, of which one is asked at a time.
    pub(super) resolvers: Vec<IpAddr>,
    pub(super) asked: usize,
    /// The router's address means the host's loopback.
    pub(super) host_loopback: bool,
}

impl World {
    /// The host's address that a guest's means.
    pub(super) fn lead(&self, to: SocketAddr) -> Result<SocketAddr, Closed> {
        let ip = to.ip().to_canonical();
        if ip != to.ip() {
            // Mapped addresses are not for wires.
            return Err(Closed::Forbidden);
        }
        match ip {
            IpAddr::V4(GATEWAY4) if self.host_loopback => Ok((Ipv4Addr::LOCALHOST, to.port()).into()),
            IpAddr::V6(GATEWAY6) if self.host_loopback => Ok((Ipv6Addr::LOCALHOST, to.port()).into()),
            IpAddr::V4(GATEWAY4) | IpAddr::V6(GATEWAY6) => Err(Closed::Forbidden),
            IpAddr::V4(RESOLVER4) | IpAddr::V6(RESOLVER6) if to.port() == DNS => self.resolver(),
            _ if is_own_network(ip) => Err(Closed::Nobody),
            _ if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) => Err(Closed::Group),
            _ if is_this_host(ip) => Err(Closed::Forbidden),
            _ => Ok(to),
        }
    }

    fn resolver(&self) -> Result<SocketAddr, Closed> {
        let count = self.resolvers.len().max(1);
        self.resolvers.get(self.asked % count).map(|ip| (*ip, DNS).into()).ok_or(Closed::Nobody)
    }

    /// Whether a guest's address means the host's resolver.
    pub(super) fn is_resolver(to: SocketAddr) -> bool {
        to.port() == DNS && (to.ip() == RESOLVER4 || to.ip() == RESOLVER6)
    }

    /// Whether a guest's address is the router's.
    pub(super) fn is_gateway(ip: IpAddr) -> bool {
        ip == GATEWAY4 || ip == GATEWAY6
    }

    /// The address that guests see a peer of a published port at: the true one, where it can be theirs.
    pub(super) fn seen(peer: SocketAddr) -> SocketAddr {
        let ip = peer.ip().to_canonical();
        let hidden = ip.is_ipv6() || is_this_host(ip) || is_own_network(ip) || ip.is_multicast();
        SocketAddr::new(if hidden { GATEWAY4.into() } else { ip }, peer.port())
    }
}

/// Whether the host would take it as one of its loopback: `connect(2)` to no address goes there too.
fn is_this_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.octets()[0] == 0,
        // `::1`, `::`, and all of the long dead form that embeds an IPv4 address.
        IpAddr::V6(ip) => ip.segments()[..6] == [0; 6],
    }
}

fn is_own_network(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == GUEST4.octets()[..3],
        IpAddr::V6(ip) => ip.segments()[..4] == GUEST6.segments()[..4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(host_loopback: bool, to: &str) -> Result<SocketAddr, Closed> {
        let resolvers = vec![[127, 0, 0, 53].into()];
        World { resolvers, host_loopback, ..World::default() }.lead(to.parse().expect("an address"))
    }

    #[test]
    fn the_host_itself_is_closed() {
        let forms = ["127.0.0.1:1", "127.9.9.9:1", "0.0.0.0:1", "0.1.2.3:1", "[::1]:1", "[::]:1", "10.0.2.2:1"];
        let mapped = ["[::ffff:127.0.0.1]:1", "[::127.0.0.1]:1", "[::ffff:1.2.3.4]:1", "[fd72:756e:7363::2]:1"];
        for to in forms.iter().chain(&mapped) {
            assert_eq!(lead(false, to), Err(Closed::Forbidden), "{to}");
        }
        for to in ["255.255.255.255:1", "224.0.0.1:1", "[ff02::1]:1"] {
            assert_eq!(lead(true, to), Err(Closed::Group), "{to}");
        }
        for to in ["10.0.2.3:54", "10.0.2.99:1", "[fd72:756e:7363::99]:1"] {
            assert_eq!(lead(true, to), Err(Closed::Nobody), "{to}");
        }
    }

    #[test]
    fn what_is_open_leads_there() {
        let to = |text: &str| Ok(text.parse().expect("an address"));
        assert_eq!(lead(true, "10.0.2.2:80"), to("127.0.0.1:80"));
        assert_eq!(lead(true, "[fd72:756e:7363::2]:80"), to("[::1]:80"));
        assert_eq!(lead(false, "10.0.2.3:53"), to("127.0.0.53:53"));
        assert_eq!(lead(false, "10.0.3.2:80"), to("10.0.3.2:80"));
        assert_eq!(lead(false, "[2001:db8::1]:80"), to("[2001:db8::1]:80"));
    }

    #[test]
    fn peers_are_seen_where_answers_come_back() {
        let seen = |peer: &str| World::seen(peer.parse().expect("an address")).to_string();
        assert_eq!(seen("192.168.1.5:77"), "192.168.1.5:77");
        assert_eq!(seen("[::ffff:192.168.1.5]:77"), "192.168.1.5:77");
        for peer in ["127.0.0.1:77", "10.0.2.15:77", "[::1]:77", "[2001:db8::1]:77"] {
            assert_eq!(seen(peer), "10.0.2.2:77", "{peer}");
        }
    }
}
