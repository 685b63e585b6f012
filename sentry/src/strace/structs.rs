//! What a pointer of a guest points to, as text. Everything read is bounded and may change under us: it is
//! shown, never acted upon.

use super::consts::{CLONE, POLL, SA};
use super::names;
use crate::errno::Errno;
use crate::kernel::Task;
use crate::mm::Addr;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a buffer that are shown.
const BUFFER_SHOWN: usize = 32;
/// Elements of an array that are shown.
const ELEMENTS_SHOWN: usize = 16;

/// An address.
pub(super) fn pointer(value: u64) -> String {
    if value == 0 { "NULL".into() } else { format!("{value:#x}") }
}

/// A string up to its NUL.
pub(super) fn string(t: &Task, addr: Addr) -> String {
    match t.mem().read_path(addr) {
        Ok(bytes) => quoted(&bytes),
        Err(_) => pointer(addr.0),
    }
}

/// The first of `len` bytes.
pub(super) fn buffer(t: &Task, addr: Addr, len: u64) -> String {
    let shown = usize::try_from(len).unwrap_or(usize::MAX).min(BUFFER_SHOWN);
    let mut bytes = vec![0; shown];
    match t.mem().read_bytes(addr, &mut bytes) {
        Ok(()) if len > shown as u64 => format!("{}...", quoted(&bytes)),
        Ok(()) => quoted(&bytes),
        Err(_) => pointer(addr.0),
    }
}

/// Bytes in quotes, as C writes them.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x20..0x7f => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

/// 64-bit words in a row.
fn words<const N: usize>(t: &Task, addr: Addr) -> Option<[u64; N]> {
    if addr.is_null() { None } else { t.mem().read(addr).ok() }
}

/// A vector of strings that ends with NULL.
pub(super) fn argv(t: &Task, addr: Addr) -> String {
    let mut shown = Vec::new();
    for at in 0..=ELEMENTS_SHOWN {
        match words::<1>(t, addr.offset(at * 8)) {
            None => return pointer(addr.0),
            Some([0]) => break,
            Some(_) if at == ELEMENTS_SHOWN => shown.push("...".into()),
            Some([element]) => shown.push(string(t, Addr(element))),
        }
    }
    format!("[{}]", shown.join(", "))
}

/// `struct iovec`s with the beginning of what they hold.
pub(super) fn iovecs(t: &Task, addr: Addr, count: u64) -> String {
    list(addr, count, |at| {
        let [base, len] = words::<2>(t, addr.offset(at * 16))?;
        Some(format!("{{{}, {len}}}", buffer(t, Addr(base), len)))
    })
}

/// `struct pollfd`s.
pub(super) fn pollfds(t: &Task, addr: Addr, count: u64) -> String {
    list(addr, count & u64::from(u32::MAX), |at| {
        let [word] = words::<1>(t, addr.offset(at * 8))?;
        let events = (word >> 32) as u32 & 0xffff;
        Some(format!("{{{}, {}}}", word as i32, names::bits(POLL, events, "0")))
    })
}

fn list(addr: Addr, count: u64, element: impl Fn(usize) -> Option<String>) -> String {
    let shown = usize::try_from(count).unwrap_or(usize::MAX).min(ELEMENTS_SHOWN);
    let Some(mut texts) = (0..shown).map(element).collect::<Option<Vec<String>>>() else { return pointer(addr.0) };
    if count > shown as u64 {
        texts.push("...".into());
    }
    format!("[{}]", texts.join(", "))
}

/// `struct timespec`.
pub(super) fn timespec(t: &Task, addr: Addr) -> String {
    words::<2>(t, addr).map_or_else(|| pointer(addr.0), |[sec, nsec]| format!("{{{}, {}}}", sec as i64, nsec as i64))
}

/// `struct timeval`.
pub(super) fn timeval(t: &Task, addr: Addr) -> String {
    timespec(t, addr)
}

