//! One argument as text, by its kind.

use super::{consts, names, structs};
use crate::errno::SysResult;
use crate::kernel::Task;
use crate::mm::Addr;
use syscalls_table::Arg;

/// Decodes what the guest hands in; `None` for what the call is to fill.
pub(super) fn on_entry(t: &Task, kind: Arg, args: &[u64; 6], at: usize) -> Option<String> {
    let value = args.get(at).copied().unwrap_or_default();
    // Counts and lengths stand after what they count.
    let next = args.get(at + 1).copied().unwrap_or_default();
    let addr = Addr(value);
    Some(match kind {
        Arg::OutBuf | Arg::OutStr | Arg::FdPair | Arg::Stat => return None,
        Arg::Path | Arg::Str => structs::string(t, addr),
        Arg::InBuf => structs::buffer(t, addr, next),
        Arg::Iovec => structs::iovecs(t, addr, next),
        Arg::Argv => structs::argv(t, addr),
        Arg::Timespec => structs::timespec(t, addr),
        Arg::Timeval => structs::timeval(t, addr),
        Arg::Itimerspec => structs::pair(t, addr, "interval", "value", structs::timespec),
        Arg::Itimerval => structs::pair(t, addr, "interval", "value", structs::timeval),
        Arg::Rlimit => structs::rlimit(t, addr),
        Arg::Sockaddr => structs::sockaddr(t, addr, next),
        Arg::Msghdr => structs::msghdr(t, addr),
        Arg::PollFds => structs::pollfds(t, addr, next),
        Arg::FdSet => structs::fd_set(t, addr, args.first().copied().unwrap_or_default()),
        Arg::Sigset => structs::sigset(t, addr),
        Arg::Sigaction => structs::sigaction(t, addr),
        Arg::CloneArgs => structs::clone_args(t, addr),
        Arg::OpenHow => structs::open_how(t, addr),
        scalar => self::scalar(scalar, value),
    })
}

/// Decodes what the call filled.
pub(super) fn on_exit(t: &Task, kind: Arg, args: &[u64; 6], at: usize, result: &SysResult) -> String {
    let value = args.get(at).copied().unwrap_or_default();
    let addr = Addr(value);
    match (kind, result) {
        (Arg::OutBuf, Ok(count)) => structs::buffer(t, addr, *count as u64),
        (Arg::OutStr, Ok(_)) => structs::string(t, addr),
        (Arg::FdPair, Ok(_)) => structs::fd_pair(t, addr),
        (Arg::Stat, Ok(_)) => structs::stat(t, addr),
        _ => structs::pointer(value),
    }
}

/// Everything that is not a pointer to something.
fn scalar(kind: Arg, value: u64) -> String {
    let low = value as u32;
    let signed = value as i32;
    match kind {
        Arg::Int | Arg::Pid | Arg::Fd => signed.to_string(),
        Arg::Uint => low.to_string(),
        Arg::Uid if low == u32::MAX => "-1".into(),
        Arg::Uid => low.to_string(),
        Arg::Ulong | Arg::Size => value.to_string(),
        Arg::Offset => (value as i64).to_string(),
        Arg::Ptr | Arg::Envp => structs::pointer(value),
        Arg::DirFd if signed == libc::AT_FDCWD => "AT_FDCWD".into(),
        Arg::DirFd => signed.to_string(),
        Arg::Mode => format!("{low:#o}"),
        Arg::Signal => names::signal(signed),
        Arg::OpenFlags => names::open_flags(low),
        Arg::SocketType => names::socket_type(low),
        Arg::FutexOp => names::futex_op(low),
        Arg::CloneFlags => names::clone_flags(value),
        Arg::AccessMode => names::access_mode(low),
        kind => match consts::table(kind) {
            Some(consts::Table::One(table)) => names::one(table, low),
            Some(consts::Table::Bits(table)) => names::bits(table, low, "0"),
            Some(consts::Table::BitsOr(zero, table)) => names::bits(table, low, zero),
            None => format!("{value:#x}"),
        },
    }
}
