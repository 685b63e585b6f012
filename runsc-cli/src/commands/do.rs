//! `runsc do`: a program on the host's files, with all that it writes kept in memory.

use crate::plan::{Limits, Mount, Plan, Source, Terminal};
use crate::{Globals, supervise};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use clap::builder::{OsStringValueParser, TypedValueParser};
use sentry::boot::config::{CapabilitySets, ProcessSpec, Rlimit, Scheduling, TmpfsSpec};
use sentry::kernel::CAP_ALL;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// With less the sandbox might not come to the program.
const MEMORY_MIN: u64 = 8 << 20;
/// `__NEW_UTS_LEN`.
const HOST_NAME_MAX: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Use DIR in place of the host's root
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Show the host's SRC at DEST; writes go through
    #[arg(long, num_args = 2, value_names = ["SRC", "DEST"], action = clap::ArgAction::Append)]
    bind: Vec<OsString>,
    /// Show the host's SRC at DEST, read-only
    #[arg(long, num_args = 2, value_names = ["SRC", "DEST"], action = clap::ArgAction::Append)]
    ro_bind: Vec<OsString>,
    /// Put an empty directory in memory at DEST
    #[arg(long, value_name = "DEST", action = clap::ArgAction::Append)]
    tmpfs: Vec<OsString>,
    /// Working directory (the caller's unless --root is given)
    #[arg(long, value_name = "DIR")]
    chdir: Option<OsString>,
    /// Set an environment variable
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], allow_hyphen_values = true, action = clap::ArgAction::Append)]
    setenv: Vec<OsString>,
    /// Remove an environment variable
    #[arg(long, value_name = "NAME", action = clap::ArgAction::Append)]
    unsetenv: Vec<OsString>,
    /// Begin with an empty environment
    #[arg(long)]
    clearenv: bool,
    /// User id of the program
    #[arg(long, allow_negative_numbers = true, value_parser = parse_id)]
    uid: Option<u32>,
    /// Group id of the program
    #[arg(long, value_name = "GID", allow_negative_numbers = true, value_parser = parse_id)]
    gid: Option<u32>,
    /// Host name inside
    #[arg(long, value_name = "NAME", default_value = "sandbox", value_parser = OsStringValueParser::new().try_map(check_hostname))]
    hostname: OsString,
    /// Let writes go through to the host's files
    #[arg(long)]
    rw: bool,
    /// Kill everything after this many seconds (exit status 124)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// Most memory, in bytes or with K, M, G
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = parse_size)]
    memory: Option<u64>,
    /// Most processor time, in processors (1.5 is one and a half)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_millicpus)]
    cpus: Option<u64>,
    /// Most processes and threads
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pids: Option<u64>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, matches: &ArgMatches, globals: &Globals) -> Result<u8> {
    let plan = plan(args, matches)?;
    supervise::run(plan, globals)
}

fn plan(args: Args, matches: &ArgMatches) -> Result<Plan> {
    let mounts = mounts(&args, matches)?;
    let limits = Limits { memory: args.memory, millicpus: args.cpus, pids: args.pids };
    let timeout = args.timeout;
    let hostname = args.hostname.as_bytes().to_vec();
    Ok(Plan {
        id: format!("do-{}", std::process::id()),
        process: process(args)?,
        hostname,
        domainname: b"(none)".to_vec(),
        mounts,
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        readonly_root: false,
        root_propagation: 0,
        sysctls: Vec::new(),
        devices: Vec::new(),
        uid_map: Vec::new(),
        gid_map: Vec::new(),
        limits,
        timeout,
        terminal: Terminal::Auto,
    })
}

