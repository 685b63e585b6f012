//! Bundles and command lines that are wrong: each gives one clear line and an error's status, and leaves nothing behind.
//!
//! `OCI_RUNTIME` names another runtime to see what that makes of them (its words differ, its statuses should not).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tests::{Bundle, Random, runsc};

fn runtime() -> Result<PathBuf> {
    match std::env::var_os("OCI_RUNTIME") {
        Some(path) => Ok(path.into()),
        None => runsc(),
    }
}

fn bundle(name: &str) -> Result<Bundle> {
    Bundle::for_runtime(&runtime()?, name, "true")
}

/// The container's name, and that of its control group if the configuration names none: no other test's.
fn id() -> String {
    format!("bad-{}", std::process::id())
}

/// Runs the bundle in `dir`, which is in this one, as it is now; what it said.
fn run(bundle: &Bundle, dir: &str, what: &str) -> Result<Output> {
    let output = bundle.run(&["run", "--bundle", dir, &id()]).with_context(|| what.to_owned())?;
    nothing_left(bundle).with_context(|| what.to_owned())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{what}: {stderr}");
    ensure!(output.status.code().is_some_and(|code| code != 101 && code != 124), "{what}: {} {stderr}", output.status);
    Ok(output)
}

/// It must fail with one line that says more than nothing.
fn is_refused(bundle: &Bundle, dir: &str, what: &str) -> Result<()> {
    let output = run(bundle, dir, what)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // 126 and 127 as a shell has them for programs.
    let is_status = matches!(output.status.code(), Some(1 | 126 | 127));
    ensure!(is_status, "{what}: {} {stderr}", output.status);
    if std::env::var_os("OCI_RUNTIME").is_none() {
        let lines = stderr.lines().count();
        ensure!(lines == 1 && stderr.starts_with("runsc: ") && stderr.len() > 20, "{what}: {lines} lines: {stderr}");
    }
    Ok(())
}

/// No state, no process that has the bundle among its arguments, no control group.
fn nothing_left(bundle: &Bundle) -> Result<()> {
    let state = bundle.path().join("state");
    let left: Vec<_> = fs::read_dir(&state).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    ensure!(left.is_empty(), "left in the state directory: {left:?}");
    let path = bundle.path().to_string_lossy().into_owned();
    for entry in fs::read_dir("/proc")?.flatten() {
        let args = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        ensure!(!String::from_utf8_lossy(&args).contains(&path), "left: process {:?}", entry.file_name());
    }
    Ok(())
}

/// Puts a value at a path of names and numbers, making objects on the way.
fn set(config: &mut Value, path: &str, value: Value) {
    let mut at = config;
    for name in path.split('.') {
        at = match name.parse::<usize>() {
            Ok(n) => &mut at[n],
            Err(_) => &mut at[name],
        };
    }
    *at = value;
}

#[test]
fn files_that_are_no_configuration() -> Result<()> {
    let bundle = bundle("no-config")?;
    let dir = bundle.path().join("wrong");
    fs::create_dir(&dir)?;
    let file = dir.join("config.json");
    let good = bundle.config.to_string();
    let half = &good.as_bytes()[..good.len() / 2];
    for (what, text) in [
        ("empty", &b""[..]),
        ("no JSON", b"hello"),
        ("an array", b"[]"),
        ("a number", b"7"),
        ("null", b"null"),
        ("an empty object", b"{}"),
        ("cut", half),
        ("with something behind", b"{\"ociVersion\":\"1.0.2\"} x"),
        ("not UTF-8", b"{\"ociVersion\":\"\xff\xfe\"}"),
        ("deep", &[b'['; 100_000]),
    ] {
        fs::write(&file, text)?;
        is_refused(&bundle, "wrong", what)?;
    }
    fs::remove_file(&file)?;
    is_refused(&bundle, "wrong", "no file")?;
    fs::create_dir(&file)?;
    is_refused(&bundle, "wrong", "a directory")?;
    Ok(())
}

