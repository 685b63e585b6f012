//! Containers that share one sandbox, as the pods of Kubernetes and Podman do.

use anyhow::Result;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tests::{Bundle, eventually};

/// A bundle whose container is to be in the pod of the process `pid`; `kinds` are the namespaces that it joins.
fn member(pod: &Bundle, name: &str, script: &str, pid: &str, kinds: &[&str]) -> Result<Bundle> {
    let mut member = Bundle::new(name, script)?;
    let all = ["pid", "network", "ipc", "uts", "mount"];
    let namespace = |kind: &&str| match kinds.contains(kind) {
        true => json!({"type": kind, "path": format!("/proc/{pid}/ns/{}", kind.replace("network", "net"))}),
        false => json!({"type": kind}),
    };
    member.config["linux"]["namespaces"] = all.iter().map(namespace).collect::<Vec<Value>>().into();
    if kinds.contains(&"uts") {
        member.config["hostname"] = Value::Null;
    }
    member.config["annotations"] =
        json!({"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": pod.id});
    // One state directory for all.
    std::os::unix::fs::symlink(pod.path().join("state"), member.path().join("state"))?;
    Ok(member)
}

fn pod() -> Result<(Bundle, String)> {
    pod_with(|_| {})
}

/// A pod whose first container's configuration is changed first.
fn pod_with(change: impl FnOnce(&mut Bundle)) -> Result<(Bundle, String)> {
    let mut pod = Bundle::new("pod", "exec sleep 100")?;
    change(&mut pod);
    pod.config["annotations"] =
        json!({"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": pod.id});
    pod.create(&pod.id, &["--pid-file", "pid"])?;
    pod.ok(&["start", &pod.id])?;
    let pid = fs::read_to_string(pod.path().join("pid"))?;
    Ok((pod, pid))
}

/// Engines need privileges for namespaces that they name.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn members_talk_over_the_loopback_and_are_apart_otherwise() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let server =
        member(&pod, "server", "echo served | nc -l -p 777 >/dev/null; exit 5", &pid, &["network", "ipc", "uts"])?;
    server.create(&server.id, &[])?;
    let script = "hostname; ps; ls /only-mine; until nc 127.0.0.1 777 </dev/null; do sleep 0.05; done; sleep 100";
    let client = member(&pod, "client", script, &pid, &["network"])?;
    fs::write(client.in_root("only-mine"), "")?;
    client.create(&client.id, &[])?;
    server.ok(&["start", &server.id])?;
    client.ok(&["start", &client.id])?;
    eventually("an answer", || Ok(client.stdout(&client.id)?.contains("served")))?;
    let seen = client.stdout(&client.id)?;
    assert!(seen.starts_with("box\n") && seen.contains("/only-mine"), "{seen}");
    assert!(!seen.contains("nc -l") && seen.contains("    1 0        sh -c hostname"), "{seen}");
    server.wait_for(&server.id, "stopped")?;
    assert_eq!(pod.status(&pod.id)?, "running");
    assert_eq!(client.ok(&["exec", &client.id, "echo", "it lives"])?, "it lives\n");
    // Each stops and dies for itself.
    client.ok(&["pause", &client.id])?;
    assert_eq!(pod.ok(&["exec", &pod.id, "echo", "so does the pod"])?, "so does the pod\n");
    client.ok(&["resume", &client.id])?;
    client.ok(&["kill", &client.id, "KILL"])?;
    client.wait_for(&client.id, "stopped")?;
    client.ok(&["delete", &client.id])?;
    server.ok(&["delete", &server.id])?;
    assert_eq!(pod.ok(&["list", "-q"])?.trim_end(), pod.id);
    pod.ok(&["kill", &pod.id, "KILL"])?;
    pod.wait_for(&pod.id, "stopped")
}

#[test]
fn the_pid_namespace_can_be_common() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let member = member(&pod, "shared", "ps; sleep 50 & exec sleep 60", &pid, &["network", "pid"])?;
    member.create(&member.id, &[])?;
    member.ok(&["start", &member.id])?;
    eventually("the list", || Ok(member.stdout(&member.id)?.contains("{ps}")))?;
    let seen = member.stdout(&member.id)?;
    assert!(seen.contains("    1 0        sleep 100") && seen.contains("    2 0        sh -c ps"), "{seen}");
    // All of its processes go, and no others.
    member.ok(&["kill", "--all", &member.id, "KILL"])?;
    member.wait_for(&member.id, "stopped")?;
    eventually("its processes are gone", || {
        let left = pod.ok(&["exec", &pod.id, "ps"])?;
        Ok(left.contains("sleep 100") && !left.contains("sleep 50") && !left.contains("sleep 60"))
    })
}

