//! `/proc/sys`: what programs ask for. Values are those that the sentry acts by.

use super::sysctl_net::NET;
use crate::errno::{Errno, SysResult};
use crate::fs::fd_table::NR_OPEN;
use crate::fs::lease::{BREAK_TIME, ENABLED};
use crate::fs::pseudo::{Fixed, Reader};
use crate::kernel::tree::PID_MAX;
use crate::kernel::{Cap, aio, keys};
use crate::net;
use crate::syscalls::system::{RELEASE, VERSION};
use std::fmt::Write;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

/// The tree.
pub(super) const ENTRIES: &[(&str, Fixed)] = &[
    ("fs", Fixed::Dir(FS)),
    ("kernel", Fixed::Dir(KERNEL)),
    ("net", Fixed::Dir(NET)),
    ("user", Fixed::Dir(USER)),
    ("vm", Fixed::Dir(VM)),
];

/// How many namespaces there may be.
const USER: &[(&str, Fixed)] = &[(
    "max_net_namespaces",
    Fixed::Writable(0o644, |_| line(net::namespace::MAX.load(Relaxed)), |_, data| set(&net::namespace::MAX, data)),
)];

const FS: &[(&str, Fixed)] = &[
    ("aio-max-nr", Fixed::File(0o444, |_| line(aio::MAX))),
    ("aio-nr", Fixed::File(0o444, |_| line(aio::made_for()))),
    ("dir-notify-enable", Fixed::Text("1\n")),
    ("epoll", Fixed::Dir(&[("max_user_watches", Fixed::Text("1048576\n"))])),
    ("file-max", Fixed::Text("1048576\n")),
    ("inotify", Fixed::Dir(INOTIFY)),
    ("lease-break-time", Fixed::Writable(0o644, |_| line(BREAK_TIME.load(Relaxed)), |_, data| set(&BREAK_TIME, data))),
    ("leases-enable", Fixed::Writable(0o644, |_| line(ENABLED.load(Relaxed)), |_, data| set(&ENABLED, data))),
    ("mqueue", Fixed::Dir(MQUEUE)),
    ("nr_open", Fixed::File(0o444, |_| line(NR_OPEN))),
    ("overflowgid", Fixed::Text("65534\n")),
    ("overflowuid", Fixed::Text("65534\n")),
    ("pipe-max-size", Fixed::Text("1048576\n")),
    ("pipe-user-pages-hard", Fixed::Text("0\n")),
    ("pipe-user-pages-soft", Fixed::Text("16384\n")),
    ("protected_hardlinks", Fixed::Text("1\n")),
    ("protected_symlinks", Fixed::Text("1\n")),
    ("suid_dumpable", Fixed::Text("0\n")),
];

const INOTIFY: &[(&str, Fixed)] = &[
    ("max_queued_events", Fixed::Text("16384\n")),
    ("max_user_instances", Fixed::Text("128\n")),
    ("max_user_watches", Fixed::Text("65536\n")),
];

const MQUEUE: &[(&str, Fixed)] = &[
    ("msg_default", Fixed::Text("10\n")),
    ("msg_max", Fixed::Text("10\n")),
    ("msgsize_default", Fixed::Text("8192\n")),
    ("msgsize_max", Fixed::Text("8192\n")),
    ("queues_max", Fixed::Text("256\n")),
];

const KEYS: &[(&str, Fixed)] = &[
    ("maxbytes", Fixed::File(0o444, |_| line(keys::MAX_BYTES))),
    ("maxkeys", Fixed::File(0o444, |_| line(keys::MAX_KEYS))),
    ("root_maxbytes", Fixed::File(0o444, |_| line(keys::ROOT_MAX_BYTES))),
    ("root_maxkeys", Fixed::File(0o444, |_| line(keys::ROOT_MAX_KEYS))),
];

