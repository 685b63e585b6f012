//! Sockets and counters as `/proc/net` shows them.

use super::counters as count;
use super::diag::{Diag, InetDiag, UnixDiag, state};
use super::inet::tcp::count_lingering;
use super::namespace::Net;
use super::registry;
use super::socket::Socket;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Lines of `/proc/net/tcp` are padded to this.
const TCP_WIDTH: usize = 149;
/// Lines of `/proc/net/udp` are padded to this.
const UDP_WIDTH: usize = 127;
const HEAD_V4: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const HEAD_V6: &str = "  sl  local_address                         remote_address                        \
     st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// A socket and what it tells.
struct Told {
    ino: u64,
    uid: u32,
    kind: i32,
    diag: InetDiag,
}

/// All internet sockets of a family, type and protocol (0: any).
fn inet(net: &Net, family: i32, kind: i32, protocol: i32) -> Vec<Told> {
    let files = registry::all_of(net);
    let sockets = files.iter().filter_map(|file| file.downcast::<Socket>());
    let asked = sockets.filter(|socket| {
        socket.family == family && socket.kind == kind && (protocol == 0 || socket.protocol == protocol)
    });
    let told = asked.filter_map(|socket| match socket.ops.diag() {
        Diag::Inet(diag) => Some(Told { ino: socket.ino(), uid: socket.uid(), kind: socket.kind, diag }),
        _ => None,
    });
    told.collect()
}

fn address(family: i32, address: SocketAddr) -> String {
    let port = address.port();
    let word = |bytes: &[u8]| bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let octets = match address.ip() {
        IpAddr::V4(ip) if family == libc::AF_INET => ip.octets().to_vec(),
        IpAddr::V4(ip) if ip.is_unspecified() => vec![0; 16],
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut text: String = octets.chunks(4).map(|part| format!("{:08X}", word(part))).collect();
    let _ = write!(text, ":{port:04X}");
    text
}

/// In the place of an address in the kernel, which Linux hashes too: it tells sockets apart, no more.
fn pointer(ino: u64) -> u64 {
    (ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) | 1
}

fn common(family: i32, diag: &InetDiag, (tx, rx): (usize, usize), uid: u32, ino: u64) -> String {
    format!(
        "{} {} {:02X} {tx:08X}:{rx:08X} 00:00000000 00000000 {uid:5}        0 {ino}",
        address(family, diag.local),
        address(family, diag.remote),
        diag.state
    )
}

/// `/proc/net/tcp` and `/proc/net/tcp6`: listeners first.
pub fn tcp(net: &Net, family: i32) -> Vec<u8> {
    let mut all = inet(net, family, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    all.retain(|told| told.diag.state != state::CLOSE);
    all.sort_by_key(|told| told.diag.state != state::LISTEN);
    let pending: Vec<Told> = all
        .iter()
        .flat_map(|told| &told.diag.pending)
        .map(|diag| Told { ino: 0, uid: 0, kind: libc::SOCK_STREAM, diag: diag.clone() })
        .collect();
    let v4 = family == libc::AF_INET;
    let width = if v4 { TCP_WIDTH } else { 0 };
    let mut text = format!("{:<width$}\n", if v4 { HEAD_V4 } else { HEAD_V6 });
    for (slot, Told { ino, uid, diag, .. }) in all.iter().chain(&pending).enumerate() {
        let listens = diag.state == state::LISTEN;
        let line = common(family, diag, (if listens { 0 } else { diag.sent }, diag.received), *uid, *ino);
        let tail = if listens { "100 0 0 10 0" } else { "20 4 30 10 -1" };
        let line = format!("{slot:4}: {line} 1 {:016x} {tail}", pointer(*ino));
        let _ = writeln!(text, "{line:<width$}");
    }
    text.into_bytes()
}

/// `/proc/net/udp`, `udp6`, `raw`, `raw6`, `icmp`, `icmp6`.
pub fn datagrams(net: &Net, family: i32, kind: i32, protocol: i32) -> Vec<u8> {
    let v4 = family == libc::AF_INET;
    let is_udp = protocol == libc::IPPROTO_UDP;
    // As on Linux, each file has its own mind about padding.
    let width = if v4 && is_udp { UDP_WIDTH } else { 0 };
    let head =
        format!("{}{} ref pointer drops", if v4 && is_udp { " " } else { "" }, if v4 { HEAD_V4 } else { HEAD_V6 });
    let mut text = format!("{head:<width$}\n");
    for Told { ino, uid, diag, kind } in inet(net, family, kind, protocol) {
        let line = common(family, &diag, (diag.sent, diag.received), uid, ino);
        let slot = diag.local.port();
        let slot = if kind == libc::SOCK_RAW || !is_udp { format!("{slot:4}") } else { format!("{slot:5}") };
        let line = format!("{slot}: {line} 2 {:016x} 0", pointer(ino));
        let _ = writeln!(text, "{line:<width$}");
    }
    text.into_bytes()
}

/// `/proc/net/unix`.
pub fn unix(net: &Net) -> Vec<u8> {
    let mut text = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>() else { continue };
        let Diag::Unix(UnixDiag { name, state, connection, peer, .. }) = socket.ops.diag() else { continue };
        /// `__SO_ACCEPTCON`.
        const ACCEPTS: u32 = 0x10000;
        let flags = if state == state::LISTEN { ACCEPTS } else { 0 };
        let (refs, ino) = (2 + u32::from(peer.is_some()), socket.ino());
        let line = format!(
            "{:016x}: {refs:08X} 00000000 {flags:08X} {:04X} {connection:02X} {ino:5}",
            pointer(ino),
            socket.kind
        );
        text.extend_from_slice(line.as_bytes());
        if !name.is_empty() {
            text.push(b' ');
            text.extend(shown_name(&name));
        }
        text.push(b'\n');
    }
    text
}

/// A name as text: `@` for each NUL of an abstract one.
pub fn shown_name(name: &[u8]) -> Vec<u8> {
    match name {
        [0, ..] => name.iter().map(|byte| if *byte == 0 { b'@' } else { *byte }).collect(),
        path => path.strip_suffix(&[0]).unwrap_or(path).to_vec(),
    }
}

/// `/proc/net/netlink`.
pub fn netlink(net: &Net) -> Vec<u8> {
    let mut text =
        String::from("sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n");
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>() else { continue };
        let Diag::Netlink(id, groups, used) = socket.ops.diag() else { continue };
        let (ino, protocol) = (socket.ino(), socket.protocol);
        let sk = pointer(ino);
        let _ = writeln!(
            text,
            "{sk:016x} {protocol:<3} {id:<10} {groups:08x} {used:<8} 0        0     2        0        {ino:<8}"
        );
    }
    text.into_bytes()
}

