//! Descriptors that the caller of the sandbox handed in: pipes, files, terminals, sockets of the host.
//!
//! The host's open descriptions are shared with processes outside: their flags and modes are left as they are,
//! and nothing here may sleep in the host. Readiness is [`host_events`](super::host_events)'.

use super::attr::{Attr, FileKind, makedev};
use super::file::{File, FileOps, OFFSET_APPEND, Written};
use super::host_events::Watched;
use super::inode::Caller;
use crate::abi::{Termios, Termios2, Timespec, Winsize};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::sync::Mutex;
use rustix::fs::{SeekFrom, fstat};
use rustix::io::ReadWriteFlags;
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcgetwinsize, tcsetattr};
use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Most bytes in one write to a terminal: what it takes for certain when it says that it is writable.
const TERMINAL_CHUNK: usize = 256;

/// A host descriptor as a file of the sandbox.
pub struct HostStdio {
    shared: Arc<Watched>,
    kind: FileKind,
    is_terminal: bool,
    /// Regular files: where the last read or write through here ended.
    end: Mutex<u64>,
}

impl std::fmt::Debug for HostStdio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostStdio({:?})", self.kind)
    }
}

impl HostStdio {
    /// An open description of `fd`, with the flags that it has on the host.
    pub fn open(fd: OwnedFd) -> SysResult<Arc<File>> {
        let flags = rustix::fs::fcntl_getfl(&fd)?.bits() as i32;
        let kept = libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK;
        let kind = FileKind::from_mode(fstat(&fd)?.st_mode).unwrap_or(FileKind::CharDevice);
        let is_terminal = kind == FileKind::CharDevice && tcgetattr(&fd).is_ok();
        let start = rustix::fs::tell(&fd).unwrap_or(0);
        let shared = Arc::new(Watched::new(fd));
        if kind != FileKind::Regular {
            shared.watch(Watched::ALL)?;
        }
        let file = File::anonymous(HostStdio { shared, kind, is_terminal, end: Mutex::new(start) }, flags & kept);
        *file.pos.lock() = start;
        Ok(file)
    }

    fn is_regular(&self) -> bool {
        self.kind == FileKind::Regular
    }

    fn ready(&self) -> Events {
        self.shared.ready()
    }

    /// Reads what is there, from a stream.
    fn read_stream(&self, buf: &mut [u8]) -> SysResult<usize> {
        let fd = &self.shared.fd;
        if !self.is_terminal {
            // -1 stands for the stream's own position.
            match rustix::io::preadv2(fd, &mut [IoSliceMut::new(buf)], u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                done => return Ok(done?),
            }
        }
        if !self.ready().intersects(Events::IN | Events::HUP | Events::ERR) {
            return Err(Errno::AGAIN);
        }
        Ok(rustix::io::read(fd, buf)?)
    }

    /// Writes what fits, to a stream.
    fn write_stream(&self, buf: &[u8]) -> SysResult<usize> {
        let fd = &self.shared.fd;
        if !self.is_terminal {
            match rustix::io::pwritev2(fd, &[IoSlice::new(buf)], u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                done => return Ok(done?),
            }
        }
        if !self.ready().intersects(Events::OUT | Events::HUP | Events::ERR) {
            return Err(Errno::AGAIN);
        }
        let chunk = buf.get(..buf.len().min(TERMINAL_CHUNK)).unwrap_or(buf);
        Ok(rustix::io::write(fd, chunk)?)
    }

    fn write_file(&self, buf: &[u8], offset: u64) -> SysResult<Written> {
        let fd = &self.shared.fd;
        let mut end = self.end.lock();
        let count = if offset == OFFSET_APPEND {
            rustix::io::pwritev2(fd, &[IoSlice::new(buf)], u64::MAX, ReadWriteFlags::APPEND)?
        } else if offset == *end {
            // The next in a row: at the position that is shared with others, who may have written meanwhile.
            rustix::io::write(fd, buf)?
        } else {
            rustix::fs::seek(fd, SeekFrom::Start(offset))?;
            rustix::io::write(fd, buf)?
        };
        *end = rustix::fs::tell(fd)?;
        Ok(Written { count, end: *end })
    }

    fn read_file(&self, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        let fd = &self.shared.fd;
        let mut end = self.end.lock();
        let count = rustix::io::pread(fd, buf, offset)?;
        // A reader outside goes on where this one stopped.
        *end = rustix::fs::seek(fd, SeekFrom::Start(offset.saturating_add(count as u64)))?;
        Ok(count)
    }
}

