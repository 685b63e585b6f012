//! The OCI runtime specification: what a container's configuration says is what its processes find.
//!
//! `OCI_RUNTIME` names another runtime to judge the tests by: what runc fails is a suspect test.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use tests::{eventually, oci_bundle};

#[test]
fn process_has_what_the_configuration_says() -> Result<()> {
    let mut bundle = oci_bundle("process")?;
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
    let mut bundle = oci_bundle("caps")?;
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
    let mut bundle = oci_bundle("mounts")?;
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
    let mut bundle = oci_bundle("readonly")?;
    bundle.script("touch /x 2>/dev/null && echo written || echo refused; touch /dev/shm/x && echo written");
    bundle.config["root"]["readonly"] = json!(true);
    assert_eq!(bundle.printed()?, "refused\nwritten");
    Ok(())
}

#[test]
fn paths_are_masked_and_made_read_only() -> Result<()> {
    let mut bundle = oci_bundle("masked")?;
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
    let mut bundle = oci_bundle("devices")?;
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
fn the_score_for_want_of_memory_is_adjusted() -> Result<()> {
    let mut bundle = oci_bundle("oomscore")?;
    bundle.config["process"]["oomScoreAdj"] = json!(300);
    bundle.script("exec sleep 60");
    bundle.ok(&["create", "--pid-file", "pid", &bundle.id])?;
    bundle.ok(&["start", &bundle.id])?;
    let pid = fs::read_to_string(bundle.path().join("pid"))?;
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?, "300\n");
    assert_eq!(bundle.ok(&["exec", &bundle.id, "cat", "/proc/1/oom_score_adj"])?, "300\n");
    Ok(())
}

#[test]
fn parameters_are_set() -> Result<()> {
    let mut bundle = oci_bundle("sysctl")?;
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
    let mut bundle = oci_bundle("namespaces")?;
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
fn system_calls_are_filtered() -> Result<()> {
    let mut bundle = oci_bundle("seccomp")?;
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
fn scheduling_is_as_configured() -> Result<()> {
    let mut bundle = oci_bundle("scheduler")?;
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
fn a_missing_working_directory_is_made() -> Result<()> {
    let mut bundle = oci_bundle("newcwd")?;
    bundle.config["process"]["cwd"] = json!("/new/dir");
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 6});
    bundle.script("pwd; stat -c '%u %g %a' /new /new/dir");
    assert_eq!(bundle.printed()?, "/new/dir\n0 0 755\n0 0 755");
    bundle.config["process"]["cwd"] = json!("/bin/busybox");
    bundle.fails(&["run", &bundle.id])?;
    Ok(())
}

#[test]
fn proc_and_sysfs_are_not_mounted_through_links() -> Result<()> {
    for place in ["proc", "sys"] {
        let mut bundle = oci_bundle("link")?;
        fs::remove_dir(bundle.in_root(place))?;
        fs::create_dir(bundle.in_root("elsewhere"))?;
        std::os::unix::fs::symlink("elsewhere", bundle.in_root(place))?;
        bundle.script("true");
        bundle.fails(&["run", &bundle.id])?;
    }
    Ok(())
}

#[test]
fn bind_mounts_take_what_is_below_only_if_told_to() -> Result<()> {
    let mut bundle = oci_bundle("rbind")?;
    let source = bundle.path().join("source");
    fs::create_dir_all(source.join("sub"))?;
    let mounts = bundle.config["mounts"].as_array_mut().context("mounts")?;
    mounts.push(json!({"destination": "/one", "type": "bind", "source": source, "options": ["bind"]}));
    mounts.push(json!({"destination": "/all", "type": "bind", "source": source, "options": ["rbind"]}));
    bundle.script("ls /one/sub; ls /all/sub");
    let command = bundle.command(&["run", &bundle.id]);
    let mut inside = std::process::Command::new("unshare");
    inside.args(["-m", "sh", "-c", "mount -t tmpfs t source/sub && touch source/sub/file && exec \"$@\"", "sh"]);
    let output = inside.arg(command.get_program()).args(command.get_args()).current_dir(bundle.path()).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "file\n", "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_usual_devices_need_no_mount() -> Result<()> {
    let mut bundle = oci_bundle("nodev")?;
    let mounts = bundle.config["mounts"].as_array_mut().context("mounts")?;
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|dest| dest.starts_with("/dev")));
    bundle.script("for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; echo end");
    assert_eq!(bundle.printed()?, "end");
    Ok(())
}

#[test]
fn capabilities_follow_the_rules_of_linux() -> Result<()> {
    let mut bundle = oci_bundle("caprules")?;
    bundle.config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
    bundle.script("grep CapAmb /proc/self/status");
    assert_eq!(bundle.printed()?, "CapAmb:\t0000000000000000");
    bundle.config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
    assert_eq!(bundle.printed()?, "CapAmb:\t0000000000000020");
    bundle.config["process"]["capabilities"]["effective"] = json!(["CAP_KILL", "CAP_CHOWN"]);
    bundle.fails(&["run", &bundle.id])?;
    Ok(())
}

#[test]
fn a_tmpfs_looks_like_the_directory_in_its_place() -> Result<()> {
    let mut bundle = oci_bundle("tmpfsmode")?;
    fs::create_dir(bundle.in_root("private"))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(bundle.in_root("private"), mode)?;
    let mounts = bundle.config["mounts"].as_array_mut().context("mounts")?;
    for (place, options) in [("/private", json!([])), ("/new", json!([])), ("/own", json!(["mode=750", "size=64k"]))] {
        mounts.push(json!({"destination": place, "type": "tmpfs", "source": "t", "options": options}));
    }
    bundle.script("stat -c %a /private /new /own; grep ' /own ' /proc/mounts | grep -o 'size=64k,mode=750'");
    assert_eq!(bundle.printed()?, "700\n1777\n750\nsize=64k,mode=750");
    Ok(())
}

#[test]
fn the_execution_domain_is_seen() -> Result<()> {
    let mut bundle = oci_bundle("linux32")?;
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    bundle.script("uname -m");
    assert_eq!(bundle.printed()?, "i686");
    Ok(())
}

#[test]
fn descriptors_of_socket_activation_are_passed() -> Result<()> {
    let mut bundle = oci_bundle("listen")?;
    fs::write(bundle.path().join("data"), "passed")?;
    bundle.script("cat <&3; echo \" $LISTEN_FDS $LISTEN_PID\"");
    let command = bundle.command(&["run", &bundle.id]);
    // Without the `timeout`, whose process is another.
    let runtime = command.get_args().skip_while(|arg| *arg != "60").skip(1);
    let mut opened = std::process::Command::new("sh");
    opened.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3<data", "sh"]);
    let output = opened.args(runtime).current_dir(bundle.path()).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "passed 1 1\n");
    Ok(())
}

#[test]
fn the_hosts_names_are_seen_only_if_shared() -> Result<()> {
    let mut bundle = oci_bundle("hostuts")?;
    bundle.config["hostname"] = Value::Null;
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().context("namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "uts");
    bundle.script("hostname");
    assert_eq!(bundle.printed()?, nix::sys::utsname::uname()?.nodename().to_string_lossy());
    Ok(())
}
