//! What is to be run, as pure data: made by a command, carried out by [`crate::supervise`].

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use sentry::boot::config::{DeviceSpec, ProcessSpec, TmpfsSpec};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Period over which processor time is measured, in microseconds (the kernel's default).
const CPU_PERIOD: u64 = 100_000;

/// A sandbox to be.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Its name; the name of its cgroups.
    pub(crate) id: String,
    pub(crate) process: ProcessSpec,
    pub(crate) hostname: Vec<u8>,
    pub(crate) domainname: Vec<u8>,
    /// The first is `/`.
    pub(crate) mounts: Vec<Mount>,
    pub(crate) masked_paths: Vec<Vec<u8>>,
    pub(crate) readonly_paths: Vec<Vec<u8>>,
    pub(crate) readonly_root: bool,
    /// `MS_*` flags.
    pub(crate) root_propagation: u64,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) devices: Vec<DeviceSpec>,
    /// Inside, outside, count.
    pub(crate) uid_map: Vec<(u32, u32, u32)>,
    pub(crate) gid_map: Vec<(u32, u32, u32)>,
    pub(crate) limits: Limits,
    pub(crate) timeout: Option<Duration>,
    pub(crate) terminal: Terminal,
}

/// Whether the program gets a terminal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// If the caller's standard input and output are one.
    Auto,
    /// Always; it is an error if the caller has none.
    Required,
    /// Never: descriptors are passed as they are.
    Never,
}

/// Limits that cgroups enforce.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Processors, in thousandths.
    pub(crate) millicpus: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
}

impl Limits {
    /// Whether there is nothing to enforce.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// As a configuration says it. Swap is no way around the limit on memory.
    pub(crate) fn resources(&self) -> LinuxResources {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut resources = LinuxResources::default();
        resources.set_memory(self.memory.map(signed).map(|bytes| {
            let mut memory = LinuxMemory::default();
            memory.set_limit(Some(bytes)).set_swap(Some(bytes));
            memory
        }));
        resources.set_cpu(self.millicpus.map(|millicpus| {
            let mut cpu = LinuxCpu::default();
            let quota = signed(millicpus.saturating_mul(CPU_PERIOD) / 1000);
            cpu.set_quota(Some(quota)).set_period(Some(CPU_PERIOD));
            cpu
        }));
        resources.set_pids(self.pids.map(|pids| {
            let mut limit = LinuxPids::default();
            limit.set_limit(signed(pids));
            limit
        }));
        resources
    }
}

/// A mount to be.
#[derive(Debug)]
pub(crate) struct Mount {
    /// Absolute, as guests see it.
    pub(crate) dest: Vec<u8>,
    pub(crate) source: Source,
    /// `MS_*`.
    pub(crate) flags: u64,
    /// Its source as guests see it.
    pub(crate) source_name: String,
    /// Options of the file system, separated by commas.
    pub(crate) data: String,
}

/// What to mount.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file or directory of the host.
    Host {
        path: PathBuf,
        writable: bool,
        /// With what is mounted below.
        recursive: bool,
    },
    /// A directory of the host below a layer in memory.
    Overlay(PathBuf),
    Tmpfs(TmpfsSpec),
    Proc,
    Sysfs,
    Devtmpfs,
    Devpts,
    Mqueue,
    Cgroup,
    /// A file with this text.
    Text(String),
}

impl Source {
    /// What mounts of this kind are called when nobody says.
    fn usual_name(&self) -> &'static str {
        match self {
            Source::Host { .. } => "none",
            Source::Overlay(_) => "overlay",
            Source::Tmpfs(_) | Source::Devtmpfs | Source::Text(_) => "tmpfs",
            Source::Proc => "proc",
            Source::Sysfs => "sysfs",
            Source::Devpts => "devpts",
            Source::Mqueue => "mqueue",
            Source::Cgroup => "cgroup",
        }
    }
}

impl Mount {
    pub(crate) fn new(dest: impl Into<Vec<u8>>, source: Source, flags: u64) -> Mount {
        let source_name = source.usual_name().to_owned();
        Mount { dest: dest.into(), source, flags, source_name, data: String::new() }
    }

    /// The file or directory of the host, if it is one.
    pub(crate) fn host_path(&self) -> Option<&Path> {
        match &self.source {
            Source::Host { path, .. } | Source::Overlay(path) => Some(path),
            _ => None,
        }
    }
}
