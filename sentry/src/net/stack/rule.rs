//! Rules: which table of routes is asked for which packets (`ip-rule(8)`).

use super::route::{Address, Query, contains};
use crate::errno::Errno;
use crate::net::layout::Layout;
use std::net::IpAddr;

/// What a rule leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A table of routes.
    Table(u32),
    /// The packet goes nowhere.
    Fail(Errno),
    /// The next rule.
    Nothing,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For packets of IPv4, or of IPv6.
    pub v4: bool,
    /// Those with lower numbers are asked first.
    pub priority: u32,
    /// Who made it (`RTPROT_…`).
    pub protocol: u8,
    /// What it leads to.
    pub action: Action,
    /// It is for those that the others say are not its.
    pub inverted: bool,
    /// From where.
    pub from: Option<Address>,
    /// To where.
    pub to: Option<Address>,
    /// Name of the interface that packets have come over; `lo` for own ones.
    pub iif: Option<String>,
    /// Name of the interface that they have to leave over.
    pub oif: Option<String>,
    /// `SO_MARK`, and which bits of it count.
    pub mark: Option<(u32, u32)>,
    /// Routes with prefixes as short as this, or shorter, do not count.
    pub suppress: Option<u32>,
}

impl Rule {
    /// For all packets of a family.
    pub fn new(v4: bool, priority: u32, action: Action) -> Rule {
        let protocol = libc::RTPROT_KERNEL;
        let (from, to, iif, oif, mark, suppress) = (None, None, None, None, None, None);
        Rule { v4, priority, protocol, action, inverted: false, from, to, iif, oif, mark, suppress }
    }

    /// Whether it is for such packets.
    pub fn applies(&self, layout: &Layout, to: IpAddr, query: &Query) -> bool {
        if self.v4 != to.is_ipv4() {
            return false;
        }
        let within = |network: Option<Address>, ip: Option<IpAddr>| {
            network.is_none_or(|(network, prefix)| prefix == 0 || ip.is_some_and(|ip| contains(network, prefix, ip)))
        };
        let is_named = |name: &Option<String>, index: u32| {
            let index_of = |name: &String| layout.link_named(name.as_bytes()).map(|link| link.index);
            name.as_ref().is_none_or(|name| index_of(name) == Some(index))
        };
        // Own packets have come over the loopback interface, as far as rules go.
        let iif = if query.iif == 0 { super::link::Link::LOOPBACK } else { query.iif };
        let marked = self.mark.is_none_or(|(mark, mask)| query.mark & mask == mark);
        let fits = within(self.to, Some(to))
            && within(self.from, query.from)
            && is_named(&self.iif, iif)
            && is_named(&self.oif, query.oif)
            && marked;
        fits != self.inverted
    }
}

/// The rules that there are without anybody's doing; IPv6 has no default table.
pub fn defaults() -> Vec<Rule> {
    let [local, main, default] =
        [libc::RT_TABLE_LOCAL, libc::RT_TABLE_MAIN, libc::RT_TABLE_DEFAULT].map(|table| Action::Table(table.into()));
    let all = [(true, 0, local), (true, 32766, main), (true, 32767, default), (false, 0, local), (false, 32766, main)];
    all.into_iter().map(|(v4, priority, action)| Rule::new(v4, priority, action)).collect()
}
