//! The interfaces as `/proc/net` shows them.

use super::Stack;
use super::link::Link;
use super::route::{is_link_local, mask, network};
use crate::net::counters;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

fn links() -> impl Iterator<Item = &'static Link> {
    super::get().into_iter().flat_map(Stack::links)
}

/// `/proc/net/dev`.
pub fn dev() -> Vec<u8> {
    let mut text = String::from(
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop \
         fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    let mut line = |name: &str, [rx_bytes, rx, tx_bytes, tx, lost]: [u64; 5]| {
        let _ = writeln!(
            text,
            "{name:>6}: {rx_bytes:>7} {rx:>7}    0    0    0     0          0         0 {tx_bytes:>8} {tx:>7}    0 \
             {lost:>4}    0     0       0          0"
        );
    };
    let (bytes, packets) = (counters::LO_BYTES.get(), counters::LO_PACKETS.get());
    line("lo", [bytes, packets, bytes, packets, 0]);
    for link in links() {
        let counters = &link.counters;
        let all =
            [&counters.rx_bytes, &counters.rx_packets, &counters.tx_bytes, &counters.tx_packets, &counters.tx_dropped];
        line(&link.name, all.map(|counter| counter.load(Ordering::Relaxed)));
    }
    text.into_bytes()
}

/// `/proc/net/if_inet6`.
pub fn if_inet6() -> Vec<u8> {
    let mut text = String::from("00000000000000000000000000000001 01 80 10 80       lo\n");
    for link in links() {
        for (ip, prefix) in &link.addresses {
            let IpAddr::V6(address) = ip else { continue };
            let scope = if is_link_local(*ip) { 0x20 } else { 0 };
            let (bits, index) = (u128::from(*address), link.index);
            let _ = writeln!(text, "{bits:032x} {index:02x} {prefix:02x} {scope:02x} 80 {:>8}", link.name);
        }
    }
    text.into_bytes()
}

/// `/proc/net/route`.
pub fn route() -> Vec<u8> {
    /// Lines are padded to this.
    const WIDTH: usize = 127;
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut text = format!("{head:<WIDTH$}\n");
    /// `RTF_UP`, and `RTF_GATEWAY` with it.
    const FLAGS: (u32, u32) = (1, 3);
    let number = |ip: Option<IpAddr>| match ip {
        Some(IpAddr::V4(ip)) => u32::from_ne_bytes(ip.octets()),
        _ => 0,
    };
    let mut line = |index: u32, to: IpAddr, prefix: u8, gateway: Option<IpAddr>, metric: u32| {
        let Some(link) = links().find(|link| link.index == index).filter(|_| to.is_ipv4()) else { return };
        let flags = if gateway.is_some() { FLAGS.1 } else { FLAGS.0 };
        let (to, via, mask) = (number(Some(to)), number(gateway), mask(prefix).to_be());
        let name = &link.name;
        let line = format!("{name}\t{to:08X}\t{via:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0");
        let _ = writeln!(text, "{line:<WIDTH$}");
    };
    let routes = super::get().map(Stack::routes).unwrap_or_default();
    for route in routes.iter() {
        line(route.interface, route.destination, route.prefix, route.gateway, route.metric);
    }
    for link in links() {
        for (ip, prefix) in &link.addresses {
            line(link.index, network(*ip, *prefix), *prefix, None, 0);
        }
    }
    text.into_bytes()
}

/// `/proc/net/arp`.
pub fn arp() -> Vec<u8> {
    let mut text = String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
    for link in links() {
        let known = link.neighbours.lock().list();
        for (ip, mac, permanent) in known.into_iter().filter(|(ip, _, _)| ip.is_ipv4()) {
            let flags = if permanent { 6 } else { 2 };
            let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            let (mac, ip) = (mac.join(":"), ip.to_string());
            let _ = writeln!(text, "{ip:<16} 0x1         0x{flags:<10x}{mac:<22}*        {}", link.name);
        }
    }
    text.into_bytes()
}
