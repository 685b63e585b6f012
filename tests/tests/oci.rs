//! The OCI runtime specification, statement by statement, by way of the command line alone.
//!
//! `OCI_RUNTIME` names another runtime to judge the tests by: what runc fails is a suspect test.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::{Bundle, eventually, runsc};

/// What a container is given by default, as engines have it.
fn usual_config() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", "true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "effective": ["CAP_AUDIT_WRITE", "CAP_KILL"],
                "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL"],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1000}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// A bundle with busybox in it, for the runtime that is to be judged.
fn bundle(name: &str) -> Result<Bundle> {
    let mut bundle = Bundle::for_runtime(&runtime()?, &format!("oci-{name}"), "true")?;
    bundle.config = usual_config();
    Ok(bundle)
}

fn runtime() -> Result<PathBuf> {
    std::env::var_os("OCI_RUNTIME").map_or_else(runsc, |path| Ok(path.into()))
}

#[test]
fn life_cycle_goes_through_all_states() -> Result<()> {
    let mut bundle = bundle("life")?;
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
    let mut bundle = bundle("start")?;
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
    let mut bundle = bundle("hooks")?;
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
    let mut bundle = bundle("badhook")?;
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
fn errors_of_the_program_come_from_create() -> Result<()> {
    let mut bundle = bundle("program")?;
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
    let mut bundle = bundle("status")?;
    for (script, status) in [("exit 42", 42), ("kill -9 $$; exit 1", 1), ("sh -c 'kill -9 $$'; exit $?", 137)] {
        bundle.script(script);
        let output = bundle.run(&["run", &bundle.id])?;
        assert_eq!(output.status.code(), Some(status), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn process_has_what_the_configuration_says() -> Result<()> {
    let mut bundle = bundle("process")?;
    bundle.config["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o27});
    bundle.config["process"]["cwd"] = json!("/etc");
    bundle.config["process"]["env"] = json!(["PATH=/bin", "A=b c", "HOME=/home"]);
    bundle.config["process"]["oomScoreAdj"] = json!(321);
    bundle.script("id -u; id -g; id -G; umask; pwd; echo $A; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; hostname; grep -E 'NoNewPrivs|CapBnd|CapInh|CapAmb' /proc/self/status");
    let seen = bundle.printed()?;
    let expected = "7\n8\n8 9 10\n0027\n/etc\nb c\n1000\n1024\n321\nbox\nCapInh:\t0000000000000000\nCapBnd:\t0000000020000420\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1";
    assert_eq!(seen, expected);
    Ok(())
}

#[test]
fn capabilities_are_those_named() -> Result<()> {
    let mut bundle = bundle("caps")?;
    bundle.script("grep -E 'CapPrm|CapEff' /proc/self/status");
    assert_eq!(bundle.printed()?, "CapPrm:\t0000000020000020\nCapEff:\t0000000020000020");
    bundle.config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_NO_SUCH"]);
    bundle.config["process"]["capabilities"]["permitted"] = json!(["CAP_KILL"]);
    bundle.config["process"]["capabilities"]["effective"] = json!(["CAP_KILL"]);
    assert_eq!(bundle.printed()?, "CapPrm:\t0000000000000020\nCapEff:\t0000000000000020");
    Ok(())
}

#[test]
fn mounts_are_made_in_order_with_their_options() -> Result<()> {
    let mut bundle = bundle("mounts")?;
    let shared = bundle.path().join("shared");
    fs::create_dir(&shared)?;
    fs::write(shared.join("file"), "content")?;
    let path = shared.to_str().context("path")?.to_owned();
    let mounts = bundle.config["mounts"].as_array_mut().context("mounts")?;
    mounts.push(json!({"destination": "/rw", "type": "bind", "source": path, "options": ["rbind", "rw"]}));
    mounts.push(json!({"destination": "/ro", "source": path, "options": ["bind", "ro"]}));
    mounts.push(json!({"destination": "/file", "source": format!("{path}/file"), "options": ["bind"]}));
    mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "mine", "options": ["nosuid", "size=64k", "mode=700"]}));
    bundle.script(
        "echo through >/rw/new; cat /ro/new /file; echo; echo x 2>/dev/null >/ro/file || echo refused; stat -c %a /tmp; \
         while read -r a b c d where options rest; do case $where in /ro|/tmp|/sys) echo $where ${options%%,*};; esac; done </proc/self/mountinfo; \
         grep -c 'tmpfs mine' /proc/self/mountinfo",
    );
    assert_eq!(bundle.printed()?, "through\ncontent\nrefused\n700\n/sys ro\n/ro ro\n/tmp rw\n1");
    assert_eq!(fs::read_to_string(shared.join("new"))?, "through\n");
    let missing = json!({"destination": "/x", "type": "bind", "source": "/no/such/thing", "options": ["bind"]});
    bundle.config["mounts"].as_array_mut().context("mounts")?.push(missing);
    bundle.fails(&["run", &bundle.id])?;
    Ok(())
}

#[test]
fn root_can_be_read_only() -> Result<()> {
    let mut bundle = bundle("readonly")?;
    bundle.script("touch /x 2>/dev/null && echo written || echo refused; touch /dev/shm/x && echo written");
    bundle.config["root"]["readonly"] = json!(true);
    assert_eq!(bundle.printed()?, "refused\nwritten");
    Ok(())
}

#[test]
fn paths_are_masked_and_made_read_only() -> Result<()> {
    let mut bundle = bundle("masked")?;
    fs::create_dir(bundle.path().join("rootfs/secrets"))?;
    fs::write(bundle.path().join("rootfs/secrets/key"), "key")?;
    fs::write(bundle.path().join("rootfs/secret"), "secret")?;
    fs::create_dir(bundle.path().join("rootfs/fixed"))?;
    bundle.config["linux"]["maskedPaths"] = json!(["/secrets", "/secret", "/not/there"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/fixed", "/not/there"]);
    bundle.script("ls /secrets; cat /secret; touch /fixed/x 2>/dev/null || echo refused");
    assert_eq!(bundle.printed()?, "refused");
    Ok(())
}

#[test]
fn devices_are_made() -> Result<()> {
    let mut bundle = bundle("devices")?;
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]);
    bundle.script(
        "stat -c '%F %t:%T %a %u %g' /dev/mine; stat -c '%F %a' /dev/pipe; \
         for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
         for l in fd stdin stdout stderr ptmx; do test -e /dev/$l -o -L /dev/$l || echo no $l; done; echo x >/dev/null && echo works",
    );
    assert_eq!(bundle.printed()?, "character special file a:e5 640 3 4\nfifo 600\nworks");
    Ok(())
}

#[test]
fn parameters_are_set() -> Result<()> {
    let mut bundle = bundle("sysctl")?;
    bundle.config["linux"]["sysctl"] = json!({"kernel.shmmax": "654321", "net.ipv4.ip_unprivileged_port_start": "80"});
    bundle.script("cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_unprivileged_port_start");
    assert_eq!(bundle.printed()?, "654321\n80");
    for name in ["vm.swappiness", "kernel.no_such_thing"] {
        bundle.config["linux"]["sysctl"] = json!({ name: "1" });
        bundle.fails(&["run", &bundle.id])?;
        bundle.ok(&["delete", "--force", &bundle.id])?;
    }
    Ok(())
}

#[test]
fn namespaces_are_checked() -> Result<()> {
    let mut bundle = bundle("namespaces")?;
    for namespaces in [
        json!([{"type": "pid"}, {"type": "pid"}]),
        json!([{"type": "no-such-type"}]),
        json!([{"type": "network", "path": "/no/such/path"}]),
    ] {
        bundle.config["linux"]["namespaces"] = namespaces.clone();
        bundle.config["hostname"] = Value::Null;
        bundle.fails(&["create", &bundle.id]).with_context(|| namespaces.to_string())?;
        bundle.fails(&["state", &bundle.id])?;
    }
    Ok(())
}

#[test]
fn limits_are_in_the_cgroup_and_change() -> Result<()> {
    let mut bundle = bundle("cgroup")?;
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
    let mut bundle = bundle("pause")?;
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
fn system_calls_are_filtered() -> Result<()> {
    let mut bundle = bundle("seccomp")?;
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    });
    bundle.script("busybox mkdir /d 2>&1; busybox sync; echo $?; grep Seccomp: /proc/self/status");
    let seen = bundle.printed()?;
    assert!(seen.contains("No space left on device") && seen.contains("159") && seen.contains("Seccomp:\t2"), "{seen}");
    Ok(())
}

#[test]
fn exec_runs_a_further_process() -> Result<()> {
    let mut bundle = bundle("exec")?;
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
fn scheduling_is_as_configured() -> Result<()> {
    let mut bundle = bundle("scheduler")?;
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    bundle.script("ionice -p $$ >/seen; exec sleep 60");
    bundle.ok(&["run", "--detach", &bundle.id])?;
    eventually("it has looked", || Ok(!fs::read_to_string(bundle.in_root("seen")).unwrap_or_default().is_empty()))?;
    assert_eq!(fs::read_to_string(bundle.in_root("seen"))?, "best-effort: prio 6\n");
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])?)?;
    let pid = pids.last().context("there is a process")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("a name")?.1;
    assert_eq!(fields.split(' ').nth(16), Some("7"), "{stat}");
    bundle.ok(&["delete", "--force", &bundle.id])?;
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 20});
    bundle.fails(&["run", &bundle.id])?;
    Ok(())
}

#[test]
fn features_tell_the_truth() -> Result<()> {
    let bundle = bundle("features")?;
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])?)?;
    assert!(features["ociVersionMax"].as_str().is_some_and(|v| v.starts_with("1.")));
    for hook in ["createRuntime", "poststop"] {
        assert!(features["hooks"].as_array().is_some_and(|hooks| hooks.contains(&json!(hook))));
    }
    Ok(())
}
