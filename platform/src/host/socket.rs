//! Sockets of the host that stand for guests' own (`--network=host`).
//!
//! An address and a control message are plain bytes that the host checks. An option may be more than that: of some the
//! value is a pointer, of others it decides what the host writes where. Those that pass are in [`OPTIONS`], of which the
//! sentry's own seccomp filter is made as well.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Longest address of an internet socket (`struct sockaddr_in6`).
pub const ADDRESS_MAX: usize = 28;

/// Types and protocols of sockets that are made; of raw sockets all protocols.
pub(super) const KINDS: &[(i32, &[i32])] = &[
    (libc::SOCK_STREAM, &[0, libc::IPPROTO_TCP]),
    (libc::SOCK_DGRAM, &[0, libc::IPPROTO_UDP, libc::IPPROTO_UDPLITE, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6]),
    (libc::SOCK_RAW, &[]),
];

/// Families of sockets that are made.
pub(super) const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// `MCAST_JOIN_GROUP` to `MCAST_MSFILTER`, of both families.
const SOURCES: &[i32] = &[42, 43, 44, 45, 46, 47, 48];

/// Options by level: each is a number, a time, a name of an interface or an algorithm, or a structure of addresses.
pub(super) const OPTIONS: &[(i32, &[i32])] = &[
    (
        libc::SOL_SOCKET,
        &[
            libc::SO_DEBUG,
            libc::SO_REUSEADDR,
            libc::SO_TYPE,
            libc::SO_ERROR,
            libc::SO_DONTROUTE,
            libc::SO_BROADCAST,
            libc::SO_SNDBUF,
            libc::SO_RCVBUF,
            libc::SO_KEEPALIVE,
            libc::SO_OOBINLINE,
            libc::SO_NO_CHECK,
            libc::SO_PRIORITY,
            libc::SO_LINGER,
            libc::SO_BSDCOMPAT,
            libc::SO_REUSEPORT,
            libc::SO_PASSCRED,
            libc::SO_RCVLOWAT,
            libc::SO_SNDLOWAT,
            libc::SO_BINDTODEVICE,
            libc::SO_DETACH_FILTER,
            libc::SO_TIMESTAMP,
            libc::SO_ACCEPTCONN,
            libc::SO_SNDBUFFORCE,
            libc::SO_RCVBUFFORCE,
            libc::SO_TIMESTAMPNS,
            libc::SO_MARK,
            libc::SO_TIMESTAMPING,
            libc::SO_PROTOCOL,
            libc::SO_DOMAIN,
            libc::SO_RXQ_OVFL,
            libc::SO_NOFCS,
            libc::SO_LOCK_FILTER,
            libc::SO_SELECT_ERR_QUEUE,
            libc::SO_BUSY_POLL,
            libc::SO_MAX_PACING_RATE,
            48, // SO_BPF_EXTENSIONS
            libc::SO_INCOMING_CPU,
            55, // SO_MEMINFO
            56, // SO_INCOMING_NAPI_ID
            57, // SO_COOKIE
            libc::SO_BINDTOIFINDEX,
            63, // SO_TIMESTAMP_NEW
            64, // SO_TIMESTAMPNS_NEW
            65, // SO_TIMESTAMPING_NEW
            69, // SO_PREFER_BUSY_POLL
            72, // SO_BUF_LOCK
            74, // SO_TXREHASH
            75, // SO_RCVMARK
        ],
    ),
    (
        libc::IPPROTO_IP,
        &[
            libc::IP_TOS,
            libc::IP_TTL,
            3, // IP_HDRINCL
            libc::IP_ROUTER_ALERT,
            libc::IP_RECVOPTS,
            libc::IP_RETOPTS,
            libc::IP_PKTINFO,
            libc::IP_MTU_DISCOVER,
            libc::IP_RECVERR,
            libc::IP_RECVTTL,
            libc::IP_RECVTOS,
            libc::IP_MTU,
            libc::IP_FREEBIND,
            libc::IP_TRANSPARENT,
            libc::IP_RECVORIGDSTADDR,
            21, // IP_MINTTL
            libc::IP_NODEFRAG,
            23, // IP_CHECKSUM
            24, // IP_BIND_ADDRESS_NO_PORT
            25, // IP_RECVFRAGSIZE
            26, // IP_RECVERR_RFC4884
            libc::IP_MULTICAST_IF,
            libc::IP_MULTICAST_TTL,
            libc::IP_MULTICAST_LOOP,
            libc::IP_ADD_MEMBERSHIP,
            libc::IP_DROP_MEMBERSHIP,
            libc::IP_UNBLOCK_SOURCE,
            libc::IP_BLOCK_SOURCE,
            libc::IP_ADD_SOURCE_MEMBERSHIP,
            libc::IP_DROP_SOURCE_MEMBERSHIP,
            41, // IP_MSFILTER
            libc::IP_MULTICAST_ALL,
            50, // IP_UNICAST_IF
            51, // IP_LOCAL_PORT_RANGE
            52, // IP_PROTOCOL
        ],
    ),
    (
        libc::IPPROTO_IPV6,
        &[
            2, // IPV6_2292PKTINFO
            7, // IPV6_CHECKSUM
            8, // IPV6_2292HOPLIMIT
            libc::IPV6_UNICAST_HOPS,
            libc::IPV6_MULTICAST_IF,
            libc::IPV6_MULTICAST_HOPS,
            libc::IPV6_MULTICAST_LOOP,
            libc::IPV6_ADD_MEMBERSHIP,
            libc::IPV6_DROP_MEMBERSHIP,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_MTU,
            libc::IPV6_RECVERR,
            libc::IPV6_V6ONLY,
            27, // IPV6_JOIN_ANYCAST
            28, // IPV6_LEAVE_ANYCAST
            29, // IPV6_MULTICAST_ALL
            30, // IPV6_ROUTER_ALERT_ISOLATE
            31, // IPV6_RECVERR_RFC4884
            36, // IPV6_HDRINCL
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_PKTINFO,
            libc::IPV6_RECVHOPLIMIT,
            libc::IPV6_RECVHOPOPTS,
            libc::IPV6_RECVRTHDR,
            libc::IPV6_RECVDSTOPTS,
            libc::IPV6_RECVPATHMTU,
            libc::IPV6_DONTFRAG,
            libc::IPV6_RECVTCLASS,
            libc::IPV6_TCLASS,
            70, // IPV6_AUTOFLOWLABEL
            72, // IPV6_ADDR_PREFERENCES
            73, // IPV6_MINHOPCOUNT
            74, // IPV6_RECVORIGDSTADDR
            libc::IPV6_TRANSPARENT,
            76, // IPV6_UNICAST_IF
            77, // IPV6_RECVFRAGSIZE
            libc::IPV6_FREEBIND,
        ],
    ),
    (
        libc::IPPROTO_TCP,
        &[
            libc::TCP_NODELAY,
            libc::TCP_MAXSEG,
            libc::TCP_CORK,
            libc::TCP_KEEPIDLE,
            libc::TCP_KEEPINTVL,
            libc::TCP_KEEPCNT,
            libc::TCP_SYNCNT,
            libc::TCP_LINGER2,
            libc::TCP_DEFER_ACCEPT,
            libc::TCP_WINDOW_CLAMP,
            libc::TCP_INFO,
            libc::TCP_QUICKACK,
            libc::TCP_CONGESTION,
            libc::TCP_THIN_LINEAR_TIMEOUTS,
            libc::TCP_THIN_DUPACK,
            libc::TCP_USER_TIMEOUT,
            libc::TCP_FASTOPEN,
            libc::TCP_TIMESTAMP,
            libc::TCP_NOTSENT_LOWAT,
            libc::TCP_CC_INFO,
            libc::TCP_SAVE_SYN,
            libc::TCP_SAVED_SYN,
            libc::TCP_INQ,
        ],
    ),
    (libc::IPPROTO_IP, SOURCES),
    (libc::IPPROTO_IPV6, SOURCES),
    // UDP_CORK, UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX, UDP_SEGMENT, UDP_GRO.
    (libc::IPPROTO_UDP, &[1, 101, 102, 103, 104]),
    // UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV.
    (libc::IPPROTO_UDPLITE, &[1, 10, 11]),
    // ICMP6_FILTER.
    (libc::IPPROTO_ICMPV6, &[1]),
    // ICMP_FILTER, IPV6_CHECKSUM.
    (libc::SOL_RAW, &[1, 7]),
];

