//! What the command line hands to the sentry: plain data and descriptors, made before confinement.
//!
//! Nothing here names the host: whatever the sentry may touch is an open descriptor. The first mount is the
//! root; the others follow in the order in which they are to be made.

use super::handle::Handle;
use crate::kernel::machine::Machine;
use rustix::termios::Termios;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// One container of a sandbox, with its first process.
#[derive(Debug, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The first process.
    pub process: ProcessSpec,
    /// `uname -n`.
    pub hostname: Vec<u8>,
    /// NIS domain name.
    pub domainname: Vec<u8>,
    /// The tree of files; the first is `/`.
    pub mounts: Vec<MountSpec>,
    /// Paths that no guest may see the content of: an empty read-only file or directory covers them.
    pub masked_paths: Vec<Vec<u8>>,
    /// Paths that are remounted read-only.
    pub readonly_paths: Vec<Vec<u8>>,
    /// The root is remounted read-only once all other mounts are made.
    pub readonly_root: bool,
    /// `linux.sysctl`: names and values.
    pub sysctls: Vec<(String, String)>,
    /// Devices in `/dev` besides the usual ones.
    pub devices: Vec<DeviceSpec>,
    /// What guests see of the machine.
    pub machine: Machine,
    /// Propagation of the root mount, as `MS_*` flags; 0 is that of a new mount.
    pub root_propagation: u64,
    /// Standard input, output and error of the first process; `None` is `/dev/null`,
    /// or the terminal where [`TerminalSpec::stdio`] says so.
    pub stdio: [Option<Handle>; 3],
    /// Descriptors from 3 on of the first process.
    pub preserved: Vec<Handle>,
    /// A terminal to be relayed to a pseudo-terminal of the sandbox.
    pub terminal: Option<TerminalSpec>,
    /// Files by which the writer joins the guests' cgroup, open for writing: one per hierarchy, none without cgroups.
    pub guest_cgroups: Vec<Handle>,
    /// Most tasks that guests may have at a time.
    pub pids_limit: Option<u64>,
    /// A listening socket for other commands.
    pub listener: Option<Handle>,
    /// The first process runs only when told to.
    pub hold: bool,
    /// What it has in common with the sandbox's first container. All have the network in common.
    pub shares: Shares,
}

/// What a further container of a sandbox has in common with the first, besides the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// Processes see each other (the pid namespace).
    pub processes: bool,
    /// The names of the machine (the UTS namespace).
    pub names: bool,
    /// The IPC namespace.
    pub ipc: bool,
}

/// One sandbox with its first container.
#[derive(Debug)]
pub struct SandboxConfig {
    /// That container.
    pub container: ContainerConfig,
    /// `--strace`: where decoded calls are written, a line each.
    pub strace: Option<OwnedFd>,
    /// `--stats`: where a table of what calls cost is written at the end.
    pub stats: Option<OwnedFd>,
    /// `--metrics`: where the same goes as JSON.
    pub metrics: Option<OwnedFd>,
    /// `--debug-log`: where the sentry's own log goes.
    pub debug_log: Option<OwnedFd>,
    /// How guest threads are intercepted.
    pub platform: PlatformKind,
    /// Whether calls may be made without notifications (`--fast-path`).
    pub fast_path: platform::FastPath,
    /// The root of a procfs of the sandbox's own pid namespace on the host.
    pub procfs: OwnedFd,
    /// The socket to the command line or monitor that started the sandbox, which ends with it.
    pub control: OwnedFd,
    /// What there is of a network besides `lo`.
    pub network: NetworkSpec,
    /// How the sentry confines itself once its threads exist.
    pub seccomp: SeccompMode,
}

/// Which implementation of [`platform::Platform`] serves a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlatformKind {
    /// Seccomp user notification.
    #[default]
    Notify,
    /// Tracing.
    Ptrace,
}

/// What a system call outside the sentry's own allow list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeccompMode {
    /// Kills the sandbox.
    #[default]
    Kill,
    /// Is logged and fails with `EPERM`, for development.
    Errno,
    /// There is no filter (`--allow-weaker` on a host without seccomp).
    Off,
}

/// The first process of a container (`process` of an OCI configuration).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments; the program is sought along the `PATH` of [`env`](Self::env) if it has no slash.
    pub args: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub env: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities.
    pub caps: CapabilitySets,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// Resource limits; those not named are the defaults of the sentry.
    pub rlimits: Vec<Rlimit>,
    /// File mode creation mask.
    pub umask: u32,
    /// Process 1 is the sentry's own: it waits for orphans, and the program is process 2, without the special
    /// treatment that signals to process 1 get.
    pub virtual_init: bool,
    /// `oom_score_adj` as the guest sees it.
    pub oom_score_adj: i32,
    /// `personality(2)`.
    #[serde(default)]
    pub personality: u32,
    /// Filter of its system calls.
    #[serde(default)]
    pub seccomp: Option<SeccompSpec>,
    /// How it is scheduled.
    #[serde(default)]
    pub scheduling: Scheduling,
}

/// How a process begins to be scheduled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: i32,
    /// Nice value; `None` is the sentry's own.
    pub nice: Option<i32>,
    /// `SCHED_RESET_ON_FORK`.
    pub reset_on_fork: bool,
    /// As of `ioprio_set(2)`.
    pub ioprio: u16,
}

