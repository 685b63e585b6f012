//! The life of containers: create, start, exec, kill, pause, delete, and what each leaves behind.

use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tests::{Bundle, eventually};

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Cgroups on the host whose name is that of a container.
fn cgroups(id: &str) -> Vec<String> {
    let text = std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", id]).output();
    text.map(|o| String::from_utf8_lossy(&o.stdout).lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn signal(pid: i32, signo: i32) {
    let signal = nix::sys::signal::Signal::try_from(signo).ok();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

#[test]
fn a_container_lives_and_dies() -> Result<()> {
    let b = Bundle::new("life", "echo out; echo err >&2; trap 'exit 3' TERM; while :; do sleep 0.05; done")?;
    let id = b.id.as_str();
    b.create(id, &["--pid-file", "pid"])?;
    assert_eq!(b.status(id)?, "created");
    assert_eq!((b.stdout(id)?, b.stderr(id)?), (String::new(), String::new()), "it ran before start");
    let pid: i32 = fs::read_to_string(b.path().join("pid"))?.parse()?;
    assert_eq!(b.state(id)?["pid"], pid);
    assert!(b.fails(&["create", "--bundle", ".", id])?.contains("container with given ID already exists"));
    b.ok(&["start", id])?;
    assert_eq!(b.status(id)?, "running");
    assert!(b.fails(&["start", id])?.contains("cannot start an already running container"));
    eventually("output", || Ok(b.stdout(id)? == "out\n" && b.stderr(id)? == "err\n"))?;
    assert!(b.fails(&["delete", id])?.contains(&format!("cannot delete container {id} that is not stopped: running")));
    assert_eq!(b.ok(&["list", "-q"])?.trim_end(), id);
    b.ok(&["kill", id, "TERM"])?;
    b.wait_for(id, "stopped")?;
    assert_eq!(b.state(id)?["pid"], 0);
    assert!(b.fails(&["kill", id, "KILL"])?.contains("container not running"));
    b.ok(&["delete", id])?;
    assert!(b.fails(&["state", id])?.contains("container does not exist"));
    b.ok(&["delete", "--force", id])?;
    assert_eq!(cgroups(id), Vec::<String>::new());
    assert!(!Path::new(&format!("/proc/{pid}/root")).exists());
    Ok(())
}

#[test]
fn the_end_can_be_waited_for() -> Result<()> {
    let b = Bundle::new("wait", "sleep 0.4 & sleep 0.7; kill -9 $$; sleep 0.1; exit 3")?;
    let id = b.id.as_str();
    b.create(id, &[])?;
    b.ok(&["start", id])?;
    assert_eq!(b.ok(&["wait", "--pid", "2", id])?, format!("{{\"id\":\"{id}\",\"exitStatus\":0}}\n"));
    assert!(b.fails(&["wait", "--pid", "99", id])?.contains("there is no process 99"));
    assert_eq!(b.ok(&["wait", id])?, format!("{{\"id\":\"{id}\",\"exitStatus\":3}}\n"));
    b.wait_for(id, "stopped")?;
    assert!(b.fails(&["wait", id])?.contains("container not running"));
    Ok(())
}

#[test]
fn run_gives_the_status_of_the_program() -> Result<()> {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; sleep 1; exit 9", 9)] {
        let b = Bundle::new("run", script)?;
        let id = b.id.as_str();
        assert_eq!(b.run(&["run", "--bundle", ".", id])?.status.code(), Some(status), "{script}");
        assert_eq!(b.ok(&["list", "-q"])?, "");
    }
    Ok(())
}

#[test]
fn a_program_that_is_missing_is_told_by_create() -> Result<()> {
    let mut b = Bundle::new("missing", "")?;
    let id = b.id.clone();
    let id = id.as_str();
    for (program, text) in [
        ("/nonexistent", "exec: \"/nonexistent\": stat /nonexistent: no such file or directory"),
        ("nonexistent", "exec: \"nonexistent\": executable file not found in $PATH"),
        ("/etc", "exec: \"/etc\": permission denied"),
    ] {
        b.config["process"]["args"] = json!([program]);
        let output = b.run(&["--log", "log", "--log-format", "json", "create", "--bundle", ".", id])?;
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
        let log = fs::read_to_string(b.path().join("log"))?;
        let line: serde_json::Value = serde_json::from_str(log.lines().last().context("no line in the log")?)?;
        assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("error"), Some(text)));
        assert_eq!(b.ok(&["list", "-q"])?, "");
        assert_eq!(cgroups(id), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn exec_runs_beside_the_first_process() -> Result<()> {
    let b = Bundle::new("exec", "sleep 100")?;
    let id = b.id.as_str();
    b.create(id, &[])?;
    b.ok(&["start", id])?;
    let script = "echo $A; pwd; id -u; cat; exit 5";
    let args = ["exec", "--env", "A=b", "--cwd", "/tmp", "--user", "7:8", id, "sh", "-c", script];
    let mut child = b.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("stdin")?, b"input\n")?;
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b\n/tmp\n7\ninput\n");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(b.run(&["exec", id, "/nonexistent"])?.status.code(), Some(127));
    // A detached one ends as the process does, and passes signals on to it.
    let script = "trap 'exit 4' USR1; echo ready > /ready; while :; do sleep 0.02; done";
    b.ok(&["exec", "--detach", "--pid-file", "pid", id, "sh", "-c", script])?;
    let pid: i32 = fs::read_to_string(b.path().join("pid"))?.parse()?;
    eventually("the process is ready", || Ok(b.in_root("ready").exists()))?;
    signal(pid, libc_sigusr1());
    eventually("its monitor has ended", || Ok(!is_running(pid)))?;
    // One that is killed takes the process along.
    b.ok(&["exec", "-d", "--pid-file", "pid", id, "sleep", "77"])?;
    let pid: i32 = fs::read_to_string(b.path().join("pid"))?.parse()?;
    assert!(b.ok(&["exec", id, "ps"])?.contains("sleep 77"));
    signal(pid, 9);
    eventually("the process is gone", || Ok(!b.ok(&["exec", id, "ps"])?.contains("sleep 77")))?;
    let pids: Vec<i32> = serde_json::from_str(&b.ok(&["ps", "--format", "json", id])?)?;
    assert_eq!(pids.len(), 1, "{pids:?}");
    Ok(())
}

fn libc_sigusr1() -> i32 {
    nix::sys::signal::Signal::SIGUSR1 as i32
}

fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_paused_container_stands_still() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let b = Bundle::new("pause", "while :; do echo x; sleep 0.01; done")?;
    let id = b.id.as_str();
    b.create(id, &[])?;
    b.ok(&["start", id])?;
    eventually("output", || Ok(!b.stdout(id)?.is_empty()))?;
    for _ in 0..5 {
        b.ok(&["pause", id])?;
        assert_eq!(b.status(id)?, "paused");
        let before = b.stdout(id)?.len();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(b.stdout(id)?.len(), before);
        assert!(b.fails(&["exec", id, "true"])?.contains("cannot exec in a paused container"));
        b.ok(&["resume", id])?;
        eventually("more output", || Ok(b.stdout(id)?.len() > before))?;
    }
    b.ok(&["pause", id])?;
    b.ok(&["kill", id, "KILL"])?;
    b.wait_for(id, "stopped")
}

#[test]
fn hooks_run_in_their_order() -> Result<()> {
    let mut b = Bundle::new("hooks", "echo started >> /log")?;
    let id = b.id.clone();
    let id = id.as_str();
    let log = b.in_root("log");
    let outside = |stage: &str| {
        let script = format!("cat > {0}.{stage}; echo {stage} >> {0}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    b.config["hooks"] = json!({
        "prestart": outside("prestart"),
        "createRuntime": outside("createRuntime"),
        "createContainer": outside("createContainer"),
        "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "cat > /log.startContainer; echo startContainer >> /log"], "env": ["PATH=/bin"] }],
        "poststart": outside("poststart"),
        "poststop": outside("poststop"),
    });
    b.create(id, &[])?;
    assert_eq!(fs::read_to_string(&log)?, "prestart\ncreateRuntime\ncreateContainer\n");
    b.ok(&["start", id])?;
    b.wait_for(id, "stopped")?;
    let mut lines: Vec<String> = fs::read_to_string(&log)?.lines().map(str::to_owned).collect();
    // The program and the poststart hook run at the same time.
    lines[4..].sort();
    assert_eq!(lines[3..], ["startContainer", "poststart", "started"]);
    b.ok(&["delete", id])?;
    assert!(fs::read_to_string(&log)?.ends_with("poststop\n"));
    for (stage, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let text = fs::read_to_string(format!("{}.{stage}", log.display())).with_context(|| stage.to_owned())?;
        let state: serde_json::Value = serde_json::from_str(&text)?;
        assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some(id), Some(status)), "{stage}");
    }
    Ok(())
}

