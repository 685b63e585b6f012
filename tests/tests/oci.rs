//! The OCI runtime specification, statement by statement, by way of the command line alone: the life of a container.
//! What its configuration says is in `oci_config.rs`.
//!
//! `OCI_RUNTIME` names another runtime to judge the tests by: what runc fails is a suspect test.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::oci_bundle;

#[test]
fn life_cycle_goes_through_all_states() -> Result<()> {
    let mut bundle = oci_bundle("life")?;
    let id = bundle.id.clone();
    bundle.script("echo started; exec sleep 60");
    bundle.config["annotations"] = json!({"org.example": "yes"});
    assert_eq!(bundle.ok(&["create", "--pid-file", "pid", &id])?, "");
    let state = bundle.state(&bundle.id)?;
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], id.as_str());
    assert_eq!(state["bundle"], bundle.path().canonicalize()?.to_str().context("path")?);
    assert_eq!(state["annotations"]["org.example"], "yes");
    assert!(state["ociVersion"].is_string());
    let pid = fs::read_to_string(bundle.path().join("pid"))?;
    assert_eq!(state["pid"].to_string(), pid);
    assert!(Path::new("/proc").join(&pid).exists());
    bundle.fails(&["create", &id])?;
    bundle.ok(&["start", &id])?;
    bundle.wait_for(&bundle.id, "running")?;
    bundle.fails(&["start", &id])?;
    let refused = bundle.fails(&["delete", &id])?;
    assert!(refused.contains("is not stopped: running"), "{refused}");
    bundle.ok(&["kill", &id, "KILL"])?;
    bundle.wait_for(&bundle.id, "stopped")?;
    let stopped = bundle.fails(&["kill", &id, "TERM"])?;
    assert!(stopped.contains("container not running"), "{stopped}");
    bundle.fails(&["start", &id])?;
    bundle.ok(&["delete", &id])?;
    let gone = bundle.fails(&["state", &id])?;
    assert!(gone.contains("container does not exist"), "{gone}");
    bundle.ok(&["delete", "--force", &id])?;
    bundle.fails(&["delete", &id])?;
    Ok(())
}

#[test]
fn the_program_runs_at_start_and_not_before() -> Result<()> {
    let mut bundle = oci_bundle("start")?;
    let id = bundle.id.clone();
    bundle.script("touch /made");
    bundle.ok(&["create", &id])?;
    std::thread::sleep(Duration::from_millis(200));
    assert!(!bundle.path().join("rootfs/made").exists());
    // Changes of the configuration after create have no effect.
    bundle.script("touch /wrong");
    bundle.ok(&["start", &id])?;
    bundle.wait_for(&bundle.id, "stopped")?;
    assert!(bundle.path().join("rootfs/made").exists() && !bundle.path().join("rootfs/wrong").exists());
    Ok(())
}

#[test]
fn hooks_run_in_order_with_the_state() -> Result<()> {
    let mut bundle = oci_bundle("hooks")?;
    let id = bundle.id.clone();
    let log = bundle.path().join("log");
    let hook = |name: &str| {
        let script = format!(
            "s=$(cat); echo {name} $(echo \"$s\" | grep -o '\"status\": *\"[a-z]*\"' | tr -d ' ') $H $0 >>{}",
            log.display()
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script, "zero"], "env": ["H=given", "PATH=/bin:/usr/bin"], "timeout": 5}])
    };
    bundle.config["hooks"] = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"),
        "poststart": hook("poststart"), "poststop": hook("poststop"),
    });
    bundle.script("exec sleep 60");
    let lines = |log: &Path| fs::read_to_string(log).unwrap_or_default();
    bundle.ok(&["create", &id])?;
    let created = lines(&log);
    let names: Vec<&str> = created.lines().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(names, ["prestart", "createRuntime", "createContainer"], "{created}");
    assert!(created.lines().all(|l| l.ends_with("given zero")), "{created}");
    bundle.ok(&["start", &id])?;
    // runc 1.1 says "created" here, against the specification's order.
    assert!(lines(&log).contains("poststart \"status\":\"running\""), "{}", lines(&log));
    bundle.ok(&["kill", &id, "9"])?;
    bundle.wait_for(&bundle.id, "stopped")?;
    bundle.ok(&["delete", &id])?;
    assert!(lines(&log).contains("poststop \"status\":\"stopped\""), "{}", lines(&log));
    Ok(())
}

