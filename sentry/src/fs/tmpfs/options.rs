//! Mount options of tmpfs.

use crate::errno::{Errno, SysResult};
use crate::kernel::machine::total_memory;

/// `size=`, `nr_inodes=`, `mode=`, `uid=`, `gid=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes of data at most.
    pub size: u64,
    /// Inodes at most.
    pub inodes: u64,
    /// Permission bits of the root.
    pub mode: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
    /// Names of those that were said.
    pub(in crate::fs) given: Vec<String>,
}

impl Default for Options {
    /// Half of the memory, as on Linux.
    fn default() -> Options {
        let half = total_memory() / 2;
        Options { size: half, inodes: half / 4096, mode: 0o1777, uid: 0, gid: 0, given: Vec::new() }
    }
}

impl Options {
    /// Takes the options in `text`, separated by commas.
    pub fn parse(&mut self, text: &[u8]) -> SysResult<()> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::INVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "size" => self.size = size(value)?,
                "nr_blocks" => self.size = size(value)?.saturating_mul(4096),
                "nr_inodes" => self.inodes = size(value)?,
                "mode" => self.mode = u32::from_str_radix(value, 8).map_err(|_| Errno::INVAL)? & 0o7777,
                "uid" => self.uid = value.parse().map_err(|_| Errno::INVAL)?,
                "gid" => self.gid = value.parse().map_err(|_| Errno::INVAL)?,
                "huge" | "mpol" | "inode64" | "inode32" | "noswap" => continue,
                _ => return Err(Errno::INVAL),
            }
            self.given.push(name.to_owned());
        }
        Ok(())
    }

    /// As `/proc/mounts` shows them.
    pub(super) fn show(&self) -> String {
        let is_given = |names: &[&str]| self.given.iter().any(|given| names.contains(&given.as_str()));
        let kib = if self.size == u64::MAX { 0 } else { self.size / 1024 };
        let shown = [
            is_given(&["size", "nr_blocks"]).then(|| format!(",size={kib}k")),
            is_given(&["nr_inodes"])
                .then(|| format!(",nr_inodes={}", if self.inodes == u64::MAX { 0 } else { self.inodes })),
            (self.mode != 0o1777).then(|| format!(",mode={:03o}", self.mode)),
            (self.uid != 0).then(|| format!(",uid={}", self.uid)),
            (self.gid != 0).then(|| format!(",gid={}", self.gid)),
        ];
        shown.into_iter().flatten().collect()
    }
}

/// A number with `k`, `m`, `g` or `%` behind it; 0 means no limit.
fn size(text: &str) -> SysResult<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| Errno::INVAL)?;
    let shifted = |shift: u32| number.checked_mul(1 << shift).ok_or(Errno::INVAL);
    let value = match text.get(digits.len()..).unwrap_or_default() {
        "" => number,
        "k" | "K" => shifted(10)?,
        "m" | "M" => shifted(20)?,
        "g" | "G" => shifted(30)?,
        "%" => (total_memory() / 100).saturating_mul(number),
        _ => return Err(Errno::INVAL),
    };
    Ok(if value == 0 { u64::MAX } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("64m"), Ok(64 << 20));
        assert_eq!(size("0"), Ok(u64::MAX));
        assert_eq!(size("12q"), Err(Errno::INVAL));
    }

    #[test]
    fn options_are_shown_as_linux_does() {
        let mut options = Options::default();
        options.parse(b"mode=755,gid=5,size=64m").unwrap();
        assert_eq!((options.size, options.mode), (64 << 20, 0o755));
        assert_eq!(options.show(), ",size=65536k,mode=755,gid=5");
    }
}
