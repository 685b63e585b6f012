//! An interactive shell: `runsc do` on a terminal, which script(1) plays.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::runsc;

/// Types each line when the one before has had its time; returns all that was shown.
fn session(lines: &[(&str, u64)]) -> Result<String> {
    let command = format!("stty rows 30 cols 100; exec {} do -- bash --norc --noprofile -i", runsc()?.display());
    let mut script = Command::new("timeout")
        .args(["60", "script", "-qefc", &command, "/dev/null"])
        .env("PS1", "> ")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start script(1)")?;
    let mut keys = script.stdin.take().context("stdin")?;
    let mut screen = script.stdout.take().context("stdout")?;
    let shown = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = screen.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    });
    std::thread::sleep(Duration::from_secs(1));
    for (line, wait) in lines {
        keys.write_all(line.as_bytes())?;
        keys.flush()?;
        std::thread::sleep(Duration::from_millis(*wait));
    }
    drop(keys);
    script.wait()?;
    shown.join().map_err(|_| anyhow::anyhow!("reader panicked"))
}

#[test]
fn a_shell_has_job_control() -> Result<()> {
    let shown = session(&[
        ("tty; stty size\n", 300),
        ("sleep 100\n", 500),
        ("\x1a", 500),
        ("jobs\n", 300),
        ("fg\n", 500),
        ("\x03", 500),
        ("echo status $?\n", 300),
        ("cat\n", 300),
        ("typed\n", 300),
        ("\x04", 300),
        ("exit 3\n", 500),
    ])?;
    for expected in ["/dev/pts/0\n30 100\n", "Stopped", "^Z", "^C", "status 130\n", "typed\ntyped\n"] {
        assert!(shown.contains(expected), "{expected:?} is missing in:\n{shown}");
    }
    Ok(())
}
