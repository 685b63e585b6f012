//! The options of level `SOL_SOCKET`, which all families share.

mod sent;
mod stamps;

use super::filter::Filter;
use super::message::Ucred;
use super::namespace::Net;
use super::socket::Socket;
use super::stack::route::Query;
use crate::abi::Timeval;
use crate::errno::{Errno, SysResult};
use crate::fs::{File, fasync};
use crate::kernel::{Cap, Kernel, Task};
use crate::sync::Mutex;
use sent::Sent;
pub use sent::{SentStamp, Stage};
use smallvec::SmallVec;
use stamps::STAMPS;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// An option's value as a guest sees it.
pub type Value = SmallVec<[u8; 16]>;

/// `net.core.wmem_max` and `net.core.rmem_max`, which nobody may change: it bounds what a socket holds.
const BUFFER_MAX: u32 = 4 << 20;
/// `net.core.wmem_default` and `net.core.rmem_default`.
pub const BUFFER_DEFAULT: u32 = 212_992;
/// `SOCK_MIN_SNDBUF`.
const SNDBUF_MIN: u32 = 4608;
/// `SOCK_MIN_RCVBUF`.
const RCVBUF_MIN: u32 = 2304;

/// Options that are a bit here.
const SWITCHES: &[i32] = &[
    libc::SO_DEBUG,
    libc::SO_REUSEADDR,
    libc::SO_DONTROUTE,
    libc::SO_BROADCAST,
    libc::SO_KEEPALIVE,
    libc::SO_OOBINLINE,
    libc::SO_NO_CHECK,
    libc::SO_REUSEPORT,
    libc::SO_PASSCRED,
    libc::SO_PASSSEC,
    libc::SO_RXQ_OVFL,
    libc::SO_NOFCS,
    libc::SO_SELECT_ERR_QUEUE,
    libc::SO_LOCK_FILTER,
    libc::SO_WIFI_STATUS,
    SO_PASSPIDFD,
];

/// Options that are numbers which only the guest looks at: with default, least and most.
const NUMBERS: &[(i32, i32, i32, i32)] = &[
    (libc::SO_BUSY_POLL, 0, 0, i32::MAX),
    (libc::SO_INCOMING_CPU, -1, i32::MIN, i32::MAX),
    (libc::SO_MAX_PACING_RATE, -1, i32::MIN, i32::MAX),
    (libc::SO_ZEROCOPY, 0, 0, 1),
    (libc::SO_BINDTOIFINDEX, 0, 0, i32::MAX),
    (SO_BUF_LOCK, 0, 0, 3),
    (SO_TXREHASH, 1, 0, 1),
    (SO_PREFER_BUSY_POLL, 0, 0, 1),
    (SO_RCVMARK, 0, 0, 1),
];
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUF_LOCK: i32 = 72;
const SO_TXREHASH: i32 = 74;
const SO_RCVMARK: i32 = 75;
/// `SO_PASSPIDFD`.
pub const SO_PASSPIDFD: i32 = 76;
const SO_DETACH_REUSEPORT_BPF: i32 = 68;
const SO_CNX_ADVICE: i32 = 53;
const SO_MEMINFO: i32 = 55;
const SO_BUSY_POLL_BUDGET: i32 = 70;
const SO_RESERVE_MEM: i32 = 73;
const SO_PEERPIDFD: i32 = 77;
/// Only sockets that can carry credentials know these.
const PASSES: [i32; 3] = [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSPIDFD];
/// `SO_BPF_EXTENSIONS`: how far classic BPF reaches (`SKF_AD_MAX`).
const SO_BPF_EXTENSIONS: i32 = 48;
const BPF_EXTENSIONS: i32 = 64;
/// `SO_INCOMING_NAPI_ID`.
const SO_INCOMING_NAPI_ID: i32 = 56;
const SO_PEERGROUPS: i32 = 59;
const SO_COOKIE: i32 = 57;
const SO_NETNS_COOKIE: i32 = 71;

