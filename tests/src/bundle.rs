//! Bundles with a root of one static program, and the containers made of them.

use crate::{Scratch, runsc};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Numbers what needs a name of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Programs of busybox that tests use.
const APPLETS: [&str; 36] = [
    "cat",
    "cut",
    "dd",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "hostname",
    "httpd",
    "id",
    "ifconfig",
    "ionice",
    "ip",
    "kill",
    "ls",
    "mkdir",
    "mount",
    "nc",
    "nproc",
    "nslookup",
    "ping",
    "ps",
    "pwd",
    "renice",
    "sh",
    "sha256sum",
    "sleep",
    "stat",
    "stty",
    "tail",
    "touch",
    "true",
    "tty",
    "wc",
    "wget",
];

/// A bundle in a directory of its own, with a state directory beside it.
#[derive(Debug)]
pub struct Bundle {
    scratch: Scratch,
    runtime: PathBuf,
    /// A name for a container that no other test has.
    pub id: String,
    /// `config.json` as the next command finds it.
    pub config: Value,
}

impl Bundle {
    /// One that runs `script` in a shell, for our own runtime.
    pub fn new(name: &str, script: &str) -> Result<Bundle> {
        Bundle::for_runtime(&runsc()?, name, script)
    }

    /// The same for another runtime.
    pub fn for_runtime(runtime: &Path, name: &str, script: &str) -> Result<Bundle> {
        let scratch = Scratch::new(name)?;
        let root = scratch.path().join("rootfs");
        for dir in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.context("busybox is missing; tests/setup.sh installs it")?, root.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        let caps = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"]);
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin", "TERM=xterm"],
                "cwd": "/",
                "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            },
            "root": { "path": "rootfs" },
            "hostname": "box",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec"] },
            ],
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            },
        });
        let id = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Bundle { scratch, runtime: runtime.to_owned(), id, config })
    }

    /// Has the container run a script in a shell.
    pub fn script(&mut self, script: &str) -> &mut Bundle {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
        self
    }

    /// Writes `config.json`, as each command of the runtime does first.
    pub fn save(&self) -> Result<()> {
        // At once: several commands may be under way.
        let new = self.path().join(format!("config.json.{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&new, self.config.to_string())?;
        Ok(fs::rename(new, self.path().join("config.json"))?)
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A file in the container's root.
    pub fn in_root(&self, path: &str) -> PathBuf {
        self.path().join("rootfs").join(path)
    }

    /// A command of the runtime, with the state directory of this bundle.
    pub fn command(&self, args: &[&str]) -> Command {
        // What cannot be written the command will not find.
        let _ = self.save();
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "60"]).arg(&self.runtime).arg("--root").arg(self.path().join("state"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command of the runtime and takes its output: by way of files, for `create` leaves the container with the
    /// descriptors.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|kind| self.path().join(format!("{number}.{kind}")));
        let status = self.command(args).stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?).status()?;
        Ok(Output { status, stdout: fs::read(out)?, stderr: fs::read(err)? })
    }

    /// Runs the container in the foreground; what it printed.
    pub fn printed(&self) -> Result<String> {
        Ok(self.ok(&["run", &self.id])?.trim_end().to_owned())
    }

    /// Runs one that must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        anyhow::ensure!(output.status.success(), "{args:?}: {} {stdout} {stderr}", output.status);
        Ok(stdout)
    }

    /// Runs one that must fail with status 1; its standard error.
    pub fn fails(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        let stderr = text(&output.stderr);
        anyhow::ensure!(output.status.code() == Some(1), "{args:?}: {} {stderr}", output.status);
        Ok(stderr)
    }

    /// `create`, with the output of the container into files that [`stdout`](Bundle::stdout) reads.
    pub fn create(&self, id: &str, options: &[&str]) -> Result<()> {
        let out = fs::File::create(self.path().join(format!("{id}.out")))?;
        let err = fs::File::create(self.path().join(format!("{id}.err")))?;
        let args = [&["create", "--bundle", "."], options, &[id]].concat();
        let status = self.command(&args).stdout(out).stderr(err).status()?;
        anyhow::ensure!(status.success(), "create: {status} {}", self.stderr(id)?);
        Ok(())
    }

    /// What the container has written to its standard output so far.
    pub fn stdout(&self, id: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path().join(format!("{id}.out")))?)
    }

    /// The same of its standard error.
    pub fn stderr(&self, id: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path().join(format!("{id}.err")))?)
    }

    /// `state`, parsed.
    pub fn state(&self, id: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.ok(&["state", id])?)?)
    }

    /// The status in the state.
    pub fn status(&self, id: &str) -> Result<String> {
        Ok(self.state(id)?["status"].as_str().context("no status")?.to_owned())
    }

    /// Waits until the container has this status.
    pub fn wait_for(&self, id: &str, status: &str) -> Result<()> {
        eventually(&format!("{id} is {status}"), || Ok(self.status(id)? == status))
    }
}

impl Drop for Bundle {
    /// Leaves no container behind, whatever a test has done.
    fn drop(&mut self) {
        for entry in fs::read_dir(self.path().join("state")).into_iter().flatten().flatten() {
            if let Some(id) = entry.file_name().to_str() {
                let _ = self.run(&["delete", "--force", id]);
            }
        }
    }
}

/// Waits, for ten seconds at most, until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds()? {
        anyhow::ensure!(Instant::now() < end, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
