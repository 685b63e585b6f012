//! A life of groups on this host. Where it gives none there is nothing to see.

use super::*;
use rustix::process::Pid;
use sentry::boot::handle::Handle;
use std::process::{Child, Command};

fn sleeper() -> (Child, Pid) {
    let child = Command::new("sleep").arg("60").spawn().expect("sleep starts");
    let pid = Pid::from_child(&child);
    (child, pid)
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default().trim().to_owned()
}

#[test]
fn life_of_groups_of_version_1() {
    let resources: LinuxResources = serde_json::from_str(
        r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 30},
            "cpu": {"shares": 512, "quota": 25000, "period": 50000}, "pids": {"limit": 20},
            "devices": [{"allow": false, "access": "rwm"}]}"#,
    )
    .expect("the resources are valid");
    let id = format!("test-{}", std::process::id());
    let path = Path::new("/runsc-test-parent").join(&id);
    let placement = Placement { id: &id, path: Some(&path), ..Placement::default() };
    let Ok(cgroup) = Cgroup::create(&placement, &resources) else { return };
    if cgroup.version != Version::V1 {
        cgroup.remove().expect("new groups can be removed");
        return;
    }
    let saved = serde_json::to_string(&cgroup).expect("it can be saved");
    let cgroup: Cgroup = serde_json::from_str(&saved).expect("it can be loaded");
    let memory = cgroup.v1("memory").expect("there is a memory controller").to_path_buf();
    assert!(memory.ends_with(path.strip_prefix("/").expect("it is absolute")));
    assert_eq!(read(&memory, "memory.limit_in_bytes"), "67108864");
    assert_eq!(read(&memory, "memory.memsw.limit_in_bytes"), "134217728");
    let pids = cgroup.v1("pids").expect("there is a pids controller").to_path_buf();
    assert_eq!(read(&pids, "pids.max"), "20");

    let (mut monitor, monitor_pid) = sleeper();
    let (mut guest, guest_pid) = sleeper();
    let put = |door: &OwnedFd, pid: Pid| {
        rustix::io::write(door, pid.as_raw_nonzero().to_string().as_bytes()).expect("it joins");
    };
    cgroup.doors().expect("groups can be opened").iter().for_each(|door| put(door, monitor_pid));
    for door in cgroup
        .sentry_doors()
        .expect("groups can be opened")
        .into_iter()
        .chain(cgroup.guest_doors().expect("so can these").into_iter().map(Handle::into_fd))
    {
        put(&door, guest_pid);
    }
    assert_eq!(cgroup.host_pids(), [guest_pid]);
    assert_eq!(procs::in_tree(&pids), [monitor_pid]);
    cgroup.freeze(true).expect("guests stop");
    assert!(cgroup.is_frozen());

    let grown = serde_json::from_str(r#"{"memory": {"limit": 268435456, "swap": 268435456}, "pids": {"limit": -1}}"#);
    cgroup.update(&grown.expect("the resources are valid")).expect("limits can change");
    assert_eq!(read(&memory, "memory.limit_in_bytes"), "268435456");
    assert_eq!(read(&pids, "pids.max"), "max");
    assert!(Cgroup::create(&placement, &resources).is_err(), "a group that is in use is not taken over");

    cgroup.kill_all().expect("the killed end");
    let _ = (monitor.wait(), guest.wait());
    cgroup.remove().expect("empty groups can be removed");
    cgroup.remove().expect("what is gone is fine");
    assert!(!memory.exists() && !memory.parent().is_some_and(Path::exists));
}