/// Values of the shared options. Each is independent of the others.
#[derive(Debug)]
pub struct Options {
    switches: AtomicU64,
    sndbuf: AtomicU32,
    rcvbuf: AtomicU32,
    rcvlowat: AtomicI32,
    /// Where `MSG_PEEK` begins; the front if negative.
    peek_off: AtomicI32,
    priority: AtomicI32,
    mark: AtomicU32,
    /// Pending error (`SO_ERROR`), 0 if none.
    error: AtomicI32,
    /// One that may pass: `SO_ERROR` tells of it if there is no other.
    soft_error: AtomicI32,
    linger: Mutex<Option<Duration>>,
    rcvtimeo: Mutex<Option<Duration>>,
    sndtimeo: Mutex<Option<Duration>>,
    /// Which of [`STAMPS`] is wanted; 0 if none.
    stamp: AtomicI32,
    /// `SO_TIMESTAMPING`'s flags.
    stamping: AtomicU32,
    /// Times of what was sent, and how many there are.
    sent: Mutex<Sent>,
    stamps_waiting: AtomicUsize,
    /// The socket's description, whose owner is told of urgent data.
    file: OnceLock<(Arc<Kernel>, Weak<File>)>,
    /// What of packets is received.
    pub filter: Filter,
    /// What was sent with `MSG_ZEROCOPY` and not yet told.
    completed: Mutex<Completed>,
    /// Of [`NUMBERS`].
    numbers: Mutex<BTreeMap<i32, i32>>,
}

/// Messages with `MSG_ZEROCOPY`, which are numbered from 0 on: since all are copied, each is done when its call returns.
#[derive(Debug, Default)]
struct Completed {
    next: u32,
    /// First of those that nobody was told of.
    first: u32,
}

impl Options {
    /// Defaults, with these buffer sizes.
    pub fn new(sndbuf: u32, rcvbuf: u32) -> Options {
        Options {
            switches: AtomicU64::new(0),
            sndbuf: AtomicU32::new(sndbuf),
            rcvbuf: AtomicU32::new(rcvbuf),
            rcvlowat: AtomicI32::new(1),
            peek_off: AtomicI32::new(-1),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            error: AtomicI32::new(0),
            soft_error: AtomicI32::new(0),
            linger: Mutex::new(None),
            rcvtimeo: Mutex::new(None),
            sndtimeo: Mutex::new(None),
            stamp: AtomicI32::new(0),
            stamping: AtomicU32::new(0),
            sent: Mutex::default(),
            stamps_waiting: AtomicUsize::new(0),
            file: OnceLock::new(),
            filter: Filter::default(),
            completed: Mutex::default(),
            numbers: Mutex::default(),
        }
    }

    /// A copy, as an accepted socket has it of its listener.
    pub fn inherit(&self) -> Options {
        Options {
            switches: AtomicU64::new(self.switches.load(Ordering::Relaxed)),
            sndbuf: AtomicU32::new(self.sndbuf()),
            rcvbuf: AtomicU32::new(self.rcvbuf()),
            rcvlowat: AtomicI32::new(self.rcvlowat.load(Ordering::Relaxed)),
            peek_off: AtomicI32::new(-1),
            priority: AtomicI32::new(self.priority.load(Ordering::Relaxed)),
            mark: AtomicU32::new(self.mark.load(Ordering::Relaxed)),
            error: AtomicI32::new(0),
            soft_error: AtomicI32::new(0),
            linger: Mutex::new(*self.linger.lock()),
            rcvtimeo: Mutex::new(*self.rcvtimeo.lock()),
            sndtimeo: Mutex::new(*self.sndtimeo.lock()),
            stamp: AtomicI32::new(self.stamp.load(Ordering::Relaxed)),
            stamping: AtomicU32::new(self.stamping.load(Ordering::Relaxed)),
            sent: Mutex::default(),
            stamps_waiting: AtomicUsize::new(0),
            file: OnceLock::new(),
            filter: self.filter.inherit(),
            completed: Mutex::default(),
            numbers: Mutex::new(self.numbers.lock().clone()),
        }
    }