#[test]
fn a_failing_hook_ends_the_container() -> Result<()> {
    let mut bundle = oci_bundle("badhook")?;
    let id = bundle.id.clone();
    bundle.config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]}]});
    let error = bundle.fails(&["create", &id])?;
    assert!(error.contains("exit status 3") && error.contains("why"), "{error}");
    bundle.fails(&["state", &id])?;
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}]});
    let started = Instant::now();
    let error = bundle.fails(&["create", &id])?;
    assert!(started.elapsed() < Duration::from_secs(10) && error.contains("timeout"), "{error}");
    Ok(())
}

#[test]
fn a_hook_that_takes_too_long_is_ended() -> Result<()> {
    let mut bundle = oci_bundle("slowhook")?;
    let slow = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 30"], "timeout": 1}]);
    bundle.config["hooks"] = json!({"createRuntime": slow});
    let start = std::time::Instant::now();
    assert!(!bundle.run(&["create", &bundle.id])?.status.success());
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
    assert_eq!(bundle.ok(&["list", "-q"])?, "");
    Ok(())
}

#[test]
fn errors_of_the_program_come_from_create() -> Result<()> {
    let mut bundle = oci_bundle("program")?;
    let id = bundle.id.clone();
    fs::write(bundle.path().join("rootfs/plain"), "x")?;
    for (program, text) in [
        ("nothing", "executable file not found in $PATH"),
        ("/nothing", "no such file or directory"),
        ("/plain", "permission denied"),
    ] {
        bundle.config["process"]["args"] = json!([program]);
        let refused = bundle.run(&["run", &id])?;
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && error.contains(text), "{program}: {error}");
        bundle.ok(&["delete", "--force", &id])?;
    }
    Ok(())
}

