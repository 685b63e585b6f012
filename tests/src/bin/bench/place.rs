//! Where a row is measured.

use anyhow::{Context, Result};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Native,
    Ours,
    /// Ours with `--fast-path=off`.
    Slow,
    /// gVisor's `runsc` at this path.
    Peer(PathBuf),
}

/// On which cores it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    All,
    One,
}

/// What a program may do to the host's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Its changes stay in memory.
    Kept,
    /// Those below the scratch directory are made on the host.
    Host,
}

impl Place {
    pub(crate) fn all(peer: Option<&Path>) -> Vec<Place> {
        let ours = [Place::Native, Place::Ours, Place::Slow];
        ours.into_iter().chain(peer.map(|path| Place::Peer(path.into()))).collect()
    }

    /// In tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Place::Native => "native",
            Place::Ours => "ours",
            Place::Slow => "ours, fast path off",
            Place::Peer(_) => "peer",
        }
    }

    /// A command that runs `args` here, with the scratch directory `dir` as its own.
    pub(crate) fn command(&self, cores: Cores, files: Files, args: &[&OsStr], dir: &Path) -> Result<Command> {
        let mut line: Vec<OsString> = match cores {
            Cores::All => Vec::new(),
            // The last one: the first one's interrupts are others' more often.
            Cores::One => ["taskset", "-c", &last_core().to_string()].map(OsString::from).into(),
        };
        let bind = [OsStr::new("--bind"), dir.as_os_str(), dir.as_os_str()].map(OsString::from);
        match self {
            Place::Native => {}
            Place::Ours | Place::Slow => {
                let mode = if *self == Place::Slow { "off" } else { "on" };
                line.extend([tests::runsc()?.into(), "do".into(), format!("--fast-path={mode}").into()]);
                line.extend(bind.into_iter().filter(|_| files == Files::Host));
                line.push("--".into());
            }
            Place::Peer(path) => {
                line.push(path.into());
                line.extend(["--network=none", "--ignore-cgroups", "do"].map(OsString::from));
                line.extend((files == Files::Host).then(|| "--force-overlay=false".into()));
            }
        }
        line.extend(args.iter().map(OsString::from));
        let (program, args) = line.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).env("BENCH_DIR", dir).stdin(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cores::All => "all cores",
            Cores::One => "pinned to one core",
        })
    }
}

fn last_core() -> usize {
    std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
}
