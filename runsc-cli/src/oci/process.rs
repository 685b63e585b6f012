//! `process` of a configuration.

use super::capabilities;
use anyhow::{Result, bail};
use oci_spec::runtime as oci;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use sentry::boot::config::{ProcessSpec, Rlimit, Scheduling};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Longest `/etc/passwd` that is looked at for a home directory.
const PASSWD_MAX: u64 = 1 << 20;

/// The process that `process` describes.
pub(super) fn process(process: &oci::Process) -> Result<ProcessSpec> {
    let args: Vec<Vec<u8>> = process.args().iter().flatten().map(|a| a.clone().into_bytes()).collect();
    let env: Vec<Vec<u8>> = process.env().iter().flatten().map(|e| e.clone().into_bytes()).collect();
    if args.is_empty() {
        bail!("args must not be empty");
    }
    if args.iter().chain(&env).any(|string| string.contains(&0)) {
        bail!("args and env must not contain NUL bytes");
    }
    if process.cwd().as_os_str().is_empty() {
        bail!("Cwd property must not be empty");
    }
    if !process.cwd().is_absolute() {
        bail!("Cwd must be an absolute path");
    }
    check_labels(process)?;
    let user = process.user();
    Ok(ProcessSpec {
        args,
        env,
        cwd: OsString::from(process.cwd()).into_vec(),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        caps: process.capabilities().as_ref().map(capabilities::sets).transpose()?.unwrap_or_default(),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default())?,
        umask: user.umask().unwrap_or(0o022),
        virtual_init: false,
        oom_score_adj: oom_score_adj(process.oom_score_adj())?,
        personality: 0,
        seccomp: None,
        scheduling: scheduling(process)?,
    })
}

fn oom_score_adj(adj: Option<i32>) -> Result<i32> {
    match adj.unwrap_or(0) {
        adj @ -1000..=1000 => Ok(adj),
        adj => bail!("invalid oomScoreAdj: {adj}"),
    }
}

fn rlimits(limits: &[oci::PosixRlimit]) -> Result<Vec<Rlimit>> {
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for limit in limits {
        let resource = resource(limit.typ());
        if rlimits.iter().any(|other| other.resource == resource) {
            bail!("duplicated rlimit {}", limit.typ());
        }
        if limit.soft() > limit.hard() {
            bail!("rlimit {}: the soft limit is above the hard one", limit.typ());
        }
        rlimits.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(rlimits)
}

fn resource(kind: oci::PosixRlimitType) -> u32 {
    use oci::PosixRlimitType as T;
    match kind {
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
    }
}

/// Real-time policies are not given: they would take the host's processors from others.
fn scheduling(process: &oci::Process) -> Result<Scheduling> {
    use oci::LinuxSchedulerPolicy as P;
    let mut scheduling = Scheduling::default();
    if let Some(scheduler) = process.scheduler() {
        let priority = scheduler.priority().unwrap_or(0);
        let is_real_time = matches!(scheduler.policy(), P::SchedFifo | P::SchedRr);
        if priority != 0 && !is_real_time {
            bail!("scheduler.priority can only be specified for SchedFIFO or SchedRR policy");
        }
        if is_real_time && !(1..=99).contains(&priority) {
            bail!("scheduler.priority must be between 1 and 99");
        }
        if scheduler.nice().is_some_and(|nice| !(-20..=19).contains(&nice)) {
            bail!("invalid scheduler.nice: {}", scheduler.nice().unwrap_or(0));
        }
        scheduling.nice = *scheduler.nice();
        let flags = scheduler.flags().as_deref().unwrap_or_default();
        scheduling.reset_on_fork = flags.contains(&oci::LinuxSchedulerFlag::SchedResetOnFork);
        scheduling.policy = match scheduler.policy() {
            P::SchedOther => libc::SCHED_OTHER,
            P::SchedBatch => libc::SCHED_BATCH,
            P::SchedIdle => libc::SCHED_IDLE,
            P::SchedFifo | P::SchedRr | P::SchedDeadline | P::SchedIso => {
                crate::log::warn("process.scheduler: real-time policies are not given to guests; it is SCHED_OTHER");
                libc::SCHED_OTHER
            }
        };
    }
    if let Some(io) = process.io_priority() {
        if !(0..=7).contains(&io.priority()) {
            bail!("invalid ioPriority.Priority: {}", io.priority());
        }
        let class = match io.class() {
            oci::IOPriorityClass::IoprioClassRt => 1,
            oci::IOPriorityClass::IoprioClassBe => 2,
            oci::IOPriorityClass::IoprioClassIdle => 3,
        };
        scheduling.ioprio = class << 13 | io.priority() as u16;
    }
    Ok(scheduling)
}

/// The specification's name of a scheduler's flag is not the one that it is read by.
pub(super) fn rename_flags(process: &mut Value) {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten().filter(|flag| *flag == "SCHED_FLAG_RESET_ON_FORK") {
        *flag = "SCHED_RESET_ON_FORK".into();
    }
}

fn check_labels(process: &oci::Process) -> Result<()> {
    if process.apparmor_profile().as_ref().is_some_and(|profile| !profile.is_empty()) {
        bail!("apparmor: config provided but apparmor not supported");
    }
    if process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()) {
        bail!("selinux label is specified in config, but selinux is disabled or not supported");
    }
    Ok(())
}

/// Gives a process the `HOME` of its user, as the files of the container say, if it has none.
pub(super) fn add_home(process: &mut ProcessSpec, rootfs: &Path) {
    if !process.env.iter().any(|variable| variable.starts_with(b"HOME=")) {
        let home = home(rootfs, process.uid).unwrap_or_else(|| "/".to_owned());
        process.env.push(format!("HOME={home}").into_bytes());
    }
}

fn home(rootfs: &Path, uid: u32) -> Option<String> {
    let root = open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // The files are a stranger's: links stay inside, and a pipe does not keep us waiting.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let passwd = File::from(openat2(root, "etc/passwd", flags, Mode::empty(), resolve).ok()?);
    if !passwd.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    passwd.take(PASSWD_MAX).read_to_string(&mut text).ok()?;
    let of_user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [_, _, user, _, _, home, ..] if user.parse() == Ok(uid) && !home.is_empty() => Some(home.to_owned()),
            _ => None,
        }
    };
    text.lines().find_map(of_user)
}