/// Two structures of 16 bytes in a row.
pub(super) fn pair(t: &Task, addr: Addr, first: &str, second: &str, one: fn(&Task, Addr) -> String) -> String {
    if addr.is_null() {
        return pointer(0);
    }
    format!("{{{first}={}, {second}={}}}", one(t, addr), one(t, addr.offset(16)))
}

/// `struct rlimit64`.
pub(super) fn rlimit(t: &Task, addr: Addr) -> String {
    let limit = |n: u64| if n == u64::MAX { "RLIM64_INFINITY".to_owned() } else { n.to_string() };
    let text = words::<2>(t, addr).map(|[soft, hard]| format!("{{{}, {}}}", limit(soft), limit(hard)));
    text.unwrap_or_else(|| pointer(addr.0))
}

/// The signals of a set.
pub(super) fn sigset(t: &Task, addr: Addr) -> String {
    words::<1>(t, addr).map_or_else(|| pointer(addr.0), |[set]| signals(set))
}

fn signals(set: u64) -> String {
    if set == u64::MAX {
        return "~[]".into();
    }
    let names: Vec<String> = (0..64).filter(|bit| set & (1 << bit) != 0).map(|bit| names::signal(bit + 1)).collect();
    format!("[{}]", names.join(" "))
}

/// The kernel's `struct sigaction`: handler, flags, restorer, mask.
pub(super) fn sigaction(t: &Task, addr: Addr) -> String {
    let Some([handler, flags, _, mask]) = words::<4>(t, addr) else { return pointer(addr.0) };
    let handler = match handler {
        0 => "SIG_DFL".into(),
        1 => "SIG_IGN".into(),
        other => pointer(other),
    };
    // SA_RESTORER is always there and says nothing.
    let flags = names::bits(SA, flags as u32 & !0x0400_0000, "0");
    format!("{{{handler}, {}, {flags}}}", signals(mask))
}

/// The descriptors of a set for `select`.
pub(super) fn fd_set(t: &Task, addr: Addr, nfds: u64) -> String {
    if addr.is_null() {
        return pointer(0);
    }
    let nfds = (nfds as u32).min(libc::FD_SETSIZE as u32) as usize;
    let mut fds = Vec::new();
    for word in 0..nfds.div_ceil(64) {
        let Some([bits]) = words::<1>(t, addr.offset(word * 8)) else { return pointer(addr.0) };
        let in_word = (0..64).filter(|bit| bits & (1 << bit) != 0).map(|bit| word * 64 + bit);
        fds.extend(in_word.filter(|fd| *fd < nfds).map(|fd| fd.to_string()));
    }
    format!("[{}]", fds.join(" "))
}

/// Two descriptors.
pub(super) fn fd_pair(t: &Task, addr: Addr) -> String {
    words::<1>(t, addr).map_or_else(|| pointer(addr.0), |[fds]| format!("[{}, {}]", fds as i32, (fds >> 32) as i32))
}

/// Mode and size of `struct stat`.
pub(super) fn stat(t: &Task, addr: Addr) -> String {
    // dev, ino, nlink, mode and uid, gid and padding, rdev, size.
    let Some([_, ino, _, mode, _, _, size]) = words::<7>(t, addr) else { return pointer(addr.0) };
    format!("{{ino={ino}, mode={:#o}, size={size}}}", mode as u32)
}

/// The interesting part of `struct msghdr`.
pub(super) fn msghdr(t: &Task, addr: Addr) -> String {
    let Some([name, name_len, iov, iov_len, _, control_len]) = words::<6>(t, addr) else { return pointer(addr.0) };
    let to = if name == 0 { String::new() } else { format!("name={}, ", sockaddr(t, Addr(name), name_len)) };
    format!("{{{to}iov={}, controllen={control_len}}}", iovecs(t, Addr(iov), iov_len))
}

