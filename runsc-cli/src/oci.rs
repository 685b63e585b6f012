//! From the `config.json` of an OCI bundle to a [`Plan`].

use crate::plan::{Limits, Mount, Plan, Source, Terminal};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{self as oci, Spec};
use sentry::boot::config::{CapabilitySets, ProcessSpec, Rlimit, TmpfsSpec};
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Names of capabilities, by their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Options of a mount that set a flag, and those that clear it.
const FLAGS: [(&str, &str, u64); 9] = [
    ("ro", "rw", libc::MS_RDONLY),
    ("nosuid", "suid", libc::MS_NOSUID),
    ("nodev", "dev", libc::MS_NODEV),
    ("noexec", "exec", libc::MS_NOEXEC),
    ("noatime", "atime", libc::MS_NOATIME),
    ("nodiratime", "diratime", libc::MS_NODIRATIME),
    ("relatime", "norelatime", libc::MS_RELATIME),
    ("strictatime", "nostrictatime", libc::MS_STRICTATIME),
    ("sync", "async", libc::MS_SYNCHRONOUS),
];

/// The configuration of the bundle in the directory `bundle`.
pub(crate) fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))
}

/// The plan for a configuration.
pub(crate) fn plan(spec: &Spec, bundle: &Path, id: String) -> Result<Plan> {
    from_spec(spec, bundle, id).with_context(|| format!("{}", bundle.join("config.json").display()))
}

fn from_spec(spec: &Spec, bundle: &Path, id: String) -> Result<Plan> {
    let root = spec.root().as_ref().context("root is missing")?;
    let process = spec.process().as_ref().context("process is missing")?;
    let linux = spec.linux().clone().unwrap_or_default();
    let mut mounts = vec![Mount::new("/", Source::Host { path: bundle.join(root.path()), writable: true }, 0)];
    for mount in spec.mounts().iter().flatten() {
        mounts.push(self::mount(mount, bundle)?);
    }
    let bytes = |paths: &Option<Vec<String>>| paths.iter().flatten().map(|p| p.clone().into_bytes()).collect();
    Ok(Plan {
        id,
        process: self::process(process)?,
        hostname: spec.hostname().clone().unwrap_or_else(|| "localhost".into()).into_bytes(),
        domainname: spec.domainname().clone().unwrap_or_else(|| "(none)".into()).into_bytes(),
        mounts,
        masked_paths: bytes(linux.masked_paths()),
        readonly_paths: bytes(linux.readonly_paths()),
        readonly_root: root.readonly().unwrap_or(false),
        limits: limits(linux.resources().as_ref())?,
        timeout: None,
        terminal: if process.terminal().unwrap_or(false) { Terminal::Required } else { Terminal::Never },
    })
}

