//! The way that a datagram is to take, if its sender says (`IP_PKTINFO`, `IPV6_PKTINFO`).

use super::super::addr;
use crate::errno::{Errno, SysResult};
use crate::net::namespace::Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of `struct in_pktinfo` and of `struct in6_pktinfo`.
const V4_LEN: usize = 12;
const V6_LEN: usize = 20;

/// Interface and address; `None` where the route decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) interface: Option<u32>,
    pub(super) source: Option<IpAddr>,
}

impl Way {
    /// Interface, then the address to send from; the third is of those who receive.
    pub(super) fn of_v4(net: &Net, data: &[u8]) -> SysResult<Way> {
        let data: &[u8; V4_LEN] = data.try_into().map_err(|_| Errno::INVAL)?;
        let [a, b, c, d, e, f, g, h, ..] = *data;
        Way::new(net, u32::from_ne_bytes([a, b, c, d]), Ipv4Addr::new(e, f, g, h).into())
    }

    pub(super) fn of_v6(net: &Net, data: &[u8]) -> SysResult<Way> {
        let data = data.first_chunk::<V6_LEN>().ok_or(Errno::INVAL)?;
        let (ip, index) = data.split_first_chunk::<16>().ok_or(Errno::INVAL)?;
        let index = index.first_chunk().map_or(0, |index| u32::from_ne_bytes(*index));
        Way::new(net, index, Ipv6Addr::from(*ip).to_canonical())
    }

    /// `ENODEV` for an interface that is not there, `ENETUNREACH` or `EINVAL` for an address that is not this host's.
    fn new(net: &Net, interface: u32, source: IpAddr) -> SysResult<Way> {
        if interface != 0 && net.layout().link(interface).is_none() {
            return Err(Errno::NODEV);
        }
        let source = Some(source).filter(|ip| !ip.is_unspecified());
        if let Some(ip) = source.filter(|ip| !addr::is_local(net, *ip)) {
            return Err(if ip.is_ipv4() { Errno::NETUNREACH } else { Errno::INVAL });
        }
        Ok(Way { interface: Some(interface).filter(|index| *index != 0), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_read() {
        let info = |index: u32, ip: [u8; 4]| [index.to_ne_bytes(), ip, [9; 4]].concat();
        let own: IpAddr = Ipv4Addr::new(127, 0, 0, 5).into();
        assert_eq!(
            Way::of_v4(Net::first(), &info(1, [127, 0, 0, 5])),
            Ok(Way { interface: Some(1), source: Some(own) })
        );
        assert_eq!(Way::of_v4(Net::first(), &info(0, [0; 4])), Ok(Way::default()));
        assert_eq!(Way::of_v4(Net::first(), &info(999, [0; 4])), Err(Errno::NODEV));
        assert_eq!(Way::of_v4(Net::first(), &info(0, [8, 8, 8, 8])), Err(Errno::NETUNREACH));
        assert_eq!(Way::of_v4(Net::first(), &[0; 11]), Err(Errno::INVAL));
        assert_eq!(Way::of_v6(Net::first(), &[0; 20]), Ok(Way::default()));
    }
}
