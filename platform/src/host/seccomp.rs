//! The sentry's own seccomp filter: what it may ask of the host.
//!
//! The list is by number alone except where an argument decides what a call can reach.

use super::socket;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// What a call outside the list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterAction {
    /// Kills the sandbox.
    Kill,
    /// Fails with `EPERM`, for development.
    Errno,
}

/// What the sentry may reach besides what it was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Handed,
    /// The host's network, by sockets of its own ([`socket`](super::socket)).
    Network,
}

/// Calls that the sentry may make with any arguments.
const ALLOWED: &[i64] = &[
    // Its memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Its threads. clone3 is answered with ENOSYS below, so that flags can be seen.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time and waiting.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Descriptors it has.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_fadvise64,
    libc::SYS_getdents64,
    libc::SYS_copy_file_range,
    libc::SYS_splice,
    libc::SYS_memfd_create,
    libc::SYS_pipe2,
    // Files below directories it has (it has no root and no working directory worth the name).
    libc::SYS_openat2,
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_getxattr,
    libc::SYS_setxattr,
    libc::SYS_listxattr,
    libc::SYS_removexattr,
    libc::SYS_lgetxattr,
    libc::SYS_lsetxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    // Guests.
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_waitid,
    libc::SYS_wait4,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_accept4,
    libc::SYS_sched_setattr,
    libc::SYS_sched_getattr,
    libc::SYS_setpriority,
    libc::SYS_getpriority,
    // Facts.
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getcpu,
    libc::SYS_membarrier,
];

/// Requests of `ioctl(2)`: seccomp notifications, terminals handed in, and queries of files.
const IOCTLS: &[u64] = &[
    SECCOMP_NOTIF_RECV,
    SECCOMP_NOTIF_SEND,
    SECCOMP_NOTIF_ID_VALID,
    SECCOMP_NOTIF_ADDFD,
    SECCOMP_NOTIF_SET_FLAGS,
    PROCMAP_QUERY,
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TIOCGWINSZ,
    libc::TIOCSWINSZ,
    libc::TIOCOUTQ,
    libc::TCFLSH,
    libc::TCSBRK,
    libc::FICLONE,
];

/// `_IOWR('!', nr, type)` and `_IOW('!', nr, type)` of `linux/seccomp.h`.
const SECCOMP_NOTIF_RECV: u64 = 0xc050_2100;
const SECCOMP_NOTIF_SEND: u64 = 0xc018_2101;
const SECCOMP_NOTIF_ID_VALID: u64 = 0x4008_2102;
const SECCOMP_NOTIF_ADDFD: u64 = 0x4018_2103;
const SECCOMP_NOTIF_SET_FLAGS: u64 = 0x4008_2104;
/// `_IOWR('f', 17, struct procmap_query)` of `linux/fs.h`.
const PROCMAP_QUERY: u64 = 0xc068_6611;

/// Flags without which `clone(2)` would make a process, and those that make a namespace.
const THREAD_FLAGS: u64 = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
const NEW_NAMESPACE: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// The program: `action` for all that is not on the list, `ENOSYS` for `clone3` (the C library then uses `clone`,
/// whose flags a filter can see).
pub fn sentry_filter(action: FilterAction, reach: Reach) -> io::Result<BpfProgram> {
    let mismatch = match action {
        FilterAction::Kill => SeccompAction::KillProcess,
        FilterAction::Errno => SeccompAction::Errno(libc::EPERM as u32),
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|nr| (*nr, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![rule(&[(0, THREAD_FLAGS | NEW_NAMESPACE, THREAD_FLAGS)])?]);
    let mut ioctls = IOCTLS.to_vec();
    if reach == Reach::Network {
        rules.extend(network_rules()?);
        ioctls.push(socket::SIOCATMARK);
    }
    rules.insert(libc::SYS_ioctl, equals_any(1, &ioctls)?);
    // Executable memory is made before the filter, if at all.
    let not_exec = rule(&[(2, libc::PROT_EXEC as u64, 0)])?;
    rules.insert(libc::SYS_mprotect, vec![not_exec.clone()]);
    rules.insert(libc::SYS_mmap, vec![not_exec]);
    rules.insert(libc::SYS_prctl, equals_any(0, &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64])?);
    let fcntl = [libc::F_GETFL, libc::F_SETFL, libc::F_GETFD, libc::F_SETFD, libc::F_DUPFD_CLOEXEC];
    let seals = [libc::F_ADD_SEALS, libc::F_GET_SEALS, libc::F_GETPIPE_SZ, libc::F_SETPIPE_SZ];
    let fcntl: Vec<u64> = fcntl.iter().chain(&seals).map(|cmd| *cmd as u64).collect();
    rules.insert(libc::SYS_fcntl, equals_any(1, &fcntl)?);
    let filter = SeccompFilter::new(rules, mismatch, SeccompAction::Allow, TargetArch::x86_64).map_err(other)?;
    let allowed: BpfProgram = filter.try_into().map_err(other)?;
    Ok(with_clone3_missing(allowed))
}

