//! Options of the levels `IPPROTO_IP`, `IPPROTO_IPV6` and `IPPROTO_TCP` that are numbers: kept, checked and given
//! back, with Linux's defaults.

use crate::errno::{Errno, SysResult};
use crate::net::namespace::Net;
use crate::net::options::{Options, Value};
use crate::net::stack::route::Query;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Which values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Any number; 0 or 1 is kept.
    Switch,
    /// Any number, as it is.
    Plain,
    /// From the first to the last.
    Range(i32, i32),
    /// The same, and -1, which stands for the default.
    OrDefault(i32, i32),
    /// The low byte of any number.
    Byte,
    /// Seconds until which a connection is tried: rounded to what repetitions take.
    Retries,
    /// As `TCP_LINGER2`: none if negative, the default if 0.
    Linger,
    /// Two ports, of which the first is not above the second unless one is 0.
    Ports,
    /// The index of an interface, in the network's order; 0 for none.
    Interface,
    /// At least so much, or 0 for no bound.
    AtLeast(i32),
    /// The same as [`Form::Range`], and 0.
    OrNone(i32, i32),
    /// 0 or 1, neither of which means anything any more.
    Forgotten,
    /// It can be read only.
    ReadOnly,
    /// The same, with another error.
    Refused,
}

/// An option that is a number.
#[derive(Debug)]
struct IntOption {
    level: i32,
    name: i32,
    default: i32,
    form: Form,
    /// Fewest bytes that a guest may give; less than that is `EINVAL`, less than four is one byte, or 0.
    least: usize,
}

const fn ip(name: i32, default: i32, form: Form) -> IntOption {
    IntOption { level: IP, name, default, form, least: 0 }
}

/// An option of IPv4 that wants at least a byte.
const fn ip1(name: i32, default: i32, form: Form) -> IntOption {
    IntOption { level: IP, name, default, form, least: 1 }
}

const fn v6(name: i32, default: i32, form: Form) -> IntOption {
    IntOption { level: V6, name, default, form, least: 4 }
}

/// An option of IPv6 that does not mind short values.
const fn v6any(name: i32, default: i32, form: Form) -> IntOption {
    IntOption { level: V6, name, default, form, least: 0 }
}

const fn tcp(name: i32, default: i32, form: Form) -> IntOption {
    IntOption { level: TCP, name, default, form, least: 4 }
}

/// Over which interface single packets go.
const IP_UNICAST_IF: i32 = 50;
/// The same for IPv6.
const IPV6_UNICAST_IF: i32 = 76;
/// Between which ports one is chosen.
pub(super) const IP_LOCAL_PORT_RANGE: i32 = 51;
/// `SOCK_MIN_RCVBUF / 2`.
const CLAMP_MIN: i32 = 1152;
const IP: i32 = libc::IPPROTO_IP;
const V6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;
/// `TCP_KEEPIDLE` and `TCP_KEEPINTVL` go up to this (`MAX_TCP_KEEPIDLE`).
const KEEP_MAX: i32 = 32767;
/// Longest `TCP_LINGER2` (`TCP_FIN_TIMEOUT_MAX`).
const LINGER_MAX: i32 = 120;
use Form::{
    AtLeast, Byte, Forgotten, Interface, Linger, OrDefault, OrNone, Plain, Ports, Range, ReadOnly, Refused, Retries,
    Switch,
};