impl FileOps for HostStdio {
    fn read(&self, _: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        if self.is_regular() { self.read_file(buf, offset) } else { self.read_stream(buf) }
    }

    fn write(&self, _: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        if self.is_regular() {
            return self.write_file(buf, offset);
        }
        Ok(Written { count: self.write_stream(buf)?, end: 0 })
    }

    fn is_seekable(&self) -> bool {
        self.is_regular()
    }

    fn size(&self) -> SysResult<u64> {
        if !self.is_regular() {
            return Err(Errno::SPIPE);
        }
        Ok(fstat(&self.shared.fd)?.st_size as u64)
    }

    fn ioctl(&self, t: &Task, _: &File, cmd: u32, arg: u64) -> SysResult {
        if self.is_terminal { self.terminal_ioctl(t, cmd, Addr(arg)) } else { self.plain_ioctl(t, cmd, Addr(arg)) }
    }

    fn poll(&self, _: &File) -> Events {
        if self.is_regular() {
            return Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM;
        }
        self.ready()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        if self.is_regular() { None } else { Some(&self.shared.queue) }
    }

    fn sync(&self) -> SysResult<()> {
        Ok(rustix::fs::fsync(&self.shared.fd)?)
    }

    fn truncate(&self, length: u64) -> SysResult<()> {
        Ok(rustix::fs::ftruncate(&self.shared.fd, length)?)
    }

    fn mmap(&self, file: &File, shared: bool, writable: bool) -> SysResult<Arc<OwnedFd>> {
        if !self.is_regular() {
            return Err(Errno::NODEV);
        }
        if (shared && writable && !file.is_writable()) || !file.is_readable() {
            return Err(Errno::ACCES);
        }
        // It has exactly the access mode of the guest's description.
        Ok(Arc::new(rustix::io::fcntl_dupfd_cloexec(&self.shared.fd, 0)?))
    }

    fn attr(&self) -> Option<Attr> {
        let stat = fstat(&self.shared.fd).ok()?;
        let time = |sec: i64, nsec: u64| Timespec { sec, nsec: nsec as i64 };
        let mut attr = Attr::new(stat.st_dev, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid);
        attr.nlink = stat.st_nlink as u32;
        attr.rdev = stat.st_rdev;
        attr.size = stat.st_size as u64;
        attr.blksize = stat.st_blksize as u32;
        attr.blocks = stat.st_blocks as u64;
        attr.atime = time(stat.st_atime, stat.st_atime_nsec);
        attr.mtime = time(stat.st_mtime, stat.st_mtime_nsec);
        attr.ctime = time(stat.st_ctime, stat.st_ctime_nsec);
        Some(attr)
    }

    fn reopen(&self, _: &Caller<'_>, _: i32) -> SysResult<Box<dyn FileOps>> {
        // The host's description is the only one there is: the new one shares it.
        let (shared, end) = (self.shared.clone(), Mutex::new(*self.end.lock()));
        Ok(Box::new(HostStdio { shared, kind: self.kind, is_terminal: self.is_terminal, end }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        let (ino, rdev) = fstat(&self.shared.fd).map_or((0, 0), |stat| (stat.st_ino, stat.st_rdev));
        match self.kind {
            FileKind::Fifo => format!("pipe:[{ino}]"),
            FileKind::Socket => format!("socket:[{ino}]"),
            FileKind::Regular => format!("/dev/host-file:[{ino}]"),
            _ if rdev == makedev(1, 3) => "/dev/null".into(),
            _ => format!("/dev/host-tty:[{ino}]"),
        }
    }
}

impl HostStdio {
    fn plain_ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        match libc::Ioctl::from(cmd) {
            libc::FIONREAD if self.kind != FileKind::CharDevice => self.readable(t, arg),
            _ => Err(Errno::NOTTY),
        }
    }

    /// Modes and size of the host's terminal; nothing that concerns its sessions, which are not the sandbox's,
    /// and nothing that puts input into it.
    fn terminal_ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        let fd = &self.shared.fd;
        let modes = || tcgetattr(fd).map(|host| Termios::from(&host));
        let when = |first: u32| match cmd - first {
            0 => OptionalActions::Now,
            1 => OptionalActions::Drain,
            _ => OptionalActions::Flush,
        };
        match u64::from(cmd) {
            libc::TCGETS => t.mem().write(arg, &modes()?)?,
            libc::TCGETS2 => t.mem().write(arg, &Termios2::of(modes()?))?,
            libc::TCSETS | libc::TCSETSW | libc::TCSETSF => {
                self.set_modes(t.mem().read(arg)?, when(libc::TCSETS as u32))?;
            }
            libc::TCSETS2 | libc::TCSETSW2 | libc::TCSETSF2 => {
                let wanted: Termios2 = t.mem().read(arg)?;
                self.set_modes(wanted.termios, when(libc::TCSETS2 as u32))?;
            }
            libc::TIOCGWINSZ => {
                let size = tcgetwinsize(fd)?;
                let (xpixel, ypixel) = (size.ws_xpixel, size.ws_ypixel);
                t.mem().write(arg, &Winsize { rows: size.ws_row, cols: size.ws_col, xpixel, ypixel })?;
            }
            libc::TCFLSH => {
                let queue = match arg.0 as i32 {
                    libc::TCIFLUSH => QueueSelector::IFlush,
                    libc::TCOFLUSH => QueueSelector::OFlush,
                    libc::TCIOFLUSH => QueueSelector::IOFlush,
                    _ => return Err(Errno::INVAL),
                };
                tcflush(fd, queue)?;
            }
            libc::FIONREAD => return self.readable(t, arg),
            _ => return Err(Errno::NOTTY),
        }
        Ok(0)
    }

