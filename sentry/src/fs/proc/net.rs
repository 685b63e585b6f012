//! `/proc/PID/net`: interfaces, routes, sockets and counters of the one network that a sandbox has.

use super::host;
use crate::errno::SysResult;
use crate::fs::pseudo::{Fixed, Reader};
use crate::net::host as network_host;
use crate::net::show;
use crate::net::stack::show as links;

/// The directory.
pub(super) const ENTRIES: &[(&str, Fixed)] = &[
    ("anycast6", Fixed::Text("")),
    ("arp", Fixed::File(0o444, |_| or_host("self/net/arp", links::arp))),
    ("dev", Fixed::File(0o444, |_| or_host("self/net/dev", links::dev))),
    ("dev_mcast", Fixed::Text("")),
    ("icmp", Fixed::File(0o444, |_| Ok(show::datagrams(V4, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)))),
    ("icmp6", Fixed::File(0o444, |_| Ok(show::datagrams(V6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6)))),
    ("if_inet6", Fixed::File(0o444, |_| or_host("self/net/if_inet6", links::if_inet6))),
    ("igmp", Fixed::File(0o444, igmp)),
    ("igmp6", Fixed::File(0o444, igmp6)),
    ("ipv6_route", Fixed::File(0o444, |_| or_host("self/net/ipv6_route", || IPV6_ROUTE.into()))),
    ("netlink", Fixed::File(0o444, |_| Ok(show::netlink()))),
    ("netstat", Fixed::File(0o444, |_| or_host("self/net/netstat", show::netstat))),
    ("packet", Fixed::File(0o444, |_| Ok(show::packet()))),
    ("protocols", Fixed::Text(PROTOCOLS)),
    ("psched", Fixed::Text("000003e8 00000040 000f4240 3b9aca00\n")),
    (
        "ptype",
        Fixed::Text("Type Device      Function\n0800          ip_rcv\n0806          arp_rcv\n86dd          ipv6_rcv\n"),
    ),
    ("raw", Fixed::File(0o444, |_| Ok(show::datagrams(V4, libc::SOCK_RAW, 0)))),
    ("raw6", Fixed::File(0o444, |_| Ok(show::datagrams(V6, libc::SOCK_RAW, 0)))),
    ("route", Fixed::File(0o444, |_| or_host("self/net/route", links::route))),
    ("snmp", Fixed::File(0o444, |_| or_host("self/net/snmp", show::snmp))),
    ("snmp6", Fixed::File(0o444, |_| or_host("self/net/snmp6", show::snmp6))),
    ("sockstat", Fixed::File(0o444, |_| Ok(show::sockstat()))),
    ("sockstat6", Fixed::File(0o444, |_| Ok(show::sockstat6()))),
    ("tcp", Fixed::File(0o444, |_| Ok(show::tcp(V4)))),
    ("tcp6", Fixed::File(0o444, |_| Ok(show::tcp(V6)))),
    ("udp", Fixed::File(0o444, |_| Ok(show::datagrams(V4, libc::SOCK_DGRAM, libc::IPPROTO_UDP)))),
    ("udp6", Fixed::File(0o444, |_| Ok(show::datagrams(V6, libc::SOCK_DGRAM, libc::IPPROTO_UDP)))),
    ("unix", Fixed::File(0o444, |_| Ok(show::unix()))),
];

/// What the host says with `--network=host`, else the sentry.
fn or_host(name: &'static str, own: impl FnOnce() -> Vec<u8>) -> SysResult<Vec<u8>> {
    if network_host::is_on() { host::read(name) } else { Ok(own()) }
}

const V4: i32 = libc::AF_INET;
const V6: i32 = libc::AF_INET6;

/// The routes of the loopback interface.
const IPV6_ROUTE: &str = "\
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

const PROTOCOLS: &str = "\
protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em
PACKET    1600      0      -1   NI       0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n
PINGv6    1344      0      -1   NI       0   yes  kernel      y  y  y  n  n  y  n  n  y  y  y  y  y  y  n  y  y  n
RAWv6     1344      0      -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  y  y  y  y  n  n
UDPv6     1472      0       0   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n
TCPv6     2432      0       0   no     192   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y
UNIX      1152      0      -1   NI       0   yes  kernel      y  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n
PING      1016      0      -1   NI       0   yes  kernel      y  y  y  n  n  y  n  n  y  y  y  y  y  y  n  y  y  n
RAW       1152      0      -1   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  y  y  y  y  n  n
UDP       1344      0       0   NI       0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n
TCP       2304      0       0   no     192   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y
NETLINK   1096      0      -1   NI       0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n
";

/// The group of all hosts, in which each interface is.
fn igmp(_: &Reader) -> SysResult<Vec<u8>> {
    let mut text = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    for (index, name) in interfaces() {
        text += &format!("{index}\t{name:<10}:     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n");
    }
    Ok(text.into_bytes())
}

fn igmp6(_: &Reader) -> SysResult<Vec<u8>> {
    let line = |(index, name): (u32, String)| {
        format!(
            "{index:<4} {name:<15} ff020000000000000000000000000001     1 0000000C 0\n\
             {index:<4} {name:<15} ff010000000000000000000000000001     1 00000008 0\n"
        )
    };
    Ok(interfaces().map(line).collect::<String>().into_bytes())
}

fn interfaces() -> impl Iterator<Item = (u32, String)> {
    let host = network_host::get().and_then(|view| view.interfaces().ok()).unwrap_or_default();
    let host = host.into_iter().filter(|link| link.index != 1).map(|link| (link.index, link.name));
    let stack = crate::net::stack::get().into_iter().flat_map(|stack| stack.links());
    std::iter::once((1, "lo".to_owned())).chain(stack.map(|link| (link.index, link.name.clone()))).chain(host)
}