/// All of them.
static TABLE: &[IntOption] = &[
    ip(libc::IP_TOS, 0, Byte),
    ip1(libc::IP_TTL, 64, OrDefault(1, 255)),
    ip(3, 0, ReadOnly), // IP_HDRINCL: raw sockets have it of their own.
    ip(libc::IP_ROUTER_ALERT, 0, Refused),
    ip(libc::IP_RECVOPTS, 0, Switch),
    ip(libc::IP_RETOPTS, 0, Switch),
    ip(libc::IP_PKTINFO, 0, Switch),
    ip(libc::IP_MTU_DISCOVER, 1, Range(0, 5)),
    ip(libc::IP_RECVERR, 0, Switch),
    ip(libc::IP_RECVTTL, 0, Switch),
    ip(libc::IP_RECVTOS, 0, Switch),
    ip1(libc::IP_FREEBIND, 0, Switch),
    ip(18, 0, Switch), // IP_PASSSEC
    ip1(libc::IP_TRANSPARENT, 0, Switch),
    ip(libc::IP_RECVORIGDSTADDR, 0, Switch),
    ip1(21, 0, Range(0, 255)), // IP_MINTTL
    ip(libc::IP_NODEFRAG, 0, ReadOnly),
    ip(23, 0, Switch),      // IP_CHECKSUM
    ip(24, 0, Switch),      // IP_BIND_ADDRESS_NO_PORT
    ip(25, 0, Switch),      // IP_RECVFRAGSIZE
    ip(26, 0, Range(0, 1)), // IP_RECVERR_RFC4884
    ip1(libc::IP_MULTICAST_TTL, 1, OrDefault(0, 255)),
    ip1(libc::IP_MULTICAST_LOOP, 1, Switch),
    ip1(libc::IP_MULTICAST_ALL, 1, Range(0, 1)),
    IntOption { level: IP, name: IP_UNICAST_IF, default: 0, form: Interface, least: 4 },
    IntOption { level: V6, name: IPV6_UNICAST_IF, default: 0, form: Interface, least: 4 },
    IntOption { level: IP, name: IP_LOCAL_PORT_RANGE, default: 0, form: Ports, least: 4 },
    v6(2, 0, Switch), // IPV6_2292PKTINFO and its kin, up to IPV6_2292HOPLIMIT.
    v6(3, 0, Switch),
    v6(4, 0, Switch),
    v6(5, 0, Switch),
    v6(8, 0, Switch),
    v6(11, 0, Switch), // IPV6_FLOWINFO
    v6(libc::IPV6_UNICAST_HOPS, 64, OrDefault(0, 255)),
    v6(libc::IPV6_MULTICAST_HOPS, 1, OrDefault(0, 255)),
    v6(libc::IPV6_MULTICAST_LOOP, 1, Range(0, 1)),
    v6(libc::IPV6_ROUTER_ALERT, 0, ReadOnly),
    v6(libc::IPV6_MTU_DISCOVER, 1, Range(0, 5)),
    v6(libc::IPV6_RECVERR, 0, Switch),
    v6(libc::IPV6_V6ONLY, 0, Switch),
    v6(29, 1, Switch),      // IPV6_MULTICAST_ALL
    v6(30, 0, Switch),      // IPV6_ROUTER_ALERT_ISOLATE
    v6(31, 0, Range(0, 1)), // IPV6_RECVERR_RFC4884
    v6(libc::IPV6_RECVPKTINFO, 0, Switch),
    v6(libc::IPV6_RECVHOPLIMIT, 0, Switch),
    v6(libc::IPV6_RECVHOPOPTS, 0, Switch),
    v6(libc::IPV6_RECVRTHDR, 0, Switch),
    v6(libc::IPV6_RECVDSTOPTS, 0, Switch),
    v6(libc::IPV6_RECVPATHMTU, 0, Switch),
    v6any(libc::IPV6_DONTFRAG, 0, Switch),
    v6(libc::IPV6_RECVTCLASS, 0, Switch),
    v6(libc::IPV6_TCLASS, 0, OrDefault(0, 255)),
    v6any(70, 1, Switch),     // IPV6_AUTOFLOWLABEL
    v6(73, 0, Range(0, 255)), // IPV6_MINHOPCOUNT
    v6(74, 0, Switch),        // IPV6_RECVORIGDSTADDR
    v6(libc::IPV6_TRANSPARENT, 0, Switch),
    v6any(77, 0, Switch), // IPV6_RECVFRAGSIZE
    v6(libc::IPV6_FREEBIND, 0, Switch),
    IntOption { level: libc::IPPROTO_UDP, name: 1, default: 0, form: Switch, least: 4 }, // UDP_CORK
    tcp(libc::TCP_NODELAY, 0, Switch),
    tcp(libc::TCP_MAXSEG, 0, OrNone(88, 32767)),
    tcp(libc::TCP_CORK, 0, Switch),
    tcp(libc::TCP_KEEPIDLE, 7200, Range(1, KEEP_MAX)),
    tcp(libc::TCP_KEEPINTVL, 75, Range(1, KEEP_MAX)),
    tcp(libc::TCP_KEEPCNT, 9, Range(1, 127)),
    tcp(libc::TCP_SYNCNT, 6, Range(1, 127)),
    tcp(libc::TCP_LINGER2, 60, Linger),
    tcp(libc::TCP_DEFER_ACCEPT, 0, Retries),
    tcp(libc::TCP_WINDOW_CLAMP, 0, AtLeast(CLAMP_MIN)),
    tcp(libc::TCP_QUICKACK, 1, Switch),
    tcp(libc::TCP_THIN_LINEAR_TIMEOUTS, 0, Range(0, 1)),
    tcp(libc::TCP_THIN_DUPACK, 0, Forgotten),
    tcp(libc::TCP_USER_TIMEOUT, 0, Range(0, i32::MAX)),
    tcp(libc::TCP_FASTOPEN, 0, Range(0, i32::MAX)),
    tcp(libc::TCP_FASTOPEN_CONNECT, 0, Range(0, 1)),
    tcp(libc::TCP_TIMESTAMP, 0, Plain),
    tcp(libc::TCP_NOTSENT_LOWAT, 0, Plain),
    tcp(libc::TCP_INQ, 0, Range(0, 1)),
];

