//! `--strace`: one line per system call of a guest, decoded, when it returns.
//!
//! What goes in is read when the call begins, what comes out when it ends; the kinds of the arguments are the
//! table's. Off, it costs one test per call.

mod args;
mod consts;
mod names;
mod structs;

use crate::errno::SysResult;
use crate::kernel::Task;
use crate::sync::Mutex;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Instant;
use syscalls_table::{Arg, lookup};

/// Most registers a call has.
const ARGS: usize = 6;

struct Sink {
    /// The lock keeps lines whole; it is never held across a guest copy.
    out: Mutex<File>,
    start: Instant,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// From now on all calls are written to `out`.
pub fn start(out: OwnedFd) {
    let _ = SINK.set(Sink { out: Mutex::new(File::from(out)), start: Instant::now() });
}

/// A call under way.
#[derive(Debug)]
pub struct Trace {
    nr: u32,
    args: [u64; ARGS],
    /// What was decoded at the beginning; `None` is decoded at the end.
    decoded: [Option<String>; ARGS],
    begin: Instant,
}

/// Begins a line, if calls are traced at all.
pub fn enter(t: &Task, nr: u32, args: [u64; ARGS]) -> Option<Trace> {
    SINK.get()?;
    let mut decoded: [Option<String>; ARGS] = Default::default();
    let kinds = kinds(nr);
    for (at, (kind, slot)) in kinds.iter().zip(&mut decoded).enumerate() {
        *slot = args::on_entry(t, *kind, &args, at);
    }
    let trace = Trace { nr, args, decoded, begin: Instant::now() };
    if matches!(i64::from(nr), libc::SYS_exit | libc::SYS_exit_group | libc::SYS_execve | libc::SYS_execveat) {
        // Where these succeed there is nothing to come back to.
        emit(&trace.line(t, "?"));
    }
    Some(trace)
}

impl Trace {
    /// Ends the line with what the guest will get.
    pub fn exit(mut self, t: &Task, result: &SysResult) {
        for (at, (kind, slot)) in kinds(self.nr).iter().zip(&mut self.decoded).enumerate() {
            if slot.is_none() {
                *slot = Some(args::on_exit(t, *kind, &self.args, at, result));
            }
        }
        emit(&self.line(t, &self.result(result)));
    }

    /// The call was given up: a signal came, or the task ended.
    pub fn interrupted(self, t: &Task) {
        emit(&self.line(t, "? (interrupted)"));
    }

    fn line(&self, t: &Task, result: &str) -> String {
        let since = SINK.get().map_or(0.0, |sink| self.begin.duration_since(sink.start).as_secs_f64());
        let name = lookup(self.nr).map_or_else(|| format!("syscall_{:#x}", self.nr), |e| e.name.to_owned());
        let mut line = format!("[{:>5}] {since:.6} {name}(", t.tid());
        for (at, _) in kinds(self.nr).iter().enumerate() {
            let value = self.decoded.get(at).cloned().flatten();
            let raw = self.args.get(at).copied().unwrap_or_default();
            let separator = if at == 0 { "" } else { ", " };
            let _ = write!(line, "{separator}{}", value.unwrap_or_else(|| structs::pointer(raw)));
        }
        let _ = write!(line, ") = {result} <{:.6}>", self.begin.elapsed().as_secs_f64());
        line
    }

    fn result(&self, result: &SysResult) -> String {
        match result {
            Err(e) if e.is_restart() => "? (to be restarted)".into(),
            Err(e) => format!("-1 {e}"),
            Ok(value) if is_address(self.nr) => structs::pointer(*value as u64),
            Ok(value) => value.to_string(),
        }
    }
}

fn kinds(nr: u32) -> &'static [Arg] {
    // A number that is in no table shows all its registers.
    lookup(nr).map_or(&[Arg::Hex; ARGS], |e| e.args)
}

fn is_address(nr: u32) -> bool {
    matches!(i64::from(nr), libc::SYS_mmap | libc::SYS_mremap | libc::SYS_brk | libc::SYS_shmat)
}

fn emit(line: &str) {
    if let Some(sink) = SINK.get() {
        // A log that cannot be written is no reason to stop a guest.
        let _ = sink.out.lock().write_all(format!("{line}\n").as_bytes());
    }
}
