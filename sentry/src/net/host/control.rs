//! Control messages: those that guests may send, and those that the host brings.

use crate::abi::Cmsghdr;
use crate::errno::{Errno, SysResult};
use crate::net::message::Control;
use zerocopy::{FromBytes, IntoBytes};

const HEADER: usize = size_of::<Cmsghdr>();
/// `UDP_SEGMENT`.
const UDP_SEGMENT: i32 = 103;

/// What a message may carry: level, type and the longest content.
const PASSES: &[(i32, i32, usize)] = &[
    (libc::IPPROTO_IP, libc::IP_PKTINFO, 12),
    (libc::IPPROTO_IP, libc::IP_TTL, 4),
    (libc::IPPROTO_IP, libc::IP_TOS, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20),
    (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 4),
    (libc::IPPROTO_UDP, UDP_SEGMENT, 2),
];

/// As the host takes them: `EINVAL` for one of the internet's that does not pass. It ignores those of other levels.
pub(super) fn encode(control: &[Control]) -> SysResult<Vec<u8>> {
    let mut bytes = Vec::new();
    for Control { level, kind, data } in control {
        let of_internet = matches!(*level, libc::IPPROTO_IP | libc::IPPROTO_IPV6 | libc::IPPROTO_UDP);
        let passes = |(l, k, most): &&(i32, i32, usize)| (l, k) == (level, kind) && data.len() <= *most;
        match PASSES.iter().find(passes) {
            Some(_) => {
                let header = Cmsghdr { len: (HEADER + data.len()) as u64, level: *level, kind: *kind };
                bytes.extend_from_slice(header.as_bytes());
                bytes.extend_from_slice(data);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
            None if of_internet => return Err(Errno::INVAL),
            None => {}
        }
    }
    Ok(bytes)
}

/// What the host wrote. Sockets of the internet carry no descriptors.
pub(super) fn decode(mut bytes: &[u8]) -> Vec<Control> {
    let mut all = Vec::new();
    while let Ok((header, rest)) = Cmsghdr::read_from_prefix(bytes) {
        let len = usize::try_from(header.len).unwrap_or(0).saturating_sub(HEADER);
        let Some(data) = rest.get(..len) else { break };
        all.push(Control { level: header.level, kind: header.kind, data: data.to_vec() });
        bytes = bytes.get((HEADER + len).next_multiple_of(8)..).unwrap_or_default();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_comes_back() {
        let of = |level, kind, data: &[u8]| Control { level, kind, data: data.to_vec() };
        let given = [
            of(libc::IPPROTO_IP, libc::IP_TOS, &[8]),
            of(libc::IPPROTO_IP, libc::IP_TTL, &[9, 0, 0, 0]),
            of(9999, 1, &[1; 100]),
        ];
        let bytes = encode(&given).unwrap();
        assert_eq!(decode(&bytes), given.get(..2).unwrap());
        assert_eq!(decode(bytes.get(..20).unwrap()), given.get(..1).unwrap());
        assert_eq!(decode(&[0; 40]), [of(0, 0, &[]), of(0, 0, &[])]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for (level, kind, len) in [
            (libc::IPPROTO_IP, libc::IP_RETOPTS, 4),
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 13),
            (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, 8),
        ] {
            assert_eq!(encode(&[Control { level, kind, data: vec![0; len] }]), Err(Errno::INVAL));
        }
    }
}
