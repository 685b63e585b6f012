//! File systems whose content is made when it is asked for: what [`proc`](super::proc) and
//! [`sysfs`](super::sysfs) have in common.
//!
//! A [`Node`] is described by its [`Body`]; the text of a file is made when it is read from the start.

use super::attr::{Attr, FileKind, FsStat, NewNode, Perm, SetAttr, now};
use super::file::{File, FileOps, Written};
use super::inode::{Caller, FileSystem, Inode, InodeExt, Link};
use super::readdir::emit_dots;
use crate::abi::Timespec;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Kernel, Task};
use crate::sync::Mutex;
use std::any::Any;
use std::sync::Arc;

/// On whose behalf content is made.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The task that opened or looked up.
    pub task: Arc<Task>,
}

impl Reader {
    /// Of a caller; the sentry itself sees nothing here.
    fn of(caller: &Caller<'_>) -> SysResult<Reader> {
        let task = caller.task.and_then(Task::arc).ok_or(Errno::NOENT)?;
        Ok(Reader { task })
    }

    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.task.kernel
    }
}

/// An entry of a listing, at an ever-growing position.
#[derive(Debug)]
pub struct Listed {
    /// Where it stands; listings go on behind it even if it is gone by then.
    pub at: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its kind.
    pub kind: FileKind,
    /// Its inode number.
    pub ino: u64,
}

/// A directory.
pub trait Directory: Send + Sync + 'static {
    /// The entry `name`.
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node>;

    /// The entry `name`, if it is the same for everybody: what the sentry itself finds, to mount on it.
    fn lookup_fixed(&self, name: &[u8]) -> SysResult<Node> {
        let _ = name;
        Err(Errno::NOENT)
    }

    /// All entries, by position.
    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>>;

    /// Whether `child`, found earlier under `name`, is still there.
    fn is_current(&self, reader: &Reader, name: &[u8], child: &Node) -> bool {
        let _ = (reader, name, child);
        true
    }

    /// For downcasts to the own type.
    fn as_any(&self) -> &dyn Any;
}

/// A file.
pub trait Content: Send + Sync + 'static {
    /// The whole text.
    fn read(&self, reader: &Reader) -> SysResult<Vec<u8>>;

    /// Takes what is written at once.
    fn write(&self, reader: &Reader, data: &[u8]) -> SysResult<()> {
        let _ = (reader, data);
        Err(Errno::IO)
    }

    /// What is open of it, if it is not a text.
    fn open(&self, reader: &Reader) -> Option<SysResult<Box<dyn FileOps>>> {
        let _ = reader;
        None
    }
}

impl<F: Fn(&Reader) -> SysResult<Vec<u8>> + Send + Sync + 'static> Content for F {
    fn read(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        self(reader)
    }
}

/// A symbolic link.
pub trait Target: Send + Sync + 'static {
    /// Its text.
    fn text(&self, reader: &Reader) -> SysResult<Vec<u8>>;

    /// Where it leads.
    fn follow(&self, reader: &Reader) -> SysResult<Link> {
        Ok(Link::Path(self.text(reader)?))
    }
}

impl<F: Fn(&Reader) -> SysResult<Vec<u8>> + Send + Sync + 'static> Target for F {
    fn text(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        self(reader)
    }
}

/// What a node is.
pub enum Body {
    /// A directory.
    Dir(Box<dyn Directory>),
    /// A regular file.
    File(Box<dyn Content>),
    /// A symbolic link.
    Link(Box<dyn Target>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Dir(_) => "Dir",
            Body::File(_) => "File",
            Body::Link(_) => "Link",
        })
    }
}

/// Who owns a node.
pub type Owner = Box<dyn Fn() -> (u32, u32) + Send + Sync>;

/// A file system object.
pub struct Node {
    dev: u64,
    ino: u64,
    /// Permission bits.
    mode: u32,
    /// `None` is root.
    owner: Option<Owner>,
    born: Timespec,
    ext: InodeExt,
    /// What it is.
    pub body: Body,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.ino)
    }
}

impl Node {
    /// A node that belongs to root.
    pub fn new(dev: u64, ino: u64, mode: u32, body: Body) -> Node {
        Node { dev, ino, mode, owner: None, born: now(), ext: InodeExt::default(), body }
    }

    /// The same with an owner.
    #[must_use]
    pub fn owned_by(self, owner: Owner) -> Node {
        Node { owner: Some(owner), ..self }
    }
}