/// Calls on sockets that take any arguments.
const NETWORK_ALLOWED: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// What sockets of the host need besides reading and writing: those of the internet alone, with the options that pass.
fn network_rules() -> io::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    /// The bits of a socket's type that are not flags.
    const TYPE: u64 = 0xf;
    let low = u64::from(u32::MAX);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NETWORK_ALLOWED.iter().map(|nr| (*nr, Vec::new())).collect();
    let mut sockets = Vec::new();
    for family in socket::FAMILIES {
        for (kind, protocols) in socket::KINDS {
            let of_kind = [(0, low, family as u64), (1, TYPE, *kind as u64)];
            if protocols.is_empty() {
                sockets.push(rule(&of_kind)?);
            }
            for protocol in *protocols {
                sockets.push(rule(&[of_kind[0], of_kind[1], (2, low, *protocol as u64)])?);
            }
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    let mut options = Vec::new();
    for (level, names) in socket::OPTIONS {
        for (first, last) in runs(names) {
            options.push(option_rule(*level, first, last)?);
        }
    }
    rules.insert(libc::SYS_getsockopt, options.clone());
    options.push(option_rule(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, libc::SO_ATTACH_FILTER)?);
    rules.insert(libc::SYS_setsockopt, options);
    Ok(rules)
}

/// A rule that holds for the options from `first` to `last` of a level.
fn option_rule(level: i32, first: i32, last: i32) -> io::Result<SeccompRule> {
    let condition = |arg, op, value: i32| SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value as u64);
    let conditions: Result<Vec<_>, _> = [
        condition(1, SeccompCmpOp::Eq, level),
        condition(2, SeccompCmpOp::Ge, first),
        condition(2, SeccompCmpOp::Le, last),
    ]
    .into_iter()
    .collect();
    SeccompRule::new(conditions.map_err(other)?).map_err(other)
}

/// Numbers as first and last of each run without a gap.
fn runs(numbers: &[i32]) -> Vec<(i32, i32)> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 >= number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

/// Calls that a network's relay may make with any arguments.
const RELAY_ALLOWED: &[i64] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
];

/// The program for a network's relay: sockets of the internet for streams and datagrams, and what is needed around them;
/// anything else kills it.
pub fn relay_filter() -> io::Result<BpfProgram> {
    /// The bits of a socket's type that are not flags.
    const TYPE: u64 = 0xf;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = RELAY_ALLOWED.iter().map(|nr| (*nr, Vec::new())).collect();
    let not_exec = rule(&[(2, libc::PROT_EXEC as u64, 0)])?;
    rules.insert(libc::SYS_mprotect, vec![not_exec.clone()]);
    rules.insert(libc::SYS_mmap, vec![not_exec]);
    let low = u64::from(u32::MAX);
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            sockets.push(rule(&[(0, low, family as u64), (1, TYPE, kind as u64)])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    let options = [
        (libc::SOL_SOCKET, libc::SO_LINGER),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    ];
    let options: io::Result<Vec<_>> =
        options.iter().map(|(level, name)| rule(&[(1, low, *level as u64), (2, low, *name as u64)])).collect();
    rules.insert(libc::SYS_setsockopt, options?);
    let error = rule(&[(1, low, libc::SOL_SOCKET as u64), (2, low, libc::SO_ERROR as u64)])?;
    rules.insert(libc::SYS_getsockopt, vec![error]);
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64);
    filter.map_err(other)?.try_into().map_err(other)
}

/// A rule that holds if, for each `(argument, mask, value)`, the masked argument is the value.
fn rule(conditions: &[(u8, u64, u64)]) -> io::Result<SeccompRule> {
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|(arg, mask, value)| {
            SeccompCondition::new(*arg, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(*mask), *value)
        })
        .collect();
    SeccompRule::new(conditions.map_err(other)?).map_err(other)
}

fn equals_any(arg: u8, values: &[u64]) -> io::Result<Vec<SeccompRule>> {
    values.iter().map(|value| rule(&[(arg, u64::from(u32::MAX), *value)])).collect()
}