fn process(args: Args) -> Result<ProcessSpec> {
    let env = environment(&args)?;
    let cwd = match (args.chdir, args.root) {
        (Some(dir), _) => dir,
        (None, Some(_)) => "/".into(),
        (None, None) => std::env::current_dir().context("cannot tell the working directory; use --chdir")?.into(),
    };
    if cwd.as_bytes().first() != Some(&b'/') {
        bail!("--chdir {}: must be an absolute path", cwd.display());
    }
    let uid = args.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let groups = if args.uid.is_some() || args.gid.is_some() { Vec::new() } else { caller_groups()? };
    Ok(ProcessSpec {
        args: args.command.into_iter().map(OsString::into_vec).collect(),
        env,
        cwd: cwd.into_vec(),
        uid,
        gid: args.gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
        groups,
        caps: if uid == 0 {
            CapabilitySets::root(CAP_ALL)
        } else {
            CapabilitySets { bounding: CAP_ALL, ..CapabilitySets::default() }
        },
        no_new_privs: false,
        rlimits: caller_rlimits(),
        umask: caller_umask(),
        virtual_init: true,
        oom_score_adj: 0,
        personality: 0,
        seccomp: None,
        scheduling: Scheduling::default(),
    })
}

fn environment(args: &Args) -> Result<Vec<Vec<u8>>> {
    for name in args.unsetenv.iter().chain(pairs(&args.setenv).map(|(name, _)| name)) {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            bail!("{name:?} is no name of an environment variable");
        }
    }
    let inherited: Vec<(OsString, OsString)> = if args.clearenv { Vec::new() } else { std::env::vars_os().collect() };
    let mut env: Vec<(OsString, OsString)> =
        inherited.into_iter().filter(|(name, _)| !args.unsetenv.contains(name)).collect();
    for (name, value) in pairs(&args.setenv) {
        env.retain(|(old, _)| old != name);
        env.push((name.clone(), value.clone()));
    }
    Ok(env.into_iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect())
}

fn mounts(args: &Args, matches: &ArgMatches) -> Result<Vec<Mount>> {
    const NODEV: u64 = libc::MS_NOSUID | libc::MS_NODEV;
    const INERT: u64 = NODEV | libc::MS_NOEXEC;
    let root = args.root.clone().unwrap_or_else(|| "/".into());
    if !root.is_dir() {
        bail!("--root {}: not a directory", root.display());
    }
    let root =
        if args.rw { Source::Host { path: root, writable: true, recursive: true } } else { Source::Overlay(root) };
    let mut mounts = vec![
        Mount::new("/", root, 0),
        Mount::new("/proc", Source::Proc, INERT),
        Mount::new("/sys", Source::Sysfs, INERT | libc::MS_RDONLY),
        Mount::new("/dev", Source::Devtmpfs, libc::MS_NOSUID | libc::MS_NOEXEC),
        Mount::new("/dev/pts", Source::Devpts, libc::MS_NOSUID | libc::MS_NOEXEC),
        Mount::new("/dev/shm", Source::Tmpfs(TmpfsSpec::default()), NODEV),
        Mount::new("/dev/mqueue", Source::Mqueue, INERT),
    ];
    // In the order in which they were given, across all three options.
    let mut wanted: Vec<(usize, Mount)> = Vec::new();
    for (option, values, writable) in [("bind", &args.bind, true), ("ro_bind", &args.ro_bind, false)] {
        let at = matches.indices_of(option).into_iter().flatten().step_by(2);
        for (at, (src, dest)) in at.zip(pairs(values)) {
            Path::new(src).metadata().with_context(|| format!("--{} {src:?}", option.replace('_', "-")))?;
            let source = Source::Host { path: src.into(), writable, recursive: true };
            let flags = if writable { 0 } else { libc::MS_RDONLY };
            wanted.push((at, Mount::new(absolute(dest)?, source, flags)));
        }
    }
    for (at, dest) in matches.indices_of("tmpfs").into_iter().flatten().zip(&args.tmpfs) {
        let tmpfs = TmpfsSpec { mode: 0o755, ..TmpfsSpec::default() };
        wanted.push((at, Mount::new(absolute(dest)?, Source::Tmpfs(tmpfs), NODEV)));
    }
    wanted.sort_by_key(|(at, _)| *at);
    mounts.extend(wanted.into_iter().map(|(_, mount)| mount));
    Ok(mounts)
}

