//! The command line: what `runsc` does for its caller, and the walls it builds around the sentry.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::{Sandbox, Scratch, runsc, status_field};

fn runsc_do(args: &[&str]) -> Result<Output> {
    let output = Command::new("timeout").arg("60").arg(runsc()?).arg("do").args(args).stdin(Stdio::null()).output()?;
    Ok(output)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn exit_status_is_the_programs() -> Result<()> {
    for (script, status) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        assert_eq!(runsc_do(&["--", "sh", "-c", script])?.status.code(), Some(status), "{script}");
    }
    assert_eq!(runsc_do(&["no-such-program"])?.status.code(), Some(127));
    assert_eq!(runsc_do(&["/etc/passwd"])?.status.code(), Some(126));
    Ok(())
}

#[test]
fn errors_are_one_line() -> Result<()> {
    for args in [&["--chdir", "relative", "true"][..], &["--bind", "/no/such/dir", "/x", "true"], &["no-such-program"]]
    {
        let output = runsc_do(args)?;
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr(&output).starts_with("runsc: ") && stderr(&output).lines().count() == 1, "{}", stderr(&output));
    }
    Ok(())
}

#[test]
fn writes_stay_in_memory() -> Result<()> {
    let scratch = Scratch::new("writes")?;
    let dir = scratch.path().to_str().context("path")?;
    fs::write(scratch.path().join("old"), "old")?;
    let script = format!("cd {dir} && echo new >old && echo x >made && cat old");
    assert_eq!(stdout(&runsc_do(&["--", "sh", "-c", &script])?), "new");
    assert_eq!(fs::read_to_string(scratch.path().join("old"))?, "old");
    assert!(!scratch.path().join("made").exists());
    Ok(())
}

#[test]
fn binds_show_and_protect_what_they_should() -> Result<()> {
    let scratch = Scratch::new("binds")?;
    let (rw, ro) = (scratch.fresh("rw")?, scratch.fresh("ro")?);
    fs::write(ro.join("f"), "content")?;
    let (rw_str, ro_str) = (rw.to_str().context("path")?, ro.to_str().context("path")?);
    let script = "echo x >/mnt/a/through; cat /mnt/b/f; echo y 2>/dev/null >/mnt/b/f || echo ' refused'; ls /mnt/c";
    let args =
        ["--bind", rw_str, "/mnt/a", "--ro-bind", ro_str, "/mnt/b", "--tmpfs", "/mnt/c", "--", "sh", "-c", script];
    let output = runsc_do(&args)?;
    assert_eq!(stdout(&output), "content refused", "{}", stderr(&output));
    assert_eq!(fs::read_to_string(rw.join("through"))?, "x\n");
    assert_eq!(fs::read_to_string(ro.join("f"))?, "content");
    Ok(())
}

#[test]
fn environment_and_identity_are_as_asked() -> Result<()> {
    let script = "echo $A,$HOME,$(id -u),$(hostname),$(pwd)";
    let output = runsc_do(&[
        "--setenv",
        "A",
        "b",
        "--unsetenv",
        "HOME",
        "--uid",
        "1234",
        "--hostname",
        "box",
        "--chdir",
        "/usr",
        "--",
        "sh",
        "-c",
        script,
    ])?;
    assert_eq!(stdout(&output), "b,,1234,box,/usr", "{}", stderr(&output));
    let output = runsc_do(&["--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--", "env"])?;
    assert_eq!(stdout(&output).lines().filter(|l| !l.starts_with("PATH=")).collect::<Vec<_>>(), Vec::<&str>::new());
    Ok(())
}

#[test]
fn the_timeout_kills_everything() -> Result<()> {
    let start = Instant::now();
    let output = runsc_do(&["--timeout", "0.5", "--", "sh", "-c", "trap '' TERM; sleep 20 & sleep 20"])?;
    assert_eq!(output.status.code(), Some(124));
    assert!(start.elapsed() < Duration::from_secs(10));
    Ok(())
}

#[test]
fn limits_hold() -> Result<()> {
    if !is_root() {
        // Whether an ordinary user may set limits is the host's affair.
        return Ok(());
    }
    let greedy = "x = []\nwhile True: x.append(bytearray(8 << 20))";
    let output = runsc_do(&["--memory", "200M", "--", "python3", "-c", greedy])?;
    assert_eq!(output.status.code(), Some(137));
    assert!(stderr(&output).contains("memory limit"), "{}", stderr(&output));
    let survivor = format!("python3 -c '{greedy}'; echo survived $?");
    assert_eq!(stdout(&runsc_do(&["--memory", "200M", "--", "sh", "-c", &survivor])?), "survived 137");
    let output = runsc_do(&["--pids", "10", "--", "sh", "-c", "for i in $(seq 40); do sleep 1 & done; wait"])?;
    assert!(!output.status.success() || stderr(&output).contains("fork"), "{}", stderr(&output));
    Ok(())
}