/// Defaults that `/proc/sys` changes.
const TUNED: &[(i32, i32, &str)] = &[
    (IP, libc::IP_TTL, "net/ipv4/ip_default_ttl"),
    (V6, libc::IPV6_V6ONLY, "net/ipv6/bindv6only"),
    (TCP, libc::TCP_KEEPIDLE, "net/ipv4/tcp_keepalive_time"),
    (TCP, libc::TCP_KEEPINTVL, "net/ipv4/tcp_keepalive_intvl"),
    (TCP, libc::TCP_KEEPCNT, "net/ipv4/tcp_keepalive_probes"),
    (TCP, libc::TCP_SYNCNT, "net/ipv4/tcp_syn_retries"),
    (TCP, libc::TCP_LINGER2, "net/ipv4/tcp_fin_timeout"),
];

/// The values of one socket; only what differs from the defaults is stored.
#[derive(Debug)]
pub(super) struct IntOptions {
    /// The namespace of the socket, whose parameters are the defaults.
    pub(super) net: Arc<Net>,
    set: Mutex<BTreeMap<(i32, i32), i32>>,
}

impl IntOptions {
    /// The defaults of a namespace.
    pub(super) fn new(net: &Arc<Net>) -> IntOptions {
        IntOptions { net: net.clone(), set: Mutex::default() }
    }

    /// The same for a socket of `family`: of groups of IPv4 one of IPv6 hears what it has joined alone.
    pub(super) fn of(net: &Arc<Net>, family: i32) -> IntOptions {
        let options = IntOptions::new(net);
        if family == libc::AF_INET6 {
            options.set.lock().insert((IP, libc::IP_MULTICAST_ALL), 0);
        }
        options
    }

    /// What the options of a socket that has no connections say of routes: `IP_UNICAST_IF` if nothing else does.
    pub(super) fn query(&self, options: &Options, family: i32) -> Query {
        let (level, name) = if family == libc::AF_INET { (IP, IP_UNICAST_IF) } else { (V6, IPV6_UNICAST_IF) };
        let query = options.query();
        let named = || i32::from_be(self.value(level, name)).cast_unsigned();
        Query { oif: if query.oif == 0 { named() } else { query.oif }, ..query }
    }

    /// Between which ports one is to be chosen (`IP_LOCAL_PORT_RANGE`); 0 for where all are.
    pub(super) fn port_range(&self) -> (u16, u16) {
        let value = self.value(IP, IP_LOCAL_PORT_RANGE);
        (value as u16, (value >> 16) as u16)
    }

    /// A copy, for an accepted socket.
    pub(super) fn inherit(&self) -> IntOptions {
        IntOptions { net: self.net.clone(), set: Mutex::new(self.set.lock().clone()) }
    }