fn absolute(dest: &OsString) -> Result<Vec<u8>> {
    if !Path::new(dest).is_absolute() {
        bail!("{}: a place for a mount must be an absolute path", dest.display());
    }
    Ok(dest.as_bytes().to_vec())
}

fn pairs(values: &[OsString]) -> impl Iterator<Item = (&OsString, &OsString)> {
    values.iter().step_by(2).zip(values.iter().skip(1).step_by(2))
}

fn caller_groups() -> Result<Vec<u32>> {
    let groups = rustix::process::getgroups().context("cannot read the caller's groups")?;
    Ok(groups.into_iter().map(|g| g.as_raw()).collect())
}

fn caller_rlimits() -> Vec<Rlimit> {
    use rustix::process::{Resource, getrlimit};
    let all = [
        (libc::RLIMIT_CPU, Resource::Cpu),
        (libc::RLIMIT_FSIZE, Resource::Fsize),
        (libc::RLIMIT_DATA, Resource::Data),
        (libc::RLIMIT_STACK, Resource::Stack),
        (libc::RLIMIT_CORE, Resource::Core),
        (libc::RLIMIT_RSS, Resource::Rss),
        (libc::RLIMIT_NPROC, Resource::Nproc),
        (libc::RLIMIT_NOFILE, Resource::Nofile),
        (libc::RLIMIT_MEMLOCK, Resource::Memlock),
        (libc::RLIMIT_AS, Resource::As),
        (libc::RLIMIT_LOCKS, Resource::Locks),
        (libc::RLIMIT_SIGPENDING, Resource::Sigpending),
        (libc::RLIMIT_MSGQUEUE, Resource::Msgqueue),
        (libc::RLIMIT_NICE, Resource::Nice),
        (libc::RLIMIT_RTPRIO, Resource::Rtprio),
        (libc::RLIMIT_RTTIME, Resource::Rttime),
    ];
    let read = |(number, resource)| {
        let limit = getrlimit(resource);
        let value = |n: Option<u64>| n.unwrap_or(libc::RLIM_INFINITY);
        Rlimit { resource: number, soft: value(limit.current), hard: value(limit.maximum) }
    };
    all.into_iter().map(read).collect()
}

fn caller_umask() -> u32 {
    // There is no call that reads it without setting it.
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// As `sethostname` of the host would have it.
fn check_hostname(name: OsString) -> Result<OsString, String> {
    match name.len() {
        0 => Err("a host name is not empty".into()),
        1..=HOST_NAME_MAX => Ok(name),
        _ => Err(format!("a host name has {HOST_NAME_MAX} bytes at most")),
    }
}

fn parse_id(text: &str) -> Result<u32, String> {
    // The highest one means "none" to calls that set ids.
    text.parse().ok().filter(|id| *id < u32::MAX).ok_or_else(|| format!("not a number from 0 to {}", u32::MAX - 1))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let duration = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    duration.filter(|d| !d.is_zero()).ok_or_else(|| "not a number of seconds above 0".into())
}

fn parse_millicpus(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        // A cgroup cannot give less than a hundredth, and no host has a million.
        Ok(n) if (0.01..1e6).contains(&n) => Ok((n * 1000.0).round() as u64),
        _ => Err("not a number of processors (0.01 or more)".into()),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("the unit is none of K, M, G, T".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a size such as 512M".to_string())?;
    let bytes = number.checked_mul(1 << shift).filter(|n| *n > 0).ok_or("not a size that memory can have")?;
    if bytes >= MEMORY_MIN { Ok(bytes) } else { Err(format!("the sandbox itself needs {} MiB", MEMORY_MIN >> 20)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("8388608"), Ok(8 << 20));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert!(parse_size("").is_err());
        assert!(parse_size("12X").is_err());
        assert!(parse_size("0").is_err());
        assert!(parse_size("99999999999T").is_err());
    }

    #[test]
    fn processors() {
        assert_eq!(parse_millicpus("1.5"), Ok(1500));
        assert!(parse_millicpus("0").is_err());
        assert!(parse_millicpus("nan").is_err());
    }
}
