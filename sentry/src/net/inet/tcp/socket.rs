//! The socket operations of TCP.

use super::super::multicast::Groups;
use super::super::{addr, may_bind, not_ours, options};
use super::endpoint::{Phase, Tcp};
use super::{closing, info, wrap};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::SockAddr;
use crate::net::diag::{Diag, InetDiag, state as tcp};
use crate::net::message::{Incoming, Outgoing};
use crate::net::options::Value;
use crate::net::socket::{Closing, Socket, SocketOps};
use crate::net::stack::scope;
use crate::net::stack::tcp::{Figures, Pieces};
use crate::syscalls::iovec::IoBuffer;
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// Largest segment over loopback (MTU 65536 less headers), and before a connection says better.
const MSS: i32 = 65483;
const MSS_DEFAULT: i32 = 536;
/// The one congestion control there is to speak of.
const CONGESTION: &[u8; 16] = b"cubic\0\0\0\0\0\0\0\0\0\0\0";
const LOOPBACK_MTU: i32 = 65536;
/// `TCP_IS_MPTCP`.
const TCP_IS_MPTCP: i32 = 43;
/// Bytes that are rather handed over with their memory than copied.
const PIECE: usize = 32 << 10;
const SIOCATMARK: u32 = 0x8905;

/// A TCP socket: closes its endpoint when it goes.
#[derive(Debug)]
pub(super) struct TcpSocket {
    end: Arc<Tcp>,
}

impl TcpSocket {
    pub(super) fn new(end: Arc<Tcp>) -> TcpSocket {
        TcpSocket { end }
    }

    fn parse(&self, address: &SockAddr) -> SysResult<SocketAddr> {
        let parsed = addr::parse(self.end.family, address)?;
        let v6only = self.end.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
        if self.end.family == libc::AF_INET6 && parsed.is_ipv4() && v6only {
            return Err(Errno::NETUNREACH);
        }
        Ok(parsed)
    }

    /// `TCP_INFO`; of a connection over loopback what a wire would measure is zero.
    fn info(&self) -> Value {
        let mss = self.mss() as u32;
        let figures = self.end.flow().map(|flow| flow.figures());
        let figures = figures.unwrap_or(Figures { mss, window: (10, i32::MAX as u32), ..Figures::default() });
        info::encode(self.tcp_state(), &figures, self.end.flow().map_or(mss, |flow| flow.mtu() as u32))
            .as_slice()
            .into()
    }

    fn tcp_state(&self) -> u8 {
        let state = self.end.state.lock();
        match state.phase {
            Phase::Listening { .. } => 10,
            Phase::Connecting => 2,
            Phase::Closed => 7,
            Phase::Remote(ref flow) => {
                let flow = flow.clone();
                drop(state);
                flow.linux_state()
            }
            Phase::Established => match (state.fin_received, state.snd_shut) {
                (false, false) => 1,
                (false, true) => 5,
                (true, false) => 8,
                (true, true) => 7,
            },
        }
    }
}

impl TcpSocket {
    /// Whether it has a connection.
    fn is_connected(&self) -> bool {
        match self.end.flow() {
            Some(flow) => flow.is_connected(),
            None => matches!(self.end.state.lock().phase, Phase::Established),
        }
    }

    /// Bytes of data in a segment.
    fn mss(&self) -> i32 {
        match self.end.flow() {
            Some(flow) => flow.figures().mss as i32,
            None if self.is_connected() => MSS,
            None => MSS_DEFAULT,
        }
    }
}

/// Groups of a link are no addresses of streams, in another way than others.
fn is_scoped_group(address: SocketAddr) -> bool {
    address.ip().is_multicast() && scope::is_scoped(address.ip())
}

fn int(value: &[u8]) -> i32 {
    options::number(libc::IPPROTO_TCP, value)
}

/// What there is to tell of a connection that nobody has accepted.
fn embryo(end: &Tcp) -> InetDiag {
    let state = end.state.lock();
    let any = SocketAddr::new(addr::any(end.family), 0);
    let (local, remote) = (state.local.unwrap_or(any), state.remote.unwrap_or(any));
    let ended = state.fin_received;
    InetDiag {
        local,
        remote,
        state: if ended { tcp::CLOSE_WAIT } else { tcp::ESTABLISHED },
        received: state.inbox.len(),
        sent: 0,
        v6only: false,
        pending: Vec::new(),
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.end.close();
    }
}

