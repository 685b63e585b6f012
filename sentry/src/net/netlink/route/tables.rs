//! Rules and neighbours.

use super::super::message::{Reply, Request};
use super::{family_of, octets};
use crate::net::stack;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const RTM_NEWRULE: u16 = 32;
const RTM_NEWNEIGH: u16 = 28;
const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_REACHABLE`, `NUD_PERMANENT`.
const REACHABLE: u16 = 2;
pub(super) const PERMANENT: u16 = 0x80;

/// The rules that there are without anybody's doing: tables by priority.
const RULES: [(u32, u8); 3] =
    [(0, libc::RT_TABLE_LOCAL), (32766, libc::RT_TABLE_MAIN), (32767, libc::RT_TABLE_DEFAULT)];

/// `ip rule`.
pub(super) fn rules(request: &Request<'_>, reply: &mut Reply) {
    let asked = i32::from(request.payload.first().copied().unwrap_or(0));
    for family in [libc::AF_INET, libc::AF_INET6] {
        if asked != 0 && asked != family {
            continue;
        }
        // IPv6 has no default table.
        let count = if family == libc::AF_INET { 3 } else { 2 };
        for (priority, table) in RULES.into_iter().take(count) {
            let fixed = [family as u8, 0, 0, 0, table, 0, 0, TO_TABLE, 0, 0, 0, 0];
            reply.message(RTM_NEWRULE, &fixed, |reply| {
                reply.attribute(FRA_TABLE, &u32::from(table).to_ne_bytes());
                reply.attribute(FRA_SUPPRESS_PREFIXLEN, &u32::MAX.to_ne_bytes());
                if priority > 0 {
                    reply.attribute(FRA_PRIORITY, &priority.to_ne_bytes());
                }
                reply.attribute(FRA_PROTOCOL, &[libc::RTPROT_KERNEL]);
            });
        }
    }
}

/// `struct ndmsg`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Ndmsg {
    pub(super) family: u8,
    pad: [u8; 3],
    pub(super) index: u32,
    pub(super) state: u16,
    flags: u8,
    kind: u8,
}

/// `ip neigh`.
pub(super) fn neighbours(request: &Request<'_>, reply: &mut Reply) {
    let asked = request.payload.first().copied().unwrap_or(0);
    for link in stack::get().into_iter().flat_map(|stack| stack.links()) {
        let known = link.neighbours.lock().list();
        for (ip, mac, permanent) in known.into_iter().filter(|(ip, _, _)| asked == 0 || asked == family_of(*ip)) {
            let state = if permanent { PERMANENT } else { REACHABLE };
            let (family, kind) = (family_of(ip), libc::RTN_UNICAST);
            let fixed = Ndmsg { family, pad: [0; 3], index: link.index, state, flags: 0, kind };
            reply.message(RTM_NEWNEIGH, fixed.as_bytes(), |reply| {
                reply.attribute(NDA_DST, &octets(ip));
                reply.attribute(NDA_LLADDR, &mac);
            });
        }
    }
}