#[test]
fn members_have_limits_of_their_own() -> Result<()> {
    if !is_root() || !Path::new("/sys/fs/cgroup/memory").exists() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let mut member =
        member(&pod, "limited", "grep MemTotal /proc/meminfo; tail /dev/zero; echo $?; sleep 100", &pid, &["network"])?;
    member.config["linux"]["resources"] = json!({"memory": {"limit": 32 << 20, "swap": 32 << 20}});
    member.create(&member.id, &[])?;
    member.ok(&["start", &member.id])?;
    eventually("the end of one process", || Ok(member.stdout(&member.id)?.ends_with("137\n")))?;
    assert!(member.stdout(&member.id)?.contains("MemTotal:          32768 kB"), "{}", member.stdout(&member.id)?);
    assert!(!pod.ok(&["exec", &pod.id, "grep", "MemTotal", "/proc/meminfo"])?.contains(" 32768 kB"));
    Ok(())
}

#[test]
fn a_limit_on_processes_is_a_members_own_even_if_it_sees_others() -> Result<()> {
    if !is_root() || !Path::new("/sys/fs/cgroup/pids").exists() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let script = "sh -c 'for i in 1 2 3 4; do sleep 100 & done; echo all' 2>/dev/null || echo refused; sleep 100";
    let mut member = member(&pod, "counted", script, &pid, &["network", "pid"])?;
    member.config["linux"]["resources"] = json!({"pids": {"limit": 3}});
    member.create(&member.id, &[])?;
    member.ok(&["start", &member.id])?;
    eventually("a fork fails", || Ok(member.stdout(&member.id)? == "refused\n"))?;
    let many = "for i in 1 2 3 4; do sleep 0.1 & done; wait; echo all";
    assert_eq!(pod.ok(&["exec", &pod.id, "sh", "-c", many])?, "all\n");
    Ok(())
}

#[test]
fn members_go_with_their_sandbox() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let member = member(&pod, "left", "sleep 100", &pid, &["network"])?;
    member.create(&member.id, &[])?;
    member.ok(&["start", &member.id])?;
    pod.ok(&["delete", "--force", &pod.id])?;
    member.wait_for(&member.id, "stopped")?;
    member.ok(&["delete", &member.id])?;
    assert_eq!(pod.ok(&["list", "-q"])?, "");
    Ok(())
}

#[test]
fn a_user_namespace_can_be_common() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let mapped = |bundle: &mut Bundle| {
        bundle.config["linux"]["uidMappings"] = map.clone();
        bundle.config["linux"]["gidMappings"] = map.clone();
    };
    let (pod, pid) = pod_with(|pod| {
        mapped(pod);
        push(&mut pod.config["linux"]["namespaces"], json!({"type": "user"}));
    })?;
    let script = "cat /proc/self/uid_map; echo x > /tmp/made; ls -ln /tmp/made";
    // Kept, for the end of a bundle is that of all containers in its state directory.
    let mut members = Vec::new();
    let joined = json!({"type": "user", "path": format!("/proc/{pid}/ns/user")});
    for (name, user, gives_map) in
        [("by-path", &joined, false), ("by-path-too", &joined, true), ("its-own", &json!({"type": "user"}), true)]
    {
        let mut member = member(&pod, name, script, &pid, &["network", "ipc", "uts"])?;
        push(&mut member.config["linux"]["namespaces"], user.clone());
        if gives_map {
            mapped(&mut member);
        }
        let world = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o1777);
        fs::set_permissions(member.in_root("tmp"), world)?;
        let seen = member.ok(&["run", &member.id])?;
        assert!(seen.contains("0     100000      65536") && seen.contains("1 0        0 "), "{name}: {seen}");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&member.in_root("tmp/made").metadata()?), 100_000, "{name}");
        members.push(member);
    }
    let mut other = member(&pod, "other", script, &pid, &["network"])?;
    push(&mut other.config["linux"]["namespaces"], json!({"type": "user"}));
    mapped(&mut other);
    other.config["linux"]["uidMappings"][0]["hostID"] = 200_000.into();
    assert!(other.fails(&["run", &other.id])?.contains("cannot map ids in another way"));
    Ok(())
}

#[test]
fn another_network_in_a_pod_is_refused() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let member = member(&pod, "elsewhere", "true", &pid, &["ipc"])?;
    assert!(member.fails(&["run", &member.id])?.contains("cannot have another network"));
    Ok(())
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().into_iter().for_each(|list| list.push(item.clone()));
}

#[test]
fn the_end_of_a_member_can_be_waited_for() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (pod, pid) = pod()?;
    let member = member(&pod, "waited", "sleep 0.3; exit 6", &pid, &["network"])?;
    member.create(&member.id, &[])?;
    member.ok(&["start", &member.id])?;
    assert_eq!(member.ok(&["wait", &member.id])?, format!("{{\"id\":\"{}\",\"exitStatus\":6}}\n", member.id));
    Ok(())
}