impl SocketOps for TcpSocket {
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()> {
        let mut address = addr::parse(self.end.family, address)?;
        let v6only = self.end.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
        if self.end.family == libc::AF_INET6 && address.is_ipv4() && v6only {
            return Err(Errno::INVAL);
        }
        addr::bind_scope(self.end.net(), &self.end.options, &mut address)?;
        if !addr::may_be_bound(self.end.net(), address.ip()) {
            return Err(if is_scoped_group(address) { Errno::INVAL } else { Errno::ADDRNOTAVAIL });
        }
        may_bind(self.end.net(), t, address.port())?;
        self.end.bind(address)
    }

    fn connect(&self, _: &Task, address: &SockAddr, nonblocking: bool) -> SysResult<()> {
        if address.family()? == libc::AF_UNSPEC {
            self.end.disconnect();
            return Ok(());
        }
        let waits = !nonblocking && self.end.is_connecting();
        if waits {
            return self.end.resume_connect();
        }
        let mut to = self.parse(address)?;
        if !to.ip().is_multicast() {
            addr::connect_scope(&self.end.options, &mut to, None)?;
        }
        let to = addr::route(self.end.net(), to, &self.end.query())?;
        if addr::is_group(self.end.net(), to.ip()) {
            return Err(Errno::NETUNREACH);
        }
        self.end.connect(to, nonblocking)
    }

    fn listen(&self, _: &Task, backlog: usize) -> SysResult<()> {
        self.end.listen(backlog)
    }

    fn accept(&self, _: &Task) -> SysResult<Socket> {
        self.end.accept().map(wrap)
    }

    fn is_listening(&self) -> bool {
        matches!(self.end.state.lock().phase, Phase::Listening { .. })
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        self.end.send(message)
    }

    fn send_buffer(&self, buffer: &mut IoBuffer, len: usize, flags: i32) -> Option<SysResult<usize>> {
        Some(self.end.flow()?.send_buffer(buffer.take()?, len, flags))
    }

    fn room(&self) -> usize {
        self.end.room()
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        self.end.receive(buf, flags)
    }

    fn receive_pieces(&self, most: usize, flags: i32) -> Option<(Pieces, bool)> {
        if most < PIECE || flags & (libc::MSG_OOB | libc::MSG_PEEK) != 0 {
            return None;
        }
        self.end.flow()?.receive_pieces(most, PIECE)
    }

    fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        self.end.receive_error(buf)
    }

    fn unreceive(&self, bytes: &[u8]) {
        self.end.unreceive(bytes);
    }

    fn shutdown(&self, how: i32) -> SysResult<()> {
        self.end.shutdown(how)
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        let local = self.end.state.lock().local;
        let local = local.unwrap_or_else(|| SocketAddr::new(addr::any(self.end.family), 0));
        Ok(addr::to_guest(self.end.family, local))
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        let remote = self.end.state.lock().remote.ok_or(Errno::NOTCONN)?;
        if self.is_connected() { Ok(addr::to_guest(self.end.family, remote)) } else { Err(Errno::NOTCONN) }
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, room: usize) -> SysResult<Value> {
        let connected = self.is_connected();
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_INFO) => Ok(self.info()),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => Ok(CONGESTION.as_slice().into()),
            // CUBIC has nothing to tell, and nothing stands above.
            (libc::IPPROTO_TCP, libc::TCP_CC_INFO | libc::TCP_ULP) => Ok(Value::new()),
            (libc::IPPROTO_TCP, TCP_IS_MPTCP) => Ok(0i32.as_bytes().into()),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if self.end.ints.value(level, name) == 0 => {
                Ok(self.mss().as_bytes().into())
            }
            (libc::IPPROTO_IP, libc::IP_MTU) if !connected => Err(Errno::NOTCONN),
            (libc::IPPROTO_IP, libc::IP_MTU) => {
                Ok(self.end.flow().map_or(LOOPBACK_MTU, |flow| flow.mtu() as i32).as_bytes().into())
            }
            (libc::IPPROTO_IPV6, _) if self.end.family == libc::AF_INET => Err(Errno::OPNOTSUPP),
            _ if !matches!(level, libc::IPPROTO_IP | libc::IPPROTO_IPV6 | libc::IPPROTO_TCP) => {
                Err(not_ours(self.end.family))
            }
            _ if options::may_get(level, name).is_err() => Err(Errno::INVAL),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU) if !connected => Err(Errno::NOTCONN),
            _ if Groups::knows(level, name) => Groups::default().get(level, name, room),
            _ => self.end.ints.get(level, name, room),
        }
    }

    fn set_option(&self, _: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        if level != libc::IPPROTO_IPV6 || self.end.family == libc::AF_INET6 {
            options::may_set(level, name, value, true)?;
        }
        let without_ecn = options::without_ecn(level, name, value);
        let value = without_ecn.as_ref().map_or(value, <[u8; 4]>::as_slice);
        match (level, name) {
            (libc::IPPROTO_UDP, _) => Err(Errno::NOPROTOOPT),
            // Who may set the clock may repair, which nobody may.
            (libc::IPPROTO_TCP, libc::TCP_TIMESTAMP) if value.len() >= 4 => Err(Errno::PERM),
            // No protocol is there to stand above.
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION | libc::TCP_ULP) if value.is_empty() => Err(Errno::INVAL),
            (libc::IPPROTO_TCP, libc::TCP_ULP) => Err(Errno::NOENT),
            (libc::IPPROTO_TCP, TCP_IS_MPTCP) if value.len() >= 4 => Err(Errno::NOPROTOOPT),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => match value.split(|b| *b == 0).next() {
                Some(b"cubic" | b"reno") => Ok(()),
                _ => Err(Errno::NOENT),
            },
            (libc::IPPROTO_IPV6, _) if self.end.family == libc::AF_INET => Err(Errno::NOPROTOOPT),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if self.end.state.lock().local.is_some() => Err(Errno::INVAL),
            _ => {
                self.end.ints.set_prioritizing(&self.end.options, level, name, value)?;
                match name {
                    libc::TCP_CORK if level == libc::IPPROTO_TCP => self.end.cork(int(value) != 0),
                    // It goes out even if there is a cork.
                    libc::TCP_NODELAY if level == libc::IPPROTO_TCP && int(value) != 0 => self.end.push(),
                    _ => {}
                }
                if let Some(flow) = self.end.flow() {
                    flow.configure(&self.end);
                    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_QUICKACK) && int(value) > 0 {
                        flow.hurry();
                    }
                }
                Ok(())
            }
        }
    }

    fn closing(&self) -> Option<Arc<dyn Closing>> {
        closing::of(&self.end)
    }

    fn positions(&self) -> Option<SysResult<(u32, u32)>> {
        if !self.is_connected() {
            return Some(Err(Errno::INVAL));
        }
        let over_lo = || self.end.sent.load(Ordering::Relaxed);
        Some(Ok(self.end.flow().map_or_else(|| (over_lo(), over_lo()), |flow| flow.positions())))
    }

    fn retune(&self) {
        if let Some(flow) = self.end.flow() {
            flow.configure(&self.end);
        }
    }

    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        if self.is_listening() {
            return Err(Errno::INVAL);
        }
        // Between sockets of the sandbox nothing is ever on a wire.
        let flow = self.end.flow();
        let value = match u64::from(cmd) {
            libc::FIONREAD => (self.end.readable() + flow.map_or(0, |flow| flow.readable())) as i32,
            libc::TIOCOUTQ => flow.map_or_else(|| self.end.held_back(), |flow| flow.queues().1) as i32,
            _ if cmd == SIOCATMARK => i32::from(self.end.is_at_mark()),
            _ => return Err(Errno::NOTTY),
        };
        t.mem().write(arg, &value).map(|()| 0)
    }

    fn poll(&self) -> Events {
        self.end.poll()
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.end.queue
    }

    fn tell(&self, level: i32, name: i32) -> SysResult<Value> {
        if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO) { Ok(self.info()) } else { Err(Errno::NOPROTOOPT) }
    }

    fn diag(&self) -> Diag {
        let (sent, received) = self.end.flow().map_or((0, 0), |flow| {
            let (received, sent) = flow.queues();
            (sent, received)
        });
        let state = self.end.state.lock();
        let any = SocketAddr::new(addr::any(self.end.family), 0);
        let mut diag = InetDiag {
            local: state.local.unwrap_or(any),
            remote: state.remote.unwrap_or(any),
            state: tcp::CLOSE,
            received: state.shown() + received,
            sent,
            v6only: self.end.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            pending: Vec::new(),
        };
        if let Phase::Listening { backlog, pending, .. } = &state.phase {
            diag.sent = *backlog;
            diag.received = pending.len();
            let waiting: Vec<_> = pending.iter().cloned().collect();
            drop(state);
            diag.pending = waiting.iter().map(|end| embryo(end)).collect();
        } else {
            drop(state);
        }
        diag.state = self.tcp_state();
        Diag::Inet(diag)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
