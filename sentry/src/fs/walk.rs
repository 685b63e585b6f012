//! Path walk (`path_resolution(7)`).

use super::access::may_search;
use super::attr::{Attr, FileKind};
use super::dentry::NAME_MAX;
use super::inode::{Caller, Link};
use super::mount::MountFlags;
use super::path::PathRef;
use crate::errno::{Errno, SysResult};
use bitflags::bitflags;
use std::sync::Arc;

/// Symbolic links followed in one walk.
const LINKS_MAX: u32 = 40;

bitflags! {
    /// `RESOLVE_*` of `openat2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Resolve: u64 {
        /// No crossing of mounts.
        const NO_XDEV = 0x01;
        /// No links like those of `/proc/PID/fd`.
        const NO_MAGICLINKS = 0x02;
        /// No links at all.
        const NO_SYMLINKS = 0x04;
        /// Never out of the start.
        const BENEATH = 0x08;
        /// The start is the root.
        const IN_ROOT = 0x10;
        /// Only what needs no I/O.
        const CACHED = 0x20;
    }
}

/// The last component of a path whose directory was walked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Last {
    /// A name, and whether slashes followed it.
    Name(Vec<u8>, bool),
    /// `.`.
    Dot,
    /// `..`.
    DotDot,
    /// There was none: the path is `/`.
    Root,
}

/// A walk under way.
#[derive(Debug)]
pub struct Walk<'a> {
    caller: &'a Caller<'a>,
    root: PathRef,
    at: PathRef,
    resolve: Resolve,
    links: u32,
    /// A lookup by name has just led to `at`.
    found: bool,
}

/// A component of a path: its range, and what follows it.
struct Component {
    start: usize,
    end: usize,
    /// Where the next component starts.
    next: usize,
    is_last: bool,
}

fn component(text: &[u8], at: usize) -> Option<Component> {
    let rest = text.get(at..)?;
    let start = at + rest.iter().position(|b| *b != b'/')?;
    let end = text.get(start..)?.iter().position(|b| *b == b'/').map_or(text.len(), |n| start + n);
    let next = text.get(end..)?.iter().position(|b| *b != b'/').map_or(text.len(), |n| end + n);
    Some(Component { start, end, next, is_last: next == text.len() })
}

impl<'a> Walk<'a> {
    /// A walk from `start` in the tree below `root`.
    pub fn new(caller: &'a Caller<'a>, root: PathRef, start: PathRef, resolve: Resolve) -> Walk<'a> {
        let root = if resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT) { start.clone() } else { root };
        Walk { caller, root, at: start, resolve, links: 0, found: false }
    }

    /// Where it has come to.
    pub fn at(&self) -> &PathRef {
        &self.at
    }

    /// Walks all of `path`; a symbolic link at its end is followed if `follow`.
    pub fn to(&mut self, path: &[u8], follow: bool) -> SysResult<PathRef> {
        self.run(path, follow, false)?;
        Ok(self.at.clone())
    }

    /// The attributes of what it has come to.
    pub fn attr(&self) -> SysResult<Attr> {
        let inode = self.at.inode()?;
        if self.found { inode.attr_found() } else { inode.attr() }
    }

    /// Walks to the directory that the last component of `path` is to be looked up in.
    pub fn to_parent(&mut self, path: &[u8]) -> SysResult<Last> {
        self.run(path, false, true)
    }

    fn run(&mut self, path: &[u8], follow: bool, parent_only: bool) -> SysResult<Last> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        self.start(path)?;
        let mut owned: Vec<u8>;
        let mut text = path;
        let mut pos = 0;
        while let Some(part) = component(text, pos) {
            may_search(self.caller, &**self.at.inode()?)?;
            let name = text.get(part.start..part.end).unwrap_or_default();
            let slash = part.is_last && part.end < text.len();
            if name.len() > NAME_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            if part.is_last && parent_only {
                return Ok(match name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name(name.to_vec(), slash),
                });
            }
            pos = part.next;
            self.found = false;
            match name {
                b"." => {}
                b".." => self.up()?,
                _ => {
                    let next = self.child(name)?.ok_or(Errno::NOENT)?;
                    let is_link = next.inode()?.kind() == FileKind::Symlink;
                    if is_link && (follow || !part.is_last || slash) {
                        if let Some(mut target) = self.follow(&next)? {
                            target.extend_from_slice(text.get(part.end..).unwrap_or_default());
                            owned = target;
                            text = &owned;
                            pos = 0;
                            continue;
                        }
                    } else {
                        self.found = Arc::ptr_eq(&next.mount, &self.at.mount);
                        self.at = next;
                    }
                }
            }
            if slash && !self.at.is_dir() {
                return Err(Errno::NOTDIR);
            }
        }
        Ok(Last::Root)
    }

    /// Goes to the root for an absolute path.
    fn start(&mut self, path: &[u8]) -> SysResult<()> {
        if path.first() == Some(&b'/') {
            if self.resolve.contains(Resolve::BENEATH) {
                return Err(Errno::XDEV);
            }
            self.go(self.root.clone())?;
        }
        Ok(())
    }

    fn go(&mut self, to: PathRef) -> SysResult<()> {
        if self.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.at.mount) {
            return Err(Errno::XDEV);
        }
        self.at = to;
        Ok(())
    }

    /// Goes to the directory above.
    pub fn up(&mut self) -> SysResult<()> {
        if self.at == self.root {
            return if self.resolve.contains(Resolve::BENEATH) { Err(Errno::XDEV) } else { Ok(()) };
        }
        self.go(self.at.parent(&self.root))
    }

    /// What `name` is in the directory come to, mounts followed; `None` if it does not exist.
    pub fn child(&mut self, name: &[u8]) -> SysResult<Option<PathRef>> {
        let Some(dentry) = self.at.dentry.lookup(self.caller, name)? else { return Ok(None) };
        let child = PathRef { mount: self.at.mount.clone(), dentry }.topmost();
        if self.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&child.mount, &self.at.mount) {
            return Err(Errno::XDEV);
        }
        Ok(Some(child))
    }

    /// Follows `link`, which is in the directory come to: the text to walk from there (or from the root, if
    /// it is absolute), or nothing if the link was a jump that has been made.
    pub fn follow(&mut self, link: &PathRef) -> SysResult<Option<Vec<u8>>> {
        self.links += 1;
        if self.links > LINKS_MAX
            || self.resolve.contains(Resolve::NO_SYMLINKS)
            || link.mount.has(MountFlags::NOSYMFOLLOW)
        {
            return Err(Errno::LOOP);
        }
        match link.inode()?.follow(self.caller)? {
            Link::Path(target) if target.is_empty() => Err(Errno::NOENT),
            Link::Path(target) => {
                self.start(&target)?;
                Ok(Some(target))
            }
            Link::Jump(_) if self.resolve.contains(Resolve::NO_MAGICLINKS) => Err(Errno::LOOP),
            Link::Jump(_) if self.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT) => Err(Errno::XDEV),
            Link::Jump(path) => {
                self.go(path)?;
                Ok(None)
            }
        }
    }
}
