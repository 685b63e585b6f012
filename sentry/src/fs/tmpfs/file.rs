//! Open regular files.

use super::data::Regular;
use super::node::{Body, Node};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::now;
use crate::fs::file::{File, FileOps, Written};
use crate::fs::host;
use crate::fs::inode::Caller;
use crate::fs::view::{View, Window};
use crate::sync::{RwLock, RwLockWriteGuard};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a write waits for another one that copies from its guest. As a rule that takes some microseconds; a guest
/// whose memory is not to be had for so long gets its writes mixed with others', and holds nobody up.
const TURN_MAX: Duration = Duration::from_millis(2);

/// An open regular file.
pub struct TmpFile {
    node: Arc<Node>,
    /// The open file of the lower directory, for as long as nothing is written.
    lower: Option<Box<dyn FileOps>>,
    window: Window,
}

impl std::fmt::Debug for TmpFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TmpFile({:?})", self.node)
    }
}

impl TmpFile {
    /// Opens `node`.
    pub fn open(node: Arc<Node>, caller: &Caller<'_>, flags: i32) -> SysResult<TmpFile> {
        let reads = flags & libc::O_ACCMODE != libc::O_WRONLY;
        let below = node.regular()?.read().lower_inode().filter(|_| reads).cloned();
        let lower = below.map(|lower| lower.open(caller, libc::O_RDONLY)).transpose()?;
        Ok(TmpFile { node, lower, window: Window::default() })
    }

    /// `F_GET_SEALS`.
    pub fn seals(&self) -> SysResult<u32> {
        Ok(self.node.regular()?.read().seals())
    }

    /// `F_ADD_SEALS`.
    pub fn add_seals(&self, seals: u32) -> SysResult<()> {
        self.node.regular()?.write().add_seals(&self.node.fs, seals)
    }

    /// The content, once nobody else writes to it.
    fn in_turn(&self) -> SysResult<RwLockWriteGuard<'_, Regular>> {
        let regular = self.node.regular()?;
        let mut since = None;
        loop {
            let content = regular.write();
            if !content.is_written() || since.get_or_insert_with(Instant::now).elapsed() > TURN_MAX {
                return Ok(content);
            }
            drop(content);
            std::thread::yield_now();
        }
    }

    fn lower_if(&self, regular: &Regular) -> Option<&dyn FileOps> {
        self.lower.as_deref().filter(|_| regular.is_lower())
    }
}

impl Node {
    pub(super) fn regular(&self) -> SysResult<&RwLock<Regular>> {
        match &self.body {
            Body::Regular(regular) => Ok(regular),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn set_seals(&self, seals: u32) {
        if let Body::Regular(regular) = &self.body {
            regular.write().init_seals(seals);
        }
    }

    fn modified(&self) {
        let mut meta = self.meta.lock();
        meta.mtime = now();
        meta.ctime = meta.mtime;
    }
}

impl FileOps for TmpFile {
    fn read(&self, file: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        let regular = self.node.regular()?.read();
        match self.lower_if(&regular) {
            Some(lower) => lower.read(file, buf, offset),
            None => regular.read(buf, offset),
        }
    }

    fn write(&self, _: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        self.node.keep();
        let (count, end) = self.in_turn()?.write(&self.node.fs, buf, offset)?;
        self.node.modified();
        Ok(Written { count, end })
    }

    fn view(&self, offset: u64, len: usize, writes: bool) -> Option<View> {
        let regular = self.node.regular().ok()?;
        if writes {
            self.node.keep();
            let view = self.in_turn().ok()?.view_to_write(&self.window, offset, len)?;
            self.node.modified();
            return Some(view);
        }
        let regular = regular.read();
        match self.lower_if(&regular) {
            Some(lower) => lower.view(offset, len, false),
            None => regular.view(&self.window, offset, len),
        }
    }

    fn copied(&self, end: u64) {
        let Ok(regular) = self.node.regular() else { return };
        if !regular.read().is_dense(end) {
            regular.write().recharge_holes(&self.node.fs);
        }
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        self.node.regular()?.read().len()
    }

    fn seek_data(&self, offset: u64, data: bool) -> SysResult<u64> {
        let regular = self.node.regular()?.read();
        match self.lower_if(&regular) {
            Some(lower) => lower.seek_data(offset, data),
            None => regular.seek_data(offset, data),
        }
    }

    fn sync(&self) -> SysResult<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> SysResult<()> {
        self.node.keep();
        self.node.regular()?.write().set_len(&self.node.fs, length)?;
        self.node.modified();
        Ok(())
    }

    fn fallocate(&self, mode: i32, offset: u64, length: u64) -> SysResult<()> {
        self.node.keep();
        self.node.regular()?.write().fallocate(&self.node.fs, mode, offset, length)?;
        self.node.modified();
        Ok(())
    }

    fn mmap(&self, file: &File, shared: bool, writable: bool) -> SysResult<Arc<OwnedFd>> {
        if !(shared && writable) {
            let regular = self.node.regular()?.read();
            if let Some(lower) = self.lower_if(&regular) {
                return lower.mmap(file, shared, writable);
            }
        } else {
            self.node.keep();
        }
        let fd = self.node.regular()?.write().map(&self.node.fs)?;
        // A private mapping cannot reach the file however it was opened; a shared one must not be made
        // writable later by one who could only read.
        if shared && !writable { host::reopen_readonly(&fd) } else { Ok(fd) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
