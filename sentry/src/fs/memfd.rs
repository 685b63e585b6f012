//! Files that live in memory only (`memfd_create(2)`).

use super::attr::Attr;
use super::file::{File, FileOps, Written};
use super::inode::{Caller, Inode};
use super::tmpfs::{self, Node, TmpFile};
use crate::errno::{Errno, SysResult};
use crate::kernel::Creds;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Longest name: what `/proc/PID/fd` shows must be a file name with `memfd:` in front.
pub const NAME_MAX: usize = 249;

/// `MFD_NOEXEC_SEAL`, `MFD_EXEC`.
const MFD_NOEXEC_SEAL: u32 = 0x8;
const MFD_EXEC: u32 = 0x10;
/// `F_SEAL_SEAL`, `F_SEAL_EXEC`.
const SEAL_SEAL: u32 = 0x1;
const SEAL_EXEC: u32 = 0x20;

/// An open memory file.
pub struct MemFile {
    node: Arc<Node>,
    ops: TmpFile,
    name: Vec<u8>,
}

impl std::fmt::Debug for MemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemFile({})", self.describe())
    }
}

/// Makes one. `name` is what was read of the name; checked after the flags, as on Linux.
pub fn create(creds: &Creds, flags: u32, name: SysResult<Vec<u8>>) -> SysResult<Arc<File>> {
    let known = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    if flags & !known != 0 || flags & MFD_EXEC != 0 && flags & MFD_NOEXEC_SEAL != 0 {
        return Err(Errno::INVAL);
    }
    let name = name?;
    let (mode, seals) = match flags {
        flags if flags & MFD_NOEXEC_SEAL != 0 => (0o666, SEAL_EXEC),
        flags if flags & libc::MFD_ALLOW_SEALING != 0 => (0o777, 0),
        _ => (0o777, SEAL_SEAL),
    };
    open(tmpfs::unnamed_file(mode, creds.fsuid, creds.fsgid, seals)?, &name)
}

/// A new description of the memory behind `node`.
pub fn open(node: Arc<Node>, name: &[u8]) -> SysResult<Arc<File>> {
    let ops = TmpFile::open(node.clone(), &Caller::kernel(), libc::O_RDWR)?;
    Ok(File::anonymous(MemFile { node, ops, name: name.to_vec() }, libc::O_RDWR | super::open::O_LARGEFILE))
}

impl MemFile {
    /// The open file.
    pub fn file(&self) -> &TmpFile {
        &self.ops
    }

    /// Its inode.
    pub fn inode(&self) -> Arc<dyn Inode> {
        self.node.clone()
    }
}

impl FileOps for MemFile {
    fn read(&self, file: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        self.ops.read(file, buf, offset)
    }

    fn write(&self, file: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        self.ops.write(file, buf, offset)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        self.ops.size()
    }

    fn seek_data(&self, offset: u64, data: bool) -> SysResult<u64> {
        self.ops.seek_data(offset, data)
    }

    fn sync(&self) -> SysResult<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> SysResult<()> {
        self.ops.truncate(length)
    }

    fn fallocate(&self, mode: i32, offset: u64, length: u64) -> SysResult<()> {
        self.ops.fallocate(mode, offset, length)
    }

    fn mmap(&self, file: &File, shared: bool, writable: bool) -> SysResult<Arc<OwnedFd>> {
        self.ops.mmap(file, shared, writable)
    }

    fn attr(&self) -> Option<Attr> {
        self.node.attr().ok()
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.node.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        format!("/memfd:{} (deleted)", String::from_utf8_lossy(&self.name))
    }
}