#[test]
fn the_sentry_stands_behind_its_walls() -> Result<()> {
    let sandbox = Sandbox::sleeping()?;
    let pid = sandbox.sentry()?;
    let field = |name| status_field(pid, name);
    assert_eq!(field("NoNewPrivs:")?, "1");
    // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID.
    let caps = u64::from_str_radix(&field("CapPrm:")?, 16)?;
    assert_eq!(caps & !0x1f, 0, "{caps:x}");
    assert_eq!(field("NSpid:")?.split_whitespace().last(), Some("1"));
    if is_root() {
        assert!(field("Uid:")?.starts_with("65534"), "{}", field("Uid:")?);
    }
    for namespace in ["pid", "mnt", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        assert_ne!(of(&pid.to_string())?, of("self")?, "{namespace}");
    }
    assert_eq!(fs::read_dir(format!("/proc/{pid}/root/"))?.count(), 0, "the root is empty");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    assert!(mounts.lines().count() == 1 && mounts.contains(" ro,"), "{mounts}");
    Ok(())
}

#[test]
fn the_sandbox_dies_with_its_command() -> Result<()> {
    let mut sandbox = Sandbox::sleeping()?;
    let pid = sandbox.sentry()?;
    sandbox.runsc.kill()?;
    assert_eq!(sandbox.runsc.wait()?.signal(), Some(9));
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "the sentry lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_bundle_runs() -> Result<()> {
    let scratch = Scratch::new("bundle")?;
    let made = Command::new(runsc()?).arg("spec").arg("--bundle").arg(scratch.path()).status()?;
    assert!(made.success());
    let path = scratch.path().join("config.json");
    let config = fs::read_to_string(&path)?
        .replace("\"terminal\": true", "\"terminal\": false")
        .replace("\"path\": \"rootfs\"", "\"path\": \"/\"")
        .replace("\"sh\"", "\"sh\", \"-c\", \"hostname; touch /x 2>/dev/null || echo read-only; exit 5\"");
    fs::write(&path, config)?;
    let id = format!("cli-{}", std::process::id());
    let mut run = Command::new("timeout");
    run.arg("60")
        .arg(runsc()?)
        .arg("--root")
        .arg(scratch.path())
        .args(["run", "--bundle"])
        .arg(scratch.path())
        .arg(&id);
    let output = run.output()?;
    assert_eq!(stdout(&output), "runsc\nread-only", "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(5));
    Ok(())
}

#[test]
fn the_table_of_calls_is_shown() -> Result<()> {
    let output = Command::new(runsc()?).args(["syscalls", "--json"]).output()?;
    let text = stdout(&output);
    assert!(text.starts_with('[') && text.contains("\"openat\"") && text.ends_with(']'));
    Ok(())
}

#[test]
fn statistics_count_what_was_called() -> Result<()> {
    let scratch = Scratch::new("stats")?;
    let json = scratch.path().join("metrics.json");
    let metrics = json.to_str().context("path")?;
    let script = "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); done >/dev/null; sleep 0.2";
    let output = runsc_do(&["--stats", "--metrics", metrics, "--", "sh", "-c", script])?;
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(&json)?)?;
    let calls = report["calls"].as_array().context("calls")?;
    let call = |name: &str| calls.iter().find(|call| call["name"] == name).with_context(|| format!("no {name}"));
    let count = |name: &str, field: &str| anyhow::Ok(call(name)?[field].as_u64().context("a number")?);
    assert!((100..200).contains(&count("write", "count")?), "{report}");
    assert_eq!(count("write", "fast")? + count("write", "notified")?, count("write", "count")?);
    // The shell waits for `sleep`, which waits for the clock.
    assert!(count("clock_nanosleep", "blocked")? == 1 && count("clock_nanosleep", "p50_ns")? > 150_000_000, "{report}");
    assert!(count("wait4", "total_ns")? > 150_000_000, "{report}");
    // The shell and `sleep` came from the host, and every word of a path once.
    let counted = |what: &str| report["counts"][what].as_u64().with_context(|| format!("no {what:?}: {report}"));
    assert!(counted("files opened on the host")? >= 2 && counted("names remembered")? > 0);
    assert!(counted("notifications answered")? > 10 && counted("copies from and to guests")? > 10);
    assert_eq!(counted("writes of host files")?, 0);
    let table = stderr(&output);
    assert!(table.lines().any(|line| line.starts_with("write ")) && table.contains("the sentry: "), "{table}");
    Ok(())
}

#[test]
fn completions_and_manual_pages_are_written() -> Result<()> {
    let scratch = Scratch::new("man")?;
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(runsc()?).args(["completion", shell]).output()?;
        assert!(output.status.success() && stdout(&output).contains("checkpoint"), "{shell}");
    }
    let output = Command::new(runsc()?).arg("man").arg(scratch.path()).output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    for page in ["runsc.1", "runsc-create.1", "runsc-exec.1"] {
        let text = fs::read_to_string(scratch.path().join(page))?;
        assert!(text.contains(".TH"), "{page}");
    }
    Ok(())
}

#[test]
fn timings_tell_the_stages_in_their_order() -> Result<()> {
    let output = runsc_do(&["--timings", "true"])?;
    let said = stderr(&output);
    let stage = |line: &str| Some((line.trim().split_once(" us  ")?.0.parse::<u64>().ok()?, line.to_owned()));
    let stages: Vec<_> =
        said.lines().map(|line| stage(line).with_context(|| format!("{line:?}"))).collect::<Result<_>>()?;
    assert!(stages.is_sorted_by_key(|(at, _)| *at), "{said}");
    for what in ["options are read", "the program is loaded", "the program has ended", "all is cleaned up"] {
        assert!(stages.iter().any(|(_, line)| line.ends_with(what)), "no {what:?}: {said}");
    }
    Ok(())
}