    /// The value of an option of the table; 0 if there is none.
    pub(super) fn value(&self, level: i32, name: i32) -> i32 {
        if let Some(value) = self.set.lock().get(&(level, name)) {
            return *value;
        }
        find(level, name).map_or(0, |option| default_of(&self.net, option))
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, level: i32, name: i32) -> bool {
        self.value(level, name) != 0
    }

    /// `getsockopt(2)`.
    pub(super) fn get(&self, level: i32, name: i32, room: usize) -> SysResult<Value> {
        find(level, name).ok_or(Errno::NOPROTOOPT)?;
        Ok(shown(level, self.value(level, name), room))
    }

    /// `setsockopt(2)` of a socket with `options`, of which one follows from another.
    pub(super) fn set_prioritizing(&self, options: &Options, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let is_class = (level, name) == (IP, libc::IP_TOS);
        let before = if is_class { self.value(level, name) } else { 0 };
        self.set(level, name, value)?;
        let after = if is_class { self.value(level, name) } else { 0 };
        if before != after {
            options.prioritize(after);
        }
        Ok(())
    }

    /// `setsockopt(2)`.
    pub(super) fn set(&self, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let option = find(level, name).ok_or(Errno::NOPROTOOPT);
        if level == TCP && value.len() < 4 {
            return Err(Errno::INVAL);
        }
        let option = option?;
        if option.form == ReadOnly {
            return Err(if level == V6 && value.len() < 4 { Errno::INVAL } else { Errno::NOPROTOOPT });
        }
        if value.len() < option.least {
            return Err(Errno::INVAL);
        }
        let int = option.checked(&self.net, number(level, value))?;
        self.set.lock().insert((level, name), int);
        Ok(())
    }
}

