//! `/proc/PID/maps` for guests: the host's, without the platform's own mappings and with the guest's file names.

use crate::fs::File;
use crate::fs::dentry::Dentry;
use crate::fs::mount::Mount;
use crate::fs::path::PathRef;
use crate::sync::Mutex;
use platform::Process;
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Weak;

/// Mapped files whose names are remembered. One beyond shows as anonymous memory, which harms nobody.
const MAX: usize = 16 * 1024;

/// Device and inode number of a file of the host.
type HostId = (u32, u32, u64);

struct Known {
    mount: Weak<Mount>,
    dentry: Weak<Dentry>,
}

static FILES: Mutex<Option<HashMap<HostId, Known>>> = Mutex::new(None);

/// Remembers which file of the guest `host` stands for, when it is mapped.
pub fn note(file: &File, host: BorrowedFd<'_>) {
    let (Some(path), Ok(stat)) = (&file.path, rustix::fs::fstat(host)) else { return };
    let id = (libc::major(stat.st_dev), libc::minor(stat.st_dev), stat.st_ino);
    let known =
        Known { mount: std::sync::Arc::downgrade(&path.mount), dentry: std::sync::Arc::downgrade(&path.dentry) };
    let mut files = FILES.lock();
    let files = files.get_or_insert_default();
    // Swept when the table would grow: what is left of a file that is gone keeps memory.
    if files.len() == files.capacity() {
        files.retain(|_, known| known.dentry.strong_count() > 0);
    }
    if files.len() < MAX {
        files.insert(id, known);
    }
}

fn known(id: &HostId) -> Option<PathRef> {
    let files = FILES.lock();
    let known = files.as_ref()?.get(id)?;
    Some(PathRef { mount: known.mount.upgrade()?, dentry: known.dentry.upgrade()? })
}

