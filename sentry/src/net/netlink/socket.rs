//! The socket operations of `AF_NETLINK`. The other side is the sentry, which answers at once.

use super::message::{AckStyle, Origin, Reply, Request, requests};
use super::route::Asker;
use super::{diag, route};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::{Cap, Task};
use crate::net::address::SockAddr;
use crate::net::diag::Diag;
use crate::net::message::{Control, Incoming, Outgoing, Ucred};
use crate::net::namespace::Net;
use crate::net::options::{Options, Value};
use crate::net::registry;
use crate::net::socket::{Socket, SocketOps};
use crate::sync::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use zerocopy::IntoBytes;

const SOL_NETLINK: i32 = 270;
/// Highest option of `SOL_NETLINK` (`NETLINK_GET_STRICT_CHK`).
const OPTION_MAX: i32 = 12;
const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;
const PKTINFO: i32 = 3;
const RX_RING: i32 = 6;
const TX_RING: i32 = 7;
const LISTEN_ALL_NSID: i32 = 8;
const LIST_MEMBERSHIPS: i32 = 9;
const CAP_ACK: i32 = 10;
const EXT_ACK: i32 = 11;
/// `NETLINK_GET_STRICT_CHK`.
const STRICT: i32 = 12;
/// Groups of a protocol that can be joined.
const GROUPS: u32 = 32;

/// The addresses in use in a namespace, by protocol, and how many sockets are members of groups.
#[derive(Debug, Default)]
pub(in crate::net) struct Ids {
    used: Mutex<HashSet<(i32, u32)>>,
    members: AtomicUsize,
}

impl Ids {
    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.members.load(Ordering::Relaxed) > 0
    }
}

#[derive(Debug, Default)]
struct State {
    /// Its address (`nl_pid`); 0 if it has none yet.
    id: u32,
    groups: u32,
    inbox: VecDeque<Message>,
    bytes: usize,
    settings: BTreeMap<i32, i32>,
}

/// A datagram that waits, and the group it was sent to (0: to this socket alone).
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    group: u32,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    net: Arc<Net>,
    protocol: i32,
    options: Arc<Options>,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl NetlinkSocket {
    pub(super) fn new(net: &Arc<Net>, protocol: i32, options: Arc<Options>) -> NetlinkSocket {
        NetlinkSocket { net: net.clone(), protocol, options, state: Mutex::default(), queue: WaitQueue::new() }
    }

    /// Gives it an address: its process's id, or any that is free.
    fn autobind(&self, t: &Task) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(0x8000_1000);
        let mut state = self.state.lock();
        if state.id == 0 {
            let mut ids = self.net.netlink.used.lock();
            let mut id = t.group.tgid as u32;
            while !ids.insert((self.protocol, id)) {
                id = NEXT.fetch_add(1, Ordering::Relaxed);
            }
            state.id = id;
        }
        state.id
    }
}

impl NetlinkSocket {
    /// What there is to say to a request.
    fn answer(&self, request: &Request<'_>, own: u32, t: Option<&Task>) -> Vec<Vec<u8>> {
        /// The lowest type that is not about netlink itself.
        const FIRST: u16 = 16;
        if !request.has(libc::NLM_F_REQUEST) || request.header.kind < FIRST {
            return self.acknowledge(request, own);
        }
        // Only what asks can be a dump; for others the bits mean something else.
        let asks = self.protocol == libc::NETLINK_SOCK_DIAG || request.header.kind % 4 == 2;
        let dump = asks && request.has(libc::NLM_F_DUMP);
        let mut reply = Reply::new(&request.header, own, dump);
        let answered = match self.protocol {
            libc::NETLINK_ROUTE => route::answer(
                request,
                dump,
                &Asker {
                    net: &self.net,
                    task: t,
                    admin: t.is_some_and(|t| t.creds().has(Cap::NetAdmin)),
                    origin: Origin { seq: request.header.seq, pid: own, flags: 0, echo: request.has(libc::NLM_F_ECHO) },
                    strict: self.is_set(STRICT),
                },
                &mut reply,
            ),
            libc::NETLINK_SOCK_DIAG => diag::answer(&self.net, request, dump, &mut reply).map_err(Into::into),
            _ => Err(Errno::CONNREFUSED.into()),
        };
        match answered {
            Err(failure) if dump && self.protocol == libc::NETLINK_ROUTE => reply.done(Some(failure), self.ack_style()),
            Err(failure) => {
                reply = Reply::new(&request.header, own, false);
                reply.error(request, Some(failure), self.ack_style());
            }
            Ok(()) if dump => reply.done(None, AckStyle::default()),
            Ok(()) if request.has(libc::NLM_F_ACK) => {
                let mut ack = Reply::new(&request.header, own, false);
                ack.error(request, None, self.ack_style());
                return reply.into_parts().into_iter().chain(ack.into_parts()).collect();
            }
            Ok(()) => {}
        }
        reply.into_parts()
    }

    /// To a request that is none.
    fn acknowledge(&self, request: &Request<'_>, own: u32) -> Vec<Vec<u8>> {
        if !request.has(libc::NLM_F_ACK) {
            return Vec::new();
        }
        let mut reply = Reply::new(&request.header, own, false);
        reply.error(request, None, self.ack_style());
        reply.into_parts()
    }

