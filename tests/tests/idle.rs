//! A sandbox whose programs all wait costs nothing: no thread of it or of its guests runs.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;
use tests::{Sandbox, children, threads};

/// How long nothing may run.
const WINDOW: Duration = Duration::from_secs(2);
/// Windows until then: caches give back what they hold some seconds after the last call, once.
const WINDOWS: u32 = 12;

/// Makes so many calls that somebody looks at shared memory for them, over files, connections and pipes, from threads
/// and processes; then all wait.
const PROGRAM: &str = "
import os, socket, sys, threading, time
def busy():
    with open('/etc/passwd') as file:
        for _ in range(5000): file.seek(0); file.read(1)
    for _ in range(5000): os.stat('/etc')
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
for _ in range(1000): client.send(b'x'); server.recv(1); server.send(b'y'); client.recv(1)
r, w = os.pipe()
busy()
for _ in range(4): threading.Thread(target=lambda: (busy(), os.read(r, 1)), daemon=True).start()
for _ in range(3):
    if os.fork() == 0:
        busy()
        os.write(1, b'x')
        server.recv(1)
busy()
os.write(1, b'x')
time.sleep(1000)
";
/// How many say that they wait.
const WAITING: usize = 4;

/// A process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    children(pid).into_iter().flat_map(tree).chain([pid]).collect()
}

/// How often each thread of these processes has left its processor.
fn switches(pids: &[u32]) -> Result<BTreeMap<String, u64>> {
    let count = |pid, tid| -> Result<(String, u64)> {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let number = |name| field(name).and_then(|count| count.parse::<u64>().ok());
        let waits = number("voluntary_ctxt_switches:").context("no count")?;
        let preemptions = number("nonvoluntary_ctxt_switches:").context("no count")?;
        Ok((format!("{tid} {} of {pid}", field("Name:").unwrap_or_default()), waits + preemptions))
    };
    pids.iter().flat_map(|pid| threads(*pid).into_iter().map(|tid| count(*pid, tid))).collect()
}

fn sleeps(fast_path: &str) -> Result<()> {
    let options = ["--fast-path", fast_path];
    let mut sandbox = Sandbox::start_with(Path::new("/"), &options, &["/usr/bin/python3", "-c", PROGRAM])?;
    let output = sandbox.runsc.stdout.as_mut().context("no pipe")?;
    output.read_exact(&mut [0; WAITING])?;
    let pids = tree(sandbox.runsc.id());
    assert!(pids.len() > WAITING, "{pids:?}");
    let mut before = switches(&pids)?;
    for _ in 0..WINDOWS {
        thread::sleep(WINDOW);
        let after = switches(&pids)?;
        if after == before {
            return Ok(());
        }
        before = after;
    }
    thread::sleep(WINDOW);
    let after = switches(&pids)?;
    let ran: Vec<_> = after.iter().filter(|(thread, count)| before.get(*thread) != Some(count)).collect();
    bail!("these run although all wait: {ran:?}")
}

#[test]
fn nothing_runs_while_all_wait() -> Result<()> {
    ["on", "always", "off"].into_iter().try_for_each(sleeps)
}
