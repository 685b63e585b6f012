//! What sockets tell of themselves to `/proc/net` and `NETLINK_SOCK_DIAG`.

use std::net::SocketAddr;

/// States of TCP as Linux numbers them; other protocols use the first and `CLOSE`.
pub mod state {
    /// `TCP_ESTABLISHED`.
    pub const ESTABLISHED: u8 = 1;
    /// `TCP_SYN_SENT`.
    pub const SYN_SENT: u8 = 2;
    /// `TCP_FIN_WAIT2`.
    pub const FIN_WAIT2: u8 = 5;
    /// `TCP_CLOSE`.
    pub const CLOSE: u8 = 7;
    /// `TCP_CLOSE_WAIT`.
    pub const CLOSE_WAIT: u8 = 8;
    /// `TCP_LISTEN`.
    pub const LISTEN: u8 = 10;
}

/// A socket's description.
#[derive(Debug, Default)]
pub enum Diag {
    /// There is nothing to tell.
    #[default]
    Nothing,
    /// TCP, UDP, raw and ping sockets.
    Inet(InetDiag),
    /// `AF_UNIX`.
    Unix(UnixDiag),
    /// `AF_NETLINK`: address, groups and bytes queued.
    Netlink(u32, u32, usize),
    /// `AF_PACKET`: protocol, interface and bytes queued.
    Packet(u16, u32, usize),
}

impl Diag {
    /// Bytes that wait to be read.
    pub fn waiting(&self) -> usize {
        match self {
            Diag::Nothing => 0,
            Diag::Inet(InetDiag { state: state::LISTEN, .. }) | Diag::Unix(UnixDiag { state: state::LISTEN, .. }) => 0,
            Diag::Inet(inet) => inet.received,
            Diag::Unix(unix) => unix.received,
            Diag::Netlink(.., bytes) | Diag::Packet(.., bytes) => *bytes,
        }
    }
}

/// Of an internet socket.
#[derive(Debug, Clone)]
pub struct InetDiag {
    /// Own address.
    pub local: SocketAddr,
    /// The other side's; unspecified if there is none.
    pub remote: SocketAddr,
    /// One of [`state`].
    pub state: u8,
    /// Bytes to read; of a listener, connections to accept.
    pub received: usize,
    /// Bytes not acknowledged; of a listener, its backlog.
    pub sent: usize,
    /// An IPv6 socket that takes no IPv4.
    pub v6only: bool,
    /// Connections that nobody has accepted.
    pub pending: Vec<InetDiag>,
}

/// Of a unix socket.
#[derive(Debug, Clone)]
pub struct UnixDiag {
    /// `sun_path`, with the NUL that leads an abstract name; empty if it has none.
    pub name: Vec<u8>,
    /// One of [`state`].
    pub state: u8,
    /// `SS_…` as `/proc/net/unix` tells it.
    pub connection: u8,
    /// Inode number of the peer.
    pub peer: Option<u64>,
    /// Bytes to read; of a listener, connections to accept.
    pub received: usize,
    /// Bytes sent and not read; of a listener, its backlog.
    pub sent: usize,
    /// Bits of halves that are shut.
    pub shutdown: u8,
    /// Connecting ends that wait for `accept`.
    pub pending: Vec<u64>,
    /// The file that a path names: device and inode number.
    pub file: Option<(u64, u64)>,
}