impl Inode for Node {
    fn attr(&self) -> SysResult<Attr> {
        let perm = self.perm()?;
        let mut attr = Attr::new(self.dev, self.ino, perm.mode, perm.uid, perm.gid).at(self.born);
        if self.kind() == FileKind::Directory {
            attr.nlink = 2;
        }
        attr.blksize = 1024;
        Ok(attr)
    }

    fn perm(&self) -> SysResult<Perm> {
        let (uid, gid) = self.owner.as_ref().map_or((0, 0), |owner| owner());
        Ok(Perm { mode: self.kind().bits() | self.mode, uid, gid })
    }

    fn kind(&self) -> FileKind {
        match self.body {
            Body::Dir(_) => FileKind::Directory,
            Body::File(_) => FileKind::Regular,
            Body::Link(_) => FileKind::Symlink,
        }
    }

    fn ino(&self) -> u64 {
        self.ino
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, _: i32) -> SysResult<Box<dyn FileOps>> {
        let reader = Reader::of(caller)?;
        if let Body::File(content) = &self.body
            && let Some(opened) = content.open(&reader)
        {
            return opened;
        }
        match self.body {
            Body::Dir(_) => Ok(Box::new(OpenDirectory { node: self, reader })),
            Body::File(_) => Ok(Box::new(OpenText { node: self, reader, text: Mutex::default() })),
            Body::Link(_) => Err(Errno::LOOP),
        }
    }

    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        // Opening with O_TRUNC is how shells write to such files; the rest cannot be kept.
        let truncates_only = SetAttr { size: None, mtime: None, mode: None, ..*change } == SetAttr::default();
        if truncates_only && change.size.is_some() { Ok(()) } else { Err(Errno::PERM) }
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        match &self.body {
            Body::Dir(dir) => Ok(Arc::new(match Reader::of(caller) {
                Ok(reader) => dir.lookup(&reader, name)?,
                Err(_) => dir.lookup_fixed(name)?,
            })),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn create(&self, _: &[u8], _: &NewNode) -> SysResult<Arc<dyn Inode>> {
        // Not EPERM: there are no names here but those that there are.
        Err(Errno::NOENT)
    }

    fn revalidate(&self, caller: &Caller<'_>, name: &[u8], child: &dyn Inode) -> bool {
        let Body::Dir(dir) = &self.body else { return false };
        // Without a reader only fixed entries were found.
        let Ok(reader) = Reader::of(caller) else { return true };
        child.as_any().downcast_ref().is_some_and(|child| dir.is_current(&reader, name, child))
    }

    fn readlink(&self, caller: &Caller<'_>) -> SysResult<Vec<u8>> {
        match &self.body {
            Body::Link(link) => link.text(&Reader::of(caller)?),
            _ => Err(Errno::INVAL),
        }
    }

    fn follow(&self, caller: &Caller<'_>) -> SysResult<Link> {
        match &self.body {
            Body::Link(link) => link.follow(&Reader::of(caller)?),
            _ => Err(Errno::INVAL),
        }
    }
}

struct OpenDirectory {
    node: Arc<Node>,
    reader: Reader,
}

/// Positions before those of a directory's own entries.
const DOTS: u64 = 2;

impl FileOps for OpenDirectory {
    fn is_seekable(&self) -> bool {
        true
    }

