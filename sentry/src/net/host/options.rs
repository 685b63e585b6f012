//! Options: what of them is the host's, what the sentry's, and what a guest needs a privilege for that the sentry has.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::net::filter;
use crate::net::options::{Options, Value};
use platform::host::socket as host;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Longest value that is asked for.
pub(super) const VALUE_MAX: usize = 4096;

/// Options of level `SOL_SOCKET` that the sentry keeps: waiting is its own, and so is what it tells a peer by. Besides
/// those that do not pass.
const KEPT: &[i32] = &[
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    66, // SO_RCVTIMEO_NEW
    67, // SO_SNDTIMEO_NEW
    libc::SO_RCVLOWAT,
    libc::SO_PEEK_OFF,
    // The host would wait in close(2), and the sentry with it.
    libc::SO_LINGER,
    libc::SO_TYPE,
    libc::SO_DOMAIN,
    libc::SO_PROTOCOL,
    libc::SO_PEERCRED,
    libc::SO_PEERNAME,
    // For these the host wants a privilege that the sentry has not, and they change nothing that a guest sees.
    libc::SO_DEBUG,
    libc::SO_BUSY_POLL,
    69, // SO_PREFER_BUSY_POLL
];

/// Whether an option of level `SOL_SOCKET` is the host's to answer.
pub(super) fn is_of_host(name: i32) -> bool {
    let is_special = matches!(name, libc::SO_ATTACH_FILTER | libc::SO_ZEROCOPY);
    is_special || (host::may_pass(libc::SOL_SOCKET, name) && !KEPT.contains(&name))
}

pub(super) fn get(fd: BorrowedFd<'_>, level: i32, name: i32, room: usize) -> SysResult<Value> {
    if !host::may_pass(level, name) {
        let number = |name| number(fd, libc::SOL_SOCKET, name);
        let is_v4 = number(libc::SO_DOMAIN) == libc::AF_INET;
        let is_known = match level {
            libc::SOL_SOCKET | libc::IPPROTO_IP => true,
            libc::IPPROTO_IPV6 => !is_v4,
            _ => level == number(libc::SO_PROTOCOL),
        };
        return Err(if is_v4 && !is_known { Errno::OPNOTSUPP } else { Errno::NOPROTOOPT });
    }
    let mut value = Value::from_elem(0, room.min(VALUE_MAX));
    let len = host::get_option(fd, level, name, &mut value)?;
    value.truncate(len);
    Ok(value)
}

pub(super) fn set(t: &Task, fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
    if (level, name) == (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER) {
        let program = filter::read(t, value)?;
        return Ok(host::attach_filter(fd, program.code().iter().map(|i| (i.code, i.jt, i.jf, i.k)))?);
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_ZEROCOPY) {
        return Err(Errno::OPNOTSUPP);
    }
    if !host::may_pass(level, name) {
        let is_short = level == libc::IPPROTO_TCP && value.len() < size_of::<i32>();
        return Err(if is_short { Errno::INVAL } else { Errno::NOPROTOOPT });
    }
    check_privilege(t, fd, level, name, value)?;
    Ok(host::set_option(fd, level, unforced(level, name), value)?)
}

/// The host lets only itself go beyond its limits: within them a guest that may do so gets what it asks for.
fn unforced(level: i32, name: i32) -> i32 {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE) => libc::SO_SNDBUF,
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE) => libc::SO_RCVBUF,
        _ => name,
    }
}

/// The value of an option that is a number.
pub(super) fn number(fd: BorrowedFd<'_>, level: i32, name: i32) -> i32 {
    let mut value = [0; 4];
    host::get_option(fd, level, name, &mut value).map_or(0, |_| i32::from_ne_bytes(value))
}

/// The sentry has `CAP_NET_RAW` where the host gives it; guests may use it only if they have it too.
fn check_privilege(t: &Task, fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
    let creds = t.creds();
    let int = value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    let may_mark = creds.has(Cap::NetRaw) || creds.has(Cap::NetAdmin);
    let may = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE) => creds.has(Cap::NetAdmin),
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => (0..=6).contains(&int) || may_mark,
        (libc::SOL_SOCKET, libc::SO_MARK | RCVMARK) => may_mark,
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE | libc::SO_BINDTOIFINDEX) => !is_bound(fd) || creds.has(Cap::NetRaw),
        (libc::IPPROTO_IP, libc::IP_TRANSPARENT) | (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT) => int == 0 || may_mark,
        _ => true,
    };
    if may { Ok(()) } else { Err(Errno::PERM) }
}

/// `SO_RCVMARK`.
const RCVMARK: i32 = 75;

/// Whether the socket is tied to an interface.
fn is_bound(fd: BorrowedFd<'_>) -> bool {
    number(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX) != 0
}

/// Tells the host of those options that the sentry keeps what concerns it.
pub(super) fn retune(fd: BorrowedFd<'_>, options: &Options) {
    let lowat = i32::try_from(options.rcvlowat()).unwrap_or(i32::MAX);
    let _ = host::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &lowat.to_ne_bytes());
    // With no time at all a connection is reset, and nobody waits.
    let resets = options.linger() == Some(Duration::ZERO);
    let linger = [i32::from(resets).to_ne_bytes(), [0; 4]].concat();
    let _ = host::set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}