/// A process of a configuration.
pub(crate) fn process(process: &oci::Process) -> Result<ProcessSpec> {
    let args: Vec<Vec<u8>> = process.args().iter().flatten().map(|a| a.clone().into_bytes()).collect();
    if args.is_empty() {
        bail!("process.args is empty");
    }
    if !process.cwd().is_absolute() {
        bail!("process.cwd must be an absolute path");
    }
    let user = process.user();
    Ok(ProcessSpec {
        args,
        env: process.env().iter().flatten().map(|e| e.clone().into_bytes()).collect(),
        cwd: OsString::from(process.cwd()).into_vec(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        caps: process.capabilities().as_ref().map(capabilities).transpose()?.unwrap_or_default(),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        rlimits: process.rlimits().iter().flatten().map(rlimit).collect::<Result<_>>()?,
        umask: user.umask().unwrap_or(0o022),
        virtual_init: false,
        oom_score_adj: process.oom_score_adj().unwrap_or(0),
    })
}

fn capabilities(caps: &oci::LinuxCapabilities) -> Result<CapabilitySets> {
    Ok(CapabilitySets {
        permitted: capability_bits(caps.permitted())?,
        effective: capability_bits(caps.effective())?,
        inheritable: capability_bits(caps.inheritable())?,
        bounding: capability_bits(caps.bounding())?,
        ambient: capability_bits(caps.ambient())?,
    })
}

fn capability_bits(set: &Option<HashSet<oci::Capability>>) -> Result<u64> {
    let bit = |cap: &oci::Capability| {
        let name = cap.to_string();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let number = CAPABILITIES.iter().position(|known| *known == name);
        number.map(|n| 1 << n).with_context(|| format!("unknown capability {name}"))
    };
    set.iter().flatten().try_fold(0, |bits, cap| Ok(bits | bit(cap)?))
}

fn rlimit(limit: &oci::PosixRlimit) -> Result<Rlimit> {
    use oci::PosixRlimitType as T;
    let resource = match limit.typ() {
        T::RlimitCpu => libc::RLIMIT_CPU,
        T::RlimitFsize => libc::RLIMIT_FSIZE,
        T::RlimitData => libc::RLIMIT_DATA,
        T::RlimitStack => libc::RLIMIT_STACK,
        T::RlimitCore => libc::RLIMIT_CORE,
        T::RlimitRss => libc::RLIMIT_RSS,
        T::RlimitNproc => libc::RLIMIT_NPROC,
        T::RlimitNofile => libc::RLIMIT_NOFILE,
        T::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        T::RlimitAs => libc::RLIMIT_AS,
        T::RlimitLocks => libc::RLIMIT_LOCKS,
        T::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        T::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        T::RlimitNice => libc::RLIMIT_NICE,
        T::RlimitRtprio => libc::RLIMIT_RTPRIO,
        T::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    if limit.soft() > limit.hard() {
        bail!("process.rlimits: the soft limit of {:?} is above the hard one", limit.typ());
    }
    Ok(Rlimit { resource, soft: limit.soft(), hard: limit.hard() })
}

fn mount(mount: &oci::Mount, bundle: &Path) -> Result<Mount> {
    let dest = mount.destination();
    if !dest.is_absolute() {
        bail!("mounts: the destination {} must be an absolute path", dest.display());
    }
    let options = mount.options().as_deref().unwrap_or_default();
    let is_bind = options.iter().any(|o| o == "bind" || o == "rbind");
    let flags = flags(options);
    let source = match mount.typ().as_deref() {
        _ if is_bind => bind(mount, bundle, flags)?,
        Some("bind") => bind(mount, bundle, flags)?,
        Some("proc") => Source::Proc,
        Some("sysfs") => Source::Sysfs,
        Some("tmpfs") if dest == Path::new("/dev") => Source::Devtmpfs,
        Some("tmpfs") => Source::Tmpfs(tmpfs(options)?),
        Some("devpts") => Source::Devpts,
        Some("mqueue") => Source::Mqueue,
        Some("cgroup" | "cgroup2") => Source::Cgroup,
        kind => bail!("mounts: {}: the type {} is not supported", dest.display(), kind.unwrap_or("(none)")),
    };
    Ok(Mount::new(OsString::from(dest).into_vec(), source, flags))
}

fn bind(mount: &oci::Mount, bundle: &Path, flags: u64) -> Result<Source> {
    let source = mount.source().as_ref().context("mounts: a bind mount needs a source")?;
    let path: PathBuf = bundle.join(source);
    Ok(Source::Host { path, writable: flags & libc::MS_RDONLY == 0 })
}

fn flags(options: &[String]) -> u64 {
    options.iter().fold(0, |flags, option| {
        let option = option.as_str();
        match FLAGS.iter().find(|(set, clear, _)| *set == option || *clear == option) {
            Some((set, _, bit)) if *set == option => flags | bit,
            Some((_, _, bit)) => flags & !bit,
            None => flags,
        }
    })
}

fn tmpfs(options: &[String]) -> Result<TmpfsSpec> {
    let mut spec = TmpfsSpec::default();
    for (name, value) in options.iter().filter_map(|o| o.split_once('=')) {
        let wrong = || format!("mounts: tmpfs option {name}={value}");
        match name {
            "mode" => spec.mode = u32::from_str_radix(value, 8).with_context(wrong)?,
            "uid" => spec.uid = value.parse().with_context(wrong)?,
            "gid" => spec.gid = value.parse().with_context(wrong)?,
            "size" => spec.size = tmpfs_size(value).with_context(wrong)?,
            // `nr_inodes`, `huge` and others bound what is bounded anyway.
            _ => {}
        }
    }
    Ok(spec)
}

/// `size=` of tmpfs(5): bytes, with k, m or g, or a share of the memory (then `None`, the default).
fn tmpfs_size(text: &str) -> Result<Option<u64>> {
    if text.ends_with('%') {
        return Ok(None);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        unit => bail!("unknown unit {unit}"),
    };
    let number: u64 = digits.parse()?;
    // 0 is "no limit" to tmpfs, which the sentry does not offer.
    Ok(number.checked_mul(1 << shift).filter(|n| *n > 0))
}

fn limits(resources: Option<&oci::LinuxResources>) -> Result<Limits> {
    let Some(resources) = resources else { return Ok(Limits::default()) };
    // Negative is "no limit" in all three.
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let memory = resources.memory().as_ref().and_then(|m| m.limit()).and_then(positive);
    let pids = resources.pids().as_ref().and_then(|p| positive(p.limit()));
    let cpu = resources.cpu().as_ref().and_then(|c| {
        let quota = c.quota().and_then(positive)?;
        let period = c.period().filter(|p| *p > 0).unwrap_or(100_000);
        Some((quota.saturating_mul(1000) / period).max(1))
    });
    Ok(Limits { memory, millicpus: cpu, pids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_makes_a_plan() {
        let plan = from_spec(&Spec::default(), Path::new("/bundle"), "x".into()).expect("the example is valid");
        assert_eq!(plan.mounts[0].host_path(), Some(Path::new("/bundle/rootfs")));
        assert!(plan.mounts.iter().any(|m| matches!(m.source, Source::Devtmpfs)));
        assert_eq!(plan.process.args, [b"sh"]);
        assert_ne!(plan.process.caps.bounding, 0);
        assert!(plan.readonly_root);
    }

    #[test]
    fn later_options_win() {
        let options: Vec<String> = ["ro", "nosuid", "rw"].map(String::from).to_vec();
        assert_eq!(flags(&options), libc::MS_NOSUID);
    }

    #[test]
    fn sizes_of_tmpfs() {
        assert_eq!(tmpfs_size("65536k").ok(), Some(Some(64 << 20)));
        assert_eq!(tmpfs_size("50%").ok(), Some(None));
        assert!(tmpfs_size("1x").is_err());
    }
}
