//! Files of the host in a sandbox: what the host changes meanwhile, under binds and below the memory layer.

use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tests::{Sandbox, Scratch, runsc, status_field};

/// A shell in a sandbox that is asked one thing after the other.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(options: &[&str]) -> Result<Shell> {
        let mut child = Command::new("timeout")
            .arg("60")
            .arg(runsc()?)
            .arg("do")
            .args(options)
            .args(["--", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("input")?;
        let output = BufReader::new(child.stdout.take().context("output")?);
        Ok(Shell { child, input, output })
    }

    /// What `command` writes, errors included, on one line.
    fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.input, "{{ {command}; }} 2>&1 | tr '\\n' ' '; echo")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Runs `command` in the shell itself.
    fn tell(&mut self, command: &str) -> Result<()> {
        Ok(writeln!(self.input, "{command}")?)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}

/// Everything that a cache of names and attributes could hold on to.
fn host_changes_show(option: &str) -> Result<()> {
    let scratch = Scratch::new("shared")?;
    let dir = scratch.fresh("dir")?;
    fs::write(dir.join("file"), "old")?;
    fs::create_dir_all(dir.join("a/b"))?;
    fs::write(dir.join("a/b/deep"), "deep")?;
    symlink("file", dir.join("link"))?;
    let mut shell = Shell::start(&[option, text(&dir)?, "/mnt"])?;
    shell.tell("cd /mnt")?;
    assert_eq!(shell.ask("cat file; stat -c %s file")?, "old3");
    assert_eq!(shell.ask("cat new a/b/deep link")?, "cat: new: No such file or directory deepold");
    assert_eq!(shell.ask("ls; ls a/b")?, "a file link deep");

    fs::write(dir.join("file"), "longer")?;
    assert_eq!(shell.ask("cat file; stat -c %s file")?, "longer6");
    fs::set_permissions(dir.join("file"), Permissions::from_mode(0o604))?;
    assert_eq!(shell.ask("stat -c %a file")?, "604");
    fs::write(dir.join("new"), "new")?;
    assert_eq!(shell.ask("cat new; ls")?, "newa file link new");

    // The same names for other things.
    fs::write(dir.join("next"), "replaced")?;
    fs::rename(dir.join("next"), dir.join("file"))?;
    assert_eq!(shell.ask("cat file; stat -c %a file")?, "replaced644");
    fs::remove_file(dir.join("link"))?;
    symlink("new", dir.join("link"))?;
    assert_eq!(shell.ask("readlink link; cat link")?, "new new");
    fs::remove_file(dir.join("new"))?;
    fs::create_dir(dir.join("new"))?;
    assert_eq!(shell.ask("stat -c %F new; cat link")?, "directory cat: link: Is a directory");

    // Directories that move, and one that the shell is in.
    fs::rename(dir.join("a"), dir.join("z"))?;
    assert_eq!(shell.ask("cat z/b/deep; cat a/b/deep")?, "deepcat: a/b/deep: No such file or directory");
    shell.tell("cd z/b")?;
    fs::write(dir.join("z/b/more"), "more")?;
    assert_eq!(shell.ask("ls; cat more")?, "deep more more");

    // What is open stays, whatever becomes of its name.
    shell.tell("exec 3<deep")?;
    assert_eq!(shell.ask("stat -L -c %s /proc/self/fd/3")?, "4");
    fs::remove_file(dir.join("z/b/deep"))?;
    fs::write(dir.join("z/b/deep"), "another")?;
    assert_eq!(shell.ask("cat <&3; cat deep")?, "deepanother");
    Ok(())
}

#[test]
fn changes_of_the_host_show_under_a_bind() -> Result<()> {
    host_changes_show("--bind")
}

#[test]
fn changes_of_the_host_show_under_a_read_only_bind() -> Result<()> {
    host_changes_show("--ro-bind")
}

