//! Groups: which a socket is a member of, and over which interface it sends to them.

mod announce;
mod msfilter;
mod report;

use super::options::shown;
use crate::errno::{Errno, SysResult};
use crate::net::namespace::Net;
use crate::net::options::Value;
use crate::net::stack::link::Link;
use crate::sync::Mutex;
pub(super) use announce::Table;
pub(in crate::net) use announce::input;
pub(in crate::net) use report::IGMP;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

/// `net.ipv4.igmp_max_memberships`, and of sources `igmp_max_msf`, if nobody has changed them.
const MEMBERSHIPS_MAX: i64 = 20;
const SOURCES_MAX: i64 = 10;
/// The same for IPv6 (`mld_max_msf`).
const SOURCES_MAX6: i64 = 64;

/// From whom a member wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sources {
    /// All but these.
    Except(BTreeSet<IpAddr>),
    /// These alone.
    Only(BTreeSet<IpAddr>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Membership {
    group: IpAddr,
    interface: u32,
    sources: Sources,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Membership>,
    /// Where datagrams to groups go: interface, and address for IPv4.
    out: (u32, Option<Ipv4Addr>),
}

/// What a socket has to do with groups.
#[derive(Debug)]
pub(in crate::net) struct Groups {
    /// Its number among all.
    id: u64,
    state: Mutex<State>,
}

impl Default for Groups {
    fn default() -> Groups {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Groups { id: NEXT.fetch_add(1, Ordering::Relaxed), state: Mutex::default() }
    }
}

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Join,
    Leave,
    Block,
    Unblock,
    JoinSource,
    LeaveSource,
}

/// `MCAST_JOIN_GROUP` and what follows, the same for both families.
const MCAST: [(i32, Act); 6] = [
    (42, Act::Join),
    (43, Act::Block),
    (44, Act::Unblock),
    (45, Act::Leave),
    (46, Act::JoinSource),
    (47, Act::LeaveSource),
];
/// Length of `struct group_req` and of `struct group_source_req`.
const GROUP_REQ: usize = 136;
const GROUP_SOURCE_REQ: usize = 264;

impl Groups {
    /// Whether an option is about groups.
    pub(super) fn knows(level: i32, name: i32) -> bool {
        match level {
            libc::IPPROTO_IP => matches!(name, libc::IP_MULTICAST_IF | 35..=48),
            libc::IPPROTO_IPV6 => matches!(name, libc::IPV6_MULTICAST_IF | 20 | 21 | 42..=48),
            _ => false,
        }
    }