/// Puts `if nr == clone3 { return ENOSYS }` after the check of the architecture.
fn with_clone3_missing(mut program: BpfProgram) -> BpfProgram {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let op = |code: u32, jt, jf, k| seccompiler::sock_filter { code: code as u16, jt, jf, k };
    let test = [
        op(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, libc::SYS_clone3 as u32),
        op(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    program.splice(ARCH_CHECK_LEN..ARCH_CHECK_LEN, test);
    program
}

/// Instructions with which `seccompiler` checks the architecture: load, compare, kill.
const ARCH_CHECK_LEN: usize = 3;

/// Puts all threads of the process under `program`, for ever.
pub fn install_filter(program: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter_all_threads(program).map_err(other)
}

fn other(e: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_begins_with_the_architecture() {
        let program = sentry_filter(FilterAction::Kill, Reach::Handed).expect("the list compiles");
        // Load of the architecture (offset 4), comparison, kill, then the number (offset 0).
        assert_eq!(program[0].k, 4);
        assert_eq!(program[2].code, (libc::BPF_RET | libc::BPF_K) as u16);
        assert_eq!(program[3].k, 0);
        assert!(program.len() < 4096);
    }

    /// What the filter says to a call with these arguments.
    fn verdict(reach: Reach, nr: i64, args: [u64; 3]) -> u32 {
        let program = sentry_filter(FilterAction::Errno, reach).expect("the list compiles");
        assert!(program.len() < 4096, "{} instructions", program.len());
        let mut data = [0u32; 16];
        (data[0], data[1]) = (nr as u32, 0xc000_003e);
        for (n, arg) in args.into_iter().enumerate() {
            (data[4 + 2 * n], data[5 + 2 * n]) = (arg as u32, (arg >> 32) as u32);
        }
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = &program[pc];
            let (code, k) = (u32::from(i.code), i.k);
            let jump = |is_true| usize::from(if is_true { i.jt } else { i.jf });
            pc += 1;
            match (code & 7, code & 0xf0) {
                (libc::BPF_LD, _) => a = data[k as usize / 4],
                (libc::BPF_RET, _) => return k,
                (libc::BPF_ALU, libc::BPF_AND) => a &= k,
                (libc::BPF_JMP, libc::BPF_JA) => pc += k as usize,
                (libc::BPF_JMP, libc::BPF_JEQ) => pc += jump(a == k),
                (libc::BPF_JMP, libc::BPF_JGT) => pc += jump(a > k),
                (libc::BPF_JMP, libc::BPF_JGE) => pc += jump(a >= k),
                other => panic!("an instruction that nobody uses: {other:?}"),
            }
        }
    }

    #[test]
    fn sockets_are_made_in_their_mode_only() {
        let allow = libc::SECCOMP_RET_ALLOW;
        let tcp = [libc::AF_INET as u64, (libc::SOCK_STREAM | libc::SOCK_NONBLOCK) as u64, 0];
        for (nr, args) in [
            (libc::SYS_socket, tcp),
            (libc::SYS_connect, [3, 0, 0]),
            (libc::SYS_bind, [3, 0, 0]),
            (libc::SYS_listen, [3, 0, 0]),
            (libc::SYS_getsockname, [3, 0, 0]),
            (libc::SYS_setsockopt, [3, libc::IPPROTO_TCP as u64, libc::TCP_NODELAY as u64]),
            (libc::SYS_getsockopt, [3, libc::SOL_SOCKET as u64, libc::SO_ERROR as u64]),
        ] {
            assert_eq!(verdict(Reach::Network, nr, args), allow, "{nr} {args:?}");
            assert_ne!(verdict(Reach::Handed, nr, args), allow, "{nr} {args:?}");
        }
        for (nr, args) in [
            (libc::SYS_socket, [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0]),
            (libc::SYS_socket, [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 0]),
            (libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_STREAM as u64, libc::IPPROTO_SCTP as u64]),
            (libc::SYS_setsockopt, [3, libc::IPPROTO_TCP as u64, libc::TCP_REPAIR as u64]),
            (libc::SYS_getsockopt, [3, libc::IPPROTO_TCP as u64, 35]),
            (libc::SYS_getsockopt, [3, libc::SOL_SOCKET as u64, libc::SO_ATTACH_FILTER as u64]),
            (libc::SYS_setsockopt, [3, libc::SOL_SOCKET as u64, libc::SO_ATTACH_REUSEPORT_CBPF as u64]),
        ] {
            assert_ne!(verdict(Reach::Network, nr, args), allow, "{nr} {args:?}");
        }
    }
}
