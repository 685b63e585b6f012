//! Rows about a container's interface: a veth pair whose other end is a host of its own, where the servers or the
//! clients run natively.

use crate::place::Place;
use crate::rows::{descendants, pss};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::{Bundle, Cable, Server, eventually};

/// Idle connections for which memory is measured.
const IDLE: u64 = 2000;

const NGINX: &str = "daemon off; pid /tmp/nginx.pid; error_log /dev/null; worker_processes 1; events { worker_connections 1024; }
http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u;
scgi_temp_path /tmp/s; server { listen 80; location / { return 200 ok; } } }";

/// What runs at the container's end of the cable: natively in its namespace, or in a container.
struct Inside {
    child: Child,
    bundle: Option<(Bundle, bool)>,
}

impl Inside {
    fn start(cable: &Cable, runtime: Option<&Path>, is_peer: bool, script: &str, program: &Path) -> Result<Inside> {
        let Some(runtime) = runtime else {
            let script = script.replace("/srv/", &format!("{}/", program.parent().context("a directory")?.display()));
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &cable.container, "sh", "-c", &script]);
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            return Ok(Inside { child, bundle: None });
        };
        let bundle = cable.whole_bundle_for(runtime, "bench", script)?;
        for file in ["net", "nginx.conf"] {
            std::fs::copy(program.with_file_name(file), bundle.path().join("srv").join(file))?;
        }
        let flags: &[&str] = if is_peer { &["--ignore-cgroups"] } else { &[] };
        let mut command = bundle.command(&[flags, &["run", "--bundle", ".", &bundle.id]].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        Ok(Inside { child, bundle: Some((bundle, is_peer)) })
    }

    /// All that it prints.
    fn output(mut self) -> Result<String> {
        let text = std::io::read_to_string(self.child.stdout.take().context("stdout")?)?;
        self.child.wait()?;
        Ok(text)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some((bundle, is_peer)) = &self.bundle {
            let flags: &[&str] = if *is_peer { &["--ignore-cgroups"] } else { &[] };
            let _ = bundle.run(&[flags, &["kill", &bundle.id, "KILL"]].concat());
            let _ = bundle.run(&[flags, &["delete", "--force", &bundle.id]].concat());
        }
        for pid in descendants(self.child.id()).into_iter().rev() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// All rows, once, in one place.
pub(crate) fn measure(place: &Place) -> Result<Vec<(String, f64)>> {
    let scratch = tests::Scratch::new("bench-veth")?;
    let runtime = match place {
        Place::Native => None,
        Place::Ours | Place::Slow => Some(tests::runsc()?),
        Place::Peer(path) => Some(without_sysctls(path, scratch.path())?),
    };
    let (runtime, is_peer) = (runtime.as_deref(), matches!(place, Place::Peer(_)));
    let program = tests::compile(&tests::here().join("bench/net.c"), &scratch)?;
    std::fs::write(program.with_file_name("nginx.conf"), NGINX)?;
    let mut rows = traffic(runtime, is_peer, &program)?;
    rows.push(("veth: nginx + wrk, requests a second".into(), nginx(runtime, is_peer, &program)?));
    rows.push(("veth: redis-benchmark get, requests a second".into(), redis(runtime, is_peer, &program)?));
    if runtime.is_some() {
        rows.push(("veth: memory of an idle connection, KiB".into(), idle(runtime, is_peer, &program)?));
    }
    Ok(rows)
}

/// A script that starts a runtime where `/proc/sys/net` is empty. gVisor knows the host's own network namespace, in which
/// it runs no container, by `core/rmem_default`; newer kernels have that file in every one.
fn without_sysctls(runtime: &Path, dir: &Path) -> Result<PathBuf> {
    let script = dir.join("runtime");
    let mask = r#"mount -t tmpfs none /proc/sys/net && exec "$0" "$@""#;
    let text =
        format!("#!/bin/sh\nexec unshare -m --propagation private sh -c '{mask}' '{}' \"$@\"\n", runtime.display());
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    Ok(script)
}

/// Streams and round trips to the other end.
fn traffic(runtime: Option<&Path>, is_peer: bool, program: &Path) -> Result<Vec<(String, f64)>> {
    let cable = Cable::new("bench")?;
    let path = program.display().to_string();
    let _server = cable.serve(&[&path, "serve"], 7006, Path::new("/"))?;
    let text = Inside::start(&cable, runtime, is_peer, "/srv/net measure 10.77.0.1", program)?.output()?;
    let row = |line: &str| {
        let (name, value) = line.split_once('\t')?;
        Some((format!("veth: {name}"), value.parse().ok()?))
    };
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    ensure!(rows.len() == 5, "{text}");
    Ok(rows)
}

/// Waits until the container takes connections.
fn answers(cable: &Cable, port: u16) -> Result<()> {
    let probe = format!("timeout 2 bash -c 'echo >/dev/tcp/10.77.0.2/{port}' 2>/dev/null");
    eventually("the container's server answers", || Ok(cable.command(&["sh", "-c", &probe]).status()?.success()))
}

fn nginx(runtime: Option<&Path>, is_peer: bool, program: &Path) -> Result<f64> {
    let cable = Cable::new("bench")?;
    let _inside = Inside::start(&cable, runtime, is_peer, "exec nginx -c /srv/nginx.conf", program)?;
    answers(&cable, 80)?;
    let text = cable.ok(&["wrk", "-t", "1", "-c", "20", "-d", "2", "http://10.77.0.2/"])?;
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("wrk reports no rate")?;
    Ok(line.trim().parse()?)
}

fn redis(runtime: Option<&Path>, is_peer: bool, program: &Path) -> Result<f64> {
    let cable = Cable::new("bench")?;
    let script = "exec redis-server --save '' --protected-mode no --dir /tmp";
    let _inside = Inside::start(&cable, runtime, is_peer, script, program)?;
    answers(&cable, 6379)?;
    let text = cable.ok(&["redis-benchmark", "-h", "10.77.0.2", "-n", "20000", "-c", "20", "-t", "get", "--csv"])?;
    let line = text.lines().find(|line| line.starts_with("\"GET\"")).context("redis-benchmark reports no rate")?;
    Ok(line.split(',').nth(1).context("a rate")?.trim_matches('"').parse()?)
}

/// What a connection that nobody uses takes of all processes of a sandbox.
fn idle(runtime: Option<&Path>, is_peer: bool, program: &Path) -> Result<f64> {
    let cable = Cable::new("bench")?;
    let inside = Inside::start(&cable, runtime, is_peer, "ulimit -n 65536 2>/dev/null; exec /srv/net serve", program)?;
    answers(&cable, 7006)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = memory(inside.child.id());
    let path = program.display().to_string();
    let mut holder =
        Server(cable.command(&[&path, "hold", "10.77.0.2", &IDLE.to_string()]).stdout(Stdio::piped()).spawn()?);
    let mut out = std::io::BufReader::new(holder.0.stdout.take().context("stdout")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line)?;
    std::thread::sleep(Duration::from_secs(1));
    let after = memory(inside.child.id());
    Ok(after.saturating_sub(before) as f64 / IDLE as f64)
}

/// What a process and all below it take, in KiB.
fn memory(root: u32) -> u64 {
    descendants(root).into_iter().map(pss).sum()
}
