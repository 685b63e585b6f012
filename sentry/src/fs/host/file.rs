//! Open files and directories of the host.

use super::inode::HostInode;
use crate::errno::{Errno, SysResult};
use crate::fs::counters::{HOST_LISTS, HOST_READS, HOST_WRITES};
use crate::fs::file::{Emit, File, FileOps, OFFSET_APPEND, Written};
use crate::fs::inode::Inode;
use crate::fs::view::{View, Window};
use crate::sync::Mutex;
use rustix::fs::{FallocateFlags, OFlags, RawDir, SeekFrom};
use std::any::Any;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An open regular file. Its host position is nobody's: all I/O names its offset.
pub(super) struct HostFile {
    inode: Arc<HostInode>,
    fd: Arc<OwnedFd>,
    window: Window,
}

impl HostFile {
    pub(super) fn open(inode: Arc<HostInode>, flags: i32) -> SysResult<HostFile> {
        let access = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => OFlags::RDONLY,
            libc::O_WRONLY => OFlags::WRONLY,
            _ => OFlags::RDWR,
        };
        if access != OFlags::RDONLY && !inode.fs.writable {
            return Err(Errno::ROFS);
        }
        let synced = OFlags::from_bits_retain((flags & (libc::O_SYNC | libc::O_DSYNC)).cast_unsigned());
        let made = inode.fs.made.take(&inode).filter(|_| access != OFlags::RDONLY && synced.is_empty());
        let fd = match made {
            Some(fd) => inode.opened(fd),
            None if access == OFlags::RDONLY => inode.open_to_read()?,
            None => inode.open_host(access | synced)?,
        };
        Ok(HostFile { inode, fd, window: Window::default() })
    }
}

impl FileOps for HostFile {
    fn read(&self, _: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        HOST_READS.add();
        Ok(rustix::io::pread(&self.fd, buf, offset)?)
    }

    fn write(&self, _: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        HOST_WRITES.add();
        if offset != OFFSET_APPEND {
            let count = rustix::io::pwrite(&self.fd, buf, offset)?;
            return Ok(Written { count, end: offset + count as u64 });
        }
        let bufs = [std::io::IoSlice::new(buf)];
        let count = rustix::io::pwritev2(&self.fd, &bufs, 0, rustix::io::ReadWriteFlags::APPEND)?;
        Ok(Written { count, end: self.size()? })
    }

    fn view(&self, offset: u64, len: usize, writes: bool) -> Option<View> {
        if writes || !self.inode.fs.exclusive {
            return None;
        }
        self.window.view(&self.fd, offset, len, self.size().ok()?, false)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        if self.inode.fs.exclusive {
            return self.inode.attr().map(|attr| attr.size);
        }
        Ok(rustix::fs::fstat(&self.fd)?.st_size.unsigned_abs())
    }

    fn seek_data(&self, offset: u64, data: bool) -> SysResult<u64> {
        Ok(rustix::fs::seek(&self.fd, if data { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) })?)
    }

    fn sync(&self) -> SysResult<()> {
        if self.inode.fs.writable { Ok(rustix::fs::fsync(&self.fd)?) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> SysResult<()> {
        Ok(rustix::fs::ftruncate(&self.fd, length)?)
    }

    fn fallocate(&self, mode: i32, offset: u64, length: u64) -> SysResult<()> {
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        Ok(rustix::fs::fallocate(&self.fd, mode, offset, length)?)
    }

    fn mmap(&self, _: &File, shared: bool, writable: bool) -> SysResult<Arc<OwnedFd>> {
        if shared && !writable && self.inode.fs.writable {
            return self.inode.open_host(OFlags::RDONLY);
        }
        Ok(self.fd.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open directory. Positions are the host's cookies.
pub(super) struct HostDir {
    inode: Arc<HostInode>,
    /// Locked over a listing: its position moves.
    listed: Mutex<Listed>,
}

/// A descriptor for listing.
struct Listed {
    fd: Arc<OwnedFd>,
    /// Its position, if it stands where a listing would go on.
    at: Option<u64>,
}

/// Entries asked of the host at once, in bytes.
const LIST_BUFFER: usize = 32 * 1024;

impl HostDir {
    pub(super) fn open(inode: Arc<HostInode>) -> SysResult<HostDir> {
        let fd = inode.open_to_list()?;
        Ok(HostDir { inode, listed: Mutex::new(Listed { fd, at: Some(0) }) })
    }
}

impl FileOps for HostDir {
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> SysResult<usize> {
        Err(Errno::ISDIR)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        Ok(i64::MAX as u64)
    }

    fn readdir(&self, _: &File, pos: &mut u64, emit: &mut Emit<'_>) -> SysResult<()> {
        HOST_LISTS.add();
        let mut listed = self.listed.lock();
        let fd = listed.fd.clone();
        if listed.at.take() != Some(*pos) {
            rustix::fs::seek(&*fd, SeekFrom::Start(*pos))?;
        }
        let mut space = [MaybeUninit::uninit(); LIST_BUFFER];
        let mut listing = RawDir::new(&*fd, &mut space);
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let next = entry.next_entry_cookie();
            let dtype = (rustix::fs::FileType::as_raw_mode(entry.file_type()) >> 12) as u8;
            if !emit(entry.file_name().to_bytes(), entry.ino(), dtype, next) {
                return Ok(());
            }
            *pos = next;
        }
        listed.at = Some(*pos);
        Ok(())
    }

    fn sync(&self) -> SysResult<()> {
        let fd = self.listed.lock().fd.clone();
        if self.inode.fs.writable { Ok(rustix::fs::fsync(fd)?) } else { Ok(()) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