/// The beginning of `struct clone_args`.
pub(super) fn clone_args(t: &Task, addr: Addr) -> String {
    let Some([flags, _, _, _, signal, stack, size, tls]) = words::<8>(t, addr) else { return pointer(addr.0) };
    let flags = names::bits(CLONE, flags as u32, "0");
    let stack = pointer(stack);
    format!(
        "{{flags={flags}, exit_signal={}, stack={stack}, stack_size={size:#x}, tls={}}}",
        signal as i32,
        pointer(tls)
    )
}

/// `struct open_how`.
pub(super) fn open_how(t: &Task, addr: Addr) -> String {
    let Some([flags, mode, resolve]) = words::<3>(t, addr) else { return pointer(addr.0) };
    format!("{{flags={}, mode={mode:#o}, resolve={resolve:#x}}}", names::open_flags(flags as u32))
}

/// An address of a socket.
pub(super) fn sockaddr(t: &Task, addr: Addr, len: u64) -> String {
    let len = usize::try_from(len & u64::from(u32::MAX)).unwrap_or(0).min(size_of::<libc::sockaddr_storage>());
    let mut bytes = vec![0; len];
    if addr.is_null() || t.mem().read_bytes(addr, &mut bytes).is_err() {
        return pointer(addr.0);
    }
    decode_sockaddr(&bytes).unwrap_or_else(|_| quoted(&bytes))
}

fn decode_sockaddr(bytes: &[u8]) -> Result<String, Errno> {
    let array = |at: usize, len: usize| bytes.get(at..at + len).ok_or(Errno::INVAL);
    let be16 = |at| array(at, 2)?.try_into().map(u16::from_be_bytes).map_err(|_| Errno::INVAL);
    let family = u16::from_ne_bytes(array(0, 2)?.try_into().map_err(|_| Errno::INVAL)?);
    let rest = bytes.get(2..).unwrap_or_default();
    Ok(match i32::from(family) {
        libc::AF_UNIX => match rest.split_first() {
            None => "{AF_UNIX}".into(),
            Some((0, name)) => format!("{{AF_UNIX, @{}}}", quoted(name)),
            Some(_) => format!("{{AF_UNIX, {}}}", quoted(rest.split(|b| *b == 0).next().unwrap_or_default())),
        },
        libc::AF_INET => {
            let ip: [u8; 4] = array(4, 4)?.try_into().map_err(|_| Errno::INVAL)?;
            format!("{{AF_INET, {}:{}}}", Ipv4Addr::from(ip), be16(2)?)
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = array(8, 16)?.try_into().map_err(|_| Errno::INVAL)?;
            format!("{{AF_INET6, [{}]:{}}}", Ipv6Addr::from(ip), be16(2)?)
        }
        libc::AF_NETLINK => "{AF_NETLINK}".into(),
        libc::AF_UNSPEC => "{AF_UNSPEC}".into(),
        other => format!("{{family {other}, {}}}", quoted(rest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_in_c() {
        assert_eq!(quoted(b"a\"b\\\n\xff"), r#""a\"b\\\n\xff""#);
    }

    #[test]
    fn addresses_of_sockets() {
        let inet = [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode_sockaddr(&inet).unwrap(), "{AF_INET, 127.0.0.1:8080}");
        assert_eq!(decode_sockaddr(b"\x01\0/tmp/s\0junk").unwrap(), r#"{AF_UNIX, "/tmp/s"}"#);
        assert_eq!(decode_sockaddr(b"\x01\0\0abs").unwrap(), r#"{AF_UNIX, @"abs"}"#);
        assert!(decode_sockaddr(b"\x02\0\0").is_err());
        assert!(decode_sockaddr(b"").is_err());
    }

    #[test]
    fn sets_of_signals() {
        assert_eq!(signals(1 << 8 | 1 << 14), "[SIGKILL SIGTERM]");
        assert_eq!(signals(u64::MAX), "~[]");
    }
}