/// A filter of system calls, as `seccomp(2)` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompSpec {
    /// Instructions of classic BPF: code, jump if true, jump if false, operand.
    pub program: Vec<(u16, u8, u8, u32)>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}

/// The five capability sets, one bit per capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "capabilities(7) documents them")]
pub struct CapabilitySets {
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
}

impl CapabilitySets {
    /// Everything in `caps` permitted, effective and in the bounding set, as root has it.
    pub const fn root(caps: u64) -> CapabilitySets {
        CapabilitySets { permitted: caps, effective: caps, inheritable: 0, bounding: caps, ambient: 0 }
    }
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A terminal of the host, already in raw mode; the command line restores it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TerminalSpec {
    /// The terminal.
    pub host: Handle,
    /// Which of standard input, output and error are the terminal inside.
    pub stdio: [bool; 3],
    /// Its modes before it was made raw: the initial modes of the one inside, if they are not to be the usual ones.
    /// They do not travel: of a further container they are the usual ones.
    #[serde(skip)]
    pub termios: Option<Termios>,
    /// Rows and columns.
    pub size: (u16, u16),
}

/// A mount.
#[derive(Debug, Serialize, Deserialize)]
pub struct MountSpec {
    /// Where, as an absolute path inside; missing directories (or the file) are made.
    pub dest: Vec<u8>,
    /// What.
    pub kind: MountKind,
    /// Its source, as guests see it.
    pub source: String,
    /// Options of the file system, separated by commas.
    pub data: String,
    /// `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`, `MS_NOATIME`, `MS_RELATIME`…, and propagation flags.
    pub flags: u64,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory of the host. Writes go through unless the mount is read-only or `writable` is not set.
    HostDir {
        /// The directory (`O_PATH`).
        fd: Handle,
        /// Whether guests may write.
        writable: bool,
    },
    /// A single file of the host.
    HostFile {
        /// The file (`O_PATH`).
        fd: Handle,
        /// Whether guests may write.
        writable: bool,
    },
    /// A directory of the host, never written, below a layer in memory.
    Overlay {
        /// The directory (`O_PATH`).
        lower: Handle,
    },
    /// Files in memory.
    Tmpfs(TmpfsSpec),
    /// `/proc`.
    Proc,
    /// `/sys`.
    Sysfs,
    /// `/dev`: `null`, `zero`, `full`, `random`, `urandom`, `tty`, `console`, `ptmx`, `fd`, `shm`, `pts`, `mqueue`.
    Devtmpfs,
    /// `/dev/pts`.
    Devpts,
    /// `/dev/mqueue`.
    Mqueue,
    /// `/sys/fs/cgroup`.
    Cgroup,
    /// A file in memory with this text.
    Text(String),
}

/// A device (`linux.devices` of an OCI configuration).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Where, as an absolute path inside.
    pub path: Vec<u8>,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, and permission bits.
    pub mode: u32,
    /// Major and minor number.
    pub rdev: (u32, u32),
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Interfaces of a network namespace of the host, which the sentry drives in its place.
#[derive(Debug, Default)]
pub struct NetworkSpec {
    /// By their indices.
    pub interfaces: Vec<InterfaceSpec>,
    /// All but those that follow from addresses.
    pub routes: Vec<RouteSpec>,
    /// Neighbours that are fixed: address, interface, hardware address.
    pub neighbours: Vec<(IpAddr, u32, [u8; 6])>,
    /// Sockets of the host, each connected to port 53 of a resolver that only the host reaches
    /// ([`RESOLVER`](Self::RESOLVER)); a datagram sent over one is a query of a guest.
    pub resolver: Vec<OwnedFd>,
    /// In place of all that: sockets are the host's, of the network namespace that the sentry is started in.
    pub host: bool,
}

impl NetworkSpec {
    /// Where Docker's embedded DNS server is reached in a container.
    pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
}

/// An interface.
#[derive(Debug)]
pub struct InterfaceSpec {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Longest packet, without the Ethernet header.
    pub mtu: u32,
    /// Its addresses, each with the length of the prefix of its network.
    pub addresses: Vec<(IpAddr, u8)>,
    /// A packet socket bound to it, non-blocking, with a `virtio_net_hdr` before each frame.
    pub socket: OwnedFd,
    /// Who is at the other end always reads: a frame that finds the socket full waits for it, and none is lost.
    pub waits: bool,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteSpec {
    /// Where to; all zeroes with a prefix of 0 is the default.
    pub destination: IpAddr,
    /// Length of the prefix.
    pub prefix: u8,
    /// Over which router; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Over which interface.
    pub interface: u32,
    /// With which own address.
    pub source: Option<IpAddr>,
    /// Routes with lower numbers are preferred.
    pub metric: u32,
}

/// Options of a tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsSpec {
    /// Bytes it may hold; `None` is half of the memory, as on Linux.
    pub size: Option<u64>,
    /// Mode of its root.
    pub mode: u32,
    /// Owner of its root.
    pub uid: u32,
    /// Group of its root.
    pub gid: u32,
}

impl Default for TmpfsSpec {
    fn default() -> TmpfsSpec {
        TmpfsSpec { size: None, mode: 0o1777, uid: 0, gid: 0 }
    }
}

/// How long the sentry may take to end all guests once the first process is gone.
pub const TEARDOWN_LIMIT: Duration = Duration::from_secs(10);
