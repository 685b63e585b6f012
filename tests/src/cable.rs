//! Two network namespaces with a cable between them: one for a container, the other a host of its own.

use crate::{Bundle, Scratch, compile, eventually, here, runsc};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server of the files in its directory, at port 8000.
pub const HTTPD: [&str; 7] = ["busybox", "httpd", "-f", "-p", "[::]:8000", "-h", "."];

/// The container's end is 10.77.0.2 and fd77::2, the other 10.77.0.1 and fd77::1.
#[derive(Debug)]
pub struct Cable {
    /// The namespace of the other end.
    pub host: String,
    /// The namespace that a container gets.
    pub container: String,
    /// What makes it a bad one: the namespace between them, and what runs there.
    between: Option<(String, Server, Scratch)>,
}

/// What a bad cable does to frames, each way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Frames of a thousand that are lost.
    pub lost: u32,
    /// Milliseconds that each takes.
    pub delay: u32,
    /// Frames of a thousand that overtake others.
    pub reordered: u32,
}

impl Cable {
    /// A good one.
    pub fn new(name: &str) -> Result<Cable> {
        let cable = Cable::namespaces(name)?;
        let (host, container) = (cable.host.as_str(), cable.container.as_str());
        ip(&["-n", host, "link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", container])?;
        cable.configure()?;
        Ok(cable)
    }

    /// A bad one, over which the host's kernel does not use what needs no care about losses (BBR).
    pub fn bad(name: &str, weather: Weather) -> Result<Cable> {
        let mut cable = Cable::namespaces(name)?;
        let (scratch, between) = (Scratch::new(name)?, format!("runsc-{name}-b"));
        let _ = ip(&["netns", "del", &between]);
        ip(&["netns", "add", &between])?;
        for (space, link, end) in [(&cable.host, "out0", "one"), (&cable.container, "eth0", "two")] {
            ip(&["-n", &between, "link", "add", end, "type", "veth", "peer", "name", link, "netns", space])?;
            ip(&["-n", &between, "link", "set", end, "up"])?;
            // What is on the cable are single frames.
            for (space, link) in [(&between, end), (space, link)] {
                let offloads = ["tso", "off", "gso", "off", "gro", "off", "tx", "off"];
                run(space, &[["ethtool", "-K", link].as_slice(), &offloads].concat())?;
            }
            run(space, &["sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno"])?;
        }
        let lossy = compile(&here().join("network/lossy.c"), &scratch)?;
        let Weather { lost, delay, reordered } = weather;
        let numbers = [lost, delay * 1000, reordered].map(|n| n.to_string());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &between]).arg(&lossy).args(["one", "two"]).args(numbers);
        cable.between = Some((between, Server(command.spawn()?), scratch));
        cable.configure()?;
        Ok(cable)
    }

    fn namespaces(name: &str) -> Result<Cable> {
        let cable = Cable { host: format!("runsc-{name}-h"), container: format!("runsc-{name}-c"), between: None };
        cable.remove();
        ip(&["netns", "add", &cable.host])?;
        ip(&["netns", "add", &cable.container])?;
        Ok(cable)
    }

    fn configure(&self) -> Result<()> {
        for (space, link, end) in [(&self.host, "out0", 1), (&self.container, "eth0", 2)] {
            ip(&["-n", space, "link", "set", "lo", "up"])?;
            ip(&["-n", space, "link", "set", link, "up"])?;
            ip(&["-n", space, "addr", "add", &format!("10.77.0.{end}/24"), "dev", link])?;
            ip(&["-n", space, "addr", "add", &format!("fd77::{end}/64"), "dev", link, "nodad"])?;
            ip(&["-n", space, "addr", "add", &format!("fe80::77:{end}/64"), "dev", link, "nodad"])?;
        }
        ip(&["-n", &self.container, "route", "add", "default", "via", "10.77.0.1"])
    }

    fn remove(&self) {
        let between = self.between.as_ref().map(|(name, ..)| name);
        for space in [Some(&self.host), Some(&self.container), between].into_iter().flatten() {
            let _ = ip(&["netns", "del", space]);
        }
    }

    /// A program on the other end.
    pub fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "60", "ip", "netns", "exec", &self.host]).args(program);
        command
    }

    /// The output of one that must succeed.
    pub fn ok(&self, program: &[&str]) -> Result<String> {
        let output = self.command(program).output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{program:?}: {stdout} {}", String::from_utf8_lossy(&output.stderr));
        Ok(stdout)
    }

    /// Starts a server on the other end, in a directory, and waits until it listens.
    pub fn serve(&self, program: &[&str], port: u16, dir: &Path) -> Result<Server> {
        let mut command = self.command(program);
        let server = Server(command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let of_port = format!(":{port}");
        eventually("it listens", || Ok(self.ok(&["ss", "-Hlnt", &format!("sport = {of_port}")])?.contains(&of_port)))?;
        Ok(server)
    }

    /// A container on this end.
    pub fn bundle(&self, name: &str, script: &str) -> Result<Bundle> {
        self.bundle_for(&runsc()?, name, script)
    }

    /// The same for another runtime.
    fn bundle_for(&self, runtime: &Path, name: &str, script: &str) -> Result<Bundle> {
        let mut bundle = Bundle::for_runtime(runtime, name, script)?;
        for space in bundle.config["linux"]["namespaces"].as_array_mut().context("namespaces")? {
            if space["type"] == "network" {
                space["path"] = json!(format!("/run/netns/{}", self.container));
            }
        }
        let caps = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]);
        bundle.config["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
        Ok(bundle)
    }

    /// A container on this end that has the programs of this machine: its files, which it cannot change, and some
    /// directories of its own. `/srv` inside is the bundle's directory of that name.
    pub fn whole_bundle(&self, name: &str, script: &str) -> Result<Bundle> {
        self.whole_bundle_for(&runsc()?, name, script)
    }

    /// The same for another runtime.
    pub fn whole_bundle_for(&self, runtime: &Path, name: &str, script: &str) -> Result<Bundle> {
        let mut bundle = self.bundle_for(runtime, name, script)?;
        let srv = bundle.path().join("srv");
        std::fs::create_dir_all(&srv)?;
        bundle.config["root"] = json!({ "path": "/", "readonly": true });
        let all = bundle.config["mounts"].as_array_mut().context("mounts")?;
        for dir in ["/tmp", "/run", "/var/log", "/var/lib", "/root"] {
            all.push(json!({ "destination": dir, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] }));
        }
        all.push(json!({ "destination": "/srv", "type": "bind", "source": srv, "options": ["rbind", "rw"] }));
        let caps = json!([
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FOWNER",
            "CAP_KILL",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_RAW",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_SYS_CHROOT",
        ]);
        let process = &mut bundle.config["process"];
        process["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
        process["env"] =
            json!(["PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/root", "LANG=C.UTF-8"]);
        Ok(bundle)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A program that ends with the test.
#[derive(Debug)]
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), nix::sys::signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("iproute2 is missing; tests/setup.sh installs it")?;
    ensure!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs a program in a namespace, which must succeed.
fn run(space: &str, program: &[&str]) -> Result<()> {
    ip(&[["netns", "exec", space].as_slice(), program].concat())
}

/// Whether the caller may make network namespaces; says so if not.
pub fn may_make_namespaces() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: network namespaces are made by root alone");
    }
    root
}
