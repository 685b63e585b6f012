//! Bundles for the tests of the OCI runtime specification.
//!
//! `OCI_RUNTIME` names another runtime to judge the tests by: what runc fails is a suspect test.

use crate::{Bundle, runsc};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::PathBuf;

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
pub fn oci_bundle(name: &str) -> Result<Bundle> {
    let mut bundle = Bundle::for_runtime(&runtime()?, &format!("oci-{name}"), "true")?;
    bundle.config = usual_config();
    Ok(bundle)
}

fn runtime() -> Result<PathBuf> {
    std::env::var_os("OCI_RUNTIME").map_or_else(runsc, |path| Ok(path.into()))
}
