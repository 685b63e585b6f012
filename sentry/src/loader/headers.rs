//! What is known of programs that ran before: their headers, as long as the file is the same.

use super::{Elf, script};
use crate::abi::Timespec;
use crate::errno::SysResult;
use crate::fs::attr::{self, Attr};
use crate::fs::open::Program;
use crate::sync::Mutex;
use std::sync::Arc;

/// How many programs are remembered: what scripts and builds run over and over.
const KEPT_MAX: usize = 64;
/// Clocks of file systems tick this seldom, at most: what changed less long ago may change again and look the same.
const TICK_NS: i128 = 50_000_000;

static KNOWN: Mutex<Vec<(Version, Headers)>> = Mutex::new(Vec::new());

/// What a program is.
#[derive(Debug, Clone)]
pub enum Headers {
    /// It is for an interpreter of this name, with this argument.
    Script(Vec<u8>, Option<Vec<u8>>),
    /// It can be mapped.
    Elf(Arc<Elf>),
}

/// A file at a time, which `execve` has just asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Timespec,
    ctime: Timespec,
}

impl Version {
    fn of(attr: &Attr) -> Version {
        let Attr { dev, ino, size, mtime, ctime, .. } = *attr;
        Version { dev, ino, size, mtime, ctime }
    }

    /// Whether what is written to the file from `now` on gives it another version.
    fn is_settled(&self, now: Timespec) -> bool {
        let ns = |time: Timespec| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
        let age = |time| ns(now) - ns(time);
        age(self.ctime) > TICK_NS && age(self.mtime) > TICK_NS
    }
}

/// Reads the headers of `program`, unless they are known. `ENOEXEC` for what is neither a script nor an ELF program of
/// this machine.
pub fn headers(program: &Program) -> SysResult<Headers> {
    let version = Version::of(&program.attr);
    if let Some(known) = recall(&version) {
        return Ok(known);
    }
    let now = attr::now();
    let head = super::head(&program.file)?;
    let headers = match script::interpreter(&head)? {
        Some((name, argument)) => Headers::Script(name, argument),
        None => Headers::Elf(Arc::new(Elf::read(&program.file, &head)?)),
    };
    if version.is_settled(now) {
        let mut known = KNOWN.lock();
        known.truncate(KEPT_MAX - 1);
        known.insert(0, (version, headers.clone()));
    }
    Ok(headers)
}

/// What was used last comes first.
fn recall(version: &Version) -> Option<Headers> {
    let mut known = KNOWN.lock();
    let at = known.iter().position(|(of, _)| of == version)?;
    known.get_mut(..=at)?.rotate_right(1);
    known.first().map(|(_, headers)| headers.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_changed_may_change_unseen() {
        let attr = Attr { ctime: Timespec { sec: 7, nsec: 0 }, ..Attr::new(1, 2, libc::S_IFREG, 0, 0) };
        let at = |sec, nsec| Version::of(&attr).is_settled(Timespec { sec, nsec });
        assert!(!at(7, 0) && !at(7, 50_000_000) && !at(6, 999_999_999));
        assert!(at(7, 50_000_001) && at(8, 0));
    }
}
