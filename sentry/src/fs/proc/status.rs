//! The files of a process.

use super::process::Subject;
use crate::errno::{Errno, SysResult};
use crate::fs::pseudo::Reader;
use crate::kernel::signal::{SIG_DFL, SIG_IGN, SIGRTMAX, SigSet};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most that is shown of arguments and environment; both together are bounded by the stack's limit.
const STRINGS_MAX: u64 = 6 << 20;

fn strings(subject: &Subject, start: u64, end: u64) -> SysResult<Vec<u8>> {
    let len = end.saturating_sub(start).min(STRINGS_MAX) as usize;
    let mut bytes = vec![0; len];
    let got = subject.task()?.mem().read_partial(Addr(start), &mut bytes).unwrap_or(0);
    bytes.truncate(got);
    Ok(bytes)
}

/// `cmdline`.
pub(super) fn cmdline(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let areas = *subject.group.strings.lock();
    if subject.task().is_err() {
        return Ok(Vec::new());
    }
    let mut text = strings(subject, areas.arg_start, areas.arg_end)?;
    // A program that wrote a title over its arguments went on into the environment: the title ends at its NUL.
    if text.last().is_some_and(|last| *last != 0) {
        text = strings(subject, areas.arg_start, areas.env_end)?;
        if let Some(end) = text.iter().position(|b| *b == 0) {
            text.truncate(end);
        }
    }
    Ok(text)
}

/// `environ`.
pub(super) fn environ(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    subject.inspect(reader)?;
    let areas = *subject.group.strings.lock();
    strings(subject, areas.env_start, areas.env_end)
}

/// `auxv`.
pub(super) fn auxv(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    subject.inspect(reader)?;
    let areas = *subject.group.strings.lock();
    Ok(areas.auxv.iter().take(areas.auxv_len).flat_map(|word| word.to_ne_bytes()).collect())
}

/// `comm`.
pub(super) fn comm(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    Ok([name(subject), b"\n".to_vec()].concat())
}

/// `comm`, written by a thread of the same process.
pub(super) fn set_comm(reader: &Reader, subject: &Subject, data: &[u8]) -> SysResult<()> {
    if !Arc::ptr_eq(&reader.task.group, &subject.group) {
        return Err(Errno::INVAL);
    }
    let name = data.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default();
    subject.task()?.set_comm(name);
    Ok(())
}

pub(super) fn name(subject: &Subject) -> Vec<u8> {
    match subject.task() {
        Ok(task) => task.comm(),
        Err(_) if subject.group.state.lock().is_zombie() => b"defunct".to_vec(),
        // The sentry's own process 1 has no thread.
        Err(_) => b"init".to_vec(),
    }
}

/// A letter and a word for what it does.
pub(super) fn state(reader: &Reader, subject: &Subject) -> (char, &'static str) {
    let (is_zombie, is_stopped) = {
        let state = subject.group.state.lock();
        (state.is_zombie(), state.stopped.is_some())
    };
    let task = match subject.task() {
        _ if is_zombie => return ('Z', "zombie"),
        _ if is_stopped => return ('T', "stopped"),
        Err(_) => return ('S', "sleeping"),
        Ok(task) => task,
    };
    if Arc::ptr_eq(&task, &reader.task) {
        return ('R', "running");
    }
    let stat = task.thread().process().proc_file(&format!("task/{}/stat", task.thread().host_tid()));
    let text = String::from_utf8_lossy(&stat.unwrap_or_default()).into_owned();
    match text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
        Some('R') => ('R', "running"),
        _ => ('S', "sleeping"),
    }
}

