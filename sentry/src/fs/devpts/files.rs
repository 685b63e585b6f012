//! Open masters and slaves.

use super::ioctl::{self, Side};
use super::node::{Instance, slave_rdev};
use super::pty::Pty;
use super::{TTY_MAJOR, job};
use crate::errno::SysResult;
use crate::executor::{Events, WaitQueue};
use crate::fs::attr::makedev;
use crate::fs::file::{File, FileOps, Written};
use crate::fs::inode::Caller;
use crate::kernel::{Cap, Task};
use std::any::Any;
use std::sync::Arc;

/// An open master.
#[derive(Debug)]
pub(super) struct MasterFile(pub(super) Arc<Pty>);

impl MasterFile {
    /// Makes a pseudo-terminal.
    pub(super) fn open(instance: &Arc<Instance>, caller: &Caller<'_>) -> SysResult<Box<dyn FileOps>> {
        Ok(Box::new(MasterFile(instance.new_pty(caller)?)))
    }
}

impl Drop for MasterFile {
    fn drop(&mut self) {
        self.0.close_master();
    }
}

impl FileOps for MasterFile {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        self.0.screen(buf)
    }

    fn write(&self, _: &File, buf: &[u8], _: u64) -> SysResult<Written> {
        self.0.type_in(buf).map(|count| Written { count, end: 0 })
    }

    fn ioctl(&self, t: &Task, file: &File, cmd: u32, arg: u64) -> SysResult {
        ioctl::ioctl(t, file, &self.0, Side::Master, cmd, arg)
    }

    fn poll(&self, _: &File) -> Events {
        self.0.poll_master()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.master_queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "/dev/ptmx".into()
    }

    fn fdinfo(&self) -> String {
        format!("tty-index:\t{}\n", self.0.index)
    }
}

/// An open slave.
#[derive(Debug)]
pub(super) struct SlaveFile(pub(super) Arc<Pty>);

impl SlaveFile {
    /// Opens a slave; a session leader without a terminal gets it for its own, unless only to write to it.
    pub(super) fn open(pty: &Arc<Pty>, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        pty.open_slave(caller.creds.has(Cap::SysAdmin))?;
        if let Some(t) = caller.task
            && flags & libc::O_NOCTTY == 0
            && flags & libc::O_ACCMODE != libc::O_WRONLY
        {
            job::adopt(t, pty);
        }
        Ok(Box::new(SlaveFile(pty.clone())))
    }
}

impl Drop for SlaveFile {
    fn drop(&mut self) {
        self.0.close_slave();
    }
}

impl FileOps for SlaveFile {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        self.0.read(buf)
    }

    fn write(&self, _: &File, buf: &[u8], _: u64) -> SysResult<Written> {
        self.0.write(buf).map(|count| Written { count, end: 0 })
    }

    fn check_io(&self, t: &Task, writes: bool) -> SysResult<()> {
        if writes { job::check_write(t, &self.0) } else { job::check_read(t, &self.0) }
    }

    fn ioctl(&self, t: &Task, file: &File, cmd: u32, arg: u64) -> SysResult {
        ioctl::ioctl(t, file, &self.0, Side::Slave, cmd, arg)
    }

    fn poll(&self, _: &File) -> Events {
        self.0.poll_slave()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.slave_queue)
    }

    fn reopen(&self, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        SlaveFile::open(&self.0, caller, flags)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        format!("/dev/pts/{}", self.0.index)
    }
}

/// The terminal behind an open file, for `/proc` and the like: its device number.
pub(super) fn device_number(pty: &Pty) -> u64 {
    if pty.instance.upgrade().is_some() { slave_rdev(pty.index) } else { makedev(TTY_MAJOR, 0) }
}
