//! The interfaces as `/proc/net` shows them.

use super::link::Link;
use super::route::{Route, mask};
use crate::net::namespace::Net;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

/// `/proc/net/dev`.
pub fn dev(net: &Net) -> Vec<u8> {
    let mut text = String::from(
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop \
         fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    for link in net.layout().links() {
        let passed = link.passed(net);
        let _ = writeln!(
            text,
            "{:>6}: {:>7} {:>7}    0 {:>4}    0     0          0         0 {:>8} {:>7}    0 {:>4}    0     0       \
             0          0",
            link.name,
            passed.rx_bytes,
            passed.rx_packets,
            passed.rx_dropped,
            passed.tx_bytes,
            passed.tx_packets,
            passed.tx_dropped
        );
    }
    text.into_bytes()
}

/// `/proc/net/if_inet6`.
pub fn if_inet6(net: &Net) -> Vec<u8> {
    let mut text = String::new();
    for link in net.layout().links() {
        for own in &link.addresses {
            let IpAddr::V6(address) = own.ip else { continue };
            let scope = match own.scope {
                libc::RT_SCOPE_HOST => 0x10,
                libc::RT_SCOPE_LINK => 0x20,
                _ => 0,
            };
            let (bits, index, prefix) = (u128::from(address), link.index, own.prefix);
            let _ = writeln!(text, "{bits:032x} {index:02x} {prefix:02x} {scope:02x} 80 {:>8}", link.name);
        }
    }
    text.into_bytes()
}

fn name_of(links: &[std::sync::Arc<Link>], index: u32) -> &str {
    links.iter().find(|link| link.index == index).map_or("*", |link| &link.name)
}

/// `/proc/net/route`: the main table of IPv4, longest prefixes last.
pub fn route(net: &Net) -> Vec<u8> {
    /// Lines are padded to this.
    const WIDTH: usize = 127;
    /// `RTF_UP`, `RTF_GATEWAY`, `RTF_HOST`, `RTF_REJECT`.
    const UP: u32 = 1;
    const GATEWAY: u32 = 2;
    const HOST: u32 = 4;
    const REJECT: u32 = 0x200;
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut text = format!("{head:<WIDTH$}\n");
    let number = |ip: Option<IpAddr>| match ip {
        Some(IpAddr::V4(ip)) => u32::from_ne_bytes(ip.octets()),
        _ => 0,
    };
    let layout = net.layout();
    let is_main = |route: &&Route| route.table == u32::from(libc::RT_TABLE_MAIN) && route.destination.is_ipv4();
    let mut routes: Vec<&Route> = layout.routes().iter().filter(is_main).collect();
    routes.sort_by_key(|route| (route.destination, route.prefix, route.metric));
    for route in routes {
        let mut flags = UP;
        flags |= if route.gateway.is_some() { GATEWAY } else { 0 };
        flags |= if route.prefix == 32 { HOST } else { 0 };
        flags |= if matches!(route.kind, libc::RTN_UNREACHABLE | libc::RTN_PROHIBIT) { REJECT } else { 0 };
        let (to, via, mask) = (number(Some(route.destination)), number(route.gateway), mask(route.prefix).to_be());
        let (name, metric) = (name_of(layout.links(), route.interface), route.metric);
        let line = format!("{name}\t{to:08X}\t{via:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0");
        let _ = writeln!(text, "{line:<WIDTH$}");
    }
    text.into_bytes()
}

/// `/proc/net/ipv6_route`: all routes of IPv6, and at the end the one that refuses what no other leads to.
pub fn ipv6_route(net: &Net) -> Vec<u8> {
    /// `RTF_UP`, `RTF_GATEWAY`, `RTF_LOCAL`, and `RTF_NONEXTHOP | RTF_REJECT` of the last one.
    const UP: u32 = 1;
    const GATEWAY: u32 = 2;
    const LOCAL: u32 = 0x8020_0000;
    const NONE: u32 = 0x0020_0200;
    let bits = |ip: IpAddr| match ip {
        IpAddr::V6(ip) => u128::from(ip),
        IpAddr::V4(_) => 0,
    };
    let nowhere: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let layout = net.layout();
    let mut text = String::new();
    let mut line = |to: IpAddr, prefix: u8, via: IpAddr, metric: u32, refs: u32, flags: u32, name: &str| {
        let _ = writeln!(
            text,
            "{:032x} {prefix:02x} {:032x} 00 {:032x} {metric:08x} {refs:08x} {:08x} {flags:08x} {name:>8}",
            bits(to),
            bits(nowhere),
            bits(via),
            0
        );
    };
    for route in layout.routes().iter().filter(|route| route.destination.is_ipv6()) {
        let more = match route.kind {
            libc::RTN_LOCAL => LOCAL,
            libc::RTN_UNREACHABLE | libc::RTN_PROHIBIT | libc::RTN_BLACKHOLE => NONE,
            _ if route.gateway.is_some() => GATEWAY,
            _ => 0,
        };
        let via = route.gateway.unwrap_or(nowhere);
        line(
            route.destination,
            route.prefix,
            via,
            route.metric,
            2,
            UP | more,
            name_of(layout.links(), route.interface),
        );
    }
    line(nowhere, 0, nowhere, u32::MAX, 1, NONE, "lo");
    text.into_bytes()
}

/// `/proc/net/arp`.
pub fn arp(net: &Net) -> Vec<u8> {
    let mut text = String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
    for link in net.layout().links() {
        let known = link.device.neighbours.lock().list();
        for (ip, mac, permanent) in known.into_iter().filter(|(ip, _, _)| ip.is_ipv4()) {
            let flags = if permanent { 6 } else { 2 };
            let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            let (mac, ip) = (mac.join(":"), ip.to_string());
            let _ = writeln!(text, "{ip:<16} 0x1         0x{flags:<10x}{mac:<22}*        {}", link.name);
        }
    }
    text.into_bytes()
}

/// The group of all hosts, in which each interface is (`/proc/net/igmp`).
pub fn igmp(net: &Net) -> Vec<u8> {
    let mut text = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    for link in net.layout().links().iter().filter(|link| link.up) {
        let (index, name) = (link.index, &link.name);
        let _ = write!(text, "{index}\t{name:<10}:     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n");
    }
    text.into_bytes()
}

/// The same of IPv6 (`/proc/net/igmp6`).
pub fn igmp6(net: &Net) -> Vec<u8> {
    let line = |link: &std::sync::Arc<Link>| {
        let (index, name) = (link.index, &link.name);
        format!(
            "{index:<4} {name:<15} ff020000000000000000000000000001     1 0000000C 0\n\
             {index:<4} {name:<15} ff010000000000000000000000000001     1 00000008 0\n"
        )
    };
    net.layout().links().iter().map(line).collect::<String>().into_bytes()
}
