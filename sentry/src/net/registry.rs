//! All open sockets, by inode number: what `/proc/net` and `NETLINK_SOCK_DIAG` list of those in a namespace.

use super::namespace::Net;
use super::socket::Socket;
use crate::fs::File;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Weak};

static SOCKETS: LazyLock<Mutex<BTreeMap<u64, Weak<File>>>> = LazyLock::new(Mutex::default);

/// A socket has become a file.
pub(super) fn add(socket: &Socket, file: &Arc<File>) {
    SOCKETS.lock().insert(socket.ino(), Arc::downgrade(file));
}

/// The socket is closed.
pub(super) fn remove(ino: u64) {
    SOCKETS.lock().remove(&ino);
}

/// The open descriptions of all sockets of all namespaces, oldest first.
fn all() -> Vec<Arc<File>> {
    // What is dropped here may be the last reference, whose end takes the lock.
    SOCKETS.lock().values().filter_map(Weak::upgrade).collect()
}

/// Those of a namespace.
pub fn all_of(net: &Net) -> Vec<Arc<File>> {
    let is_there = |file: &Arc<File>| file.downcast::<Socket>().is_some_and(|socket| std::ptr::eq(&*socket.net, net));
    all().into_iter().filter(is_there).collect()
}
