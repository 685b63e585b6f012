//! Namespaces as files (`/proc/PID/ns/*`): opened, they keep the namespace and serve `setns(2)` and
//! `ioctl_ns(2)`.

use super::attr::{Attr, FileKind, FsStat, Perm, now};
use super::dentry::Dentry;
use super::file::{File, FileOps};
use super::inode::{Caller, FileSystem, Inode, InodeExt};
use super::mount::{Mount, MountFlags};
use super::path::PathRef;
use super::pseudo::{Body, FixedDir, Node};
use super::superblock::{SuperBlock, alloc_dev};
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::kernel::namespaces::{KINDS, Namespace};
use crate::mm::Addr;
use std::any::Any;
use std::sync::{Arc, LazyLock};

/// `NSFS_MAGIC`.
const MAGIC: u64 = 0x6e73_6673;

struct NsFs {
    dev: u64,
}

impl FileSystem for NsFs {
    fn fstype(&self) -> &'static str {
        "nsfs"
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn statfs(&self) -> SysResult<FsStat> {
        Ok(FsStat::pseudo(MAGIC))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

static MOUNT: LazyLock<Arc<Mount>> = LazyLock::new(|| {
    let dev = alloc_dev();
    let root = Node::new(dev, 1, 0o500, Body::Dir(Box::new(FixedDir { dev, ino: 1, entries: &[] })));
    Mount::new(SuperBlock::make(NsFs { dev }, Arc::new(root), "nsfs"), MountFlags::empty())
});

/// Where a namespace stands, to be opened or mounted somewhere.
pub fn place(namespace: Namespace) -> PathRef {
    let mount = MOUNT.clone();
    let name = namespace.text();
    let inode = Arc::new(NsInode { namespace, dev: mount.root.sb.dev, ext: InodeExt::default() });
    let dentry = Dentry::unnamed(mount.root.sb.clone(), inode, mount.root.clone(), name.as_bytes());
    PathRef { mount, dentry }
}

/// An open file of a namespace, and where it stands.
pub fn open(t: &Task, namespace: Namespace) -> SysResult<(Box<dyn FileOps>, PathRef)> {
    let place = place(namespace);
    let ops = place.inode()?.clone().open(&Caller::of(t), libc::O_RDONLY)?;
    Ok((ops, place))
}

/// The namespace that a file refers to.
pub fn opened(file: &File) -> Option<&Namespace> {
    file.downcast::<OpenNamespace>().map(|open| &open.namespace)
}

struct NsInode {
    namespace: Namespace,
    dev: u64,
    ext: InodeExt,
}

impl Inode for NsInode {
    fn attr(&self) -> SysResult<Attr> {
        Ok(Attr::new(self.dev, self.ino(), libc::S_IFREG | 0o444, 0, 0).at(now()))
    }

    fn perm(&self) -> SysResult<Perm> {
        Ok(Perm { mode: libc::S_IFREG | 0o444, uid: 0, gid: 0 })
    }

    fn kind(&self) -> FileKind {
        FileKind::Regular
    }

    fn ino(&self) -> u64 {
        self.namespace.id()
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, _: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            return Err(Errno::PERM);
        }
        Ok(Box::new(OpenNamespace { namespace: self.namespace.clone() }))
    }
}

struct OpenNamespace {
    namespace: Namespace,
}

impl FileOps for OpenNamespace {
    fn ioctl(&self, t: &Task, _: &File, cmd: u32, arg: u64) -> SysResult {
        const NS_GET_USERNS: u32 = 0xb701;
        const NS_GET_PARENT: u32 = 0xb702;
        const NS_GET_NSTYPE: u32 = 0xb703;
        const NS_GET_OWNER_UID: u32 = 0xb704;
        let user = libc::CLONE_NEWUSER as u64;
        let has_parents = [user, libc::CLONE_NEWPID as u64].contains(&self.namespace.flag());
        match cmd {
            NS_GET_NSTYPE => Ok(self.namespace.flag() as i64),
            // What is above the sandbox's own is not for it to see.
            NS_GET_USERNS if self.namespace.flag() == user => Err(Errno::PERM),
            NS_GET_USERNS => {
                let kind = KINDS.into_iter().find(|kind| kind.flag == user).ok_or(Errno::INVAL)?;
                let (ops, place) = open(t, Namespace::Only(kind))?;
                t.install(File::new(ops, Some(place), libc::O_RDONLY), true).map(i64::from)
            }
            NS_GET_PARENT if has_parents => Err(Errno::PERM),
            NS_GET_PARENT => Err(Errno::INVAL),
            NS_GET_OWNER_UID if self.namespace.flag() == user => t.mem().write(Addr(arg), &0u32).map(|()| 0),
            NS_GET_OWNER_UID => Err(Errno::INVAL),
            _ => Err(Errno::NOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
