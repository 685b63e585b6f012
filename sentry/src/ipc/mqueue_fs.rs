//! The file system `mqueue` (`mq_overview(7)`): a directory of the message queues that have a name.

use super::mqueue::{self, Queue};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{Attr, FileKind, FsStat, NewNode, Perm, SetAttr, now};
use crate::fs::boot::register_type;
use crate::fs::file::Emit;
use crate::fs::inode::{Caller, FileSystem, Inode, InodeExt};
use crate::fs::readdir::emit_dots;
use crate::fs::superblock::SuperBlock;
use crate::fs::{File, FileOps};
use crate::sync::Mutex;
use std::any::Any;
use std::sync::Arc;

/// `MQUEUE_MAGIC`.
pub const MAGIC: u64 = 0x1980_0202;
const ROOT_INO: u64 = 1;

/// Registers the file system.
pub fn register() {
    register_type("mqueue", |source, _| Ok(SuperBlock::make(MqueueFs, root(), source)));
}

/// All mounts of an IPC namespace show the one directory.
fn root() -> Arc<Root> {
    let make = || {
        let attr = Attr::new(mqueue::dev(), ROOT_INO, libc::S_IFDIR | libc::S_ISVTX | 0o777, 0, 0).at(now());
        Arc::new(Root { attr: Mutex::new(Attr { nlink: 2, ..attr }), ext: InodeExt::default() })
    };
    super::own().root.get_or_init(make).clone()
}

#[derive(Debug)]
struct MqueueFs;

impl FileSystem for MqueueFs {
    fn fstype(&self) -> &'static str {
        "mqueue"
    }

    fn dev(&self) -> u64 {
        mqueue::dev()
    }

    fn statfs(&self) -> SysResult<FsStat> {
        Ok(FsStat::pseudo(MAGIC))
    }

    fn is_exclusive(&self) -> bool {
        // `mq_open` and `mq_unlink` make and remove names too.
        false
    }

    fn keeps_names(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// That directory.
#[derive(Debug)]
pub(crate) struct Root {
    attr: Mutex<Attr>,
    ext: InodeExt,
}

impl Inode for Root {
    fn attr(&self) -> SysResult<Attr> {
        /// What an entry adds to the size (`DIRENT_SIZE`).
        const ENTRY: u64 = 20;
        let size = 2 * ENTRY + ENTRY * mqueue::all().len() as u64;
        Ok(Attr { size, ..*self.attr.lock() })
    }

    fn perm(&self) -> SysResult<Perm> {
        Ok(Perm::from(&*self.attr.lock()))
    }

    fn kind(&self) -> FileKind {
        FileKind::Directory
    }

    fn ino(&self) -> u64 {
        ROOT_INO
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, _: &Caller<'_>, _: i32) -> SysResult<Box<dyn FileOps>> {
        Ok(Box::new(OpenRoot))
    }

    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        let mut attr = self.attr.lock();
        attr.mode = change.mode.map_or(attr.mode, |mode| libc::S_IFDIR | mode);
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.ctime = now();
        Ok(())
    }

    fn lookup(&self, _: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        Ok(mqueue::find(name).ok_or(Errno::NOENT)?)
    }

    fn revalidate(&self, _: &Caller<'_>, name: &[u8], child: &dyn Inode) -> bool {
        mqueue::find(name).is_some_and(|queue| queue.ino() == child.ino())
    }

    fn create(&self, name: &[u8], new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        let queue: Arc<Queue> = mqueue::create(name, new)?;
        Ok(queue)
    }

    fn unlink(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        mqueue::forget(name, target)
    }
}

#[derive(Debug)]
struct OpenRoot;

impl FileOps for OpenRoot {
    fn is_seekable(&self) -> bool {
        true
    }

    fn read(&self, _: &File, _: &mut [u8], _: u64) -> SysResult<usize> {
        Err(Errno::ISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, emit: &mut Emit<'_>) -> SysResult<()> {
        if !emit_dots(file, ROOT_INO, pos, emit) {
            return Ok(());
        }
        // Positions are inode numbers, which only grow: a removal in between skips nothing.
        let mut queues = mqueue::all();
        let first = *pos;
        queues.retain(|(_, queue)| queue.ino() >= first);
        queues.sort_by_key(|(_, queue)| queue.ino());
        for (name, queue) in queues {
            if !emit(&name, queue.ino(), libc::DT_REG, queue.ino() + 1) {
                return Ok(());
            }
            *pos = queue.ino() + 1;
        }
        Ok(())
    }

    fn sync(&self) -> SysResult<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
