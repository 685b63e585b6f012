//! Ancillary data of messages (`cmsg(3)`).

use crate::abi::Cmsghdr;
use crate::errno::{Errno, SysResult};
use crate::fs::{File, pidfd};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::net::message::{Control, Ucred};
use crate::net::rights::{MAX_PER_MESSAGE, Rights};
use crate::net::socket::Socket;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// `net.core.optmem_max`: most ancillary data of one message.
const CONTROL_MAX: u64 = 128 << 10;
const HEADER: usize = size_of::<Cmsghdr>();

/// What a message carries beside its data.
#[derive(Debug, Default)]
pub(super) struct Ancillary {
    pub(super) rights: Rights,
    pub(super) creds: Option<Ucred>,
    pub(super) control: Vec<Control>,
}

/// Copies in and checks ancillary data.
pub(super) fn read_control(t: &Task, socket: &Socket, addr: Addr, len: u64) -> SysResult<Ancillary> {
    if addr.is_null() || len == 0 {
        return Ok(Ancillary::default());
    }
    if len > CONTROL_MAX {
        return Err(Errno::NOBUFS);
    }
    let mut bytes = vec![0; len as usize];
    t.mem().read_bytes(addr, &mut bytes)?;
    let mut found = Ancillary::default();
    let mut files = Vec::new();
    let mut rest = bytes.as_slice();
    while let Ok((header, after)) = Cmsghdr::read_from_prefix(rest) {
        let data_len = usize::try_from(header.len).ok().and_then(|len| len.checked_sub(HEADER)).ok_or(Errno::INVAL)?;
        let data = after.get(..data_len).ok_or(Errno::INVAL)?;
        match (header.level, header.kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) if socket.family == libc::AF_UNIX => read_files(t, data, &mut files)?,
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => found.creds = Some(read_creds(t, data)?),
            (libc::SOL_SOCKET, _) => return Err(Errno::INVAL),
            (level, kind) => found.control.push(Control { level, kind, data: data.to_vec() }),
        }
        rest = rest.get((HEADER + data_len).next_multiple_of(8)..).unwrap_or_default();
    }
    found.rights = Rights::new(files, &t.creds(), t.rlimit(libc::RLIMIT_NOFILE))?;
    Ok(found)
}

fn read_files(t: &Task, data: &[u8], files: &mut Vec<Arc<File>>) -> SysResult<()> {
    if files.len() + data.len() / 4 > MAX_PER_MESSAGE {
        return Err(Errno::INVAL);
    }
    let table = t.files();
    for fd in data.as_chunks::<4>().0 {
        files.push(table.get_any(i32::from_ne_bytes(*fd))?);
    }
    Ok(())
}

/// Credentials that the sender may claim: its own, or any with the capabilities.
fn read_creds(t: &Task, data: &[u8]) -> SysResult<Ucred> {
    let claimed = Ucred::read_from_bytes(data).map_err(|_| Errno::INVAL)?;
    let creds = t.creds();
    let pid_ok = claimed.pid == Ucred::of(t).pid || creds.has(Cap::SysAdmin);
    let uid_ok = [creds.uid, creds.euid, creds.suid].contains(&claimed.uid) || creds.has(Cap::Setuid);
    let gid_ok = [creds.gid, creds.egid, creds.sgid].contains(&claimed.gid) || creds.has(Cap::Setgid);
    if pid_ok && uid_ok && gid_ok { Ok(claimed) } else { Err(Errno::PERM) }
}

/// Ancillary data on its way to a guest.
#[derive(Debug)]
pub(super) struct ControlOut {
    addr: Addr,
    room: usize,
    bytes: Vec<u8>,
    truncated: bool,
}

impl ControlOut {
    /// For a guest's buffer of `room` bytes.
    pub(super) fn new(addr: Addr, room: u64) -> ControlOut {
        let room = if addr.is_null() { 0 } else { usize::try_from(room).unwrap_or(usize::MAX) };
        ControlOut { addr, room, bytes: Vec::new(), truncated: false }
    }

    /// Adds all that came with a message, in Linux's order.
    pub(super) fn fill(
        &mut self,
        t: &Task,
        creds: Option<Ucred>,
        files: Vec<Arc<File>>,
        other: &[Control],
        cloexec: bool,
    ) {
        for control in other {
            self.put(control.level, control.kind, &control.data);
        }
        if let Some(creds) = creds {
            self.put(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, creds.as_bytes());
        }
        if !files.is_empty() {
            self.put_files(t, files, cloexec);
        }
    }

    /// Adds a descriptor of the process that sent a message (`SO_PASSPIDFD`); an error in its place if it is gone.
    pub(super) fn put_pidfd(&mut self, t: &Task, pid: i32) {
        /// `SCM_PIDFD`.
        const SCM_PIDFD: i32 = 4;
        if self.left() < HEADER + size_of::<i32>() {
            self.truncated = true;
            return;
        }
        let group = t.kernel.group(pid).ok_or(Errno::SRCH);
        let fd = group.and_then(|group| pidfd::open(t, &group)).unwrap_or_else(|errno| -errno.raw());
        self.put(libc::SOL_SOCKET, SCM_PIDFD, fd.as_bytes());
    }

    fn left(&self) -> usize {
        self.room.saturating_sub(self.bytes.len())
    }

    /// Adds one item; cut if there is too little room (`put_cmsg`).
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let left = self.left();
        if left < HEADER {
            self.truncated = true;
            return;
        }
        let fits = data.len().min(left - HEADER);
        self.truncated |= fits < data.len();
        let header = Cmsghdr { len: (HEADER + fits) as u64, level, kind };
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data.get(..fits).unwrap_or_default());
        let padded = self.bytes.len().next_multiple_of(8).min(self.room);
        self.bytes.resize(padded, 0);
    }

    /// Gives the guest as many descriptors as there is room for; the other files are closed.
    fn put_files(&mut self, t: &Task, files: Vec<Arc<File>>, cloexec: bool) {
        let fits = self.left().saturating_sub(HEADER) / size_of::<i32>();
        let total = files.len();
        let mut fds = Vec::new();
        for file in files.into_iter().take(fits) {
            match t.install(file, cloexec) {
                Ok(fd) => fds.push(fd),
                Err(_) => break,
            }
        }
        self.truncated |= fds.len() < total;
        if !fds.is_empty() {
            self.put(libc::SOL_SOCKET, libc::SCM_RIGHTS, fds.as_bytes());
        }
    }

    /// `MSG_CTRUNC` if something did not fit.
    pub(super) fn flags(&self) -> i32 {
        if self.truncated { libc::MSG_CTRUNC } else { 0 }
    }

    /// Copies out; returns the length.
    pub(super) fn finish(self, t: &Task) -> SysResult<u64> {
        t.mem().write_bytes(self.addr, &self.bytes)?;
        Ok(self.bytes.len() as u64)
    }
}
