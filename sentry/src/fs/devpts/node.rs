//! The file system `devpts`: `ptmx`, and a device for each pseudo-terminal.

use super::files::{MasterFile, SlaveFile};
use super::pty::Pty;
use super::{SLAVE_MAJOR, TTY_MAJOR};
use crate::abi::Timespec;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{Attr, FileKind, FsStat, SetAttr, makedev, now};
use crate::fs::dentry::Dentry;
use crate::fs::file::{File, FileOps};
use crate::fs::inode::{Caller, FileSystem, Inode, InodeExt};
use crate::fs::readdir::emit_dots;
use crate::fs::superblock::{SuperBlock, alloc_dev};
use crate::kernel::container::Container;
use crate::sync::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `DEVPTS_SUPER_MAGIC`.
const MAGIC: u64 = 0x1cd1;
/// `kernel.pty.max`: most pseudo-terminals of an instance.
const MAX: u32 = 4096;
/// Inode numbers, as Linux gives them.
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
const FIRST_SLAVE_INO: u64 = 3;

/// What can be changed about a device.
#[derive(Debug)]
pub(super) struct Ownership(Mutex<Owned>);

#[derive(Debug, Clone, Copy)]
struct Owned {
    mode: u32,
    uid: u32,
    gid: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
}

impl Ownership {
    fn new(mode: u32, uid: u32, gid: u32) -> Ownership {
        let time = now();
        Ownership(Mutex::new(Owned { mode, uid, gid, atime: time, mtime: time, ctime: time }))
    }

    fn attr(&self, dev: u64, ino: u64, rdev: u64) -> Attr {
        let owned = *self.0.lock();
        let mut attr = Attr::new(dev, ino, libc::S_IFCHR | owned.mode, owned.uid, owned.gid).at(owned.ctime);
        (attr.atime, attr.mtime, attr.rdev, attr.blksize) = (owned.atime, owned.mtime, rdev, 1024);
        attr
    }

    fn change(&self, change: &SetAttr) {
        let mut owned = self.0.lock();
        owned.mode = change.mode.map_or(owned.mode, |mode| mode & 0o7777);
        owned.uid = change.uid.unwrap_or(owned.uid);
        owned.gid = change.gid.unwrap_or(owned.gid);
        owned.atime = change.atime.map_or(owned.atime, |time| time.value());
        owned.mtime = change.mtime.map_or(owned.mtime, |time| time.value());
        owned.ctime = now();
    }
}

/// Options of the mount.
#[derive(Debug, Clone, Copy)]
struct Options {
    mode: u32,
    ptmxmode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
    max: u32,
}

impl Options {
    fn parse(text: &[u8]) -> SysResult<Options> {
        let mut options = Options { mode: 0o600, ptmxmode: 0, uid: None, gid: None, max: MAX };
        let text = std::str::from_utf8(text).map_err(|_| Errno::INVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let number = |value: &str| value.parse().map_err(|_| Errno::INVAL);
            let octal = |value: &str| u32::from_str_radix(value, 8).map(|n| n & 0o7777).map_err(|_| Errno::INVAL);
            match option.split_once('=') {
                Some(("mode", value)) => options.mode = octal(value)?,
                Some(("ptmxmode", value)) => options.ptmxmode = octal(value)?,
                Some(("uid", value)) => options.uid = Some(number(value)?),
                Some(("gid", value)) => options.gid = Some(number(value)?),
                Some(("max", value)) => options.max = number(value)?.min(MAX),
                None if option == "newinstance" => {}
                _ => return Err(Errno::INVAL),
            }
        }
        Ok(options)
    }
}

/// A mounted instance: its terminals are its own.
#[derive(Debug)]
pub struct Instance {
    dev: u64,
    options: Options,
    ptmx: Ownership,
    ptys: Mutex<BTreeMap<u32, Arc<Pty>>>,
}

impl Instance {
    /// A new instance; its root dentry.
    pub(super) fn mount(source: &str, options: &[u8]) -> SysResult<Arc<Dentry>> {
        let options = Options::parse(options)?;
        let ptmx = Ownership::new(options.ptmxmode, 0, 0);
        let instance = Arc::new(Instance { dev: alloc_dev(), options, ptmx, ptys: Mutex::default() });
        let _ = Container::current().terminals.set(instance.clone());
        let root = Arc::new(Node { instance: instance.clone(), place: Place::Root, ext: InodeExt::default() });
        Ok(SuperBlock::make(Devpts(instance), root, source))
    }

    /// The one that the container has mounted first: what device numbers elsewhere refer to.
    pub(super) fn first() -> SysResult<Arc<Instance>> {
        Container::current().terminals.get().cloned().ok_or(Errno::NXIO)
    }

    /// A new pseudo-terminal with the lowest free number.
    pub(super) fn new_pty(self: &Arc<Self>, caller: &Caller<'_>) -> SysResult<Arc<Pty>> {
        let mut ptys = self.ptys.lock();
        let mut index = 0;
        for used in ptys.keys() {
            if *used != index {
                break;
            }
            index += 1;
        }
        if index >= self.options.max {
            return Err(Errno::NOSPC);
        }
        let uid = self.options.uid.unwrap_or(caller.creds.fsuid);
        let gid = self.options.gid.unwrap_or(caller.creds.fsgid);
        let pty = Arc::new(Pty::new(index, self, Ownership::new(self.options.mode, uid, gid)));
        ptys.insert(index, pty.clone());
        Ok(pty)
    }

