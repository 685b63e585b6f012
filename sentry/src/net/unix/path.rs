//! Sockets bound to paths: the inode knows the endpoint as long as that lives.

use super::endpoint::Endpoint;
use crate::errno::{Errno, SysResult};
use crate::fs::access::{self, MAY_WRITE};
use crate::fs::attr::FileKind;
use crate::fs::inode::Caller;
use crate::fs::namei::{self, Make};
use crate::fs::walk::Last;
use crate::kernel::Task;
use crate::syscalls::at;
use std::sync::{Arc, Weak};

/// Makes the socket file `path` for `end`.
pub(super) fn bind(t: &Task, path: &[u8], end: &Arc<Endpoint>) -> SysResult<()> {
    let caller = Caller::of(t);
    let (dir, last) = at::parent(t, &caller, libc::AT_FDCWD, path)?;
    let Last::Name(name, false) = last else { return Err(Errno::ADDRINUSE) };
    let make = Make::new(FileKind::Socket, 0o777 & !t.fs().umask());
    let made = namei::make(&caller, &dir, &name, &make)
        .map_err(|error| if error == Errno::EXIST { Errno::ADDRINUSE } else { error })?;
    *made.inode()?.ext().object.lock() = Some(Arc::new(Bound(Arc::downgrade(end))));
    Ok(())
}

/// The socket bound to `path`: `ECONNREFUSED` if there is none, or no more.
pub(super) fn find(t: Option<&Task>, path: &[u8]) -> SysResult<Arc<Endpoint>> {
    let t = t.ok_or(Errno::INVAL)?;
    let caller = Caller::of(t);
    let place = at::lookup(t, &caller, libc::AT_FDCWD, path, true)?;
    access::may(&caller, &place, MAY_WRITE)?;
    let inode = place.inode()?;
    if inode.kind() != FileKind::Socket {
        return Err(Errno::CONNREFUSED);
    }
    let object = inode.ext().object.lock().clone();
    let bound = object.and_then(|object| object.downcast::<Bound>().ok()).ok_or(Errno::CONNREFUSED)?;
    let end = bound.0.upgrade().ok_or(Errno::CONNREFUSED)?;
    if end.state.lock().dead { Err(Errno::CONNREFUSED) } else { Ok(end) }
}

/// What a socket's inode knows.
struct Bound(Weak<Endpoint>);
