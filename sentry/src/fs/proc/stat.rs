//! `/proc/PID/stat` (proc_pid_stat(5)): one line of numbers.

use super::process::Subject;
use super::status::{actions, host_file, name, pending, state};
use crate::errno::SysResult;
use crate::fs::pseudo::Reader;
use crate::kernel::ThreadGroup;
use crate::kernel::signal::SigSet;
use crate::kernel::traits::Traits;
use std::sync::atomic::Ordering;

/// Nanoseconds in a clock tick (`USER_HZ` is 100).
const TICK: u64 = 10_000_000;

/// `PF_RANDOMIZE`, and `PF_FORKNOEXEC` until the first `execve`.
const RANDOMIZED: u32 = 0x40_0000;
const FORKED: u32 = 0x40;

/// What the host's line of the same thread says: those fields that are as true inside.
struct HostLine(Vec<u64>);

impl HostLine {
    fn read(subject: &Subject) -> HostLine {
        let of_thread = subject.task.as_ref().map(|task| format!("task/{}/stat", task.thread().host_tid()));
        let line = host_file(subject, of_thread.as_deref().unwrap_or("stat"));
        let rest = line.rsplit_once(") ").map_or("", |(_, rest)| rest);
        HostLine(rest.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect())
    }

    /// A field by its number in the manual page.
    fn field(&self, number: usize) -> u64 {
        const FIRST: usize = 3;
        self.0.get(number - FIRST).copied().unwrap_or(0)
    }
}

/// `stat`.
pub(super) fn stat(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let group = &subject.group;
    let (parent, pgid, sid) = {
        let tree = reader.kernel().tree.lock();
        tree.node(group.tgid).map_or((0, 0, 0), |n| (n.parent, n.pgid, n.sid))
    };
    let (tty, foreground) = crate::fs::devpts::terminal_of(reader.kernel(), sid);
    let flags = RANDOMIZED | if group.state.lock().did_exec { 0 } else { FORKED };
    let host = HostLine::read(subject);
    // Of a zombie nothing but its parent is known.
    let is_own_zombie = group.state.lock().is_zombie() && reader.task.group.tgid == parent;
    let may_look = is_own_zombie || subject.inspect(reader).is_ok();
    // Addresses of another's memory are told only to who may look into it; 1 is none.
    let place = |number: usize| if may_look { host.field(number) } else { u64::from(host.field(number) != 0) };
    let secret = |value: u64| if may_look { value } else { 0 };
    let (thread_pending, _) = pending(subject);
    let blocked = subject.task().map_or(SigSet::EMPTY, |t| t.sigmask());
    let (ignored, caught) = actions(subject);
    let traits = subject.task().map_or_else(|_| Traits::default(), |t| *t.traits.lock());
    let areas = *group.strings.lock();
    let status = group.state.lock().exit.unwrap_or(0);
    let (letter, _) = state(reader, subject);
    let mut text = format!("{} (", subject.id()).into_bytes();
    text.extend(name(subject));
    let rest = [
        format!(") {letter} {parent} {pgid} {sid} {tty} {foreground} {flags}"),
        times(subject),
        schedule(reader, group, &host),
        format!(" {} {} {} {}", size(subject), place(26), place(27), secret(host.field(28))),
        // Stack pointer and address are shown of the dying only.
        format!(" 0 0 {} {} {} {}", low(thread_pending.0), low(blocked.0), low(ignored), low(caught)),
        format!(" {} 0 0 {} {}", secret(u64::from(letter != 'R')), exit_signal(subject), host.field(39)),
        // No real-time priority, for there are no such policies.
        format!(" 0 {} 0 0 0", traits.policy),
        format!(" {} {} {}", secret(host.field(45)), secret(host.field(46)), secret(host.field(47))),
        format!(" {} {}", secret(areas.arg_start), secret(areas.arg_end)),
        format!(" {} {} {}\n", secret(areas.env_start), secret(areas.env_end), secret(status.unsigned_abs().into())),
    ];
    text.extend(rest.concat().into_bytes());
    Ok(text)
}

/// Fields 10 to 17: faults and processor time.
fn times(subject: &Subject) -> String {
    let usage = match &subject.task {
        Some(task) => task.thread().usage(),
        None => subject.group.usage(),
    };
    let children = subject.group.state.lock().children_usage.get();
    let ticks = |usage: &platform::Usage| format!(" {} {}", usage.utime / TICK, usage.stime / TICK);
    let faults = format!(" {} {} {} {}", usage.minflt, children.minflt, usage.majflt, children.majflt);
    faults + &ticks(&usage) + &ticks(&children)
}

/// Fields 18 to 22: priority, nice value, threads, nothing, start.
fn schedule(reader: &Reader, group: &ThreadGroup, host: &HostLine) -> String {
    /// The priority of nice value 0.
    const NORMAL: u64 = 20;
    let nice = host.field(18) as i64 - NORMAL as i64;
    // A zombie still has its leader.
    let threads = group.tasks().len().max(1);
    let since_boot = group.started.saturating_duration_since(reader.kernel().started);
    format!(" {} {nice} {threads} 0 {}", host.field(18), since_boot.as_millis() / 10)
}

/// Fields 23 to 25: size, resident pages and their limit.
fn size(subject: &Subject) -> String {
    let statm = host_file(subject, "statm");
    let mut pages = statm.split(' ').map(|n| n.parse::<u64>().unwrap_or(0));
    let (size, resident) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    format!("{} {resident} {}", size * 4096, subject.group.limit(libc::RLIMIT_RSS))
}

/// A set as these fields show it: signals beyond 31 do not fit; `status` has them.
fn low(set: u64) -> u64 {
    set & 0x7fff_ffff
}

fn exit_signal(subject: &Subject) -> i32 {
    subject.group.exit_signal.load(Ordering::Relaxed)
}
