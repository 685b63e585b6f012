//! Which calls need not reach the sentry as notifications.

/// Index of the thread's id; the value is 0 while there is more than one thread.
pub(super) const TID: u8 = 1;
/// The calls that can be answered so: number and index of the value.
pub(super) const CALLS: [(u32, u8); 8] = [
    (libc::SYS_getpid as u32, 0),
    (libc::SYS_gettid as u32, TID),
    (libc::SYS_getppid as u32, 2),
    (libc::SYS_getuid as u32, 3),
    (libc::SYS_geteuid as u32, 4),
    (libc::SYS_getgid as u32, 5),
    (libc::SYS_getegid as u32, 6),
    (libc::SYS_getpgrp as u32, 7),
];
/// Those that ask about a process: what answers if that is 0, the caller.
const CALLS_OF: [(u32, u8); 2] = [(libc::SYS_getpgid as u32, 7), (libc::SYS_getsid as u32, 8)];

/// Which value answers a call, and whether only if its argument is 0.
pub(super) fn value_of(nr: u32) -> Option<(u8, bool)> {
    let of = |calls: &[(u32, u8)]| calls.iter().find(|(call, _)| *call == nr).map(|(_, value)| *value);
    of(&CALLS).map(|value| (value, false)).or_else(|| Some((of(&CALLS_OF)?, true)))
}

/// The calls that can be made through a channel: those that are often made, and answered with a value alone by the
/// sentry itself.
const CHANNEL_CALLS: [libc::c_long; 64] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_open,
    libc::SYS_close,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_access,
    libc::SYS_select,
    libc::SYS_getitimer,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_uname,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_umask,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_getpriority,
    libc::SYS_getdents64,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_unlinkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat2,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_statx,
];

/// Whether a call is [`rt_sigprocmask`](libc::SYS_rt_sigprocmask), whose answer is in the channel too.
pub(in super::super) fn is_sigmask(nr: u32) -> bool {
    i64::from(nr) == libc::SYS_rt_sigprocmask
}

/// Whether a call is [`rt_sigaction`](libc::SYS_rt_sigaction), whose answer is beside the channel.
pub(in super::super) fn is_sigaction(nr: u32) -> bool {
    i64::from(nr) == libc::SYS_rt_sigaction
}

/// Whether a call is [`clone3`](libc::SYS_clone3), whose sites have code of their own.
pub(in super::super) fn is_clone(nr: u32) -> bool {
    i64::from(nr) == libc::SYS_clone3
}

/// Whether a call is [`set_robust_list`](libc::SYS_set_robust_list), which only leaves something in the channel.
pub(in super::super) fn is_robust_list(nr: u32) -> bool {
    i64::from(nr) == libc::SYS_set_robust_list
}

/// Whether a call has code of its own that needs a channel.
pub(in super::super) fn is_for_channel(nr: u32) -> bool {
    is_sigmask(nr) || is_sigaction(nr) || is_clone(nr) || is_robust_list(nr)
}

/// Whether a call can be made through a channel.
pub(in super::super) fn has_channel(nr: u32) -> bool {
    CHANNEL_CALLS.contains(&i64::from(nr))
}

/// Whether such a call has more than four arguments, or its code changes more registers.
pub(in super::super) fn has_more_args(nr: u32) -> bool {
    matches!(
        i64::from(nr),
        libc::SYS_select
            | libc::SYS_ppoll
            | libc::SYS_sendto
            | libc::SYS_recvfrom
            | libc::SYS_recvmmsg
            | libc::SYS_setsockopt
            | libc::SYS_getsockopt
            | libc::SYS_epoll_pwait
            | libc::SYS_preadv2
            | libc::SYS_pwritev2
            | libc::SYS_statx
            | libc::SYS_clone3
    )
}