/// `SIOCATMARK`.
pub(super) const SIOCATMARK: u64 = 0x8905;

/// Whether an option may be asked of the host.
pub fn may_pass(level: i32, name: i32) -> bool {
    OPTIONS.iter().any(|(known, names)| *known == level && names.contains(&name))
}

/// What a message brought besides its data: lengths of what was written to the buffers given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received {
    /// Bytes of data; with `MSG_TRUNC` of the whole message.
    pub count: usize,
    /// Bytes of the sender's address.
    pub from: usize,
    /// Bytes of control messages.
    pub control: usize,
    /// `MSG_…` flags.
    pub flags: i32,
}

fn check(done: isize) -> io::Result<usize> {
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOPROTOOPT)
}

/// A new socket, which never blocks: `EAFNOSUPPORT` or `EPROTONOSUPPORT` if it is of no kind that passes.
pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    if !FAMILIES.contains(&family) {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    let passes =
        |known: i32, protocols: &[i32]| known == kind && (protocols.is_empty() || protocols.contains(&protocol));
    if !KINDS.iter().any(|(known, protocols)| passes(*known, protocols)) {
        return Err(io::Error::from_raw_os_error(libc::EPROTONOSUPPORT));
    }
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    check(fd as isize)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bind(2)` to an address in the host's form.
pub fn bind(fd: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: the address is live and of the length given; addresses hold no pointers.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) } as isize).map(|_| ())
}

/// `connect(2)` to an address in the host's form.
pub fn connect(fd: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: the address is live and of the length given; addresses hold no pointers.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) } as isize).map(|_| ())
}

/// `getsockname(2)`, or `getpeername(2)`: the length of the address.
pub fn address(fd: BorrowedFd<'_>, of_peer: bool, out: &mut [u8; ADDRESS_MAX]) -> io::Result<usize> {
    let mut len = ADDRESS_MAX as libc::socklen_t;
    let (fd, out) = (fd.as_raw_fd(), out.as_mut_ptr().cast());
    let done = if of_peer {
        // SAFETY: writes at most `len` bytes of `out`, which has as many.
        unsafe { libc::getpeername(fd, out, &raw mut len) }
    } else {
        // SAFETY: as above.
        unsafe { libc::getsockname(fd, out, &raw mut len) }
    };
    check(done as isize).map(|_| (len as usize).min(ADDRESS_MAX))
}

/// `getsockopt(2)` of an option that [`may_pass`]: the length of its value.
pub fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32, out: &mut [u8]) -> io::Result<usize> {
    if !may_pass(level, name) {
        return Err(refused());
    }
    let mut len = out.len() as libc::socklen_t;
    // SAFETY: of the options that pass the host writes at most `len` bytes of `out`, and nothing else.
    let done = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, out.as_mut_ptr().cast(), &raw mut len) };
    check(done as isize).map(|_| len as usize)
}

/// `setsockopt(2)` of an option that [`may_pass`].
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    if !may_pass(level, name) {
        return Err(refused());
    }
    let len = value.len() as libc::socklen_t;
    // SAFETY: the value is live and of the length given; those of the options that pass hold no pointers.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) } as isize).map(|_| ())
}

/// `SO_ATTACH_FILTER`: instructions of classic BPF, each with its code, jumps and operand.
pub fn attach_filter(fd: BorrowedFd<'_>, code: impl Iterator<Item = (u16, u8, u8, u32)>) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> =
        code.map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(code.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: the program and its instructions are live, and of the lengths given; the host copies them.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const program).cast(), size) } as isize)
        .map(|_| ())
}

/// `sendmsg(2)`, which never waits and never raises a signal. `control` is a sequence of control messages.
pub fn send(fd: BorrowedFd<'_>, data: &[u8], to: Option<&[u8]>, control: &[u8], flags: i32) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all bytes zero is a valid header: that of nothing.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if let Some(to) = to {
        header.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_namelen = to.len() as libc::socklen_t;
    }
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len();
    }
    let flags = (flags & !libc::MSG_ZEROCOPY) | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: all that the header points to is live and of the lengths given, and is only read. Without MSG_ZEROCOPY
    // it is read before this returns.
    check(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, flags) })
}

/// `recvmsg(2)`, which never waits.
pub fn receive(
    fd: BorrowedFd<'_>,
    data: &mut [u8],
    from: &mut [u8; ADDRESS_MAX],
    control: &mut [u8],
    flags: i32,
) -> io::Result<Received> {
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: all bytes zero is a valid header: that of nothing.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_name = from.as_mut_ptr().cast();
    header.msg_namelen = ADDRESS_MAX as libc::socklen_t;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len();
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: all that the header points to is live, of the lengths given, and ours alone to write.
    let count = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) })?;
    Ok(Received {
        count,
        from: (header.msg_namelen as usize).min(ADDRESS_MAX),
        control: header.msg_controllen.min(control.len()),
        flags: header.msg_flags & !libc::MSG_CMSG_CLOEXEC,
    })
}

/// `SIOCATMARK`: whether the next byte is behind urgent data.
pub fn is_at_mark(fd: BorrowedFd<'_>) -> io::Result<bool> {
    query(fd, SIOCATMARK).map(|at| at != 0)
}

/// `SIOCOUTQ`: bytes that are sent and not acknowledged.
pub fn unsent(fd: BorrowedFd<'_>) -> io::Result<i32> {
    query(fd, libc::TIOCOUTQ)
}

fn query(fd: BorrowedFd<'_>, request: u64) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    // SAFETY: both requests write one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut value) } as isize).map(|_| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_holds_pointers_does_not_pass() {
        let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0).expect("a socket");
        /// `TCP_ZEROCOPY_RECEIVE`, by which the host maps memory where the value says.
        const ZEROCOPY_RECEIVE: i32 = 35;
        for (level, name) in [
            (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
            (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
            (libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY),
            (libc::IPPROTO_TCP, ZEROCOPY_RECEIVE),
            (libc::IPPROTO_TCP, libc::TCP_REPAIR),
            (libc::IPPROTO_IP, 64), // IPT_SO_SET_REPLACE
        ] {
            assert!(!may_pass(level, name), "{level} {name}");
            let error = set_option(fd.as_fd(), level, name, &[0; 64]).expect_err("it does not pass");
            assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
            assert!(get_option(fd.as_fd(), level, name, &mut [0; 64]).is_err());
        }
        assert!(socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).is_err());
        assert!(socket(libc::AF_PACKET, libc::SOCK_RAW, 0).is_err());
        assert!(socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP).is_err());
    }

    #[test]
    fn messages_pass_with_addresses_and_control() {
        let [a, b] = [(); 2].map(|()| socket(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("a socket"));
        let any = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        bind(a.as_fd(), &any).expect("an address");
        let mut own = [0; ADDRESS_MAX];
        let len = address(a.as_fd(), false, &mut own).expect("an address");
        set_option(a.as_fd(), libc::IPPROTO_IP, libc::IP_RECVTTL, &1i32.to_ne_bytes()).expect("it passes");
        assert_eq!(send(b.as_fd(), b"hello", own.get(..len), &[], 0).expect("it goes"), 5);
        let (mut data, mut from, mut control) = ([0; 3], [0; ADDRESS_MAX], [0; 64]);
        let got = receive(a.as_fd(), &mut data, &mut from, &mut control, libc::MSG_TRUNC).expect("it has come");
        assert_eq!((got.count, got.from, got.control, got.flags), (5, 16, 24, libc::MSG_TRUNC));
        let error = receive(a.as_fd(), &mut data, &mut from, &mut [], 0).expect_err("there is no more");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