    /// `getsockopt(2)`: only the interface can be read without a question.
    pub(super) fn get(&self, level: i32, name: i32, room: usize) -> SysResult<Value> {
        let (interface, address) = self.state.lock().out;
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => {
                let octets = address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
                Ok(octets.as_slice().into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => Ok(shown(level, interface as i32, room)),
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    /// `setsockopt(2)`.
    pub(in crate::net) fn set(&self, net: &Net, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let before = self.members();
        self.change(net, level, name, value)?;
        self.announce(net, before);
        Ok(())
    }

    /// The socket is closed.
    pub(super) fn leave(&self, net: &Net) {
        let before = self.members();
        if before.is_empty() {
            return;
        }
        self.state.lock().members.clear();
        self.announce(net, before);
    }

    fn members(&self) -> Vec<Membership> {
        self.state.lock().members.clone()
    }

    /// Tells whom it concerns what has changed.
    fn announce(&self, net: &Net, before: Vec<Membership>) {
        let after = self.members();
        let find = |all: &[Membership], one: &Membership| all.iter().any(|other| other.is_place_of(one));
        for gone in before.iter().filter(|old| !find(&after, old)) {
            net.inet.groups.set(net, (gone.interface, gone.group), self.id, None);
        }
        for new in after.into_iter().filter(|new| !before.contains(new)) {
            net.inet.groups.set(net, (new.interface, new.group), self.id, Some(new.sources));
        }
    }

    fn change(&self, net: &Net, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => self.set_out(net, value),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => {
                let index = value.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::INVAL)?;
                if index != 0 && !exists(net, index) {
                    return Err(Errno::NODEV);
                }
                self.state.lock().out = (index, None);
                Ok(())
            }
            (libc::IPPROTO_IP, 41) | (_, 48) => self.set_filter(net, level, name, value),
            (_, 42..=47) => {
                let (_, act) = MCAST.iter().find(|(known, _)| *known == name).ok_or(Errno::NOPROTOOPT)?;
                let has_source = !matches!(act, Act::Join | Act::Leave);
                if value.len() < if has_source { GROUP_SOURCE_REQ } else { GROUP_REQ } {
                    return Err(Errno::INVAL);
                }
                let index = word(value, 0)?;
                let group = socket_address(level, value, 8)?;
                let source = if has_source { Some(socket_address(level, value, 136)?) } else { None };
                self.act(net, *act, group, Interface::Index(index), source)
            }
            (libc::IPPROTO_IPV6, 20 | 21) => {
                let octets = value.first_chunk::<16>().ok_or(Errno::INVAL)?;
                let index = word(value, 16)?;
                let act = if name == 20 { Act::Join } else { Act::Leave };
                self.act(net, act, Ipv6Addr::from(*octets).into(), Interface::Index(index), None)
            }
            (libc::IPPROTO_IP, 35 | 36) => {
                let act = if name == libc::IP_ADD_MEMBERSHIP { Act::Join } else { Act::Leave };
                let group = v4(value, 0)?;
                // `ip_mreqn` says which interface, `ip_mreq` only its address.
                let interface = match word(value, 8) {
                    Ok(index) if index != 0 => Interface::Index(index),
                    _ => Interface::Address(v4(value, 4)?),
                };
                self.act(net, act, group.into(), interface, None)
            }
            (libc::IPPROTO_IP, 37..=40) => {
                let (group, own, source) = (v4(value, 0)?, v4(value, 4)?, v4(value, 8)?);
                let act = match name {
                    37 => Act::Unblock,
                    38 => Act::Block,
                    39 => Act::JoinSource,
                    _ => Act::LeaveSource,
                };
                self.act(net, act, group.into(), Interface::Address(own), Some(source.into()))
            }
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    /// `IP_MULTICAST_IF`: an address, `ip_mreq` or `ip_mreqn`.
    fn set_out(&self, net: &Net, value: &[u8]) -> SysResult<()> {
        let (index, address) = match value.len() {
            12.. => (word(value, 8)?, v4(value, 4)?),
            8.. => (0, v4(value, 4)?),
            _ => (0, v4(value, 0)?),
        };
        let out = if index != 0 {
            if !exists(net, index) {
                return Err(Errno::ADDRNOTAVAIL);
            }
            (index, Some(address))
        } else if address.is_unspecified() {
            (0, None)
        } else {
            (owner(net, address.into()).ok_or(Errno::ADDRNOTAVAIL)?, Some(address))
        };
        self.state.lock().out = out;
        Ok(())
    }

    fn act(&self, net: &Net, act: Act, group: IpAddr, interface: Interface, source: Option<IpAddr>) -> SysResult<()> {
        if !group.is_multicast() {
            return Err(Errno::INVAL);
        }
        let mut state = self.state.lock();
        let found = interface.find(net, group);
        let asked = found.ok_or(Errno::NODEV);
        let at = state
            .members
            .iter()
            .position(|member| member.group == group && found.is_none_or(|index| member.interface == index));
        match (act, at, source) {
            (Act::Join, Some(_), _) => Err(Errno::ADDRINUSE),
            (Act::Join, None, _) => state.join(net, group, asked?, Sources::Except(BTreeSet::new())),
            (Act::JoinSource, None, Some(source)) => {
                state.join(net, group, asked?, Sources::Only(BTreeSet::from([source])))
            }
            (Act::Leave, Some(at), _) => {
                state.members.remove(at);
                Ok(())
            }
            (Act::Leave, None, _) if matches!(interface, Interface::Index(index) if index != 0) && found.is_none() => {
                Err(Errno::NODEV)
            }
            (Act::Leave, None, _) => Err(Errno::ADDRNOTAVAIL),
            (Act::Block | Act::Unblock | Act::LeaveSource, None, _) => Err(Errno::INVAL),
            (act, Some(at), Some(source)) => {
                let Some(member) = state.members.get_mut(at) else { return Err(Errno::ADDRNOTAVAIL) };
                member.change(net, act, source)?;
                let left = matches!(&member.sources, Sources::Only(sources) if sources.is_empty());
                if left {
                    state.members.remove(at);
                }
                Ok(())
            }
            _ => Err(Errno::INVAL),
        }
    }

    /// Whether the socket is a member of `group` and wants what comes `from` over `interface`, or any if 0; `None` if it is
    /// none.
    pub(super) fn wants(&self, group: IpAddr, from: IpAddr, interface: u32) -> Option<bool> {
        let state = self.state.lock();
        let is_there = |member: &&Membership| interface == 0 || member.interface == interface;
        let members = state.members.iter().filter(|member| member.group == group).filter(is_there);
        let mut members = members.peekable();
        members.peek()?;
        Some(members.any(|member| match &member.sources {
            Sources::Except(sources) => !sources.contains(&from),
            Sources::Only(sources) => sources.contains(&from),
        }))
    }

    /// The interface over which the socket sends to groups, and the address it sends from: as an option said.
    pub(super) fn out(&self) -> Option<(u32, Option<Ipv4Addr>)> {
        let out = self.state.lock().out;
        (out.0 != 0).then_some(out)
    }
}

impl State {
    fn join(&mut self, net: &Net, group: IpAddr, interface: u32, sources: Sources) -> SysResult<()> {
        let most = net.sysctl.number("net/ipv4/igmp_max_memberships", MEMBERSHIPS_MAX);
        // IPv6 has no such limit, but memory has.
        let most = if group.is_ipv4() { most.clamp(0, 4096) } else { 4096 };
        if self.members.len() as i64 >= most {
            return Err(Errno::NOBUFS);
        }
        self.members.push(Membership { group, interface, sources });
        Ok(())
    }
}

impl Membership {
    fn is_place_of(&self, other: &Membership) -> bool {
        (self.interface, self.group) == (other.interface, other.group)
    }

    fn change(&mut self, net: &Net, act: Act, source: IpAddr) -> SysResult<()> {
        let most = sources_max(net, self.group.is_ipv4());
        let (sources, adds) = match (&mut self.sources, act) {
            (Sources::Except(sources), Act::Block) => (sources, true),
            (Sources::Except(sources), Act::Unblock) => (sources, false),
            (Sources::Only(sources), Act::JoinSource) => (sources, true),
            (Sources::Only(sources), Act::LeaveSource) => (sources, false),
            _ => return Err(Errno::INVAL),
        };
        if adds && sources.len() >= most {
            return Err(Errno::NOBUFS);
        }
        let changed = if adds { sources.insert(source) } else { sources.remove(&source) };
        if changed { Ok(()) } else { Err(Errno::ADDRNOTAVAIL) }
    }
}

/// From how many sources at most a member may say whether it wants to hear.
fn sources_max(net: &Net, v4: bool) -> usize {
    let most = if v4 {
        net.sysctl.number("net/ipv4/igmp_max_msf", SOURCES_MAX)
    } else {
        net.sysctl.number("net/ipv6/mld_max_msf", SOURCES_MAX6)
    };
    most.clamp(0, 4096) as usize
}

/// How an option names an interface.
#[derive(Debug, Clone, Copy)]
enum Interface {
    /// 0: whichever the route says.
    Index(u32),
    Address(Ipv4Addr),
}

impl Interface {
    fn find(self, net: &Net, group: IpAddr) -> Option<u32> {
        match self {
            Interface::Index(0) => by_route(net, group),
            Interface::Index(index) => Some(index).filter(|index| exists(net, *index)),
            Interface::Address(ip) if ip.is_unspecified() => by_route(net, group),
            Interface::Address(ip) => owner(net, ip.into()),
        }
    }
}

fn by_route(net: &Net, group: IpAddr) -> Option<u32> {
    net.route(group).ok().map(|hop| hop.interface)
}

fn exists(net: &Net, index: u32) -> bool {
    net.layout().link(index).is_some()
}

fn owner(net: &Net, ip: IpAddr) -> Option<u32> {
    if ip.is_loopback() { Some(Link::LOOPBACK) } else { net.layout().owner(ip) }
}

fn word(value: &[u8], at: usize) -> SysResult<u32> {
    let bytes = value.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Errno::INVAL)?;
    Ok(u32::from_ne_bytes(*bytes))
}

fn v4(value: &[u8], at: usize) -> SysResult<Ipv4Addr> {
    word(value, at).map(|word| Ipv4Addr::from(word.to_ne_bytes()))
}

/// The address in a `struct sockaddr_storage` of the level's family.
fn socket_address(level: i32, value: &[u8], at: usize) -> SysResult<IpAddr> {
    let rest = value.get(at..).ok_or(Errno::INVAL)?;
    let family = i32::from(u16::from_ne_bytes(*rest.first_chunk::<2>().ok_or(Errno::INVAL)?));
    match (level, family) {
        (libc::IPPROTO_IP, libc::AF_INET) => v4(rest, 4).map(IpAddr::from),
        (libc::IPPROTO_IPV6, libc::AF_INET6) => {
            let octets = rest.get(8..).and_then(|rest| rest.first_chunk::<16>()).ok_or(Errno::INVAL)?;
            Ok(Ipv6Addr::from(*octets).into())
        }
        (libc::IPPROTO_IP, _) => Err(Errno::INVAL),
        _ => Err(Errno::ADDRNOTAVAIL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fuzz;

    #[test]
    fn members_hear_whom_they_want() {
        let groups = Groups::default();
        let group: IpAddr = "239.1.2.3".parse().unwrap();
        let (a, b): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        let mreq = [[239, 1, 2, 3], [127, 0, 0, 1]].concat();
        assert_eq!(groups.wants(group, a, 0), None);
        assert_eq!(groups.set(Net::first(), libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &mreq), Ok(()));
        assert_eq!(groups.set(Net::first(), libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &mreq), Err(Errno::ADDRINUSE));
        assert_eq!(groups.wants(group, a, 0), Some(true));
        let source = [[239, 1, 2, 3], [127, 0, 0, 1], [127, 0, 0, 2]].concat();
        assert_eq!(groups.set(Net::first(), libc::IPPROTO_IP, 38, &source), Ok(()));
        assert_eq!((groups.wants(group, a, 0), groups.wants(group, b, 0)), (Some(true), Some(false)));
        assert_eq!(groups.set(Net::first(), libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, &mreq), Ok(()));
        assert_eq!(
            groups.set(Net::first(), libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP, &mreq),
            Err(Errno::ADDRNOTAVAIL)
        );
    }

    #[test]
    fn values_of_all_kinds_are_survived() {
        let groups = Groups::default();
        fuzz::keep_on("values of options", |random| {
            let mut next = || random.next();
            let level = if next() % 2 == 0 { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
            let bytes: Vec<u8> = (0..next() % 300).map(|_| if next() % 2 == 0 { 0xef } else { next() as u8 }).collect();
            let _ = groups.set(Net::first(), level, (next() % 60) as i32, &bytes);
            let _ = groups.get(level, (next() % 60) as i32, bytes.len());
            let ints = super::super::options::IntOptions::new(Net::first());
            let _ = ints.set(level, (next() % 90) as i32, &bytes);
        });
    }
}
