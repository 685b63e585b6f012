//! Numbers as the names that programs use for them.

use super::consts::{CLONE, FUTEX, OPEN, Table};

/// A name for a value.
pub(super) type Name = (u32, &'static str);

/// The one name of `value`.
pub(super) fn one(table: &[Name], value: u32) -> String {
    table.iter().find(|(known, _)| *known == value).map_or_else(|| format!("{value:#x}"), |(_, name)| (*name).into())
}

/// The names of the bits of `value`; `zero` if there are none.
pub(super) fn bits(table: &[Name], value: u32, zero: &str) -> String {
    let mut left = value;
    let mut words = Vec::new();
    for (bits, name) in table.iter().filter(|(bits, _)| *bits != 0) {
        if left & bits == *bits {
            words.push((*name).to_owned());
            left &= !bits;
        }
    }
    if left != 0 {
        words.push(format!("{left:#x}"));
    }
    if words.is_empty() { zero.into() } else { words.join("|") }
}

/// A signal's name.
pub(super) fn signal(signo: i32) -> String {
    match signo {
        32.. => format!("SIGRT_{}", signo - 32),
        _ => nix::sys::signal::Signal::try_from(signo).map_or_else(|_| signo.to_string(), |s| s.as_str().into()),
    }
}

/// Access mode and flags of `open`.
pub(super) fn open_flags(value: u32) -> String {
    let mode = match value as i32 & libc::O_ACCMODE {
        libc::O_RDONLY => "O_RDONLY",
        libc::O_WRONLY => "O_WRONLY",
        libc::O_RDWR => "O_RDWR",
        _ => "O_ACCMODE",
    };
    match value & !(libc::O_ACCMODE as u32) {
        0 => mode.into(),
        rest => format!("{mode}|{}", bits(OPEN, rest, "")),
    }
}

/// A socket's type with its flags.
pub(super) fn socket_type(value: u32) -> String {
    let kind = match super::consts::table(syscalls_table::Arg::SocketType) {
        Some(Table::One(table)) => one(table, value & 0xf),
        _ => (value & 0xf).to_string(),
    };
    let flags = [(libc::SOCK_CLOEXEC as u32, "SOCK_CLOEXEC"), (libc::SOCK_NONBLOCK as u32, "SOCK_NONBLOCK")];
    match value & !0xf {
        0 => kind,
        rest => format!("{kind}|{}", bits(&flags, rest, "")),
    }
}

/// A futex operation with its flags.
pub(super) fn futex_op(value: u32) -> String {
    let flags = (libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u32;
    let mut text = one(FUTEX, value & !flags);
    if value & libc::FUTEX_PRIVATE_FLAG as u32 != 0 {
        text.push_str("_PRIVATE");
    }
    if value & libc::FUTEX_CLOCK_REALTIME as u32 != 0 {
        text.push_str("|FUTEX_CLOCK_REALTIME");
    }
    text
}

/// Flags of `clone` with the signal in their lowest byte.
pub(super) fn clone_flags(value: u64) -> String {
    let flags = bits(CLONE, value as u32 & !0xff, "");
    match (flags.as_str(), (value & 0xff) as i32) {
        ("", signo) => signal(signo),
        (_, 0) => flags,
        (_, signo) => format!("{flags}|{}", signal(signo)),
    }
}

/// What `access` asks for.
pub(super) fn access_mode(value: u32) -> String {
    bits(&[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")], value, "F_OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_in_programs() {
        assert_eq!(open_flags((libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC) as u32), "O_RDWR|O_CREAT|O_CLOEXEC");
        assert_eq!(open_flags(0), "O_RDONLY");
        assert_eq!(futex_op(128), "FUTEX_WAIT_PRIVATE");
        assert_eq!(clone_flags(17), "SIGCHLD");
        assert_eq!(access_mode(0), "F_OK");
        assert_eq!(socket_type(libc::SOCK_STREAM as u32 | libc::SOCK_CLOEXEC as u32), "SOCK_STREAM|SOCK_CLOEXEC");
        assert_eq!(bits(&[(1, "A")], 5, "0"), "A|0x4");
        assert_eq!(signal(9), "SIGKILL");
    }
}
