//! `/proc/PID/fd`, `/proc/PID/fdinfo`.

use super::process::Subject;
use super::root::number;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{Attr, FileKind, Perm};
use crate::fs::dentry::Dentry;
use crate::fs::file::{File, FileOps};
use crate::fs::inode::{Caller, Inode, InodeExt, Link};
use crate::fs::mount::{Mount, MountFlags};
use crate::fs::path::PathRef;
use crate::fs::pseudo::{Body, Directory, FixedDir, Listed, Node, PseudoFs, Reader, Target};
use crate::fs::superblock::{SuperBlock, alloc_dev};
use std::any::Any;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

/// `/proc/PID/fd`: links to what the descriptors refer to.
pub(super) struct FdDir {
    pub(super) subject: Arc<Subject>,
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl FdDir {
    fn file(subject: &Subject, reader: &Reader, name: &[u8]) -> SysResult<Arc<File>> {
        let fd = number(name).ok_or(Errno::NOENT)?;
        subject.inspect(reader)?.files().get_any(fd).map_err(|_| Errno::NOENT)
    }
}

/// Inode numbers of the links: behind those of the process's entries.
fn fd_ino(dir: u64, fd: u64) -> u64 {
    dir + ((fd + 1) << 8)
}

fn list(subject: &Subject, reader: &Reader, dir: u64, kind: FileKind) -> SysResult<Vec<Listed>> {
    let files = subject.inspect(reader)?.files().list();
    let listed = files.into_iter().map(|(fd, _)| {
        let at = u64::from(fd.unsigned_abs());
        Listed { at, name: fd.to_string().into_bytes(), kind, ino: fd_ino(dir, at) }
    });
    Ok(listed.collect())
}

impl Directory for FdDir {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        let file = FdDir::file(&self.subject, reader, name)?;
        // What the link allows shows how the descriptor was opened.
        let mode = 0o100 | if file.is_readable() { 0o400 } else { 0 } | if file.is_writable() { 0o200 } else { 0 };
        let ino = fd_ino(self.ino, number(name).unwrap_or(0).unsigned_abs().into());
        Ok(Node::new(self.dev, ino, mode, Body::Link(Box::new(FdLink { file }))))
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        list(&self.subject, reader, self.ino, FileKind::Symlink)
    }

    fn is_current(&self, _: &Reader, _: &[u8], _: &Node) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct FdLink {
    file: Arc<File>,
}

impl Target for FdLink {
    fn text(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        Ok(match &self.file.path {
            Some(path) => path.display(&reader.task.fs().root()),
            None => self.file.ops.describe().into_bytes(),
        })
    }

    fn follow(&self, _: &Reader) -> SysResult<Link> {
        match &self.file.path {
            Some(path) => Ok(Link::Jump(path.clone())),
            None => Ok(Link::Jump(place_of(&self.file)?)),
        }
    }
}

/// A place for a file that has none, so that it can be opened again.
fn place_of(file: &Arc<File>) -> SysResult<PathRef> {
    static MOUNT: OnceLock<Arc<Mount>> = OnceLock::new();
    let mount = MOUNT.get_or_init(|| {
        /// `PIPEFS_MAGIC`, the commonest.
        const MAGIC: u64 = 0x5049_5045;
        let dev = alloc_dev();
        let root = Node::new(dev, 1, 0o500, Body::Dir(Box::new(FixedDir { dev, ino: 1, entries: &[] })));
        Mount::new(
            SuperBlock::make(PseudoFs { fstype: "pipefs", dev, magic: MAGIC }, Arc::new(root), "none"),
            MountFlags::empty(),
        )
    });
    let inode: Arc<dyn Inode> = match file.ops.inode() {
        Some(inode) => inode,
        None => Arc::new(OpenFile { file: file.clone(), ext: InodeExt::default() }),
    };
    let name = file.ops.describe();
    let dentry = Dentry::unnamed(mount.root.sb.clone(), inode, mount.root.clone(), name.as_bytes());
    Ok(PathRef { mount: mount.clone(), dentry })
}

/// The inode of an open file that is in no file system.
struct OpenFile {
    file: Arc<File>,
    ext: InodeExt,
}

impl Inode for OpenFile {
    fn attr(&self) -> SysResult<Attr> {
        Ok(self.file.ops.attr().unwrap_or_else(|| Attr::new(0, self.file.id, 0o600, 0, 0)))
    }

    fn perm(&self) -> SysResult<Perm> {
        Ok(Perm::from(&self.attr()?))
    }

    fn kind(&self) -> FileKind {
        // Neither a FIFO that meets others at its name, nor a file with data of its own: it is opened here.
        FileKind::Socket
    }

    fn ino(&self) -> u64 {
        self.attr().map_or(0, |attr| attr.ino)
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        self.file.ops.reopen(caller, flags)
    }
}

/// `/proc/PID/fdinfo`.
pub(super) struct FdInfoDir {
    pub(super) subject: Arc<Subject>,
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl Directory for FdInfoDir {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        FdDir::file(&self.subject, reader, name)?;
        let (subject, name) = (self.subject.clone(), name.to_vec());
        let ino = fd_ino(self.ino, number(&name).unwrap_or(0).unsigned_abs().into());
        let text = move |reader: &Reader| {
            let file = FdDir::file(&subject, reader, &name)?;
            let cloexec = number(&name).and_then(|fd| subject.task().ok()?.files().cloexec(fd).ok()).unwrap_or(false);
            Ok(fdinfo(&file, cloexec).into_bytes())
        };
        Ok(Node::new(self.dev, ino, 0o444, Body::File(Box::new(text))))
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        list(&self.subject, reader, self.ino, FileKind::Regular)
    }

    fn is_current(&self, _: &Reader, _: &[u8], _: &Node) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn fdinfo(file: &File, cloexec: bool) -> String {
    let pos = *file.pos.lock();
    let flags = file.flags() | if cloexec { libc::O_CLOEXEC } else { 0 };
    let mut text = format!("pos:\t{pos}\nflags:\t0{flags:o}\n");
    if let Some(path) = &file.path {
        let ino = path.inode().map_or(0, |inode| inode.ino());
        let _ = write!(text, "mnt_id:\t{}\nino:\t{ino}\n", path.mount.id);
    } else {
        let ino = file.ops.attr().map_or(file.id, |attr| attr.ino);
        let _ = write!(text, "mnt_id:\t15\nino:\t{ino}\n");
    }
    text.push_str(&file.ops.fdinfo());
    text
}