    fn read(&self, _: &File, _: &mut [u8], _: u64) -> SysResult<usize> {
        Err(Errno::ISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, emit: &mut crate::fs::file::Emit<'_>) -> SysResult<()> {
        let Body::Dir(dir) = &self.node.body else { return Err(Errno::NOTDIR) };
        if !emit_dots(file, self.node.ino, pos, emit) {
            return Ok(());
        }
        for entry in dir.list(&self.reader)? {
            let at = entry.at + DOTS;
            if at < *pos {
                continue;
            }
            if !emit(&entry.name, entry.ino, entry.kind.dtype(), at + 1) {
                return Ok(());
            }
            *pos = at + 1;
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

struct OpenText {
    node: Arc<Node>,
    reader: Reader,
    text: Mutex<Option<Vec<u8>>>,
}

impl OpenText {
    fn content(&self) -> SysResult<&dyn Content> {
        match &self.node.body {
            Body::File(content) => Ok(&**content),
            _ => Err(Errno::INVAL),
        }
    }
}

impl FileOps for OpenText {
    fn read(&self, _: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        // Whoever begins again gets the present state.
        let fresh =
            if offset == 0 || self.text.lock().is_none() { Some(self.content()?.read(&self.reader)?) } else { None };
        let mut text = self.text.lock();
        if fresh.is_some() {
            *text = fresh;
        }
        let rest = usize::try_from(offset).ok().and_then(|at| text.as_ref()?.get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write(&self, _: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        self.content()?.write(&self.reader, buf)?;
        Ok(Written { count: buf.len(), end: offset.saturating_add(buf.len() as u64) })
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        Ok(0)
    }

    fn truncate(&self, _: u64) -> SysResult<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The file system of such nodes.
#[derive(Debug)]
pub struct PseudoFs {
    /// `proc`, `sysfs`.
    pub fstype: &'static str,
    /// Device number.
    pub dev: u64,
    /// `f_type`.
    pub magic: u64,
}

impl FileSystem for PseudoFs {
    fn fstype(&self) -> &'static str {
        self.fstype
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn statfs(&self) -> SysResult<FsStat> {
        Ok(FsStat::pseudo(self.magic))
    }

    fn is_exclusive(&self) -> bool {
        // Names come and go with what they stand for.
        false
    }

    fn keeps_names(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Directories and files in a table: the fixed part of a tree.
#[derive(Debug)]
pub enum Fixed {
    /// A directory with these entries.
    Dir(&'static [(&'static str, Fixed)]),
    /// A file that is made by this function, with its permission bits.
    File(u32, fn(&Reader) -> SysResult<Vec<u8>>),
    /// A file with this text.
    Text(&'static str),
    /// A file that can be written as well.
    Writable(u32, fn(&Reader) -> SysResult<Vec<u8>>, fn(&Reader, &[u8]) -> SysResult<()>),
    /// A symbolic link.
    Link(&'static str),
    /// A directory that is made by this function, of the device and inode number.
    Made(fn(u64, u64) -> Box<dyn Directory>),
    /// A symbolic link whose text depends on the reader.
    LinkTo(fn(&Reader) -> SysResult<Vec<u8>>),
}

struct WritableFile {
    read: fn(&Reader) -> SysResult<Vec<u8>>,
    write: fn(&Reader, &[u8]) -> SysResult<()>,
}

impl Content for WritableFile {
    fn read(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        (self.read)(reader)
    }

    fn write(&self, reader: &Reader, data: &[u8]) -> SysResult<()> {
        (self.write)(reader, data)
    }
}

/// A directory of [`Fixed`] entries.
#[derive(Debug)]
pub struct FixedDir {
    /// Device number.
    pub dev: u64,
    /// Its own inode number; its entries' are made of it.
    pub ino: u64,
    /// The entries.
    pub entries: &'static [(&'static str, Fixed)],
}

/// Entries of a fixed directory are few; their numbers are made of the directory's and their places.
const FIXED_MAX: u64 = 256;

impl FixedDir {
    fn child_ino(&self, at: usize) -> u64 {
        self.ino.wrapping_mul(FIXED_MAX).wrapping_add(at as u64 + 1)
    }

    fn node(&self, at: usize, entry: &'static Fixed) -> Node {
        let (dev, ino) = (self.dev, self.child_ino(at));
        let (mode, body) = match entry {
            Fixed::Dir(entries) => (0o555, Body::Dir(Box::new(FixedDir { dev, ino, entries }))),
            Fixed::Made(make) => (0o555, Body::Dir(make(dev, ino))),
            Fixed::File(mode, read) => (*mode, Body::File(Box::new(*read))),
            Fixed::Text(text) => (0o444, Body::File(Box::new(|_: &Reader| Ok(text.as_bytes().to_vec())))),
            Fixed::Writable(mode, read, write) => {
                (*mode, Body::File(Box::new(WritableFile { read: *read, write: *write })))
            }
            Fixed::LinkTo(text) => (0o777, Body::Link(Box::new(*text))),
            Fixed::Link(to) => (0o777, Body::Link(Box::new(|_: &Reader| Ok(to.as_bytes().to_vec())))),
        };
        Node::new(dev, ino, mode, body)
    }
}

impl Directory for FixedDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        self.lookup_fixed(name)
    }

    fn lookup_fixed(&self, name: &[u8]) -> SysResult<Node> {
        let found = self.entries.iter().enumerate().find(|(_, (known, _))| known.as_bytes() == name);
        found.map(|(at, (_, entry))| self.node(at, entry)).ok_or(Errno::NOENT)
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let listed = |(at, (name, entry)): (usize, &(&str, Fixed))| Listed {
            at: at as u64,
            name: name.as_bytes().to_vec(),
            kind: match entry {
                Fixed::Dir(_) | Fixed::Made(_) => FileKind::Directory,
                Fixed::Link(_) | Fixed::LinkTo(_) => FileKind::Symlink,
                _ => FileKind::Regular,
            },
            ino: self.child_ino(at),
        };
        Ok(self.entries.iter().enumerate().map(listed).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
