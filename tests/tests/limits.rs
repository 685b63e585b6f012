//! Limits on processes: the container's, which is about what its guests know of, and the host's own around a sandbox; and
//! the host's on open files.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;
use tests::{PidsGroup, Program, Sandbox, Status, oci_bundle, sandboxed, sandboxed_with};

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn program(args: &[&str]) -> Program {
    let args = args.iter().map(Into::into).collect();
    Program { args, cwd: "/".into(), env: Vec::new(), timeout: Duration::from_secs(60) }
}

#[test]
fn a_script_needs_no_more_processes_than_it_has() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let script = program(&["sh", "-c", "i=0; while [ $i -lt 50 ]; do /bin/true || exit; i=$((i+1)); done; echo $i"]);
    for round in 0..20 {
        // The shell, and what it runs.
        let limit = if round % 2 == 0 { "2" } else { "3" };
        let outcome = sandboxed_with(&script, &["--pids".as_ref(), limit.as_ref()])?.run()?;
        assert_eq!(outcome.status, Status::Exited(0), "{}", String::from_utf8_lossy(&outcome.stderr));
        assert_eq!(outcome.stdout, b"50\n");
    }
    Ok(())
}

#[test]
fn programs_start_at_the_limit_however_many_at_once() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    // Each keeps its process and runs one program after the other in it.
    let chain = "n=$1; [ $n -eq 0 ] || exec sh -c \"$2\" sh $((n-1)) \"$2\"";
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11; do sh -c \"$1\" sh 60 \"$1\" & all=\"$all $!\"; done; \
        for pid in $all; do wait $pid || echo failed; done; echo end";
    let outcome =
        sandboxed_with(&program(&["bash", "-c", script, "bash", chain]), &["--pids".as_ref(), "12".as_ref()])?.run()?;
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "end\n", "{}", String::from_utf8_lossy(&outcome.stderr));
    Ok(())
}

#[test]
fn the_containers_limit_is_what_guest_and_engine_see() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut bundle = oci_bundle("pids")?;
    let id = bundle.id.clone();
    let groups = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
    bundle.config["mounts"].as_array_mut().context("mounts")?.push(groups);
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 4}});
    bundle.script("for i in 1 2 3; do sleep 60 & done; wait");
    bundle.ok(&["run", "--detach", &id])?;
    let figures = || -> Result<Value> {
        let event: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", &id])?)?;
        Ok(event["data"]["pids"].clone())
    };
    tests::eventually("the container is full", || Ok(figures()?["current"] == 4))?;
    assert_eq!(figures()?["limit"], 4);
    // Who comes from outside is let in, and counts; it may not have children.
    let forks = bundle.run(&["exec", &id, "sh", "-c", "(exec true); true"])?;
    assert!(!forks.status.success(), "there was room for a further process");
    let files = ["max", "current", "peak", "events"].map(|name| format!("/sys/fs/cgroup/pids.{name}"));
    let read: Vec<&str> = ["exec", &id, "cat"].into_iter().chain(files.iter().map(String::as_str)).collect();
    assert_eq!(bundle.ok(&read)?, "4\n5\n5\nmax 1\n");
    bundle.ok(&["update", "--pids-limit", "9", &id])?;
    assert_eq!(figures()?["limit"], 9);
    assert!(bundle.ok(&read)?.starts_with("9\n5\n"));
    assert_eq!(bundle.ok(&["exec", &id, "sh", "-c", "(exec true) && (exec true); echo $?"])?, "0\n");
    bundle.ok(&["update", "--pids-limit", "-1", &id])?;
    assert!(bundle.ok(&read)?.starts_with("max\n5\n"));
    bundle.ok(&["kill", "--all", &id, "KILL"])?;
    bundle.wait_for(&id, "stopped")
}

/// Fills whatever limit there is, is refused, makes room, and goes on, again and again.
const AT_THE_WALL: &str = r#"
import os, signal, subprocess, sys, threading, time
def retry(what):
    until = time.monotonic() + 30
    while True:
        try:
            return what()
        except (BlockingIOError, RuntimeError):
            if time.monotonic() > until:
                raise
            time.sleep(0.002)
for turn in range(6):
    children = []
    try:
        while len(children) < 1000:
            pid = os.fork()
            if pid == 0:
                try:
                    if turn % 2:
                        os.execvp("sleep", ["sleep", "60"])
                    signal.pause()
                finally:
                    os._exit(0)
            children.append(pid)
    except BlockingIOError:
        pass
    assert len(children) < 1000, "no limit"
    try:
        threads = []
        while len(threads) < 1000:
            gate = threading.Event()
            thread = threading.Thread(target=gate.wait)
            thread.start()
            threads.append((thread, gate))
    except RuntimeError:
        pass
    for thread, gate in threads:
        gate.set()
        thread.join()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for n in range(5):
        status = retry(lambda: subprocess.run(["true"])).returncode
        assert status == 0, status
    print("turn", turn, flush=True)
"#;

fn survives(outcome: &tests::Outcome) {
    let (stdout, stderr) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    assert_eq!(outcome.status, Status::Exited(0), "{stdout} {stderr}");
    assert_eq!(stdout.lines().count(), 6, "{stdout} {stderr}");
}

#[test]
fn a_limit_of_the_host_refuses_and_passes() -> Result<()> {
    for (round, max) in [26, 30, 36, 60].into_iter().enumerate() {
        let Some(group) = PidsGroup::new(&format!("wall{round}"), max)? else { return Ok(()) };
        survives(&group.holding(&sandboxed(&program(&["/usr/bin/python3", "-c", AT_THE_WALL]))?).run()?);
    }
    Ok(())
}

#[test]
fn a_host_that_allows_too_few_open_files_is_told_of() -> Result<()> {
    for (files, is_enough) in [("1001", false), ("1002", true)] {
        let mut sandbox = sandboxed(&program(&["sh", "-c", "/bin/true && echo well"]))?;
        let limit = ["sh", "-c", "ulimit -n $0 && exec \"$@\"", files].map(Into::into);
        sandbox.args = limit.into_iter().chain(sandbox.args).collect();
        let outcome = sandbox.run()?;
        let (stdout, stderr) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        assert_eq!(stdout == "well\n", is_enough, "{stdout} {stderr}");
        assert_eq!(stderr.contains("RLIMIT_NOFILE"), !is_enough, "{stdout} {stderr}");
    }
    Ok(())
}

/// Children that nobody waits for, each of which has changed signal actions often enough to be lent them.
const ZOMBIES: &str = r#"
import os, sys
busy = "import signal\nfor n in range(500): signal.signal(40, signal.SIG_IGN)"
for n in range(60):
    pid = os.posix_spawn("/usr/bin/python3", ["python3", "-c", busy], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print("dead", flush=True)
sys.stdin.read()
"#;

#[test]
fn zombies_hold_no_files_of_the_host() -> Result<()> {
    let mut sandbox = Sandbox::start(Path::new("/"), &["/usr/bin/python3", "-c", ZOMBIES])?;
    let mut line = String::new();
    BufReader::new(sandbox.runsc.stdout.take().context("stdout")?).read_line(&mut line)?;
    assert_eq!(line, "dead\n");
    let files = format!("/proc/{}/fd", sandbox.sentry()?);
    // The last ones may still be on their way out.
    tests::eventually("few files", || {
        let links = std::fs::read_dir(&files)?.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let names: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let of = |what: &str| names.iter().filter(|name| name.contains(what)).count();
        Ok(of("slots") < 30 && of("seccomp") < 30)
    })
}