#[test]
fn a_hook_that_fails_ends_the_creation() -> Result<()> {
    let mut b = Bundle::new("badhook", "true")?;
    let id = b.id.clone();
    let id = id.as_str();
    for stage in ["prestart", "createRuntime", "createContainer"] {
        b.config["hooks"] = json!({ stage: [{ "path": "/bin/false" }] });
        let error = b.fails(&["create", "--bundle", ".", id])?;
        assert!(error.contains(&format!("error running {stage} hook #0")), "{error}");
        assert_eq!(b.ok(&["list", "-q"])?, "");
        assert_eq!(cgroups(id), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn large_output_is_not_lost() -> Result<()> {
    let b = Bundle::new("output", "dd if=/dev/zero bs=1000 count=5000 2>/dev/null; echo end >&2")?;
    let id = b.id.as_str();
    let output = b.run(&["run", "--bundle", ".", id])?;
    assert_eq!((output.stdout.len(), output.stderr.as_slice()), (5_000_000, &b"end\n"[..]));
    Ok(())
}

#[test]
fn ordinary_users_run_bundles() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    const USER: u32 = 1000;
    let b = Bundle::new("user", "id -u; echo x > /made; ls -ln /made")?;
    let id = b.id.as_str();
    let runtime = b.path().join("runsc");
    fs::copy(tests::runsc()?, &runtime)?;
    b.save()?;
    let chown = std::process::Command::new("chown").args(["-R", "1000:1000"]).arg(b.path()).status()?;
    assert!(chown.success());
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .arg(&runtime)
        .arg("--root")
        .arg(b.path().join("of-user"))
        .args(["run", "--bundle", ".", id])
        .current_dir(b.path())
        .stdin(Stdio::null())
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.starts_with("0\n-rw-r--r--    1 0        0 "), "{out} {err}");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&b.in_root("made").metadata()?), USER);
    Ok(())
}