    /// What they say of routes (`SO_BINDTODEVICE`, `SO_MARK`).
    pub fn query(&self) -> Query {
        Query { oif: self.interface(), mark: self.mark.load(Ordering::Relaxed), ..Query::default() }
    }

    /// The interface that packets leave over; 0 for any. One that is gone leads nowhere.
    fn interface(&self) -> u32 {
        self.numbers.lock().get(&libc::SO_BINDTOIFINDEX).map_or(0, |index| (*index).max(0).unsigned_abs())
    }

    /// Has packets leave over an interface; any if 0.
    pub fn bind_interface(&self, index: u32) {
        self.numbers.lock().insert(libc::SO_BINDTOIFINDEX, i32::try_from(index).unwrap_or(i32::MAX));
    }

    /// The name of the interface that packets leave over, as guests are told.
    fn device(&self, net: &Net) -> SysResult<Value> {
        match self.interface() {
            0 => Ok([].as_slice().into()),
            index => Ok([net.layout().link(index).ok_or(Errno::NODEV)?.name.as_bytes(), &[0]].concat().into()),
        }
    }

    /// Whether a switch (`SO_REUSEADDR`…) is on.
    pub fn is_on(&self, name: i32) -> bool {
        self.switches.load(Ordering::Relaxed) & bit(name) != 0
    }

    /// Whether messages carry credentials.
    pub fn passes_creds(&self) -> bool {
        self.is_on(libc::SO_PASSCRED) || self.is_on(SO_PASSPIDFD)
    }

    fn switch(&self, name: i32, on: bool) {
        if on {
            self.switches.fetch_or(bit(name), Ordering::Relaxed);
        } else {
            self.switches.fetch_and(!bit(name), Ordering::Relaxed);
        }
    }

    /// `SO_SNDBUF`.
    pub fn sndbuf(&self) -> u32 {
        self.sndbuf.load(Ordering::Relaxed)
    }

    /// `SO_RCVBUF`.
    pub fn rcvbuf(&self) -> u32 {
        self.rcvbuf.load(Ordering::Relaxed)
    }

    /// `SO_RCVLOWAT`.
    pub fn rcvlowat(&self) -> usize {
        self.rcvlowat.load(Ordering::Relaxed).max(1) as usize
    }

    /// Where `MSG_PEEK` begins (`SO_PEEK_OFF`), if that is not always the front.
    pub fn peek_off(&self) -> Option<usize> {
        usize::try_from(self.peek_off.load(Ordering::Relaxed)).ok()
    }

    /// `count` bytes were peeked at, or taken: the next peek begins behind them, or nearer.
    pub fn move_peek_off(&self, count: usize, peeked: bool) {
        if let Some(at) = self.peek_off() {
            let at = if peeked { at.saturating_add(count) } else { at.saturating_sub(count) };
            self.peek_off.store(i32::try_from(at).unwrap_or(i32::MAX), Ordering::Relaxed);
        }
    }

    /// `SO_LINGER`.
    pub fn linger(&self) -> Option<Duration> {
        *self.linger.lock()
    }

    #[cfg(test)]
    pub(super) fn set_linger_for_test(&self, time: Duration) {
        *self.linger.lock() = Some(time);
    }

    /// `SO_RCVTIMEO`.
    pub fn rcvtimeo(&self) -> Option<Duration> {
        *self.rcvtimeo.lock()
    }

    /// `SO_SNDTIMEO`.
    pub fn sndtimeo(&self) -> Option<Duration> {
        *self.sndtimeo.lock()
    }

    /// The socket has become a file.
    pub(super) fn set_file(&self, t: &Task, file: &Arc<File>) {
        let _ = self.file.set((t.kernel.clone(), Arc::downgrade(file)));
    }