/// A line `name: value` of a file of the host about the process.
pub(super) fn host_file(subject: &Subject, name: &str) -> String {
    let bytes = subject.task().ok().and_then(|t| t.thread().process().proc_file(name).ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// `statm`.
pub(super) fn statm(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let text = host_file(subject, "statm");
    Ok(if text.is_empty() { b"0 0 0 0 0 0 0\n".to_vec() } else { text.into_bytes() })
}

/// `io`: what the host counts would be the stub's; nothing is counted here.
pub(super) fn io(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    subject.inspect(reader)?;
    let text = match &subject.task {
        Some(task) => task.io.describe(),
        None => subject.group.io.describe(),
    };
    Ok(text.into_bytes())
}

/// The signals that a process ignores and those that it handles.
pub(super) fn actions(subject: &Subject) -> (u64, u64) {
    let sighand = subject.group.sighand();
    let mut sets = (0, 0);
    for signo in 1..=SIGRTMAX {
        let bit = 1u64 << (signo - 1);
        match sighand.get(signo).handler {
            SIG_DFL => {}
            SIG_IGN => sets.0 |= bit,
            _ => sets.1 |= bit,
        }
    }
    sets
}

pub(super) fn pending(subject: &Subject) -> (SigSet, SigSet) {
    let shared = subject.group.pending.lock().set();
    let all = subject.task().map_or(SigSet::EMPTY, |t| t.pending_signals());
    (all.minus(shared), shared)
}

/// Lines of the host's `status` that are as true inside.
const FROM_HOST: [&str; 8] =
    ["Vm", "Rss", "HugetlbPages", "CoreDumping", "THP_enabled", "Cpus_", "Mems_", "voluntary_"];

/// `status`.
pub(super) fn status(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let mut text = b"Name:\t".to_vec();
    text.extend(name(subject));
    let mut out = String::from("\n");
    let task = subject.task();
    let parent = reader.kernel().tree.lock().node(subject.group.tgid).map_or(0, |n| n.parent);
    if let Ok(task) = &task {
        let _ = writeln!(out, "Umask:\t{:04o}", task.fs().umask());
    }
    let (letter, word) = state(reader, subject);
    let (tgid, id) = (subject.group.tgid, subject.id());
    let _ =
        write!(out, "State:\t{letter} ({word})\nTgid:\t{tgid}\nNgid:\t0\nPid:\t{id}\nPPid:\t{parent}\nTracerPid:\t0\n");
    if let Ok(task) = &task {
        credentials(&mut out, task);
    }
    let host = host_file(subject, "status");
    let from_host = |names: &[&str]| -> String {
        let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
        host.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect()
    };
    out.push_str(&from_host(FROM_HOST.get(..5).unwrap_or_default()));
    let _ = writeln!(out, "Threads:\t{}", subject.group.tasks().len().max(1));
    let (private, shared) = pending(subject);
    let limit = subject.group.limit(libc::RLIMIT_SIGPENDING);
    let _ = writeln!(out, "SigQ:\t0/{limit}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}", private.0, shared.0);
    let blocked = task.as_ref().map_or(SigSet::EMPTY, |t| t.sigmask());
    let (ignored, caught) = actions(subject);
    let _ = writeln!(out, "SigBlk:\t{:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}", blocked.0);
    if let Ok(task) = &task {
        capabilities(&mut out, task);
    }
    out.push_str(&from_host(FROM_HOST.get(5..).unwrap_or_default()));
    let nonvoluntary: String = host.lines().filter(|l| l.starts_with("nonvoluntary")).flat_map(|l| [l, "\n"]).collect();
    out.push_str(&nonvoluntary);
    text.extend(out.into_bytes());
    Ok(text)
}

fn credentials(out: &mut String, task: &Task) {
    let c = task.creds();
    let _ = writeln!(out, "Uid:\t{}\t{}\t{}\t{}", c.uid, c.euid, c.suid, c.fsuid);
    let _ = writeln!(out, "Gid:\t{}\t{}\t{}\t{}", c.gid, c.egid, c.sgid, c.fsgid);
    let highest = task.files().list().last().map_or(0, |(fd, _)| fd.unsigned_abs() + 1);
    let _ = writeln!(out, "FDSize:\t{}", highest.next_multiple_of(64).max(64));
    let groups: String = c.groups.iter().map(|g| format!("{g} ")).collect();
    let _ = writeln!(out, "Groups:\t{groups}");
}

fn capabilities(out: &mut String, task: &Task) {
    let c = task.creds();
    let sets =
        [("Inh", c.inheritable), ("Prm", c.permitted), ("Eff", c.effective), ("Bnd", c.bounding), ("Amb", c.ambient)];
    for (name, set) in sets {
        let _ = writeln!(out, "Cap{name}:\t{set:016x}");
    }
    let (mode, count) = (task.seccomp.mode() as u8, task.seccomp.count());
    let _ = writeln!(out, "NoNewPrivs:\t{}\nSeccomp:\t{mode}\nSeccomp_filters:\t{count}", u8::from(c.no_new_privs));
}

/// `limits`.
pub(super) fn limits(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let mut out = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
    for ((name, unit), limit) in NAMES.iter().zip(subject.group.limits.lock().iter()) {
        let _ = writeln!(out, "{name:<25} {:<20} {:<20} {unit:<10}", show(limit.soft), show(limit.hard));
    }
    Ok(out.into_bytes())
}

/// `personality`.
pub(super) fn personality(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let personality = subject.inspect(reader)?.personality.load(Ordering::Relaxed);
    Ok(format!("{personality:08x}\n").into_bytes())
}

/// `oom_score`.
pub(super) fn oom_score(subject: &Subject) -> SysResult<Vec<u8>> {
    let adjusted = 666 + subject.group.oom_score_adj.load(Ordering::Relaxed) * 2 / 3;
    Ok(format!("{}\n", adjusted.max(0)).into_bytes())
}

/// `oom_score_adj`.
pub(super) fn oom_score_adj(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    Ok(format!("{}\n", subject.group.oom_score_adj.load(Ordering::Relaxed)).into_bytes())
}

/// `oom_score_adj`, written.
pub(super) fn set_oom_score_adj(reader: &Reader, subject: &Subject, data: &[u8]) -> SysResult<()> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
    let value: i32 = text.trim().parse().map_err(|_| Errno::INVAL)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::INVAL);
    }
    let adj = &subject.group.oom_score_adj;
    if value < adj.load(Ordering::Relaxed) && !reader.task.creds().has(Cap::SysResource) {
        return Err(Errno::ACCES);
    }
    adj.store(value, Ordering::Relaxed);
    Ok(())
}

