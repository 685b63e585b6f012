//! Scopes of IPv6 addresses: some mean something only together with an interface, which then is part of them
//! (`sin6_scope_id`).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Whether an address means something on one interface only: link-local ones, and groups of a link or an interface.
pub fn is_scoped(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local()
                || matches!(ip.octets(), [0xff, scope, ..] if scope & 0xf == 1 || scope & 0xf == 2)
        }
    }
}

/// An address as seen over `interface`: with it, if it needs one.
pub fn scoped(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if is_scoped(ip) => SocketAddrV6::new(v6, port, 0, interface).into(),
        _ => SocketAddr::new(ip, port),
    }
}

/// The interface that an address is about; 0 if it does not say.
pub fn interface(address: &SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_a_link_have_scopes() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, has) in [
            ("fe80::1", true),
            ("ff02::1", true),
            ("ff01::1", true),
            ("ff05::1", false),
            ("fd00::1", false),
            ("::1", false),
            ("169.254.0.1", false),
        ] {
            assert_eq!(interface(&scoped(ip(text), 1, 7)), if has { 7 } else { 0 }, "{text}");
        }
    }
}