#[test]
fn ids_are_mapped() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut b = Bundle::new("mapped", "cat /proc/self/uid_map; echo x > /tmp/made; ls -ln /tmp/made")?;
    let id = b.id.clone();
    let id = id.as_str();
    let world = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o1777);
    fs::set_permissions(b.in_root("tmp"), world)?;
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    b.config["linux"]["uidMappings"] = map.clone();
    b.config["linux"]["gidMappings"] = map;
    b.config["linux"]["namespaces"].as_array_mut().context("namespaces")?.push(json!({ "type": "user" }));
    let output = b.run(&["run", "--bundle", ".", id])?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("0     100000      65536") && out.contains("1 0        0 "), "{out} {err}");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&b.in_root("tmp/made").metadata()?), 100_000);
    Ok(())
}

#[test]
fn a_layer_in_memory_keeps_writes_from_the_host() -> Result<()> {
    let mut b = Bundle::new("layer", "echo x > /made; echo y > /data/made; cat /made /data/made")?;
    let volume = b.path().join("volume");
    fs::create_dir(&volume)?;
    b.config["mounts"]
        .as_array_mut()
        .context("mounts")?
        .push(json!({ "destination": "/data", "type": "bind", "source": volume.to_str(), "options": ["bind"] }));
    fs::create_dir(b.in_root("data"))?;
    let there = |b: &Bundle| (b.in_root("made").exists(), volume.join("made").exists());
    for (overlay, wanted) in [("all:memory", (false, false)), ("root:self", (false, true)), ("none", (true, true))] {
        assert_eq!(b.ok(&["--overlay2", overlay, "run", &b.id])?, "x\ny\n", "{overlay}");
        assert_eq!(there(&b), wanted, "{overlay}");
    }
    assert!(b.fails(&["--overlay2=some:memory", "run", &b.id])?.contains("wanted none"));
    Ok(())
}