#[test]
fn exit_status_is_that_of_the_program() -> Result<()> {
    let mut bundle = oci_bundle("status")?;
    for (script, status) in [("exit 42", 42), ("kill -9 $$; exit 1", 1), ("sh -c 'kill -9 $$'; exit $?", 137)] {
        bundle.script(script);
        let output = bundle.run(&["run", &bundle.id])?;
        assert_eq!(output.status.code(), Some(status), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn limits_are_in_the_cgroup_and_change() -> Result<()> {
    let mut bundle = oci_bundle("cgroup")?;
    let id = bundle.id.clone();
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/runsc-oci-test/{id}"));
    bundle.config["linux"]["resources"] = json!({
        "memory": {"limit": 67_108_864, "reservation": 33_554_432}, "pids": {"limit": 33},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
    });
    bundle.script("exec sleep 60");
    bundle.ok(&["create", "--pid-file", "pid", &id])?;
    let pid = fs::read_to_string(bundle.path().join("pid"))?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let read = |controller: &str, file: &str| -> Result<String> {
        let own = groups.lines().find_map(|l| l.split_once(&format!(":{controller}:"))).context("not in the group")?.1;
        Ok(fs::read_to_string(format!("/sys/fs/cgroup/{controller}{own}/{file}"))?.trim().to_owned())
    };
    if !groups.contains(":memory:") {
        eprintln!("skipped: the host has no cgroups of version 1");
        return Ok(());
    }
    assert!(groups.lines().any(|l| l.ends_with(&format!("/runsc-oci-test/{id}"))), "{groups}");
    assert_eq!(read("memory", "memory.limit_in_bytes")?, "67108864");
    assert_eq!(read("memory", "memory.soft_limit_in_bytes")?, "33554432");
    assert_eq!(read("pids", "pids.max")?, "33");
    assert_eq!(read("cpu", "cpu.shares")?, "512");
    assert_eq!(read("cpu", "cpu.cfs_quota_us")?, "50000");
    bundle.ok(&["start", &id])?;
    bundle.ok(&["update", "--memory", "134217728", "--pids-limit", "44", &id])?;
    assert_eq!(read("memory", "memory.limit_in_bytes")?, "134217728");
    assert_eq!(read("pids", "pids.max")?, "44");
    let event: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", &id])?)?;
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], id.as_str());
    assert_eq!(event["data"]["memory"]["usage"]["limit"], 134_217_728);
    assert!(event["data"]["cpu"]["usage"]["total"].as_u64().is_some_and(|ns| ns > 0), "{event}");
    bundle.ok(&["delete", "--force", &id])?;
    assert!(!Path::new(&format!("/sys/fs/cgroup/memory/runsc-oci-test/{id}")).exists());
    Ok(())
}

#[test]
fn pause_stops_and_resume_goes_on() -> Result<()> {
    let mut bundle = oci_bundle("pause")?;
    let id = bundle.id.clone();
    bundle.script("n=0; while :; do n=$((n+1)); echo $n >/count; sleep 0.01; done");
    bundle.ok(&["run", "--detach", &id])?;
    let count = || fs::read_to_string(bundle.path().join("rootfs/count")).unwrap_or_default();
    std::thread::sleep(Duration::from_millis(300));
    bundle.ok(&["pause", &id])?;
    assert_eq!(bundle.status(&bundle.id)?, "paused");
    let before = count();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), before);
    bundle.ok(&["resume", &id])?;
    assert_eq!(bundle.status(&bundle.id)?, "running");
    std::thread::sleep(Duration::from_millis(500));
    assert_ne!(count(), before);
    Ok(())
}

#[test]
fn exec_runs_a_further_process() -> Result<()> {
    let mut bundle = oci_bundle("exec")?;
    let id = bundle.id.clone();
    bundle.script("exec sleep 60");
    bundle.ok(&["run", "--detach", &id])?;
    assert_eq!(
        bundle.ok(&[
            "exec",
            "--user",
            "5:6",
            "--cwd",
            "/etc",
            "--env",
            "X=y",
            &id,
            "sh",
            "-c",
            "id -u; id -g; pwd; echo $X"
        ])?,
        "5\n6\n/etc\ny\n"
    );
    assert_eq!(bundle.run(&["exec", &id, "sh", "-c", "exit 9"])?.status.code(), Some(9));
    let process = json!({"args": ["sh", "-c", "echo from $0 file"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]});
    fs::write(bundle.path().join("process.json"), process.to_string())?;
    assert_eq!(bundle.ok(&["exec", "--process", "process.json", &id])?, "from sh file\n");
    Ok(())
}

#[test]
fn features_tell_the_truth() -> Result<()> {
    let bundle = oci_bundle("features")?;
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])?)?;
    assert!(features["ociVersionMax"].as_str().is_some_and(|v| v.starts_with("1.")));
    for hook in ["createRuntime", "poststop"] {
        assert!(features["hooks"].as_array().is_some_and(|hooks| hooks.contains(&json!(hook))));
    }
    Ok(())
}

