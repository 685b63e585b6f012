//! `/proc/PID/net`: interfaces, routes, sockets and counters of the network namespace of a process.

use super::host;
use super::process::Subject;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::pseudo::{Body, Directory, Listed, Node, Reader};
use crate::net::host as network_host;
use crate::net::namespace::Net;
use crate::net::show;
use crate::net::stack::show as links;
use std::any::Any;
use std::sync::Arc;

/// What a file is.
#[derive(Clone, Copy)]
enum Entry {
    Text(&'static str),
    Made(fn(&Net) -> Vec<u8>),
    /// The same, or what the host says where the network is the host's.
    OfHost(&'static str, fn(&Net) -> Vec<u8>),
}

/// The files.
const ENTRIES: &[(&str, Entry)] = &[
    ("anycast6", Entry::Text("")),
    ("arp", Entry::OfHost("self/net/arp", links::arp)),
    ("dev", Entry::OfHost("self/net/dev", links::dev)),
    ("dev_mcast", Entry::Text("")),
    ("icmp", Entry::Made(|net| show::datagrams(net, V4, libc::SOCK_DGRAM, libc::IPPROTO_ICMP))),
    ("icmp6", Entry::Made(|net| show::datagrams(net, V6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6))),
    ("if_inet6", Entry::OfHost("self/net/if_inet6", links::if_inet6)),
    ("igmp", Entry::OfHost("self/net/igmp", links::igmp)),
    ("igmp6", Entry::OfHost("self/net/igmp6", links::igmp6)),
    ("ipv6_route", Entry::OfHost("self/net/ipv6_route", links::ipv6_route)),
    ("netlink", Entry::Made(show::netlink)),
    ("netstat", Entry::OfHost("self/net/netstat", show::netstat)),
    ("packet", Entry::Made(show::packet)),
    ("protocols", Entry::Text(PROTOCOLS)),
    ("psched", Entry::Text("000003e8 00000040 000f4240 3b9aca00\n")),
    (
        "ptype",
        Entry::Text("Type Device      Function\n0800          ip_rcv\n0806          arp_rcv\n86dd          ipv6_rcv\n"),
    ),
    ("raw", Entry::Made(|net| show::datagrams(net, V4, libc::SOCK_RAW, 0))),
    ("raw6", Entry::Made(|net| show::datagrams(net, V6, libc::SOCK_RAW, 0))),
    ("route", Entry::OfHost("self/net/route", links::route)),
    ("snmp", Entry::OfHost("self/net/snmp", show::snmp)),
    ("snmp6", Entry::OfHost("self/net/snmp6", show::snmp6)),
    ("sockstat", Entry::Made(show::sockstat)),
    ("sockstat6", Entry::Made(show::sockstat6)),
    ("tcp", Entry::Made(|net| show::tcp(net, V4))),
    ("tcp6", Entry::Made(|net| show::tcp(net, V6))),
    ("udp", Entry::Made(|net| show::datagrams(net, V4, libc::SOCK_DGRAM, libc::IPPROTO_UDP))),
    ("udp6", Entry::Made(|net| show::datagrams(net, V6, libc::SOCK_DGRAM, libc::IPPROTO_UDP))),
    ("unix", Entry::Made(show::unix)),
];

const V4: i32 = libc::AF_INET;
const V6: i32 = libc::AF_INET6;

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

/// The directory.
pub(super) struct NetDir {
    pub(super) subject: Arc<Subject>,
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl NetDir {
    /// Behind the numbers of the process's entries, and of its namespaces.
    fn file_ino(&self, at: usize) -> u64 {
        self.ino + ((at as u64 + 0x100) << 8)
    }
}

impl Directory for NetDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        let mut all = ENTRIES.iter().enumerate();
        let (at, (_, entry)) = all.find(|(_, (known, _))| known.as_bytes() == name).ok_or(Errno::NOENT)?;
        let (entry, subject) = (*entry, self.subject.clone());
        let read = move |_: &Reader| {
            let net = subject.task().map_err(|_| Errno::INVAL)?.net();
            match entry {
                Entry::Text(text) => Ok(text.as_bytes().to_vec()),
                Entry::OfHost(path, _) if network_host::of(&net).is_some() => host::read(path),
                Entry::Made(make) | Entry::OfHost(_, make) => Ok(make(&net)),
            }
        };
        Ok(Node::new(self.dev, self.file_ino(at), 0o444, Body::File(Box::new(read))))
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let listed = ENTRIES.iter().enumerate().map(|(at, (name, _))| Listed {
            at: at as u64,
            name: name.as_bytes().to_vec(),
            kind: FileKind::Regular,
            ino: self.file_ino(at),
        });
        Ok(listed.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