/// `/proc/net/packet`.
pub fn packet(net: &Net) -> Vec<u8> {
    let mut text = String::from("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>() else { continue };
        let Diag::Packet(protocol, interface, used) = socket.ops.diag() else { continue };
        let (ino, kind, uid) = (socket.ino(), socket.kind, socket.uid());
        let sk = pointer(ino);
        let _ = writeln!(
            text,
            "{sk:016x} {:<6} {kind:<4} {protocol:04x}   {interface:<5} 1 {used:<6} {uid:<6} {ino:<6}",
            3
        );
    }
    text.into_bytes()
}

/// How many sockets of a kind there are, and how many are connections or listeners.
fn tally(net: &Net, family: i32, kind: i32, protocol: i32) -> (usize, usize) {
    let all = inet(net, family, kind, protocol);
    (all.iter().filter(|told| told.diag.state != state::CLOSE).count(), all.len())
}

/// `/proc/net/sockstat`.
pub fn sockstat(net: &Net) -> Vec<u8> {
    let (tcp, tcp_all) = tally(net, libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    let (_, tcp6_all) = tally(net, libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    let (_, udp) = tally(net, libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    let (_, raw) = tally(net, libc::AF_INET, libc::SOCK_RAW, 0);
    format!(
        "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw {} alloc {} mem 0\nUDP: inuse {udp} mem 0\n\
         UDPLITE: inuse 0\nRAW: inuse {raw}\nFRAG: inuse 0 memory 0\n",
        registry::all_of(net).len(),
        count_lingering(net),
        tcp_all + tcp6_all
    )
    .into_bytes()
}

/// `/proc/net/sockstat6`.
pub fn sockstat6(net: &Net) -> Vec<u8> {
    let (tcp, _) = tally(net, libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    let (_, udp) = tally(net, libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    let (_, raw) = tally(net, libc::AF_INET6, libc::SOCK_RAW, 0);
    format!("TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse {raw}\nFRAG6: inuse 0 memory 0\n")
        .into_bytes()
}

/// `/proc/net/snmp`: what is not counted here is 0.
pub fn snmp(net: &Net) -> Vec<u8> {
    let connections = |family| {
        let all = inet(net, family, libc::SOCK_STREAM, libc::IPPROTO_TCP);
        let is_up = |diag: &InetDiag| matches!(diag.state, state::ESTABLISHED | state::CLOSE_WAIT);
        let open = all.iter().filter(|told| is_up(&told.diag)).count();
        open + all.iter().map(|told| told.diag.pending.len()).sum::<usize>()
    };
    let established = connections(libc::AF_INET) + connections(libc::AF_INET6);
    let packets = net.counters.lo_packets.get();
    let forwarding = if net.sysctl.number("net/ipv4/ip_forward", 0) != 0 { 1 } else { 2 };
    let ttl = net.sysctl.number("net/ipv4/ip_default_ttl", 64);
    let [udp, _] = [0, 1].map(|family| udp_counters(net, family));
    format!(
        "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards \
         InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails \
         FragCreates OutTransmits\n\
         Ip: {forwarding} {ttl} {packets} 0 0 0 0 0 {packets} {packets} 0 0 0 0 0 0 0 0 0 {packets}\n\
         {ICMP}\
         Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs \
         OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
         Tcp: 1 200 120000 -1 {} {} {} {} {established} {} {} 0 0 {} 0\n\
         Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
         Udp: {} {} {} {} {} 0 0 0 0\n\
         UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti \
         MemErrors\n\
         UdpLite: 0 0 0 0 0 0 0 0 0\n",
        net.counters.tcp_active.get(),
        net.counters.tcp_passive.get(),
        net.counters.tcp_failed.get(),
        net.counters.tcp_reset.get(),
        net.counters.tcp_segments.get(),
        net.counters.tcp_segments.get(),
        net.counters.tcp_resets_sent.get(),
        udp.received,
        udp.no_port,
        udp.full,
        udp.sent,
        udp.full,
    )
    .into_bytes()
}

const ICMP: &str = "\
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps \
InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost \
OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps \
OutTimestampReps OutAddrMasks OutAddrMaskReps
Icmp: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
";

struct UdpCounters {
    received: u64,
    no_port: u64,
    full: u64,
    sent: u64,
}

fn udp_counters(net: &Net, family: usize) -> UdpCounters {
    let get = |of: &[count::Counter; 2]| of.get(family).map_or(0, count::Counter::get);
    UdpCounters {
        received: get(&net.counters.udp_in),
        no_port: get(&net.counters.udp_no_port),
        full: get(&net.counters.udp_full),
        sent: get(&net.counters.udp_out),
    }
}

/// `/proc/net/snmp6`.
pub fn snmp6(net: &Net) -> Vec<u8> {
    let UdpCounters { received, no_port, full, sent } = udp_counters(net, 1);
    let rows = [
        ("Udp6InDatagrams", received),
        ("Udp6NoPorts", no_port),
        ("Udp6InErrors", full),
        ("Udp6OutDatagrams", sent),
        ("Udp6RcvbufErrors", full),
        ("Udp6SndbufErrors", 0),
    ];
    rows.iter().map(|(name, value)| format!("{name:<32}\t{value}\n")).collect::<String>().into_bytes()
}

/// `/proc/net/netstat`: of Linux's many numbers those that are counted here.
pub fn netstat(net: &Net) -> Vec<u8> {
    let overflows = net.counters.tcp_overflows.get();
    let bytes = net.counters.lo_bytes.get();
    format!(
        "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts ListenOverflows ListenDrops\n\
         TcpExt: 0 0 0 0 {overflows} {overflows}\n\
         IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets\n\
         IpExt: 0 0 0 0 0 0 {bytes} {bytes}\n"
    )
    .into_bytes()
}