/// Makes the guest's text of the host's `maps` or `smaps`.
pub fn translate(process: &dyn Process, text: &[u8], root: &PathRef) -> Vec<u8> {
    let text = joined(text);
    let mut out = Vec::with_capacity(text.len());
    let mut is_hidden = false;
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        if let Some(mapping) = Mapping::parse(line) {
            is_hidden = process.is_reserved(mapping.start, mapping.end - mapping.start);
            if !is_hidden {
                mapping.write(line, root, &mut out);
            }
        } else if !is_hidden {
            // A line of details in `smaps`.
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    out
}

/// Makes one of lines that follow on one another and show adjacent text of the same file: of a mapping of the guest's, pages
/// in which call sites were rewritten are mappings of their own on the host. (In `smaps` they stay what they are.)
fn joined(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    // The last mapping, and where its line begins.
    let mut last: Option<(usize, Mapping)> = None;
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let mapping = Mapping::parse(line);
        if let (Some((at, before)), Some(next)) = (&mut last, &mapping)
            && before.is_text_before(next)
        {
            before.end = next.end;
            let old = out.split_off(*at);
            let rest = old.iter().position(|b| *b == b' ').and_then(|space| old.get(space..)).unwrap_or_default();
            out.extend(format!("{:08x}-{:08x}", before.start, before.end).into_bytes());
            out.extend_from_slice(rest);
            continue;
        }
        last = mapping.map(|mapping| (out.len(), mapping));
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

/// What is at an address of memory that processes share: device and number of the file, and the position in it.
pub fn shared_place(process: &dyn Process, addr: u64) -> Option<(u32, u32, u64, u64)> {
    let maps = process.proc_file("maps").ok()?;
    let mut lines = maps.split(|b| *b == b'\n').filter_map(|line| Some((line, Mapping::parse(line)?)));
    let (line, mapping) = lines.find(|(_, m)| (m.start..m.end).contains(&addr))?;
    let is_shared = line.split(|b| *b == b' ').nth(1)?.ends_with(b"s");
    let (major, minor, inode) = mapping.id;
    is_shared.then_some((major, minor, inode, mapping.offset + (addr - mapping.start)))
}

/// The first line of a mapping: `start-end perms offset major:minor inode name`.
struct Mapping {
    start: u64,
    end: u64,
    /// Private, and to be run and read.
    is_text: bool,
    offset: u64,
    id: HostId,
}

impl Mapping {
    fn parse(line: &[u8]) -> Option<Mapping> {
        let text = std::str::from_utf8(line.get(..line.len().min(100))?).ok().or_else(|| {
            // A name may be anything; what comes before it is ASCII.
            let ascii = line.iter().position(|b| !b.is_ascii())?;
            std::str::from_utf8(line.get(..ascii)?).ok()
        })?;
        let mut words = text.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let is_text = words.next()? == "r-xp";
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        let (major, minor) = words.next()?.split_once(':')?;
        let id =
            (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?, words.next()?.parse().ok()?);
        (start < end).then_some(Mapping { start, end, is_text, offset, id })
    }

    /// Whether `next` is the text that follows on this one in the same file.
    fn is_text_before(&self, next: &Mapping) -> bool {
        let is_same = self.is_text && next.is_text && self.id.2 != 0 && self.id == next.id;
        is_same && self.end == next.start && self.offset.checked_add(self.end - self.start) == Some(next.offset)
    }

    fn write(&self, line: &[u8], root: &PathRef, out: &mut Vec<u8>) {
        if self.id.2 == 0 {
            // Anonymous memory, `[heap]`, `[stack]`, `[vdso]`.
            out.extend_from_slice(line);
            out.push(b'\n');
            return;
        }
        // Up to the offset the host's line is the guest's as well.
        let fields: Vec<&[u8]> = line.splitn(4, |b| *b == b' ').take(3).collect();
        let mut text = fields.join(&b' ');
        match known(&self.id) {
            Some(path) => {
                let attr = path.inode().and_then(|inode| inode.attr());
                let (dev, ino) = attr.map_or((0, 0), |attr| (attr.dev, attr.ino));
                text.extend(format!(" {:02x}:{:02x} {ino} ", libc::major(dev), libc::minor(dev)).into_bytes());
                /// Where names begin, as on Linux.
                const NAMES: usize = 73;
                text.resize(text.len().max(NAMES), b' ');
                text.extend(path.display(root));
            }
            None => text.extend_from_slice(b" 00:00 0 "),
        }
        text.push(b'\n');
        out.extend(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_mapping_is_told_from_details() {
        let line = b"7f0000001000-7f0000003000 r-xp 00001000 fe:00 4711                       /usr/lib/libc.so.6";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end), (0x7f00_0000_1000, 0x7f00_0000_3000));
        assert_eq!(mapping.id, (0xfe, 0, 4711));
        assert!(Mapping::parse(b"Size:                  8 kB").is_none());
        assert!(Mapping::parse(b"VmFlags: rd ex mr mw me sd").is_none());
        assert!(Mapping::parse(b"").is_none());
    }

    #[test]
    fn text_of_one_file_is_one_mapping() {
        let maps = b"00400000-00401000 r--p 00000000 fe:00 7 /a\n00401000-00402000 r-xp 00001000 fe:00 7   /a\n\
                     00402000-00403000 r-xp 00002000 fe:00 7   /a\n00403000-00404000 r-xp 00003000 fe:00 7   /a\n\
                     00404000-00405000 r-xp 00005000 fe:00 7   /a\n00406000-00407000 r-xp 00006000 fe:00 7   /a\n\
                     00407000-00408000 r-xp 00000000 00:00 0\n00408000-00409000 r-xp 00001000 00:00 0\n";
        let seen = "00400000-00401000 r--p 00000000 fe:00 7 /a\n00401000-00404000 r-xp 00001000 fe:00 7   /a\n\
                    00404000-00405000 r-xp 00005000 fe:00 7   /a\n00406000-00407000 r-xp 00006000 fe:00 7   /a\n\
                    00407000-00408000 r-xp 00000000 00:00 0\n00408000-00409000 r-xp 00001000 00:00 0\n";
        assert_eq!(String::from_utf8(joined(maps)).unwrap(), seen);
        let smaps = b"1000-2000 r-xp 00000000 fe:00 7 /a\nSize: 4 kB\n2000-3000 r-xp 00001000 fe:00 7 /a\nSize: 4 kB\n";
        assert_eq!(joined(smaps), smaps);
    }
}
