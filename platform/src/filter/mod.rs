//! The seccomp filter of guest processes: what they may do natively, and what reaches the sentry.
//!
//! A call is native only if a guest that makes it with any arguments at all can harm nothing but its own
//! process. Everything else is intercepted. The instruction pointer is used to route, never to protect.

mod bpf;

use bpf::{Assembler, Check};
use libc::sock_filter;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// x32 numbers start here.
const X32_BIT: u32 = 0x4000_0000;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Mappings whose flags are a subset of these and contain `MAP_ANONYMOUS` are native: no huge pages (a pool of
/// the whole host), no `MAP_GROWSDOWN` (the sentry's copies would not grow it). 0x08 is `MAP_DROPPABLE`.
const MMAP_FLAGS: u32 = (libc::MAP_SHARED
    | libc::MAP_PRIVATE
    | libc::MAP_FIXED
    | libc::MAP_FIXED_NOREPLACE
    | libc::MAP_ANONYMOUS
    | libc::MAP_NORESERVE
    | libc::MAP_STACK
    | libc::MAP_POPULATE
    | libc::MAP_LOCKED
    | libc::MAP_32BIT
    | libc::MAP_DENYWRITE
    | 0x08) as u32;

/// `madvise` values that concern nobody else. Left out: REMOVE (9) and DONTFORK, DOFORK, WIPEONFORK,
/// KEEPONFORK (10, 11, 18, 19), which could undo the protection of slots; MERGEABLE (12, 13), a side channel;
/// PAGEOUT (21) of shared pages; HWPOISON (100, 101).
const MADVISE: [u32; 16] = [0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 20, 22, 23, 25, 102, 103];

/// WAIT, WAKE, WAKE_OP, WAIT_BITSET, WAKE_BITSET.
const FUTEX_OPS: [u32; 5] = [0, 1, 5, 9, 10];
/// FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME.
const FUTEX_FLAGS: u32 = 128 | 256;

/// QUERY and the private forms, with their registrations.
const MEMBARRIER: [u32; 7] = [0, 8, 16, 32, 64, 128, 256];

/// SET_FS, GET_FS. Those of GS are intercepted: the stub uses it.
const ARCH_PRCTL: [u32; 2] = [0x1002, 0x1003];

/// Clocks that read the same for guest and host: REALTIME, MONOTONIC, THREAD_CPUTIME, RAW, COARSE forms,
/// BOOTTIME, TAI.
const CLOCKS: [u32; 8] = [0, 1, 3, 4, 5, 6, 7, 11];

/// Calls that are native whatever their arguments are.
const PLAIN: [libc::c_long; 14] = [
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_getcpu,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_mlock2,
];

/// Calls that are native with some of their arguments; [`is_native`] says which.
const CHECKED: [libc::c_long; 6] = [
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_arch_prctl,
    libc::SYS_membarrier,
];

/// The calls that a guest may make without the sentry hearing of it.
pub fn native_calls() -> impl ExactSizeIterator<Item = libc::c_long> + Clone {
    (0..PLAIN.len() + CHECKED.len()).map(|at| PLAIN.get(at).copied().unwrap_or_else(|| CHECKED[at - PLAIN.len()]))
}

/// What the stub's own page may do besides. A guest that jumps there can spoil its own signal handling, protect its
/// own memory from itself, and map, privately, the file at a window descriptor: those have no more rights than the
/// guest's own, or are of a process that runs no guest code yet.
const STUB_CALLS: [libc::c_long; 3] = [libc::SYS_rt_sigaction, libc::SYS_sigaltstack, SYS_MSEAL];
const SYS_MSEAL: libc::c_long = 462;
/// How the segments of programs are mapped.
const SEGMENT_FLAGS: u32 = (libc::MAP_PRIVATE | libc::MAP_FIXED) as u32;

fn windows() -> Vec<u32> {
    (crate::WINDOW_FD..crate::WINDOW_FD + crate::WINDOWS as u32).collect()
}

/// Builds the filter; calls that are not native get `intercept` (a `SECCOMP_RET_` value).
pub(crate) fn guest_filter(intercept: u32) -> Vec<sock_filter> {
    let one_of = |arg, values: &[u32]| Check::OneOf { arg, ignore: 0, values: values.to_vec() };
    let mut a = Assembler::default();
    a.foreign_arch(ENOSYS);
    a.numbers_from(X32_BIT, ENOSYS);
    let futex = Check::OneOf { arg: 1, ignore: FUTEX_FLAGS, values: FUTEX_OPS.to_vec() };
    a.rule(libc::SYS_futex as u32, &[futex], ALLOW);
    let mmap = Check::Bits { arg: 3, set: libc::MAP_ANONYMOUS as u32, allowed: MMAP_FLAGS };
    a.rule(libc::SYS_mmap as u32, &[mmap], ALLOW);
    let stub = Check::Page(stub::abi::TEXT_BASE as u32);
    let segment = Check::Bits { arg: 3, set: SEGMENT_FLAGS, allowed: SEGMENT_FLAGS };
    a.rule(libc::SYS_mmap as u32, &[stub.clone(), segment, one_of(4, &windows())], ALLOW);
    a.rule(libc::SYS_close as u32, &[stub.clone(), one_of(0, &windows())], ALLOW);
    for nr in STUB_CALLS {
        a.rule(nr as u32, std::slice::from_ref(&stub), ALLOW);
    }
    a.rule(libc::SYS_madvise as u32, &[one_of(2, &MADVISE)], ALLOW);
    a.rule(libc::SYS_rt_sigreturn as u32, &[Check::Ip(stub::entry::SIGRETURNED as u32)], ALLOW);
    a.rule(libc::SYS_clock_gettime as u32, &[one_of(0, &CLOCKS)], ALLOW);
    a.rule(libc::SYS_arch_prctl as u32, &[one_of(0, &ARCH_PRCTL)], ALLOW);
    a.rule(libc::SYS_membarrier as u32, &[one_of(0, &MEMBARRIER)], ALLOW);
    for nr in PLAIN {
        a.rule(nr as u32, &[], ALLOW);
    }
    a.finish(intercept)
}

/// Whether the filter lets the stub make this call natively. The platform asks which of its orders will come by as
/// notifications.
pub(crate) fn is_native_in_stub(nr: u32, args: &[u64; 6]) -> bool {
    let window = |n: usize| windows().contains(&(args[n] as u32));
    match i64::from(nr) {
        libc::SYS_mmap if args[3] == u64::from(SEGMENT_FLAGS) => window(4),
        libc::SYS_close => window(0),
        nr if STUB_CALLS.contains(&nr) => true,
        _ => is_native(nr, args),
    }
}

/// Whether the filter lets this call run natively wherever it is made.
pub(crate) fn is_native(nr: u32, args: &[u64; 6]) -> bool {
    let arg = |n: usize| args[n] as u32;
    match i64::from(nr) {
        libc::SYS_futex => FUTEX_OPS.contains(&(arg(1) & !FUTEX_FLAGS)),
        libc::SYS_mmap => args[3] >> 32 == 0 && arg(3) & !MMAP_FLAGS == 0 && arg(3) & libc::MAP_ANONYMOUS as u32 != 0,
        libc::SYS_madvise => MADVISE.contains(&arg(2)),
        libc::SYS_arch_prctl => ARCH_PRCTL.contains(&arg(0)),
        libc::SYS_clock_gettime => CLOCKS.contains(&arg(0)),
        libc::SYS_membarrier => MEMBARRIER.contains(&arg(0)),
        nr if PLAIN.contains(&nr) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

    fn run(nr: i64, args: [u64; 6]) -> u32 {
        bpf::interpret(&guest_filter(NOTIFY), nr as u32, AUDIT_ARCH_X86_64, 0x40_0000, args)
    }

    /// The list that was reviewed, in numbers, so that nothing joins it unseen: each call is one that a guest may
    /// make with any of these arguments and harm nothing but its own process.
    #[test]
    fn what_is_native_is_what_was_reviewed() {
        let always = [10, 11, 12, 24, 25, 96, 149, 150, 201, 219, 309, 318, 325, 334];
        // By number, the argument that decides, and its values.
        let sometimes: [(i64, usize, &[u64]); 5] = [
            (28, 2, &[0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 20, 22, 23, 25, 102, 103]),
            (158, 0, &[0x1002, 0x1003]),
            (202, 1, &[0, 1, 5, 9, 10]),
            (228, 0, &[0, 1, 3, 4, 5, 6, 7, 11]),
            (324, 0, &[0, 8, 16, 32, 64, 128, 256]),
        ];
        for nr in (0..600).filter(|nr| *nr != libc::SYS_mmap) {
            let decides = sometimes.iter().find(|(known, ..)| *known == nr);
            for value in (0..600).chain(0x1000..0x1010).chain([1 << 31, 1 << 32, 1 << 40, u64::MAX]) {
                let at = decides.map_or(0, |(_, at, _)| *at);
                let mut args = [0; 6];
                args[at] = value;
                // The kernel looks at 32 bits of each of these, and futexes have two flags.
                let low = value & 0xffff_ffff & if nr == libc::SYS_futex { !384 } else { !0 };
                let native = always.contains(&nr) || decides.is_some_and(|(.., values)| values.contains(&low));
                assert_eq!(run(nr, args) == ALLOW, native, "{nr} {value:#x}");
            }
        }
        // MAP_SHARED, PRIVATE, DROPPABLE, FIXED, ANONYMOUS, 32BIT, DENYWRITE, LOCKED, NORESERVE, POPULATE, STACK,
        // FIXED_NOREPLACE.
        let plain = [0x1, 0x2, 0x8, 0x10, 0x20, 0x40, 0x800, 0x2000, 0x4000, 0x8000, 0x2_0000, 0x10_0000];
        for bit in 0..64 {
            let (flag, anonymous) = (1u64 << bit, 0x20);
            let mmap = |flags| run(libc::SYS_mmap, [0, 4096, 3, flags, u64::MAX, 0]);
            assert_eq!(mmap(flag | anonymous) == ALLOW, plain.contains(&flag), "{flag:#x}");
            assert_eq!(mmap(flag) == ALLOW, flag == anonymous, "{flag:#x}");
        }
    }

    #[test]
    fn native_calls_are_those_that_the_filter_lets_through() {
        let tried = [0, 1, 2, 8, 16, 0x1002, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64];
        for nr in 0..512 {
            let passes = tried.iter().any(|arg| run(nr, [*arg; 6]) == ALLOW);
            assert_eq!(passes, native_calls().any(|native| native == nr), "{nr}");
        }
    }

    #[test]
    fn foreign_architectures_and_x32_get_enosys() {
        let filter = guest_filter(NOTIFY);
        assert_eq!(bpf::interpret(&filter, 11, 0x4000_0003, 0, [0; 6]), ENOSYS);
        assert_eq!(bpf::interpret(&filter, X32_BIT | 11, AUDIT_ARCH_X86_64, 0, [0; 6]), ENOSYS);
    }

    #[test]
    fn only_plain_anonymous_mappings_are_native() {
        let anon = (libc::MAP_ANONYMOUS | libc::MAP_PRIVATE) as u64;
        assert_eq!(run(libc::SYS_mmap, [0, 4096, 3, anon, u64::MAX, 0]), ALLOW);
        for flags in [
            libc::MAP_PRIVATE as u64,
            anon | libc::MAP_HUGETLB as u64,
            anon | libc::MAP_GROWSDOWN as u64,
            anon | 1 << 40,
        ] {
            assert_eq!(run(libc::SYS_mmap, [0, 4096, 3, flags, 3, 0]), NOTIFY, "{flags:#x}");
        }
    }

    #[test]
    fn madvise_that_touches_fork_or_others_is_intercepted() {
        for advice in 0..128u64 {
            let want = if MADVISE.contains(&(advice as u32)) { ALLOW } else { NOTIFY };
            assert_eq!(run(libc::SYS_madvise, [0x1000, 4096, advice, 0, 0, 0]), want, "{advice}");
        }
        for advice in [9, 10, 11, 12, 13, 18, 19, 21, 100, 101] {
            assert!(!MADVISE.contains(&advice));
        }
    }

    #[test]
    fn requeue_and_priority_inheritance_never_reach_the_host() {
        for op in 0..16u64 {
            let want = if [0, 1, 5, 9, 10].contains(&op) { ALLOW } else { NOTIFY };
            for flags in [0, 128, 256, 384] {
                assert_eq!(run(libc::SYS_futex, [0x1000, op | flags, 0, 0, 0, 0]), want, "{op}");
            }
            assert_eq!(run(libc::SYS_futex, [0x1000, op | 512, 0, 0, 0, 0]), NOTIFY);
        }
    }

    #[test]
    fn set_gs_is_intercepted_and_set_fs_is_not() {
        assert_eq!(run(libc::SYS_arch_prctl, [0x1001, 0, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(run(libc::SYS_arch_prctl, [0x1002, 0, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn the_stub_and_nobody_else_maps_windows_and_sets_handlers() {
        let filter = guest_filter(NOTIFY);
        let window = u64::from(crate::WINDOW_FD);
        let segment = (libc::SYS_mmap, [0x40_0000, 4096, 5, u64::from(SEGMENT_FLAGS), window, 0]);
        let close = (libc::SYS_close, [window + 1, 0, 0, 0, 0, 0]);
        let action = (libc::SYS_rt_sigaction, [11, 0, 0, 8, 0, 0]);
        for (nr, args) in [segment, close, action] {
            let at = |ip| bpf::interpret(&filter, nr as u32, AUDIT_ARCH_X86_64, ip, args);
            assert_eq!((at(0x10123), at(0x11000), at(0x1_0001_0123), at(0x40_1000)), (ALLOW, NOTIFY, NOTIFY, NOTIFY));
            assert!(is_native_in_stub(nr as u32, &args) && !is_native(nr as u32, &args));
        }
        let shared = [0x40_0000, 4096, 3, (libc::MAP_SHARED | libc::MAP_FIXED) as u64, window, 0];
        for (nr, args) in [(libc::SYS_mmap, shared), (libc::SYS_close, [3; 6])] {
            assert_eq!(bpf::interpret(&filter, nr as u32, AUDIT_ARCH_X86_64, 0x10123, args), NOTIFY);
            assert!(!is_native_in_stub(nr as u32, &args));
        }
    }

    #[test]
    fn sigreturn_is_routed_by_address() {
        let filter = guest_filter(NOTIFY);
        let run = |ip| bpf::interpret(&filter, 15, AUDIT_ARCH_X86_64, ip, [0; 6]);
        assert_eq!(run(stub::entry::SIGRETURNED), ALLOW);
        assert_eq!(run(stub::entry::SIGRETURNED + (1 << 32)), NOTIFY);
        assert_eq!(run(0x40_1000), NOTIFY);
    }

    /// What has no handler in the sentry must not come there, whatever the arguments.
    #[test]
    fn calls_said_to_be_run_by_the_host_kernel_are_native() {
        let said = syscalls_table::TABLE.iter().filter(|e| e.note.starts_with("run by the host kernel"));
        for entry in said {
            for arg in [0, 1, u64::MAX] {
                assert!(is_native(entry.nr, &[arg; 6]), "{} {arg:#x}", entry.name);
            }
        }
    }

    #[test]
    fn the_predicate_and_the_program_agree() {
        for nr in 0..512i64 {
            for arg in [0u64, 1, 3, 8, 9, 34, 128, 0x1002, 0x2000_0022] {
                let args = [arg, arg, arg, arg, 0, 0];
                assert_eq!(run(nr, args) == ALLOW, is_native(nr as u32, &args), "{nr} {arg:#x}");
            }
        }
    }
}