/// Options that cannot be read, in the form that they are asked for.
pub(super) fn may_get(level: i32, name: i32) -> SysResult<()> {
    match (level, name) {
        // Filters and headers, for which there is too little room.
        (IP, 41) | (V6, 48 | 61 | 68 | 69) => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

/// Options that cannot be set; `stream`: on sockets that have nothing to do with groups.
pub(super) fn may_set(level: i32, name: i32, value: &[u8], stream: bool) -> SysResult<()> {
    /// Length of `struct ipv6_mreq`.
    const MREQ: usize = 20;
    match (level, name) {
        (IP, 41 | 48) | (V6, 48) if stream => Err(Errno::INVAL),
        (V6, 27 | 28) => Err(Errno::INVAL),
        (IP, 35 | 36) if stream => Err(Errno::PROTO),
        (IP, 25 | libc::IP_MULTICAST_IF | libc::IP_MULTICAST_TTL | 37..=40 | 42..=47) if stream => Err(Errno::INVAL),
        (V6, libc::IPV6_MULTICAST_IF | libc::IPV6_MULTICAST_HOPS) if stream => Err(Errno::NOPROTOOPT),
        (V6, 20 | 21) if stream => Err(if value.len() < MREQ { Errno::INVAL } else { Errno::PROTO }),
        (V6, 42..=47) if stream => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

/// The value without the bits by which TCP itself tells of congestion, which are not the guest's.
pub(super) fn without_ecn(level: i32, name: i32, value: &[u8]) -> Option<[u8; 4]> {
    const ECN: i32 = 3;
    let is_class = (level, name) == (IP, libc::IP_TOS) || (level, name) == (V6, libc::IPV6_TCLASS);
    let number = number(level, value);
    (is_class && (level == IP || (number >= 0 && value.len() >= 4))).then(|| (number & !ECN).to_ne_bytes())
}

/// A number as a guest wrote it: IPv4 takes one byte as well.
pub(super) fn number(level: i32, value: &[u8]) -> i32 {
    match (value.first_chunk::<4>(), value.first()) {
        (Some(bytes), _) => i32::from_ne_bytes(*bytes),
        (None, Some(byte)) if level == IP => i32::from(*byte),
        _ => 0,
    }
}

/// A number as a guest reads it: IPv4's come in one byte to those who ask for less than four.
pub(super) fn shown(level: i32, value: i32, room: usize) -> Value {
    if level == IP && (1..4).contains(&room) && (0..256).contains(&value) {
        return Value::from_slice(&[value as u8]);
    }
    value.as_bytes().into()
}

fn default_of(net: &Net, option: &IntOption) -> i32 {
    let tuned = TUNED.iter().find(|(level, name, _)| (*level, *name) == (option.level, option.name));
    tuned.map_or(option.default, |(_, _, path)| net.sysctl.number(path, option.default.into()) as i32)
}

impl IntOption {
    /// What is kept of a value.
    fn checked(&self, net: &Net, int: i32) -> SysResult<i32> {
        match self.form {
            Switch => Ok(i32::from(int != 0)),
            Plain => Ok(int),
            Byte => Ok(int & 0xff),
            Range(first, last) if (first..=last).contains(&int) => Ok(int),
            OrDefault(..) if int == -1 => Ok(default_of(net, self)),
            OrDefault(first, last) if (first..=last).contains(&int) => Ok(int),
            Range(..) | OrDefault(..) => Err(Errno::INVAL),
            Retries => Ok(rounded_to_retries(int)),
            Linger if int < 0 => Ok(-1),
            Linger if int == 0 => Ok(default_of(net, self)),
            Linger => Ok(int.min(LINGER_MAX)),
            Ports => {
                let (low, high) = (int & 0xffff, int >> 16 & 0xffff);
                if low > high && high != 0 { Err(Errno::INVAL) } else { Ok(int) }
            }
            Interface => {
                let index = i32::from_be(int).cast_unsigned();
                let is_there = index == 0 || net.layout().link(index).is_some();
                if is_there { Ok(int) } else { Err(Errno::ADDRNOTAVAIL) }
            }
            AtLeast(least) => Ok(if int == 0 { 0 } else { int.max(least) }),
            OrNone(first, last) if int == 0 || (first..=last).contains(&int) => Ok(int),
            OrNone(..) => Err(Errno::INVAL),
            Forgotten if (0..=1).contains(&int) => Ok(0),
            Forgotten | Refused => Err(Errno::INVAL),
            ReadOnly => Err(Errno::NOPROTOOPT),
        }
    }
}

/// The time after which a packet, repeated after 1, 2, 4… seconds, was repeated for at least so long.
fn rounded_to_retries(seconds: i32) -> i32 {
    /// Longest time between repetitions (`TCP_RTO_MAX`), and most of them.
    const LONGEST: i32 = 120;
    const MOST: i32 = 255;
    if seconds <= 0 {
        return 0;
    }
    let (mut period, mut step, mut count) = (1, 1, 1);
    while period < seconds && count < MOST {
        step = (step * 2).min(LONGEST);
        period += step;
        count += 1;
    }
    period
}

fn find(level: i32, name: i32) -> Option<&'static IntOption> {
    TABLE.iter().find(|option| option.level == level && option.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_kept() {
        let options = IntOptions::new(Net::first());
        assert_eq!(options.set(TCP, libc::TCP_NODELAY, &5i32.to_ne_bytes()), Ok(()));
        assert_eq!(options.value(TCP, libc::TCP_NODELAY), 1);
        assert_eq!(options.set(TCP, libc::TCP_KEEPIDLE, &0i32.to_ne_bytes()), Err(Errno::INVAL));
        assert_eq!(options.value(TCP, libc::TCP_KEEPIDLE), 7200);
        assert_eq!(options.set(IP, libc::IP_TTL, &[9]), Ok(()));
        assert_eq!(options.get(IP, libc::IP_TTL, 1).unwrap().as_slice(), &[9]);
        assert_eq!(options.set(IP, libc::IP_TTL, &(-1i32).to_ne_bytes()), Ok(()));
        assert_eq!(options.value(IP, libc::IP_TTL), 64);
        assert_eq!(options.set(TCP, 9999, &[0; 4]), Err(Errno::NOPROTOOPT));
        assert_eq!(options.set(IP, libc::IP_TTL, &[]), Err(Errno::INVAL));
    }

    #[test]
    fn times_are_rounded_to_repetitions() {
        for (asked, kept) in [(0, 0), (1, 1), (2, 3), (5, 7), (63, 63), (64, 127), (255, 367), (40000, 29887)] {
            assert_eq!(rounded_to_retries(asked), kept);
        }
    }
}