    /// Something urgent comes: the owner of the socket gets `SIGURG`.
    pub fn signal_urgent(&self) {
        if let Some((kernel, file)) = self.file.get()
            && let Some(file) = file.upgrade()
        {
            fasync::signal_urgent(kernel, &file);
        }
    }

    /// Makes `error` pending.
    pub fn set_error(&self, error: Errno) {
        self.error.store(error.raw(), Ordering::Release);
    }

    /// Notes an error that may pass.
    pub fn set_soft_error(&self, error: Errno) {
        self.soft_error.store(error.raw(), Ordering::Relaxed);
    }

    /// The last error that may have passed.
    pub fn take_soft_error(&self) -> Option<Errno> {
        Some(self.soft_error.swap(0, Ordering::Relaxed)).filter(|error| *error != 0).map(Errno::from_raw)
    }

    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0
    }

    /// Takes the pending error.
    pub fn take_error(&self) -> SysResult<()> {
        match self.error.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        }
    }

    /// A message was sent with these flags; whether its sender is to be told when the data is free again.
    pub fn complete(&self, flags: i32) -> bool {
        let counts = flags & libc::MSG_ZEROCOPY != 0 && self.numbers.lock().get(&libc::SO_ZEROCOPY) == Some(&1);
        if counts {
            let mut completed = self.completed.lock();
            completed.next = completed.next.wrapping_add(1);
        }
        counts
    }

    /// Whether there is something that [`take_completed`](Self::take_completed) tells.
    pub fn has_completed(&self) -> bool {
        let completed = self.completed.lock();
        completed.first != completed.next
    }

    /// First and last number of the messages that were sent since somebody asked.
    pub fn take_completed(&self) -> Option<(u32, u32)> {
        let mut completed = self.completed.lock();
        let (first, next) = (completed.first, completed.next);
        completed.first = next;
        (first != next).then(|| (first, next.wrapping_sub(1)))
    }

    /// `getsockopt(2)` with `SOL_SOCKET`.
    pub fn get(&self, socket: &Socket, name: i32) -> SysResult<Value> {
        refuse_passing(socket, name)?;
        let value = match name {
            _ if SWITCHES.contains(&name) => i32::from(self.is_on(name)),
            libc::SO_SNDBUF => self.sndbuf() as i32,
            libc::SO_RCVBUF => self.rcvbuf() as i32,
            libc::SO_RCVLOWAT => self.rcvlowat.load(Ordering::Relaxed),
            libc::SO_SNDLOWAT => 1,
            libc::SO_PRIORITY => self.priority.load(Ordering::Relaxed),
            libc::SO_MARK => self.mark.load(Ordering::Relaxed) as i32,
            libc::SO_TYPE => socket.kind,
            libc::SO_DOMAIN => socket.family,
            libc::SO_PROTOCOL => socket.protocol,
            libc::SO_ERROR => match self.error.swap(0, Ordering::AcqRel) {
                0 => self.take_soft_error().map_or(0, Errno::raw),
                error => error,
            },
            libc::SO_ACCEPTCONN => i32::from(socket.ops.is_listening()),
            libc::SO_BSDCOMPAT | SO_INCOMING_NAPI_ID => 0,
            libc::SO_MAX_PACING_RATE => return Ok(self.pacing_rate().as_bytes().into()),
            SO_BPF_EXTENSIONS => BPF_EXTENSIONS,
            libc::SO_PEEK_OFF if !may_peek_at(socket) => return Err(Errno::OPNOTSUPP),
            libc::SO_PEEK_OFF => self.peek_off.load(Ordering::Relaxed),
            SO_TXREHASH if socket.protocol != libc::IPPROTO_TCP => return Err(Errno::OPNOTSUPP),
            _ if STAMPS.contains(&name) => i32::from(self.stamp.load(Ordering::Relaxed) == name),
            _ if let Some((_, default, ..)) = number_of(name) => {
                self.numbers.lock().get(&name).copied().unwrap_or(*default)
            }
            libc::SO_TIMESTAMPING => {
                // With the clock of hardware, of which there is none.
                return Ok([self.stamping.load(Ordering::Relaxed), 0].as_bytes().into());
            }
            SO_NETNS_COOKIE => return Ok(socket.net.cookie.as_bytes().into()),
            SO_COOKIE => return Ok(socket.ino().as_bytes().into()),
            // No memory is set aside for any.
            SO_RESERVE_MEM => 0,
            SO_MEMINFO => return Ok(self.memory(socket)),
            SO_PEERGROUPS | SO_PEERPIDFD => return Err(Errno::from_raw(libc::ENODATA)),
            libc::SO_LINGER => return Ok(self.get_linger()),
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => return Ok(timeout_value(self.rcvtimeo())),
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => return Ok(timeout_value(self.sndtimeo())),
            libc::SO_PEERCRED => {
                return Ok(socket.ops.peer_creds().unwrap_or(Ucred::NONE).as_bytes().into());
            }
            libc::SO_PEERNAME => return Ok(socket.ops.peer_address()?.as_bytes().into()),
            libc::SO_BINDTODEVICE => return self.device(&socket.net),
            _ => return Err(Errno::NOPROTOOPT),
        };
        Ok(value.as_bytes().into())
    }

    /// `SK_MEMINFO_…`: what is received, its limit, what is sent, its limit, and what a kernel of Linux would count besides.
    fn memory(&self, socket: &Socket) -> Value {
        let waiting = socket.ops.diag().waiting() as u32;
        [waiting, self.rcvbuf(), 0, self.sndbuf(), 0, 0, 0, 0, 0].as_bytes().into()
    }

    /// Bytes in a second; as many as there may be unless somebody has set less.
    fn pacing_rate(&self) -> u64 {
        let rate = self.numbers.lock().get(&libc::SO_MAX_PACING_RATE).copied().unwrap_or(-1);
        if rate == -1 { u64::MAX } else { rate.cast_unsigned().into() }
    }

    fn get_linger(&self) -> Value {
        let linger = self.linger();
        let seconds = linger.map_or(0, |time| time.as_secs() as i32);
        [i32::from(linger.is_some()), seconds].as_bytes().into()
    }

    /// `setsockopt(2)` with `SOL_SOCKET`.
    pub fn set(&self, t: &Task, socket: &Socket, name: i32, value: &[u8]) -> SysResult<()> {
        if name == libc::SO_BINDTODEVICE {
            self.bind_interface(device_of(t, &socket.net, value)?);
            return Ok(());
        }
        if name == libc::SO_ATTACH_FILTER {
            int(value)?;
            if value.len() == size_of::<[u64; 2]>() && self.is_on(libc::SO_LOCK_FILTER) {
                return Err(Errno::PERM);
            }
            return self.filter.attach(t, value);
        }
        let int = int(value)?;
        refuse_passing(socket, name)?;
        match name {
            libc::SO_LOCK_FILTER if self.is_on(name) && int == 0 => return Err(Errno::PERM),
            libc::SO_REUSEPORT if int != 0 && !is_inet(socket) => return Err(Errno::OPNOTSUPP),
            libc::SO_ZEROCOPY if !is_inet(socket) || !carries_zerocopy(socket) => return Err(Errno::OPNOTSUPP),
            libc::SO_PEEK_OFF if may_peek_at(socket) => self.peek_off.store(int, Ordering::Relaxed),
            libc::SO_PEEK_OFF => return Err(Errno::OPNOTSUPP),
            SO_TXREHASH if socket.protocol != libc::IPPROTO_TCP => return Err(Errno::OPNOTSUPP),
            libc::SO_DETACH_FILTER if self.is_on(libc::SO_LOCK_FILTER) => return Err(Errno::PERM),
            libc::SO_DETACH_FILTER => self.filter.detach()?,
            SO_DETACH_REUSEPORT_BPF => return Err(Errno::INVAL),
            // Each packet's way is looked for anew.
            SO_CNX_ADVICE => {}
            // Nothing is polled.
            SO_BUSY_POLL_BUDGET if u16::try_from(int).is_err() => return Err(Errno::INVAL),
            SO_BUSY_POLL_BUDGET => {}
            SO_RESERVE_MEM => return Err(if int < 0 { Errno::INVAL } else { Errno::OPNOTSUPP }),
            libc::SO_SELECT_ERR_QUEUE | libc::SO_NOFCS | libc::SO_LOCK_FILTER => self.switch(name, int != 0),
            _ if STAMPS.contains(&name) => self.set_stamp(name, int != 0),
            libc::SO_TIMESTAMPING => self.set_stamping(socket, int)?,
            SO_PREFER_BUSY_POLL | SO_RCVMARK => self.set_number(name, i32::from(int != 0)),
            SO_TXREHASH if int == -1 => self.set_number(name, 1),
            _ if let Some((_, _, least, most)) = number_of(name) => {
                if !(*least..=*most).contains(&int) {
                    return Err(Errno::INVAL);
                }
                self.set_number(name, int);
            }
            libc::SO_DEBUG if int != 0 && !t.creds().has(Cap::NetAdmin) => return Err(Errno::ACCES),
            _ if SWITCHES.contains(&name) => self.switch(name, int != 0),
            libc::SO_TYPE | libc::SO_PROTOCOL | libc::SO_DOMAIN | libc::SO_ERROR | libc::SO_ACCEPTCONN => {
                return Err(Errno::NOPROTOOPT);
            }
            libc::SO_SNDBUF => self.sndbuf.store(buffer_size(int, SNDBUF_MIN), Ordering::Relaxed),
            libc::SO_RCVBUF => self.rcvbuf.store(buffer_size(int, RCVBUF_MIN), Ordering::Relaxed),
            libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE => {
                if !t.creds().has(Cap::NetAdmin) {
                    return Err(Errno::PERM);
                }
                let (buffer, min) =
                    if name == libc::SO_SNDBUFFORCE { (&self.sndbuf, SNDBUF_MIN) } else { (&self.rcvbuf, RCVBUF_MIN) };
                buffer.store(buffer_size(int.max(0), min), Ordering::Relaxed);
            }
            libc::SO_RCVLOWAT => {
                let lowat = if int < 0 { i32::MAX } else { int.max(1) };
                self.rcvlowat.store(lowat, Ordering::Relaxed);
            }
            libc::SO_PRIORITY => self.set_priority(t, int)?,
            libc::SO_MARK => {
                let creds = t.creds();
                if !creds.has(Cap::NetRaw) && !creds.has(Cap::NetAdmin) {
                    return Err(Errno::PERM);
                }
                self.mark.store(int as u32, Ordering::Relaxed);
            }
            libc::SO_BSDCOMPAT => {}
            libc::SO_LINGER => self.set_linger(value)?,
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => *self.rcvtimeo.lock() = timeout(value)?,
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => *self.sndtimeo.lock() = timeout(value)?,
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    fn set_number(&self, name: i32, value: i32) {
        self.numbers.lock().insert(name, value);
    }

    /// `IP_TOS` was set: it chooses the priority (`rt_tos2priority`).
    pub fn prioritize(&self, tos: i32) {
        const PRIORITIES: [i32; 4] = [0, 2, 6, 4];
        let priority = PRIORITIES.get((tos >> 3 & 3) as usize).copied().unwrap_or(0);
        self.priority.store(priority, Ordering::Relaxed);
    }

    fn set_priority(&self, t: &Task, priority: i32) -> SysResult<()> {
        let creds = t.creds();
        if !(0..=6).contains(&priority) && !creds.has(Cap::NetRaw) && !creds.has(Cap::NetAdmin) {
            return Err(Errno::PERM);
        }
        self.priority.store(priority, Ordering::Relaxed);
        Ok(())
    }

    fn set_linger(&self, value: &[u8]) -> SysResult<()> {
        let (linger, _) = <[i32; 2]>::read_from_prefix(value).map_err(|_| Errno::INVAL)?;
        let [on, seconds] = linger;
        *self.linger.lock() = (on != 0).then(|| Duration::from_secs(u64::from(seconds.max(0).unsigned_abs())));
        Ok(())
    }
}

/// `SO_RCVTIMEO_NEW`.
const SO_RCVTIMEO_NEW: i32 = 66;
/// `SO_SNDTIMEO_NEW`.
const SO_SNDTIMEO_NEW: i32 = 67;

/// The bit of a switch: of those that there are no two numbers are equal modulo 64.
fn bit(name: i32) -> u64 {
    1 << (name & 63)
}

/// An integer option's value: `EINVAL` if the guest gave less.
pub fn int(value: &[u8]) -> SysResult<i32> {
    Ok(i32::from_ne_bytes(*value.first_chunk().ok_or(Errno::INVAL)?))
}

/// Linux doubles what is asked for, for its own overhead.
fn buffer_size(asked: i32, min: u32) -> u32 {
    ((asked as u32).min(BUFFER_MAX) * 2).max(min)
}

fn timeout(value: &[u8]) -> SysResult<Option<Duration>> {
    let (Timeval { sec, usec }, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::INVAL)?;
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::DOM);
    }
    // A negative timeout has passed already; zero is none.
    let timeout = Duration::from_secs(sec.max(0).unsigned_abs()) + Duration::from_micros(usec.unsigned_abs());
    Ok(Some(if sec < 0 { Duration::from_nanos(1) } else { timeout }).filter(|timeout| !timeout.is_zero()))
}