/// Values at paths of the configuration, none of which a container can be made of.
fn wrong_values() -> Vec<(&'static str, Value)> {
    vec![
        ("ociVersion", json!(1)),
        ("process", json!(null)),
        ("process", json!([])),
        ("process.args", json!([])),
        ("process.args", json!("true")),
        ("process.args", json!([1])),
        ("process.args", json!(["a\u{0}b"])),
        ("process.args", json!(["true", "a\u{0}b"])),
        ("process.args", json!(["no-such-program"])),
        ("process.args", json!(["/bin"])),
        ("process.args", json!(["/bin/busybox/x"])),
        ("process.args", json!([""])),
        ("process.args", json!(["/bin/not-executable"])),
        ("process.args", json!(["/bin/no-format"])),
        ("process.args", json!(["/bin/cut"])),
        ("process.args", json!(["/bin/script-of-nobody"])),
        ("process.args", json!(["/bin/loop"])),
        ("process.env", json!("A=B")),
        ("process.env", json!(["A=\u{0}"])),
        ("process.cwd", json!("")),
        ("process.cwd", json!("relative")),
        ("process.cwd", json!("/bin/busybox")),
        ("process.cwd", json!(3)),
        ("process.user", json!("root")),
        ("process.user.uid", json!(-1)),
        ("process.user.uid", json!("0")),
        ("process.user.uid", json!(1.5)),
        ("process.user.gid", json!(5_000_000_000_u64)),
        ("process.user.additionalGids", json!([-1])),
        ("process.capabilities.bounding", json!("CAP_KILL")),
        ("process.rlimits", json!([{ "type": "RLIMIT_BANANAS", "soft": 1, "hard": 1 }])),
        ("process.rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": -1, "hard": 1 }])),
        ("process.rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 1 }])),
        ("process.rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1e30 }])),
        (
            "process.rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 }, { "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 }]),
        ),
        ("process.oomScoreAdj", json!(5000)),
        ("process.oomScoreAdj", json!("high")),
        ("process.terminal", json!("yes")),
        ("root", json!(null)),
        ("root", json!("rootfs")),
        ("root.path", json!("")),
        ("root.path", json!("no-such-directory")),
        ("root.path", json!("config.json")),
        ("root.path", json!("a\u{0}b")),
        ("root.path", json!(["rootfs"])),
        ("root.readonly", json!("yes")),
        ("hostname", json!(7)),
        ("hostname", json!("x".repeat(65))),
        ("mounts", json!({})),
        ("mounts.0", json!("proc")),
        ("mounts.0.destination", json!(null)),
        ("mounts.0.type", json!("no-such-type")),
        (
            "mounts.0",
            json!({ "destination": "/mnt", "type": "bind", "source": "/no/such/source", "options": ["bind"] }),
        ),
        ("mounts.0", json!({ "destination": "/a\u{0}b", "type": "tmpfs", "source": "tmpfs" })),
        ("mounts.1.options", json!("nosuid")),
        ("mounts.1.options", json!(["size=banana"])),
        ("linux", json!(7)),
        ("linux.namespaces", json!([{ "type": "banana" }])),
        ("linux.namespaces", json!([{ "type": "pid" }, { "type": "pid" }])),
        ("linux.namespaces", json!([{ "type": "network", "path": "/no/such/namespace" }])),
        ("linux.namespaces", json!([{ "type": "network", "path": "/etc/passwd" }])),
        ("linux.resources", json!("much")),
        ("linux.resources.memory.limit", json!("1G")),
        ("linux.resources.pids.limit", json!("many")),
        ("linux.resources.cpu.quota", json!("half")),
        ("linux.maskedPaths", json!("/proc/kcore")),
        ("linux.uidMappings", json!([{ "containerID": -1, "hostID": 0, "size": 1 }])),
        ("linux.seccomp", json!({ "defaultAction": "SCMP_ACT_BANANA" })),
        ("linux.seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": "all" })),
        ("linux.rootfsPropagation", json!("banana")),
        ("hooks.prestart", json!([{ "path": "relative" }])),
        ("hooks.createRuntime", json!([{ "path": "/no/such/hook" }])),
        ("hooks.createRuntime", json!([{ "path": "/bin/false" }])),
        ("hooks.createRuntime", json!([{ "path": "/bin/sleep", "args": ["sleep", "5"], "timeout": -1 }])),
        ("annotations", json!({ "a": 1 })),
    ]
}

