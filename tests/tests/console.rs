//! Terminals that an engine holds the other end of (`--console-socket`), and what goes through pipes.

use anyhow::{Context, Result, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::{Bundle, eventually};

/// The master of a terminal, and what has been shown on it so far.
struct Screen {
    master: File,
    shown: Arc<Mutex<String>>,
}

impl Screen {
    /// Runs a command that sends a terminal to the socket that it is told of.
    fn of(bundle: &Bundle, name: &str, args: &[&str], rest: &[&str]) -> Result<Screen> {
        let path = bundle.path().join(format!("{name}.sock"));
        let listener = UnixListener::bind(&path)?;
        let socket = path.to_str().context("a name that is text")?;
        bundle.ok(&[args, &["--console-socket", socket], rest].concat())?;
        let (stream, _) = listener.accept()?;
        let mut name = [0; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let received = control.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let master = File::from(received.context("no terminal was sent")?);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reader, all) = (master.try_clone()?, shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of a terminal is an error.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                all.lock().expect("no reader has panicked").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Ok(Screen { master, shown })
    }

    fn shows(&self, text: &str) -> Result<()> {
        let seen = || self.shown.lock().map(|shown| shown.clone()).unwrap_or_default();
        eventually(&format!("{text:?} is shown"), || Ok(seen().contains(text))).with_context(|| format!("{:?}", seen()))
    }

    fn types(&self, keys: &str) -> Result<()> {
        Ok((&self.master).write_all(keys.as_bytes())?)
    }

    fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.master, size)?)
    }
}

#[test]
fn an_engine_holds_the_terminal() -> Result<()> {
    let mut b = Bundle::new("console", "exec sh -i")?;
    b.config["process"]["terminal"] = json!(true);
    b.config["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    let screen = Screen::of(&b, "console", &["create", "--bundle", "."], &[&b.id])?;
    b.ok(&["start", &b.id])?;
    screen.shows("# ")?;
    screen.types("tty; stty size; echo is_$((1+1))\n")?;
    screen.shows("/dev/pts/0\r\n33 99\r\nis_2")?;
    screen.types("sh -c 'trap \"stty size; exit\" WINCH; echo ready; while :; do sleep 0.02; done'\n")?;
    screen.shows("\r\nready")?;
    screen.resize(20, 40)?;
    screen.shows("20 40")?;
    screen.types("sleep 100\n")?;
    std::thread::sleep(Duration::from_millis(200));
    screen.types("\x03")?;
    screen.types("echo rc=$?\n")?;
    screen.shows("rc=130")?;
    screen.types("sleep 100\n")?;
    std::thread::sleep(Duration::from_millis(200));
    screen.types("\x1a")?;
    screen.shows("Stopped")?;
    screen.types("jobs; echo after\n")?;
    screen.shows("after\r\n")?;
    // Twice, for there are stopped jobs.
    screen.types("exit 5\nexit 5\n")?;
    b.wait_for(&b.id, "stopped")
}

#[test]
fn several_terminals_at_once() -> Result<()> {
    let b = Bundle::new("terminals", "sleep 100")?;
    b.create(&b.id, &[])?;
    b.ok(&["start", &b.id])?;
    let screens: Vec<Screen> = (0..5)
        .map(|n| {
            let name = format!("exec{n}");
            let screen = Screen::of(&b, &name, &["exec", "-d", "-t"], &[&b.id, "sh", "-i"])?;
            screen.resize(20 + n, 50 + n)?;
            Ok(screen)
        })
        .collect::<Result<_>>()?;
    for (n, screen) in screens.iter().enumerate() {
        screen.shows("# ")?;
        screen.types("echo size $(stty size) of $(tty)\n")?;
        screen.shows(&format!("size {} {} of /dev/pts/{n}", 20 + n, 50 + n))?;
    }
    for screen in &screens {
        screen.types("exit\n")?;
    }
    eventually("all have ended", || Ok(!b.ok(&["exec", &b.id, "ps"])?.contains("sh -i")))?;
    Ok(())
}

#[test]
fn one_end_of_a_pipe_is_closed_before_the_other() -> Result<()> {
    let b = Bundle::new("halves", "sleep 100")?;
    b.create(&b.id, &[])?;
    b.ok(&["start", &b.id])?;
    // Standard input ends, and output goes on.
    let script = "wc -c; sleep 0.3; echo more; exec >&-; sleep 0.2; echo end >&2";
    let mut child = b
        .command(&["exec", &b.id, "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("stdin")?.write_all(&vec![b'x'; 1_000_000])?;
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1000000\nmore\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "end\n");
    // Who reads goes away: the writer learns of it as on any pipe.
    let mut child =
        b.command(&["exec", &b.id, "sh", "-c", "while echo y; do :; done"]).stdout(Stdio::piped()).spawn()?;
    let mut first = [0; 2];
    child.stdout.take().context("stdout")?.read_exact(&mut first)?;
    let status = child.wait()?;
    assert_eq!(status.code(), Some(128 + nix::sys::signal::Signal::SIGPIPE as i32));
    Ok(())
}

#[test]
fn the_end_of_the_first_process_is_that_of_everything() -> Result<()> {
    let b = Bundle::new("teardown", "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; read line < /fifo; exit 3")?;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, b.in_root("fifo"), rustix::fs::FileType::Fifo, mode, 0)?;
    b.create(&b.id, &[])?;
    b.ok(&["start", &b.id])?;
    let processes = || {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let of_container = |entry: &std::fs::DirEntry| {
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            // A zombie is in its group still; its parent is the host's process 1, not we.
            groups.contains(&b.id)
                && std::fs::read_to_string(entry.path().join("maps")).is_ok_and(|maps| !maps.is_empty())
        };
        all.filter(of_container).count()
    };
    // The shell has the words in its own arguments.
    eventually("it runs", || Ok(b.ok(&["exec", &b.id, "ps"])?.matches("sleep 100").count() == 9))?;
    ensure!(processes() > 8, "{}", processes());
    b.ok(&["exec", &b.id, "sh", "-c", "echo > /fifo"])?;
    let start = Instant::now();
    b.wait_for(&b.id, "stopped")?;
    while processes() > 0 {
        // 100 ms alone; the rest is for a host that is busy with other tests.
        ensure!(start.elapsed() < Duration::from_secs(2), "{} processes are left", processes());
    }
    println!("gone after {:?}", start.elapsed());
    Ok(())
}