const KERNEL: &[(&str, Fixed)] = &[
    ("cap_last_cap", Fixed::Text("40\n")),
    ("core_pattern", Fixed::Text("core\n")),
    ("core_uses_pid", Fixed::Text("0\n")),
    ("dmesg_restrict", Fixed::Text("1\n")),
    ("domainname", Fixed::Writable(0o644, domainname, set_domainname)),
    ("hostname", Fixed::Writable(0o644, hostname, set_hostname)),
    ("io_uring_disabled", Fixed::Text("2\n")),
    ("kexec_load_disabled", Fixed::Text("1\n")),
    ("keys", Fixed::Dir(KEYS)),
    ("modules_disabled", Fixed::Text("1\n")),
    ("msgmax", Fixed::Text("8192\n")),
    ("msgmnb", Fixed::Text("16384\n")),
    ("msgmni", Fixed::Text("32000\n")),
    ("ngroups_max", Fixed::Text("65536\n")),
    ("osrelease", Fixed::File(0o444, |_| line(RELEASE))),
    ("ostype", Fixed::Text("Linux\n")),
    ("overflowgid", Fixed::Text("65534\n")),
    ("overflowuid", Fixed::Text("65534\n")),
    ("panic", Fixed::Text("0\n")),
    ("panic_on_oops", Fixed::Text("0\n")),
    ("perf_event_paranoid", Fixed::Text("4\n")),
    ("pid_max", Fixed::File(0o444, |_| line(PID_MAX))),
    ("printk", Fixed::Text("4\t4\t1\t7\n")),
    ("pty", Fixed::Dir(&[("max", Fixed::Text("4096\n"))])),
    ("random", Fixed::Dir(RANDOM)),
    ("randomize_va_space", Fixed::Text("2\n")),
    ("sched_rr_timeslice_ms", Fixed::Text("100\n")),
    ("seccomp", Fixed::Dir(&[("actions_avail", Fixed::Text(SECCOMP_ACTIONS))])),
    ("sem", Fixed::Text("32000\t1024000000\t500\t32000\n")),
    ("shm_rmid_forced", Fixed::Text("0\n")),
    ("shmall", Fixed::Text("18446744073692774399\n")),
    ("shmmax", Fixed::Text("18446744073692774399\n")),
    ("shmmni", Fixed::Text("4096\n")),
    ("tainted", Fixed::Text("0\n")),
    ("threads-max", Fixed::Text("62000\n")),
    ("unprivileged_bpf_disabled", Fixed::Text("2\n")),
    ("version", Fixed::File(0o444, |_| line(VERSION))),
];

/// What a filter may ask for.
const SECCOMP_ACTIONS: &str = "kill_process kill_thread trap errno trace log allow\n";

const RANDOM: &[(&str, Fixed)] = &[
    ("boot_id", Fixed::File(0o444, boot_id)),
    ("entropy_avail", Fixed::Text("256\n")),
    ("poolsize", Fixed::Text("256\n")),
    ("uuid", Fixed::File(0o444, |_| uuid())),
];

const VM: &[(&str, Fixed)] = &[
    ("dirty_background_ratio", Fixed::Text("10\n")),
    ("dirty_expire_centisecs", Fixed::Text("3000\n")),
    ("dirty_ratio", Fixed::Text("20\n")),
    ("dirty_writeback_centisecs", Fixed::Text("500\n")),
    ("max_map_count", Fixed::Text("65530\n")),
    ("min_free_kbytes", Fixed::Text("67584\n")),
    ("mmap_min_addr", Fixed::Text("65536\n")),
    ("nr_hugepages", Fixed::Text("0\n")),
    ("nr_overcommit_hugepages", Fixed::Text("0\n")),
    ("overcommit_kbytes", Fixed::Text("0\n")),
    ("overcommit_memory", Fixed::Text("0\n")),
    ("overcommit_ratio", Fixed::Text("50\n")),
    ("panic_on_oom", Fixed::Text("0\n")),
    ("swappiness", Fixed::Text("60\n")),
    ("unprivileged_userfaultfd", Fixed::Text("0\n")),
    ("vfs_cache_pressure", Fixed::Text("100\n")),
];

fn line(value: impl std::fmt::Display) -> SysResult<Vec<u8>> {
    Ok(format!("{value}\n").into_bytes())
}

/// A number that is not negative, written to a parameter.
fn set(parameter: &AtomicI32, data: &[u8]) -> SysResult<()> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
    let value = text.trim().parse().ok().filter(|value| *value >= 0).ok_or(Errno::INVAL)?;
    parameter.store(value, Relaxed);
    Ok(())
}

fn hostname(reader: &Reader) -> SysResult<Vec<u8>> {
    Ok([&*reader.task.uts().names.read().hostname, b"\n"].concat())
}

fn domainname(reader: &Reader) -> SysResult<Vec<u8>> {
    Ok([&*reader.task.uts().names.read().domainname, b"\n"].concat())
}

fn set_hostname(reader: &Reader, data: &[u8]) -> SysResult<()> {
    let name = name(reader, data)?;
    reader.task.uts().names.write().hostname = name;
    Ok(())
}

fn set_domainname(reader: &Reader, data: &[u8]) -> SysResult<()> {
    let name = name(reader, data)?;
    reader.task.uts().names.write().domainname = name;
    Ok(())
}

fn name(reader: &Reader, data: &[u8]) -> SysResult<Vec<u8>> {
    /// `__NEW_UTS_LEN`.
    const LONGEST: usize = 64;
    if !reader.task.creds().has(Cap::SysAdmin) {
        return Err(Errno::PERM);
    }
    let name = data.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default();
    Ok(name.iter().copied().take(LONGEST).collect())
}

/// A random UUID, version 4.
fn uuid() -> SysResult<Vec<u8>> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut value = u128::from_be_bytes(bytes);
    value = value & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{value:032x}");
    let mut out = String::with_capacity(37);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(digit);
    }
    let _ = writeln!(out);
    Ok(out.into_bytes())
}

fn boot_id(_: &Reader) -> SysResult<Vec<u8>> {
    use std::sync::OnceLock;
    static ID: OnceLock<SysResult<Vec<u8>>> = OnceLock::new();
    ID.get_or_init(uuid).clone()
}