    /// Whether an option is on.
    fn is_set(&self, name: i32) -> bool {
        self.state.lock().settings.get(&name).is_some_and(|value| *value != 0)
    }

    fn ack_style(&self) -> AckStyle {
        AckStyle { capped: self.is_set(CAP_ACK), extended: self.is_set(EXT_ACK) }
    }

    /// Puts a datagram into the inbox: `ENOBUFS` if there is no room.
    fn enqueue(&self, message: Message) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.bytes > self.options.rcvbuf() as usize {
            return Err(Errno::NOBUFS);
        }
        state.bytes += message.bytes.len();
        state.inbox.push_back(message);
        Ok(())
    }

    fn set_groups(&self, state: &mut State, groups: u32) {
        match (state.groups, groups) {
            (0, 1..) => self.net.netlink.members.fetch_add(1, Ordering::Relaxed),
            (1.., 0) => self.net.netlink.members.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        state.groups = groups;
    }

    /// Joins or leaves a group.
    fn join(&self, value: &[u8], joins: bool) -> SysResult<()> {
        let group = number(value).unsigned_abs();
        if !(1..=GROUPS).contains(&group) {
            return Err(Errno::INVAL);
        }
        let bit = 1 << (group - 1);
        let mut state = self.state.lock();
        let groups = if joins { state.groups | bit } else { state.groups & !bit };
        self.set_groups(&mut state, groups);
        Ok(())
    }
}

/// Sends a message about something that has changed to all members of a group of `NETLINK_ROUTE`, and to the one with the
/// address `echo`.
pub(super) fn broadcast(net: &Net, group: u32, echo: Option<u32>, bytes: &[u8]) {
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>().filter(|socket| socket.family == libc::AF_NETLINK) else {
            continue;
        };
        let Some(member) = socket.ops.as_any().downcast_ref::<NetlinkSocket>() else { continue };
        let (is_asker, is_member) = {
            let state = member.state.lock();
            // Without an address it hears nothing, as what has none has sent the message.
            let hears = member.protocol == libc::NETLINK_ROUTE && state.id != 0;
            (hears && echo == Some(state.id), hears && state.groups & 1 << (group - 1) != 0)
        };
        if !is_asker && !is_member {
            continue;
        }
        // What is for the asker is for it alone.
        let group = if is_asker { 0 } else { group };
        if member.enqueue(Message { bytes: bytes.to_vec(), group }).is_err() {
            // It has missed something, and is told so.
            member.options.set_error(Errno::NOBUFS);
        }
        member.queue.notify(Events::IN | Events::RDNORM);
    }
}

/// An option's value: 0 if the guest gave too little.
fn number(value: &[u8]) -> i32 {
    value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
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
        self.net.netlink.used.lock().remove(&(self.protocol, id));
        self.set_groups(&mut self.state.lock(), 0);
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
                if !self.net.netlink.used.lock().insert((self.protocol, id)) {
                    return Err(Errno::ADDRINUSE);
                }
                state.id = id;
            }
            self.set_groups(&mut state, groups);
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
        for request in requests(message.data) {
            for bytes in self.answer(&request, own, message.task) {
                self.enqueue(Message { bytes, group: 0 })?;
            }
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
        let Message { bytes, group } = state.inbox.front().ok_or(Errno::AGAIN)?;
        let (group, full, count) = (*group, bytes.len(), bytes.len().min(buf.len()));
        if let (Some(to), Some(from)) = (buf.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        let tells_group = state.settings.get(&PKTINFO).is_some_and(|value| *value != 0);
        if flags & libc::MSG_PEEK == 0 {
            state.inbox.pop_front();
            state.bytes -= full;
        }
        Ok(Incoming {
            count,
            full,
            from: Some(to_guest(0, if group > 0 { 1 << (group - 1) } else { 0 })),
            // The kernel has no process, and is root.
            creds: self.options.is_on(libc::SO_PASSCRED).then_some(Ucred { pid: 0, uid: 0, gid: 0 }),
            control: tells_group
                .then(|| Control { level: SOL_NETLINK, kind: PKTINFO, data: group.to_ne_bytes().to_vec() })
                .into_iter()
                .collect(),
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
        let state = self.state.lock();
        match name {
            ADD_MEMBERSHIP | DROP_MEMBERSHIP | RX_RING | TX_RING => Err(Errno::NOPROTOOPT),
            LIST_MEMBERSHIPS => Ok(state.groups.as_bytes().into()),
            _ => Ok(i32::from(state.settings.get(&name).is_some_and(|value| *value != 0)).as_bytes().into()),
        }
    }

    fn set_option(&self, t: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        if level != SOL_NETLINK || !(1..=OPTION_MAX).contains(&name) {
            return Err(Errno::NOPROTOOPT);
        }
        match name {
            ADD_MEMBERSHIP | DROP_MEMBERSHIP => self.join(value, name == ADD_MEMBERSHIP),
            RX_RING | TX_RING | LIST_MEMBERSHIPS => Err(Errno::NOPROTOOPT),
            LISTEN_ALL_NSID if !t.creds().has(Cap::NetAdmin) => Err(Errno::PERM),
            _ => {
                self.state.lock().settings.insert(name, number(value));
                Ok(())
            }
        }
    }

    fn poll(&self) -> Events {
        Events::of_datagrams(!self.state.lock().inbox.is_empty(), self.options.has_error())
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