fn write_programs(bundle: &Bundle) -> Result<()> {
    let busybox = fs::read(bundle.in_root("bin/busybox"))?;
    let programs: [(&str, &[u8], u32); 5] = [
        ("not-executable", &busybox, 0o644),
        ("no-format", b"\x01\x02\x03\x04 nothing that runs", 0o755),
        ("cut", &busybox[..100], 0o755),
        ("script-of-nobody", b"#!/no/such/interpreter\n", 0o755),
        ("loop", b"#!/bin/loop\n", 0o755),
    ];
    for (name, bytes, mode) in programs {
        let path = bundle.in_root("bin").join(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[test]
fn values_that_no_container_has() -> Result<()> {
    let mut bundle = bundle("wrong-values")?;
    write_programs(&bundle)?;
    let good = bundle.config.clone();
    let mut failures = Vec::new();
    for (path, value) in wrong_values() {
        bundle.config = good.clone();
        let what = format!("{path} = {value}");
        set(&mut bundle.config, path, value);
        bundle.save()?;
        if let Err(e) = is_refused(&bundle, ".", &what) {
            failures.push(format!("{e:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn a_bundle_that_is_not_there() -> Result<()> {
    let bundle = bundle("no-bundle")?;
    for path in ["/no/such/bundle", "config.json"] {
        let output = bundle.run(&["run", "--bundle", path, &id()])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && stderr.lines().count() == 1, "{path:?}: {stderr}");
    }
    // An argument that is a directory is taken for the bundle.
    for id in ["", "..", "a/b", "a b", "a\nb", &"x".repeat(2000)] {
        let output = bundle.run(&["run", "--", id])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && stderr.lines().count() == 1, "{id:?}: {stderr}");
        nothing_left(&bundle)?;
    }
    Ok(())
}

/// How many times a configuration is changed at random.
const ROUNDS: u32 = 300;

#[test]
fn configurations_changed_at_random() -> Result<()> {
    let mut bundle = bundle("random")?;
    let seed = std::env::var("CONFIG_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let good = bundle.config.clone();
    for round in 0..ROUNDS {
        bundle.config = good.clone();
        for _ in 0..=random.below(2) {
            change(&mut bundle.config, &mut random);
        }
        bundle.save()?;
        let what = format!("seed {seed}, round {round}: {}", bundle.config);
        let output = run(&bundle, ".", &what)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let errors = stderr.lines().filter(|line| !line.contains("warning")).count();
        // What the program itself says is its own affair.
        let ours = stderr.lines().filter(|line| line.starts_with("runsc: ")).count();
        ensure!(output.status.success() || errors >= 1 || ours == 0, "{what}\nsaid nothing: {}", output.status);
        ensure!(ours <= 1 || stderr.contains("warning"), "{what}\n{stderr}");
    }
    Ok(())
}

/// Changes some place in a value.
fn change(value: &mut Value, random: &mut Random) {
    let len = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if len == 0 || random.below(8) == 0 {
        *value = odd_value(random);
        return;
    }
    let at = random.below(len as u64) as usize;
    match value {
        Value::Array(items) if random.below(10) == 0 => drop(items.remove(at)),
        Value::Array(items) => change(&mut items[at], random),
        Value::Object(fields) => {
            let Some(name) = fields.keys().nth(at).cloned() else { return };
            match random.below(10) {
                0 => drop(fields.remove(&name)),
                _ => change(&mut fields[&name], random),
            }
        }
        _ => {}
    }
}

fn odd_value(random: &mut Random) -> Value {
    match random.below(16) {
        0 => json!(null),
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1e300),
        6 => json!(random.below(1 << 33)),
        7 => json!(""),
        8 => json!("\u{0}"),
        9 => json!("../../../../etc"),
        10 => json!("x".repeat(random.below(10_000) as usize)),
        11 => json!([]),
        12 => json!({}),
        13 => json!(["\u{1}", "/", 0]),
        14 => json!({ "path": "/", "type": "bind", "source": "/" }),
        _ => json!("/proc/self/../self/fd/0"),
    }
}

/// Runs `runsc` with arguments that are wrong; what it says must be one line that names what is wrong.
fn is_told(args: &[&str], names: &str) -> Result<()> {
    let output = Command::new("timeout").arg("60").arg(runsc()?).args(args).stdin(Stdio::null()).output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(1) && stdout.is_empty(), "{args:?}: {} {stdout}{stderr}", output.status);
    ensure!(stderr.starts_with("runsc: ") && stderr.lines().count() == 1, "{args:?}: {stderr}");
    ensure!(stderr.contains(names) && !stderr.contains('\u{1b}'), "{args:?}: {stderr}");
    Ok(())
}

/// Each with what its line must name.
fn all_are_told(command: &str, cases: &[(&[&str], &str)]) -> Result<()> {
    let told = |(args, names): &(&[&str], &str)| is_told(&[&[command], *args].concat(), names).err();
    let failures: Vec<String> = cases.iter().filter_map(told).map(|e| format!("{e:#}")).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn wrong_options_of_do() -> Result<()> {
    let long = "x".repeat(65);
    let path = format!("/tmp/{}", "x".repeat(5000));
    all_are_told(
        "do",
        &[
            (&[], "<PROGRAM>"),
            (&["--"], "<PROGRAM>"),
            (&["--rw"], "<PROGRAM>"),
            (&["--frob", "true"], "--frob"),
            (&["--frob=1", "true"], "--frob"),
            (&["-f", "true"], "-f"),
            (&["-frob", "true"], "-f"),
            (&["--rw=maybe", "true"], "--rw"),
            (&["--a\nb", "true"], "--a"),
            (&["--hostname", "", "true"], "--hostname"),
            (&["--hostname", &long, "true"], "64 bytes"),
            (&["--hostname"], "--hostname"),
            (&["--memory", "1", "true"], "--memory"),
            (&["--memory", "0", "true"], "--memory"),
            (&["--memory", "-1", "true"], "--memory"),
            (&["--memory", "lots", "true"], "--memory"),
            (&["--memory", "1X", "true"], "--memory"),
            (&["--memory", "", "true"], "--memory"),
            (&["--memory", "99999999999T", "true"], "--memory"),
            (&["--cpus", "0", "true"], "--cpus"),
            (&["--cpus", "-1", "true"], "--cpus"),
            (&["--cpus", "x", "true"], "--cpus"),
            (&["--cpus", "nan", "true"], "--cpus"),
            (&["--cpus", "inf", "true"], "--cpus"),
            (&["--pids", "0", "true"], "--pids"),
            (&["--pids", "-1", "true"], "--pids"),
            (&["--pids", "x", "true"], "--pids"),
            (&["--pids", "99999999999999999999", "true"], "--pids"),
            (&["--timeout", "0", "true"], "--timeout"),
            (&["--timeout", "-1", "true"], "--timeout"),
            (&["--timeout", "x", "true"], "--timeout"),
            (&["--timeout", "1e300", "true"], "--timeout"),
            (&["--uid", "x", "true"], "--uid"),
            (&["--uid", "-1", "true"], "--uid"),
            (&["--uid", "4294967295", "true"], "--uid"),
            (&["--gid", "5000000000", "true"], "--gid"),
            (&["--gid", "", "true"], "--gid"),
            (&["--bind", "/no/such/dir", "/x", "true"], "/no/such/dir"),
            (&["--bind", "", "/x", "true"], "--bind"),
            (&["--bind", "/a\nb", "/x", "true"], "/a\\nb"),
            (&["--bind", &path, "/x", "true"], "too long"),
            (&["--bind", "/etc", "x", "true"], "x: "),
            (&["--bind", "/etc", "", "true"], "absolute"),
            (&["--bind", "/etc", "/etc/passwd", "true"], "/etc/passwd"),
            (&["--bind", "/etc/passwd", "/etc", "true"], "/etc"),
            (&["--bind", "/etc"], "--bind"),
            (&["--ro-bind", "/no/such/dir", "/x", "true"], "/no/such/dir"),
            (&["--ro-bind", "/etc", "../x", "true"], "../x"),
            (&["--tmpfs", "x", "true"], "x: "),
            (&["--tmpfs", "/etc/passwd", "true"], "/etc/passwd"),
            (&["--tmpfs", "/etc/passwd/x", "true"], "/etc/passwd/x"),
            (&["--chdir", "relative", "true"], "--chdir"),
            (&["--chdir", "", "true"], "--chdir"),
            (&["--chdir", "/no/such/dir", "true"], "/no/such/dir"),
            (&["--chdir", "/etc/passwd", "true"], "/etc/passwd"),
            (&["--root", "/no/such/dir", "true"], "/no/such/dir"),
            (&["--root", "/etc/passwd", "true"], "/etc/passwd"),
            (&["--root", "", "true"], "--root"),
            (&["--setenv", "A"], "--setenv"),
            (&["--setenv", "A=B", "c", "true"], "A=B"),
            (&["--setenv", "", "c", "true"], "environment"),
            (&["--unsetenv", "A=B", "true"], "A=B"),
            (&["--platform", "frob", "true"], "--platform"),
            (&["--debug-log", "/no/such/dir/log", "true"], "/no/such/dir/log"),
        ],
    )
}

#[test]
fn wrong_options_of_run() -> Result<()> {
    all_are_told(
        "run",
        &[
            (&[], "<ID>"),
            (&["--frob", "id"], "--frob"),
            (&["id", "--frob"], "--frob"),
            (&["id", "more"], "more"),
            (&["-x", "id"], "-x"),
            (&["--detach=perhaps", "id"], "--detach"),
            (&["--bundle"], "--bundle"),
            (&["--bundle", "/no/such/bundle", "id"], "/no/such/bundle"),
            (&["--preserve-fds", "x", "id"], "--preserve-fds"),
            (&["--preserve-fds", "-1", "id"], "--preserve-fds"),
            (&["--log-format", "xml", "id"], "--log-format"),
        ],
    )?;
    for (args, names) in [
        (&["--frob", "run", "id"][..], "--frob"),
        (&["frob"], "frob"),
        (&["--log", "/no/such/dir/log", "run", "id"], "/no/such/dir/log"),
        (&["--log-format", "xml", "run", "id"], "xml"),
        (&["--config", "/no/such/file", "run", "id"], "/no/such/file"),
        (&["--network", "some", "run", "id"], "some"),
    ] {
        is_told(args, names)?;
    }
    Ok(())
}

/// What follows the program is the program's, whatever it looks like.
#[test]
fn options_of_programs_are_theirs() -> Result<()> {
    for (args, status) in [
        (&["sh", "-c", "[ $# = 3 ]", "--rw", "--frob", "--", "-x"][..], 0),
        (&["--", "sh", "-c", "[ \"$1\" = -- ]", "sh", "--"], 0),
        (&["--", "--frob"], 127),
        (&["--setenv", "A", "-x", "sh", "-c", "[ $A = -x ]"], 0),
    ] {
        let output = Command::new(runsc()?).arg("do").args(args).stdin(Stdio::null()).output()?;
        ensure!(output.status.code() == Some(status), "{args:?}: {output:?}");
    }
    Ok(())
}
