//! `runsc doctor`: what the host offers and lacks.

use crate::cgroup::{Cgroup, Placement};
use crate::plan::Limits;
use crate::supervise::{missing_namespaces, names};
use anyhow::Result;
use platform::host::{self, Caps, Namespaces};
use std::fs;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// How much a finding matters.
enum Grade {
    Ok,
    /// Something works less well without it.
    Weak,
    /// A sandbox does not start without it.
    Missing,
}

struct Finding {
    what: &'static str,
    grade: Grade,
    text: String,
}

impl Finding {
    fn new(what: &'static str, grade: Grade, text: impl Into<String>) -> Finding {
        Finding { what, grade, text: text.into() }
    }
}

pub(crate) fn run(_: &Args) -> Result<u8> {
    let findings = [kernel(), identity(), namespaces(), notifications(), answers(), yama(), cgroups(), sealing()];
    let mut text = String::new();
    for finding in &findings {
        let word = match finding.grade {
            Grade::Ok => "ok",
            Grade::Weak => "weak",
            Grade::Missing => "MISSING",
        };
        text.push_str(&format!("{:8} {:22} {}\n", word, finding.what, finding.text));
    }
    super::print(text.as_bytes())?;
    let is_missing = findings.iter().any(|f| matches!(f.grade, Grade::Missing));
    Ok(u8::from(is_missing))
}

/// The first kernel whose notifications can be answered on the asker's core.
const WANTED_KERNEL: (u32, u32) = (6, 6);

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version {
        v if v >= WANTED_KERNEL => Finding::new("kernel", Grade::Ok, release),
        v if v >= (5, 19) => {
            Finding::new("kernel", Grade::Weak, format!("{release}: system calls are slower before 6.6"))
        }
        _ => Finding::new("kernel", Grade::Missing, format!("{release}: 5.19 or newer is needed")),
    }
}

fn identity() -> Finding {
    let text = match (rustix::process::geteuid().is_root(), host::has_cap(Caps::SYS_ADMIN)) {
        (true, true) => "root: the sandbox runs as nobody (65534)",
        (true, false) => "root without CAP_SYS_ADMIN: the sandbox runs in a user namespace",
        (false, _) => "an ordinary user: the sandbox runs in a user namespace",
    };
    Finding::new("identity", Grade::Ok, text)
}

fn namespaces() -> Finding {
    let needs_user = !host::has_cap(Caps::SYS_ADMIN);
    let missing = missing_namespaces(if needs_user { Namespaces::USER } else { Namespaces::empty() });
    if missing.is_empty() {
        Finding::new("namespaces", Grade::Ok, "pid, mount, network, IPC, UTS")
    } else {
        let why = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
        let hint = if needs_user && why.trim() == "0" { " (user.max_user_namespaces is 0)" } else { "" };
        Finding::new("namespaces", Grade::Missing, format!("no new {}{hint}", names(missing)))
    }
}

fn notifications() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    match actions.split_whitespace().any(|a| a == "user_notif") {
        true => Finding::new("seccomp notifications", Grade::Ok, "the notify platform can run"),
        false => Finding::new("seccomp notifications", Grade::Missing, "the host's kernel was built without them"),
    }
}

/// Runs the platform's self-test, whatever the version says.
fn answers() -> Finding {
    match platform::notify::selftest::keeps_answers() {
        Ok(true) => Finding::new("seccomp answers", Grade::Ok, "1,000 of 1,000 answers given with a signal arrived"),
        Ok(false) => Finding::new(
            "seccomp answers",
            Grade::Missing,
            "the kernel loses answers to interrupted calls (fixed in Linux 6.18 and stable releases of October 2025)",
        ),
        Err(e) => Finding::new("seccomp answers", Grade::Missing, format!("the self-test failed: {e}")),
    }
}

fn yama() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default().trim() {
        "" => Finding::new("yama", Grade::Ok, "not there"),
        level @ ("0" | "1") => Finding::new("yama", Grade::Ok, format!("ptrace_scope is {level}")),
        level => Finding::new(
            "yama",
            Grade::Missing,
            format!("kernel.yama.ptrace_scope is {level}: guest memory cannot be read; set it to 1"),
        ),
    }
}

fn cgroups() -> Finding {
    let one_of_each = Limits { memory: Some(1 << 30), millicpus: Some(1000), pids: Some(1000) };
    let name = format!("runsc-do-{}", std::process::id());
    let made = Cgroup::create(&Placement { id: &name, ..Placement::default() }, &one_of_each.resources());
    match made.and_then(|cgroup| cgroup.remove()) {
        Ok(()) => Finding::new("cgroups", Grade::Ok, "limits on memory, processors and processes can be set"),
        Err(e) => Finding::new("cgroups", Grade::Weak, format!("{e:#}: --memory, --cpus, --pids are refused")),
    }
}

fn sealing() -> Finding {
    match host::has_mseal() {
        true => Finding::new("mseal", Grade::Ok, "the stub's memory is sealed"),
        false => Finding::new("mseal", Grade::Weak, "not there: a program can unmap its own stub, and dies of it"),
    }
}
