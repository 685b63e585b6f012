//! The socket operations of `AF_NETLINK`. The other side is the sentry, which answers at once.

use super::message::requests;
use super::route;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::{Cap, Task};
use crate::net::address::SockAddr;
use crate::net::diag::Diag;
use crate::net::message::{Incoming, Outgoing};
use crate::net::options::{Options, Value, int};
use crate::net::socket::SocketOps;
use crate::sync::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use zerocopy::IntoBytes;

const SOL_NETLINK: i32 = 270;
/// Highest option of `SOL_NETLINK` (`NETLINK_GET_STRICT_CHK`).
const OPTION_MAX: i32 = 12;

/// The addresses in use.
static IDS: LazyLock<Mutex<HashSet<u32>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct State {
    /// Its address (`nl_pid`); 0 if it has none yet.
    id: u32,
    groups: u32,
    inbox: VecDeque<Vec<u8>>,
    bytes: usize,
    settings: BTreeMap<i32, i32>,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    options: Arc<Options>,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl NetlinkSocket {
    pub(super) fn new(options: Arc<Options>) -> NetlinkSocket {
        NetlinkSocket { options, state: Mutex::default(), queue: WaitQueue::new() }
    }

    /// Gives it an address: its process's id, or any that is free.
    fn autobind(&self, t: &Task) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(0x8000_1000);
        let mut state = self.state.lock();
        if state.id == 0 {
            let mut ids = IDS.lock();
            let mut id = t.group.tgid as u32;
            while !ids.insert(id) {
                id = NEXT.fetch_add(1, Ordering::Relaxed);
            }
            state.id = id;
        }
        state.id
    }
}

fn parse(address: &SockAddr) -> SysResult<(u32, u32)> {
    if address.family()? != libc::AF_NETLINK {
        return Err(Errno::INVAL);
    }
    let fields = address.rest().get(2..).and_then(|rest| rest.first_chunk::<8>()).ok_or(Errno::INVAL)?;
    let [a, b, c, d, e, f, g, h] = *fields;
    Ok((u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])))
}

fn to_guest(id: u32, groups: u32) -> SockAddr {
    SockAddr::new(libc::AF_NETLINK, &[[0, 0].as_slice(), &id.to_ne_bytes(), &groups.to_ne_bytes()].concat())
}

impl Drop for NetlinkSocket {
    fn drop(&mut self) {
        let id = self.state.lock().id;
        IDS.lock().remove(&id);
    }
}

impl SocketOps for NetlinkSocket {
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()> {
        let (id, groups) = parse(address)?;
        {
            let mut state = self.state.lock();
            if state.id != 0 && state.id != id {
                return Err(Errno::INVAL);
            }
            if id != 0 && state.id == 0 {
                if !IDS.lock().insert(id) {
                    return Err(Errno::ADDRINUSE);
                }
                state.id = id;
            }
            state.groups = groups;
        }
        self.autobind(t);
        Ok(())
    }

    fn connect(&self, t: &Task, address: &SockAddr, _: bool) -> SysResult<()> {
        if address.family()? == libc::AF_UNSPEC {
            return Ok(());
        }
        let (id, groups) = parse(address)?;
        if groups != 0 && !t.creds().has(Cap::NetAdmin) {
            return Err(Errno::PERM);
        }
        if id != 0 {
            return Err(Errno::CONNREFUSED);
        }
        self.autobind(t);
        Ok(())
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        if message.flags & libc::MSG_OOB != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let (id, groups) = message.to.map_or(Ok((0, 0)), parse)?;
        if groups != 0 {
            return Err(Errno::PERM);
        }
        if id != 0 {
            return Err(Errno::CONNREFUSED);
        }
        let own = message.task.map_or(0, |t| self.autobind(t));
        let is_admin = message.task.is_some_and(|t| t.creds().has(Cap::NetAdmin));
        for request in requests(message.data) {
            let Some(answer) = route::answer(&request, own, is_admin) else { continue };
            let mut state = self.state.lock();
            if state.bytes > self.options.rcvbuf() as usize {
                return Err(Errno::NOBUFS);
            }
            state.bytes += answer.len();
            state.inbox.push_back(answer);
        }
        self.queue.notify(Events::IN | Events::RDNORM);
        Ok(message.data.len())
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        if flags & libc::MSG_OOB != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        self.options.take_error()?;
        let mut state = self.state.lock();
        let answer = state.inbox.front().ok_or(Errno::AGAIN)?;
        let (full, count) = (answer.len(), answer.len().min(buf.len()));
        if let (Some(to), Some(from)) = (buf.get_mut(..count), answer.get(..count)) {
            to.copy_from_slice(from);
        }
        if flags & libc::MSG_PEEK == 0 {
            state.inbox.pop_front();
            state.bytes -= full;
        }
        Ok(Incoming {
            count,
            full,
            from: Some(to_guest(0, 0)),
            flags: if count < full { libc::MSG_TRUNC } else { 0 },
            ends: true,
            ..Incoming::default()
        })
    }

    fn shutdown(&self, _: i32) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        let state = self.state.lock();
        Ok(to_guest(state.id, state.groups))
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        Ok(to_guest(0, 0))
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, _: usize) -> SysResult<Value> {
        if level != SOL_NETLINK || !(1..=OPTION_MAX).contains(&name) {
            return Err(Errno::NOPROTOOPT);
        }
        let value = self.state.lock().settings.get(&name).copied().unwrap_or(0);
        Ok(value.as_bytes().into())
    }

    fn set_option(&self, _: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        if level != SOL_NETLINK || !(1..=OPTION_MAX).contains(&name) {
            return Err(Errno::NOPROTOOPT);
        }
        // Links, addresses and routes never change, so members of a group wait for nothing.
        self.state.lock().settings.insert(name, int(value)?);
        Ok(())
    }

    fn poll(&self) -> Events {
        let mut ready = Events::OUT | Events::WRNORM | Events::WRBAND;
        ready.set(Events::IN | Events::RDNORM, !self.state.lock().inbox.is_empty());
        ready.set(Events::ERR, self.options.has_error());
        ready
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }

    fn diag(&self) -> Diag {
        let state = self.state.lock();
        Diag::Netlink(state.id, state.groups, state.bytes)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