fn timeout_value(timeout: Option<Duration>) -> Value {
    Timeval::from(timeout.unwrap_or_default()).as_bytes().into()
}

/// Whether `SO_PEEK_OFF` means something.
fn may_peek_at(socket: &Socket) -> bool {
    socket.family == libc::AF_UNIX || matches!(socket.protocol, libc::IPPROTO_TCP | libc::IPPROTO_UDP)
}

fn number_of(name: i32) -> Option<&'static (i32, i32, i32, i32)> {
    NUMBERS.iter().find(|(known, ..)| *known == name)
}

/// Whether senders may ask to be told when their data is free again.
fn carries_zerocopy(socket: &Socket) -> bool {
    matches!(socket.protocol, libc::IPPROTO_TCP | libc::IPPROTO_UDP) && socket.kind != libc::SOCK_RAW
}

fn is_inet(socket: &Socket) -> bool {
    matches!(socket.family, libc::AF_INET | libc::AF_INET6)
}

/// `EOPNOTSUPP` for options about credentials on sockets that carry none.
fn refuse_passing(socket: &Socket, name: i32) -> SysResult<()> {
    let may = match name {
        libc::SO_PASSCRED | libc::SO_PASSSEC => matches!(socket.family, libc::AF_UNIX | libc::AF_NETLINK),
        _ => socket.family == libc::AF_UNIX,
    };
    if PASSES.contains(&name) && !may { Err(Errno::OPNOTSUPP) } else { Ok(()) }
}

/// The interface that `SO_BINDTODEVICE` names; 0 for an empty name.
fn device_of(t: &Task, net: &Net, value: &[u8]) -> SysResult<u32> {
    /// `IFNAMSIZ`, with the NUL.
    const NAME_MAX: usize = 16;
    let name = value.get(..value.len().min(NAME_MAX - 1)).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    if name.is_empty() {
        return Ok(0);
    }
    let index = net.layout().link_named(name).ok_or(Errno::NODEV)?.index;
    // As of Linux 5.7 only who is bound already needs a privilege; to be safe, all do.
    if !t.creds().has(Cap::NetRaw) {
        return Err(Errno::PERM);
    }
    Ok(index)
}
