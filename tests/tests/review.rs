//! What can be seen only from the host of the findings that stand in ARCHITECTURE.md under "What was found in review".

use anyhow::{Context, Result};
use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use tests::{Sandbox, Scratch, children, compile, here, status_field};

/// M11: a guest that crashes must not have the host's core pattern run, which a limit of 0 does not keep it from.
#[test]
fn no_process_of_a_sandbox_leaves_a_core_to_the_host() -> Result<()> {
    let sandbox = Sandbox::sleeping()?;
    let sentry = sandbox.sentry()?;
    tests::eventually("a guest process", || Ok(!children(sentry).is_empty()))?;
    for pid in children(sentry) {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("no such limit")?;
        let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(values, ["1", "1"], "process {pid}: {core}");
    }
    Ok(())
}

/// M11: nor may it be readable for others of its user.
#[test]
fn guest_processes_are_bound_like_the_sentry() -> Result<()> {
    let sandbox = Sandbox::sleeping()?;
    let sentry = sandbox.sentry()?;
    tests::eventually("a guest process", || Ok(!children(sentry).is_empty()))?;
    // A process that is just being made is not bound yet.
    tests::eventually("all are bound", || Ok(children(sentry).into_iter().all(|pid| is_bound(pid).unwrap_or(false))))
}

fn is_bound(pid: u32) -> Result<bool> {
    let caps = |name| Ok::<_, anyhow::Error>(u64::from_str_radix(&status_field(pid, name)?, 16)?);
    Ok(status_field(pid, "NoNewPrivs:")? == "1" && caps("CapBnd:")? == 0 && caps("CapPrm:")? == 0)
}

/// Since this version each pid namespace has a `pid_max` of its own; before it the machine's would be changed.
const OWN_PID_MAX: (u32, u32) = (6, 14);

fn kernel() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Ok((parts.next().context("no version")??, parts.next().context("no version")??))
}

/// T6: threads and children come and go until the host gives their ids again, many times over.
#[test]
fn ids_of_the_host_that_come_again_mix_nobody_up() -> Result<()> {
    if !nix::unistd::geteuid().is_root() || kernel()? < OWN_PID_MAX {
        eprintln!("skipped: pid_max cannot be set for the sandbox alone");
        return Ok(());
    }
    let scratch = Scratch::new("wrap")?;
    let storm = compile(&here().join("guest/platform_review.c"), &scratch)?;
    let storm = storm.to_str().context("path")?;
    let mut sandbox =
        Sandbox::start(scratch.path(), &["sh", "-c", "read go; for n in 1 2 3; do \"$0\" storm; done", storm])?;
    let enter = format!("--pid=/proc/{}/ns/pid", sandbox.sentry()?);
    let set = Command::new("nsenter").args([&enter, "sh", "-c", "echo 400 >/proc/sys/kernel/pid_max"]).status()?;
    assert!(set.success());
    sandbox.runsc.stdin.take().context("no pipe")?.write_all(b"go\n")?;
    let mut output = String::new();
    sandbox.runsc.stdout.take().context("no pipe")?.read_to_string(&mut output)?;
    assert_eq!(output, "mixed up: 0\nnobody left: -1 ECHILD\n".repeat(3));
    Ok(())
}