#[test]
fn a_failing_poststart_hook_ends_the_container() -> Result<()> {
    let mut bundle = oci_bundle("poststart")?;
    let (id, log) = (bundle.id.clone(), bundle.path().join("log"));
    let stop = format!("echo poststop >>{}", log.display());
    bundle.config["hooks"] = json!({
        "poststart": [{"path": "/bin/false"}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", stop]}],
    });
    bundle.script("exec sleep 60");
    bundle.ok(&["create", &id])?;
    assert!(bundle.fails(&["start", &id])?.contains("poststart hook"));
    bundle.fails(&["state", &id])?;
    assert_eq!(fs::read_to_string(&log)?, "poststop\n");
    assert!(bundle.fails(&["run", &id])?.contains("poststart hook"));
    assert_eq!(fs::read_to_string(&log)?, "poststop\npoststop\n");
    Ok(())
}

#[test]
fn a_failing_start_container_hook_stops_the_container() -> Result<()> {
    let mut bundle = oci_bundle("startcontainer")?;
    let id = bundle.id.clone();
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/bin/false"}]});
    bundle.script("touch /ran");
    bundle.ok(&["create", &id])?;
    // runc says nothing here: it is its container's process that finds it.
    let _ = bundle.run(&["start", &id])?;
    bundle.wait_for(&id, "stopped")?;
    assert!(!bundle.in_root("ran").exists());
    bundle.ok(&["delete", &id]).map(drop)
}

#[test]
fn a_created_container_can_be_paused() -> Result<()> {
    let mut bundle = oci_bundle("pausecreated")?;
    let id = bundle.id.clone();
    bundle.script("exec sleep 60");
    bundle.ok(&["create", &id])?;
    bundle.ok(&["pause", &id])?;
    assert_eq!(bundle.status(&id)?, "paused");
    bundle.fails(&["start", &id])?;
    bundle.ok(&["resume", &id])?;
    assert_eq!(bundle.status(&id)?, "created");
    bundle.fails(&["resume", &id])?;
    bundle.ok(&["start", &id])?;
    bundle.wait_for(&id, "running")
}

#[test]
fn exec_has_the_capabilities_of_the_container() -> Result<()> {
    let mut bundle = oci_bundle("execcaps")?;
    let id = bundle.id.clone();
    bundle.script("exec sleep 60");
    bundle.ok(&["run", "--detach", &id])?;
    let process = json!({"args": ["grep", "CapEff", "/proc/self/status"], "cwd": "/", "user": {"uid": 0, "gid": 0},
        "env": ["PATH=/bin"], "noNewPrivileges": true});
    fs::write(bundle.path().join("process.json"), process.to_string())?;
    assert_eq!(bundle.ok(&["exec", "--process", "process.json", &id])?, "CapEff:\t0000000020000020\n");
    Ok(())
}

#[test]
fn a_limit_on_processes_that_comes_later_is_theirs_alone() -> Result<()> {
    let mut bundle = oci_bundle("latepids")?;
    let id = bundle.id.clone();
    bundle.script("exec sleep 60");
    bundle.ok(&["run", "--detach", &id])?;
    bundle.ok(&["update", "--pids-limit", "5", &id])?;
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done 2>/dev/null; echo end; exec true";
    let _ = bundle.run(&["exec", &id, "sh", "-c", script])?;
    // Commands are none of the processes that are counted.
    assert_eq!(bundle.status(&id)?, "running");
    bundle.ok(&["kill", "--all", &id, "KILL"])?;
    bundle.wait_for(&id, "stopped")
}

#[test]
fn a_terminal_of_the_caller_is_the_containers() -> Result<()> {
    let mut bundle = oci_bundle("callertty")?;
    bundle.config["process"]["terminal"] = json!(true);
    bundle.script("tty; test -c /dev/console && echo console; sleep 0.3; echo end");
    let command = bundle.command(&["run", &bundle.id]);
    // Without the `timeout`, which would be in the background.
    let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    let line = words.split_at(3).1.join(" ");
    let mut script = std::process::Command::new("script");
    let output = script.args(["-qec", &line, "/dev/null"]).current_dir(bundle.path()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // What the container's terminal has made of a line's end the caller's leaves alone.
    assert!(text.ends_with("/dev/pts/0\r\nconsole\r\nend\r\n"), "{text:?}");
    Ok(())
}