    /// The pseudo-terminal with this number.
    pub(super) fn find(&self, index: u32) -> SysResult<Arc<Pty>> {
        self.ptys.lock().get(&index).cloned().ok_or(Errno::NXIO)
    }

    /// Its master is closed.
    pub(super) fn forget(&self, index: u32) {
        let old = self.ptys.lock().remove(&index);
        drop(old);
    }
}

struct Devpts(Arc<Instance>);

impl FileSystem for Devpts {
    fn fstype(&self) -> &'static str {
        "devpts"
    }

    fn dev(&self) -> u64 {
        self.0.dev
    }

    fn statfs(&self) -> SysResult<FsStat> {
        Ok(FsStat::pseudo(MAGIC))
    }

    fn is_exclusive(&self) -> bool {
        // Devices come and go with masters.
        false
    }

    fn keeps_names(&self) -> bool {
        false
    }

    fn options(&self) -> String {
        let options = &self.0.options;
        let id = |name: &str, id: Option<u32>| id.map(|id| format!(",{name}={id}")).unwrap_or_default();
        let ids = id("uid", options.uid) + &id("gid", options.gid);
        format!("{ids},mode={:03o},ptmxmode={:03o}", options.mode, options.ptmxmode)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

enum Place {
    Root,
    Ptmx,
    Slave(Arc<Pty>),
}

struct Node {
    instance: Arc<Instance>,
    place: Place,
    ext: InodeExt,
}

fn slave_ino(index: u32) -> u64 {
    FIRST_SLAVE_INO + u64::from(index)
}

/// The device number of a slave.
pub(super) fn slave_rdev(index: u32) -> u64 {
    makedev(SLAVE_MAJOR, index)
}

/// The number that a name in the file system stands for.
fn slave_index(name: &[u8]) -> SysResult<u32> {
    let text = std::str::from_utf8(name).map_err(|_| Errno::NOENT)?;
    let index: u32 = text.parse().map_err(|_| Errno::NOENT)?;
    if index.to_string() == text { Ok(index) } else { Err(Errno::NOENT) }
}

impl Node {
    fn devices(&self) -> Option<&Ownership> {
        match &self.place {
            Place::Root => None,
            Place::Ptmx => Some(&self.instance.ptmx),
            Place::Slave(pty) => Some(&pty.ownership),
        }
    }

    fn rdev(&self) -> u64 {
        match &self.place {
            Place::Root => 0,
            Place::Ptmx => makedev(TTY_MAJOR, 2),
            Place::Slave(pty) => slave_rdev(pty.index),
        }
    }
}

impl Inode for Node {
    fn attr(&self) -> SysResult<Attr> {
        match self.devices() {
            Some(ownership) => Ok(ownership.attr(self.instance.dev, self.ino(), self.rdev())),
            None => {
                let mut attr = Attr::new(self.instance.dev, ROOT_INO, libc::S_IFDIR | 0o755, 0, 0).at(now());
                attr.nlink = 2;
                Ok(attr)
            }
        }
    }

    fn kind(&self) -> FileKind {
        if matches!(self.place, Place::Root) { FileKind::Directory } else { FileKind::CharDevice }
    }

    fn ino(&self) -> u64 {
        match &self.place {
            Place::Root => ROOT_INO,
            Place::Ptmx => PTMX_INO,
            Place::Slave(pty) => slave_ino(pty.index),
        }
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        match &self.place {
            Place::Root => Ok(Box::new(Listing(self.instance.clone()))),
            Place::Ptmx => MasterFile::open(&self.instance, caller),
            Place::Slave(pty) => SlaveFile::open(pty, caller, flags),
        }
    }

    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        self.devices().ok_or(Errno::PERM)?.change(change);
        Ok(())
    }

    fn lookup(&self, _: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        let place = match (&self.place, name) {
            (Place::Root, b"ptmx") => Place::Ptmx,
            (Place::Root, _) => Place::Slave(self.instance.find(slave_index(name)?).map_err(|_| Errno::NOENT)?),
            _ => return Err(Errno::NOTDIR),
        };
        Ok(Arc::new(Node { instance: self.instance.clone(), place, ext: InodeExt::default() }))
    }

    fn revalidate(&self, _: &Caller<'_>, name: &[u8], child: &dyn Inode) -> bool {
        match child.as_any().downcast_ref::<Node>().map(|node| &node.place) {
            Some(Place::Slave(pty)) => {
                slave_index(name).and_then(|index| self.instance.find(index)).is_ok_and(|now| Arc::ptr_eq(&now, pty))
            }
            _ => true,
        }
    }
}

/// The open root directory.
struct Listing(Arc<Instance>);

impl FileOps for Listing {
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> SysResult<usize> {
        Err(Errno::ISDIR)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn readdir(&self, file: &File, pos: &mut u64, emit: &mut crate::fs::file::Emit<'_>) -> SysResult<()> {
        if !emit_dots(file, ROOT_INO, pos, emit) {
            return Ok(());
        }
        let indices: Vec<u32> = self.0.ptys.lock().keys().copied().collect();
        let slaves = indices.into_iter().map(|index| (slave_ino(index), index.to_string()));
        for (ino, name) in std::iter::once((PTMX_INO, "ptmx".to_owned())).chain(slaves) {
            // A position is the inode number: it only grows.
            if ino < *pos {
                continue;
            }
            if !emit(name.as_bytes(), ino, libc::DT_CHR, ino + 1) {
                return Ok(());
            }
            *pos = ino + 1;
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
