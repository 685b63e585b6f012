//! The socket operations of TCP.

use super::super::{addr, may_bind};
use super::endpoint::{Phase, Tcp};
use super::wrap;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::SockAddr;
use crate::net::message::{Incoming, Outgoing};
use crate::net::options::Value;
use crate::net::socket::{Socket, SocketOps};
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Largest segment over loopback (MTU 65536 less headers), and before a connection says better.
const MSS: i32 = 65483;
const MSS_DEFAULT: i32 = 536;
/// The one congestion control there is to speak of.
const CONGESTION: &[u8; 16] = b"cubic\0\0\0\0\0\0\0\0\0\0\0";
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

    /// `TCP_INFO`: state and sizes; what a wire would measure is zero.
    fn info(&self) -> Value {
        /// `sizeof(struct tcp_info)` of Linux 6.18, rounded down to what programs know.
        const LEN: usize = 232;
        let mut info = [0u8; LEN];
        if let Some(state) = info.first_mut() {
            *state = self.tcp_state();
        }
        for (at, value) in [(16, MSS as u32), (20, MSS as u32), (12, 200_000), (8, 40_000), (80, 10)] {
            if let Some(field) = info.get_mut(at..at + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        info.as_slice().into()
    }

    fn tcp_state(&self) -> u8 {
        let state = self.end.state.lock();
        match state.phase {
            Phase::Listening { .. } => 10,
            Phase::Connecting => 2,
            Phase::Closed => 7,
            Phase::Established => match (state.fin_received, state.snd_shut) {
                (false, false) => 1,
                (false, true) => 5,
                (true, false) => 8,
                (true, true) => 7,
            },
        }
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.end.close();
    }
}

impl SocketOps for TcpSocket {
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()> {
        let address = addr::parse(self.end.family, address)?;
        let v6only = self.end.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
        if self.end.family == libc::AF_INET6 && address.is_ipv4() && v6only {
            return Err(Errno::INVAL);
        }
        if !address.ip().is_unspecified() && !addr::is_local(address.ip()) {
            return Err(Errno::ADDRNOTAVAIL);
        }
        may_bind(t, address.port())?;
        self.end.bind(address)
    }

    fn connect(&self, _: &Task, address: &SockAddr, nonblocking: bool) -> SysResult<()> {
        if address.family()? == libc::AF_UNSPEC {
            self.end.disconnect();
            return Ok(());
        }
        let waits = !nonblocking && matches!(self.end.state.lock().phase, Phase::Connecting);
        if waits {
            return self.end.resume_connect();
        }
        self.end.connect(addr::route(self.parse(address)?)?, nonblocking)
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

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        self.end.receive(buf, flags)
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
        let state = self.end.state.lock();
        match (&state.phase, state.remote) {
            (Phase::Established, Some(remote)) => Ok(addr::to_guest(self.end.family, remote)),
            _ => Err(Errno::NOTCONN),
        }
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, room: usize) -> SysResult<Value> {
        let connected = matches!(self.end.state.lock().phase, Phase::Established);
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_INFO) => Ok(self.info()),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => Ok(CONGESTION.as_slice().into()),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if self.end.ints.value(level, name) == 0 => {
                Ok(if connected { MSS } else { MSS_DEFAULT }.as_bytes().into())
            }
            (libc::IPPROTO_IP, libc::IP_MTU) if !connected => Err(Errno::NOTCONN),
            (libc::IPPROTO_IP, libc::IP_MTU) => Ok(65536i32.as_bytes().into()),
            (libc::IPPROTO_IPV6, _) if self.end.family == libc::AF_INET => Err(Errno::OPNOTSUPP),
            _ => self.end.ints.get(level, name, room),
        }
    }

    fn set_option(&self, _: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => match value.split(|b| *b == 0).next() {
                Some(b"cubic" | b"reno") => Ok(()),
                _ => Err(Errno::NOENT),
            },
            (libc::IPPROTO_IPV6, _) if self.end.family == libc::AF_INET => Err(Errno::NOPROTOOPT),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if self.end.state.lock().local.is_some() => Err(Errno::INVAL),
            _ => self.end.ints.set(level, name, value),
        }
    }

    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        if self.is_listening() {
            return Err(Errno::INVAL);
        }
        let value = match u64::from(cmd) {
            libc::FIONREAD => self.end.state.lock().inbox.len() as i32,
            // Nothing is ever on the wire.
            libc::TIOCOUTQ => 0,
            _ if cmd == SIOCATMARK => i32::from(self.end.state.lock().urgent.is_some()),
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

    fn as_any(&self) -> &dyn Any {
        self
    }
}