#[test]
fn changes_in_the_sandbox_show_on_the_host_at_once() -> Result<()> {
    let scratch = Scratch::new("through")?;
    let dir = scratch.fresh("dir")?;
    let mut shell = Shell::start(&["--bind", text(&dir)?, "/mnt"])?;
    shell.tell("cd /mnt; umask 027")?;
    shell.ask("echo one >made; mkdir sub; mv made sub/moved; ln sub/moved second; ln -s moved sub/link")?;
    assert_eq!(fs::read_to_string(dir.join("second"))?, "one\n");
    assert_eq!(fs::read_to_string(dir.join("sub/link"))?, "one\n");
    assert_eq!(fs::metadata(dir.join("second"))?.permissions().mode() & 0o7777, 0o640);
    shell.ask("rm sub/moved; echo two >>second")?;
    assert!(!dir.join("sub/moved").exists());
    assert_eq!(fs::read_to_string(dir.join("second"))?, "one\ntwo\n");
    // A file made here and replaced there while it is open.
    shell.tell("exec 4>open; echo before >&4")?;
    shell.ask("true")?;
    fs::remove_file(dir.join("open"))?;
    assert_eq!(shell.ask("echo after >&4; wc -l </proc/self/fd/4; ls")?, "2 second sub");
    Ok(())
}

#[test]
fn the_memory_layer_keeps_the_tree_it_has_seen() -> Result<()> {
    let scratch = Scratch::new("lower")?;
    let dir = scratch.fresh("dir")?;
    fs::write(dir.join("seen"), "seen")?;
    let mut shell = Shell::start(&[])?;
    shell.tell(&format!("cd {}", text(&dir)?))?;
    assert_eq!(shell.ask("ls; cat seen missing")?, "seen seencat: missing: No such file or directory");
    fs::write(dir.join("missing"), "late")?;
    assert_eq!(shell.ask("ls; cat missing")?, "seen cat: missing: No such file or directory");
    // Its own changes show beside what was listed before.
    assert_eq!(shell.ask("echo x >made; mv seen renamed; ls; cat renamed")?, "made renamed seen");
    assert!(dir.join("seen").exists() && !dir.join("made").exists());
    Ok(())
}

#[test]
fn more_files_than_any_cache_holds_are_all_there() -> Result<()> {
    const DIRS: usize = 60;
    const FILES: usize = 420;
    let scratch = Scratch::new("many")?;
    let tree = scratch.fresh("tree")?;
    for dir in 0..DIRS {
        let dir = tree.join(format!("d{dir}"));
        fs::create_dir(&dir)?;
        for file in 0..FILES {
            fs::write(dir.join(format!("f{file}")), "")?;
        }
    }
    let mut shell = Shell::start(&["--bind", text(&tree)?, "/mnt"])?;
    shell.tell(&format!("cd {}", text(&tree)?))?;
    // First in memory, which leaves all to find for the bind.
    for place in [".", "/mnt"] {
        for _ in 0..2 {
            assert_eq!(shell.ask(&format!("find {place} -type f -size 0 | wc -l"))?, (DIRS * FILES).to_string());
        }
        shell.ask(&format!("find {place} -name 'f1*' -delete"))?;
        let left = DIRS * (0..FILES).filter(|n| !n.to_string().starts_with('1')).count();
        assert_eq!(shell.ask(&format!("find {place} -type f -size 0 | wc -l"))?, left.to_string());
    }
    Ok(())
}

/// Makes, maps and removes as many files as it is told to, each with a name of its own.
const CHURN: &str = r"
import mmap, os, sys
made = 0
for line in sys.stdin:
    for _ in range(int(line)):
        made += 1
        name = f'/tmp/churn{made}'
        with open(name, 'w+b') as file:
            file.truncate(4096)
            mmap.mmap(file.fileno(), 4096).close()
        os.unlink(name)
    print('done', flush=True)
";

#[test]
fn files_that_are_gone_leave_no_memory_behind() -> Result<()> {
    let mut sandbox = Sandbox::start(Path::new("/"), &["python3", "-c", CHURN])?;
    let sentry = sandbox.sentry()?;
    let mut input = sandbox.runsc.stdin.take().context("input")?;
    let mut output = BufReader::new(sandbox.runsc.stdout.take().context("output")?);
    let mut resident_after = |count: usize| -> Result<usize> {
        writeln!(input, "{count}")?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        assert_eq!(line.trim(), "done");
        Ok(status_field(sentry, "RssAnon:")?.trim_end_matches(" kB").parse()?)
    };
    let before = resident_after(2000)?;
    let after = resident_after(20_000)?;
    assert!(after < before + 1024, "{before} KiB before, {after} KiB after 20,000 files");
    Ok(())
}