#[test]
fn flags_of_gvisor_are_accepted() -> Result<()> {
    let b = Bundle::new("foreign", "echo ran")?;
    let logs = b.path().join("logs/");
    let debug_log = format!("--debug-log={}/", logs.display());
    let flags = ["--platform=systrap", "--directfs=false", "-host-uds", "all", "--file-access=exclusive", &debug_log];
    let output = b.run(&[&flags[..], &["--debug", "--strace", "--overlay2=root:self", "run", &b.id]].concat())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((String::from_utf8_lossy(&output.stdout), output.status.code()), ("ran\n".into(), Some(0)), "{stderr}");
    assert_eq!(stderr.trim_end(), "runsc: warning: without effect here: --directfs --host-uds --file-access");
    let names: Vec<String> = fs::read_dir(logs)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    assert!(names.iter().any(|name| name.starts_with("runsc.log.2") && name.ends_with(".run.txt")), "{names:?}");
    assert!(b.fails(&["--TESTONLY-unsafe-nonroot", "list"])?.contains("unexpected argument"));
    Ok(())
}

#[test]
fn cgroups_can_be_left_alone() -> Result<()> {
    let mut b = Bundle::new("nogroup", "sleep 100")?;
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    b.ok(&["--ignore-cgroups", "create", "--bundle", ".", &b.id])?;
    b.ok(&["start", &b.id])?;
    assert_eq!(cgroups(&b.id), Vec::<String>::new());
    assert_eq!(b.ok(&["exec", &b.id, "echo", "in"])?, "in\n");
    b.ok(&["delete", "--force", &b.id])?;
    Ok(())
}

#[test]
fn damaged_state_is_deleted_by_force() -> Result<()> {
    let b = Bundle::new("damaged", "true")?;
    let dir = b.path().join("state/damaged-1");
    fs::create_dir_all(&dir)?;
    assert!(b.fails(&["delete", "damaged-1"])?.contains("state.json"));
    b.ok(&["delete", "--force", "damaged-1"])?;
    assert!(!dir.exists());
    Ok(())
}

#[test]
fn many_containers_start_at_once() -> Result<()> {
    let b = Bundle::new("many", "exit 0")?;
    let ids: Vec<String> = (0..8).map(|n| format!("{}-{n}", b.id)).collect();
    let children: Vec<_> =
        ids.iter().map(|id| b.command(&["run", "--bundle", ".", id]).spawn()).collect::<Result<_, _>>()?;
    for mut child in children {
        assert!(child.wait()?.success());
    }
    assert_eq!(b.ok(&["list", "-q"])?, "");
    for id in ids {
        assert_eq!(cgroups(&id), Vec::<String>::new());
    }
    Ok(())
}

/// How often [`whatever_is_killed_delete_leaves_nothing`] tries; the full run asks for more.
fn rounds() -> u64 {
    std::env::var("RUNSC_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

#[test]
fn whatever_is_killed_delete_leaves_nothing() -> Result<()> {
    let b = Bundle::new("kills", "sleep 100 & sleep 100")?;
    for round in 0..rounds() {
        let id = format!("{}-{round}", b.id);
        // The command is killed somewhere on its way, in steps that differ from round to round.
        let mut child = b.command(&["run", "--bundle", ".", &id]).process_group_of_its_own().spawn()?;
        let start = Instant::now();
        let after = Duration::from_micros(round * 7919 % 40_000);
        while start.elapsed() < after && child.try_wait()?.is_none() {
            std::hint::spin_loop();
        }
        let victim = match round % 3 {
            0 => child.id() as i32,
            1 => b.state(&id).ok().and_then(|state| state["pid"].as_i64()).unwrap_or(0) as i32,
            _ => b.state(&id).ok().and_then(|state| child_of(state["pid"].as_i64()? as i32)).unwrap_or(0),
        };
        match victim {
            0 => {}
            pid if pid == child.id() as i32 => {
                let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
            }
            pid => signal(pid, 9),
        }
        std::thread::sleep(Duration::from_millis(5));
        b.ok(&["delete", "--force", &id])?;
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGKILL);
        let status = child.wait()?;
        // A run that was about to begin when the container was deleted may have made it again.
        b.ok(&["delete", "--force", &id])?;
        assert!(status.code().is_some() || status.signal().is_some());
        assert_eq!(cgroups(&id), Vec::<String>::new(), "round {round}");
        assert!(!b.path().join("state").join(&id).exists());
    }
    eventually("no process is left", || Ok(!any_process_names(b.path())))
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for std::process::Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

fn child_of(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Whether a process has this directory in its arguments: monitors and sentries are copies of a command with `--root`.
fn any_process_names(dir: &Path) -> bool {
    let dir = dir.to_string_lossy().into_owned();
    let mut found = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let text = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        found |= String::from_utf8_lossy(&text).contains(&dir);
    }
    found
}
