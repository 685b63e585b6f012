//! `--publish`: ports of the host that lead into the sandbox.

use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

/// A published port: `[HOSTIP:]HOSTPORT:PORT[/udp]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publish {
    ip: IpAddr,
    host: u16,
    guest: u16,
    is_udp: bool,
}

impl std::str::FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Publish, String> {
        let (ports, is_udp) = match text.rsplit_once('/') {
            Some((ports, "udp")) => (ports, true),
            Some((ports, "tcp")) => (ports, false),
            Some(_) => return Err("the protocol is neither tcp nor udp".into()),
            None => (text, false),
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or(format!("{text:?} is no port"));
        let (rest, guest) = ports.rsplit_once(':').ok_or("not of the form [HOSTIP:]HOSTPORT:PORT[/udp]")?;
        let (ip, host) = match rest.rsplit_once(':') {
            Some((ip, host)) => {
                let inner = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                (inner.parse().map_err(|_| format!("{ip:?} is no address"))?, host)
            }
            None => (Ipv4Addr::UNSPECIFIED.into(), rest),
        };
        Ok(Publish { ip, host: port(host)?, guest: port(guest)?, is_udp })
    }
}

/// Sockets of the host for published ports, each with the port of the guest.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) tcp: Vec<(OwnedFd, u16)>,
    pub(super) udp: Vec<(OwnedFd, u16)>,
}

impl Listeners {
    /// Opens them all.
    pub(super) fn open(ports: &[Publish]) -> Result<Listeners> {
        let mut listeners = Listeners::default();
        for port in ports {
            let place = (port.ip, port.host);
            let what = || format!("cannot publish port {} of {}", port.host, port.ip);
            if port.is_udp {
                let socket = UdpSocket::bind(place).with_context(what)?;
                socket.set_nonblocking(true).with_context(what)?;
                listeners.udp.push((socket.into(), port.guest));
            } else {
                let socket = TcpListener::bind(place).with_context(what)?;
                socket.set_nonblocking(true).with_context(what)?;
                listeners.tcp.push((socket.into(), port.guest));
            }
        }
        Ok(listeners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let read = |text: &str| text.parse::<Publish>();
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        assert_eq!(read("8080:80"), Ok(Publish { ip: any, host: 8080, guest: 80, is_udp: false }));
        assert_eq!(read("127.0.0.1:53:5353/udp").map(|p| (p.ip.is_loopback(), p.is_udp)), Ok((true, true)));
        assert_eq!(read("[::1]:80:80/tcp").map(|p| (p.ip.is_ipv6(), p.host)), Ok((true, 80)));
        for wrong in ["80", "0:80", "80:0", "80:80/sctp", "x:80:80", "80:65536", "", ":"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