/// `maps`.
pub(super) fn maps(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    mappings(reader, subject, "maps")
}

/// `smaps`.
pub(super) fn smaps(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    mappings(reader, subject, "smaps")
}

fn mappings(reader: &Reader, subject: &Subject, file: &str) -> SysResult<Vec<u8>> {
    let Ok(task) = subject.inspect(reader) else { return Err(Errno::ACCES) };
    let process = task.thread().process().clone();
    let text = process.proc_file(file)?;
    Ok(crate::mm::maps::translate(&*process, &text, &reader.task.fs().root()))
}

/// `smaps_rollup`.
pub(super) fn smaps_rollup(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    Ok(subject.inspect(reader)?.thread().process().proc_file("smaps_rollup")?)
}

/// Blanks, tabs, newlines and backslashes as `\ooo`.
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => out.extend(format!("\\{byte:03o}").into_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

/// `mounts`.
pub(super) fn mounts(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let fs = subject.task()?.fs();
    let mut text = Vec::new();
    for mount in fs.namespace().list(&fs.root()) {
        let mode = if mount.super_options.starts_with("ro") || mount.options.starts_with("ro") { "ro" } else { "rw" };
        let rest = |options: &str| options.get(2..).unwrap_or_default().to_owned();
        text.extend(escaped(mount.source.as_bytes()));
        text.push(b' ');
        text.extend(escaped(&mount.point));
        let options = format!("{mode}{}{}", rest(&mount.options), rest(&mount.super_options));
        text.extend(format!(" {} {options} 0 0\n", mount.fstype).into_bytes());
    }
    Ok(text)
}

/// `mountinfo`.
pub(super) fn mountinfo(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let fs = subject.task()?.fs();
    let mut text = Vec::new();
    for mount in fs.namespace().list(&fs.root()) {
        let (major, minor) = (libc::major(mount.dev), libc::minor(mount.dev));
        text.extend(format!("{} {} {major}:{minor} ", mount.id, mount.parent).into_bytes());
        text.extend(escaped(&mount.root));
        text.push(b' ');
        text.extend(escaped(&mount.point));
        let propagation = if mount.propagation.is_empty() { String::new() } else { format!("{} ", mount.propagation) };
        text.extend(format!(" {} {propagation}- {} ", mount.options, mount.fstype).into_bytes());
        text.extend(escaped(mount.source.as_bytes()));
        text.extend(format!(" {}\n", mount.super_options).into_bytes());
    }
    Ok(text)
}
