//! Guest programs in C (`tests/guest/*.c`): each is compiled, run natively, run in the sandbox; output and exit
//! status must be equal. Each runs a second time with as many calls as can be taking the fast path, whatever the load
//! is; those of the file system run a third time with their files on the host, those of sockets with sockets of the host.
//! Those of limits have theirs from a group of the host natively.

use anyhow::Result;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use tests::{PidsGroup, Program, Scratch, cases, compare, compile, run_trials, sandboxed_with, trial};

/// Guest programs take below 2 s each; the rest is for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many processes those programs may have whose names begin with `limit`.
const PIDS: u64 = 8;

/// Programs about sockets that are to behave alike with `--network=host`.
const HOSTED: [&str; 9] = [
    "epoll_modes",
    "net_tcp",
    "net_udp",
    "poll_calls",
    "rw_calls",
    "socket_calls",
    "splice_basic",
    "tcp_basic",
    "udp_basic",
];

fn main() -> Result<()> {
    let mut trials = Vec::new();
    for (source, name) in cases("guest", "c")? {
        // For mounts it matters that the directory is one.
        if name.starts_with("fs_") && name != "fs_mount" {
            let (source, name) = (source.clone(), format!("{name}_bound"));
            trials.push(trial(name.clone(), move || check(&source, &name, Way::Bound)));
        }
        if HOSTED.contains(&name.as_str()) {
            let (source, name) = (source.clone(), format!("{name}_hosted"));
            trials.push(trial(name.clone(), move || check(&source, &name, Way::Hosted)));
        }
        let (fast_source, fast_name) = (source.clone(), format!("{name}_fast"));
        trials.push(trial(fast_name.clone(), move || check(&fast_source, &fast_name, Way::Fast)));
        trials.push(trial(name.clone(), move || check(&source, &name, Way::Plain)));
    }
    run_trials(trials)
}

/// The same program in a network namespace of its own, as the sandbox gives it one: it changes what all would see.
fn in_own_network(program: &Program) -> Program {
    let enter = ["unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""].map(Into::into);
    let args = enter.into_iter().chain(program.args.iter().cloned()).collect();
    Program { args, cwd: program.cwd.clone(), env: program.env.clone(), timeout: program.timeout }
}

/// How a program runs in the sandbox.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    /// What the program changes goes to the host, in place of a layer in memory.
    Bound,
    /// Sockets are the host's, in a network namespace of the run's own.
    Hosted,
    /// Calls through shared memory wherever they can be.
    Fast,
}

fn check(source: &Path, name: &str, way: Way) -> Result<()> {
    let scratch = Scratch::new(name)?;
    let exe = compile(source, &scratch)?;
    let program =
        Program { args: vec![exe.into()], cwd: scratch.path().join("cwd"), env: Vec::new(), timeout: TIMEOUT };
    scratch.fresh("cwd")?;
    if name.starts_with("limit") {
        return check_limited(&program, name, way);
    }
    let is_hosted = matches!(way, Way::Hosted);
    let native = if name.starts_with("net") || is_hosted { in_own_network(&program).run()? } else { program.run()? };
    scratch.fresh("cwd")?;
    let place = scratch.path().as_os_str();
    let options: &[&OsStr] = match way {
        Way::Plain => &[],
        Way::Bound => &["--bind".as_ref(), place, place],
        Way::Fast => &["--fast-path=always".as_ref()],
        Way::Hosted => &["--network=host".as_ref()],
    };
    let sandboxed = sandboxed_with(&program, options)?;
    let sandbox = if is_hosted { in_own_network(&sandboxed).run()? } else { sandboxed.run()? };
    compare(&native, &sandbox)
}

/// One that is told how many processes it may have.
fn check_limited(program: &Program, name: &str, way: Way) -> Result<()> {
    let Some(group) = PidsGroup::new(name, PIDS)? else {
        eprintln!("skipped: the host gives no groups");
        return Ok(());
    };
    let mut native = group.holding(program);
    native.env.push(("PIDS_DIR", group.path().into()));
    let max = PIDS.to_string();
    let fast = if matches!(way, Way::Fast) { "always" } else { "on" };
    let options = ["--pids".as_ref(), OsStr::new(&max), "--fast-path".as_ref(), fast.as_ref()];
    compare(&native.run()?, &sandboxed_with(program, &options)?.run()?)
}
