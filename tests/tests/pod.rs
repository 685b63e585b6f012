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
    let mut pod = Bundle::new("pod", "exec sleep 100")?;
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