    fn set_modes(&self, wanted: Termios, when: OptionalActions) -> SysResult<()> {
        let mut host = tcgetattr(&self.shared.fd)?;
        wanted.apply_to(&mut host);
        Ok(tcsetattr(&self.shared.fd, when, &host)?)
    }

    fn readable(&self, t: &Task, arg: Addr) -> SysResult {
        let count = i32::try_from(rustix::io::ioctl_fionread(&self.shared.fd)?).unwrap_or(i32::MAX);
        t.mem().write(arg, &count).map(|()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn a_pipe_never_blocks() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let file = HostStdio::open(reader).unwrap();
        let mut buf = [0; 8];
        assert_eq!(file.ops.read(&file, &mut buf, 0), Err(Errno::AGAIN));
        rustix::io::write(&writer, b"abc").unwrap();
        assert!(file.ops.poll(&file).contains(Events::IN));
        assert_eq!(file.ops.read(&file, &mut buf, 0), Ok(3));
        drop(writer);
        assert_eq!(file.ops.read(&file, &mut buf, 0), Ok(0));
        assert!(file.ops.poll(&file).contains(Events::HUP));
    }

    #[test]
    fn a_full_pipe_takes_no_more() {
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let file = HostStdio::open(writer).unwrap();
        let chunk = vec![0; 1 << 20];
        assert_eq!(file.ops.write(&file, &chunk, 0).map(|w| w.count), Ok(1 << 16));
        assert_eq!(file.ops.write(&file, &chunk, 0).map(|w| w.count), Err(Errno::AGAIN));
    }

    #[test]
    fn a_file_is_shared_with_writers_outside() {
        let mut outside = std::fs::File::from(rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::empty()).unwrap());
        outside.write_all(b"before ").unwrap();
        let file = HostStdio::open(outside.try_clone().unwrap().into()).unwrap();
        let mut pos = *file.pos.lock();
        assert_eq!(pos, 7);
        pos = file.ops.write(&file, b"one ", pos).unwrap().end;
        outside.write_all(b"two ").unwrap();
        pos = file.ops.write(&file, b"three", pos).unwrap().end;
        outside.rewind().unwrap();
        let mut text = String::new();
        outside.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before one two three");
        assert_eq!(pos, text.len() as u64);
    }

    #[test]
    fn readiness_is_announced() {
        use crate::executor::Observer;
        struct Flag(std::sync::mpsc::Sender<Events>);
        impl Observer for Flag {
            fn notify(&self, events: Events) {
                let _ = self.0.send(events);
            }
        }
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let file = HostStdio::open(reader).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        file.ops.wait_queue().unwrap().add(Events::READABLE, Arc::new(Flag(sender)));
        rustix::io::write(&writer, b"x").unwrap();
        let events = told.recv_timeout(std::time::Duration::from_secs(5)).unwrap();
        assert!(events.contains(Events::IN));
    }
}
