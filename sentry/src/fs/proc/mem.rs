//! `/proc/PID/mem`: the memory of a process, at the positions of its addresses.

use super::process::Subject;
use crate::errno::{Errno, SysResult};
use crate::fs::file::{File, FileOps, Written};
use crate::fs::pseudo::Reader;
use crate::mm::{Addr, UserMemory};
use std::any::Any;
use std::sync::Arc;

/// The memory that the process had when the file was opened.
struct Memory {
    subject: Arc<Subject>,
    mem: Arc<UserMemory>,
}

/// Opens it for one who may look into the process.
pub(super) fn open(reader: &Reader, subject: &Arc<Subject>) -> SysResult<Box<dyn FileOps>> {
    let mem = subject.inspect(reader)?.mem();
    Ok(Box::new(Memory { subject: subject.clone(), mem }))
}

impl Memory {
    /// What is not there, or may not be written, ends a copy; `EIO` if that is all of it, but for a process that has
    /// no memory any more.
    fn at_edge(&self, done: SysResult<usize>) -> SysResult<usize> {
        match done {
            Err(Errno::FAULT) if self.mem.is_gone() => Ok(0),
            // The host may not have taken it away yet.
            Ok(_) | Err(Errno::FAULT) if self.subject.group.state.lock().is_zombie() => Ok(0),
            Err(Errno::FAULT) => Err(Errno::IO),
            done => done,
        }
    }
}

impl FileOps for Memory {
    fn read(&self, _: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        self.at_edge(self.mem.read_partial(Addr(offset), buf))
    }

    fn write(&self, _: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        let count = self.at_edge(self.mem.write_partial(Addr(offset), buf))?;
        Ok(Written { count, end: offset.saturating_add(count as u64) })
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        Err(Errno::INVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
