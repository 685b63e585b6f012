//! Names of `AF_UNIX` sockets: paths, and the abstract name space.

use super::endpoint::Endpoint;
use super::{Kind, path};
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::net::address::SockAddr;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// `sizeof(((struct sockaddr_un *)0)->sun_path)`.
const PATH_MAX: usize = 108;

/// A name that a socket is bound to, or that a call gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// A path in the file system, without its NUL.
    Path(Box<[u8]>),
    /// Any bytes, without the NUL that leads them in `sun_path`.
    Abstract(Box<[u8]>),
}

impl Name {
    /// What an address names; `None` if nothing (`sun_path` is empty).
    pub(super) fn parse(address: &SockAddr) -> SysResult<Option<Name>> {
        let path = address.rest();
        if address.family()? != libc::AF_UNIX || path.len() > PATH_MAX {
            return Err(Errno::INVAL);
        }
        Ok(match path {
            [] => None,
            [0, name @ ..] => Some(Name::Abstract(name.into())),
            path => Some(Name::Path(path.split(|b| *b == 0).next().unwrap_or_default().into())),
        })
    }

    /// As `getsockname` gives it.
    pub(super) fn to_address(name: Option<&Name>) -> SockAddr {
        let path = match name {
            None => Vec::new(),
            Some(Name::Path(path)) => [path, [0].as_slice()].concat(),
            Some(Name::Abstract(name)) => [[0].as_slice(), name].concat(),
        };
        SockAddr::new(libc::AF_UNIX, &path)
    }
}

/// As on Linux, a name is free for each kind of socket.
type Table = HashMap<(Kind, Box<[u8]>), Weak<Endpoint>>;

/// The abstract names of a network namespace.
#[derive(Debug, Default)]
pub(in crate::net) struct Names(Mutex<Table>);

/// Gives `name` to `end`.
pub(super) fn bind(t: &Task, name: &Name, end: &Arc<Endpoint>) -> SysResult<()> {
    match name {
        Name::Path(path) => path::bind(t, path, end),
        Name::Abstract(name) => bind_abstract(name, end),
    }
}

fn bind_abstract(name: &[u8], end: &Arc<Endpoint>) -> SysResult<()> {
    let mut names = end.net.names.0.lock();
    let key = (end.kind, name.into());
    if names.get(&key).is_some_and(|old| old.strong_count() > 0) {
        return Err(Errno::ADDRINUSE);
    }
    names.insert(key, Arc::downgrade(end));
    Ok(())
}

/// Finds a free abstract name of five hexadecimal digits for `end`.
pub(super) fn autobind(end: &Arc<Endpoint>) -> SysResult<Name> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1 << 20 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff;
        let name = format!("{number:05x}").into_bytes();
        match bind_abstract(&name, end) {
            Err(Errno::ADDRINUSE) => {}
            done => return done.map(|()| Name::Abstract(name.into())),
        }
    }
    Err(Errno::NOSPC)
}

/// `end` goes: the name is free again, if it was its own.
pub(super) fn release(end: &Endpoint, name: &Name) {
    if let Name::Abstract(name) = name {
        let mut names = end.net.names.0.lock();
        let key = (end.kind, name.clone());
        if names.get(&key).is_some_and(|bound| std::ptr::eq(bound.as_ptr(), end)) {
            names.remove(&key);
        }
    }
}

/// The socket of the kind of `end`, which looks for it, that is bound to `name`.
pub(super) fn find(t: Option<&Task>, end: &Endpoint, name: &Name) -> SysResult<Arc<Endpoint>> {
    let kind = end.kind;
    let found = match name {
        Name::Path(path) => path::find(t, path)?,
        Name::Abstract(name) => {
            let names = end.net.names.0.lock();
            names.get(&(kind, name.clone())).and_then(Weak::upgrade).ok_or(Errno::CONNREFUSED)?
        }
    };
    if found.kind == kind { Ok(found) } else { Err(Errno::PROTOTYPE) }
}
