//! Whole filters of sources: `IP_MSFILTER`, and `MCAST_MSFILTER` of both families.

use super::{Groups, Interface, Sources, socket_address, sources_max, v4, word};
use crate::errno::{Errno, SysResult};
use crate::net::namespace::Net;
use crate::net::options::Value;
use crate::net::socket::Question;
use crate::net::stack::scope::scoped;
use std::collections::BTreeSet;
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// `IP_MSFILTER`, and `MCAST_MSFILTER`.
const IP_MSFILTER: i32 = 41;
const MCAST_MSFILTER: i32 = 48;
/// `MCAST_EXCLUDE` and `MCAST_INCLUDE`.
const EXCLUDE: u32 = 0;
const INCLUDE: u32 = 1;
/// Length of `struct sockaddr_storage`.
const STORAGE: usize = 128;

/// How an option's structure is laid out.
#[derive(Debug, Clone, Copy)]
struct Form {
    level: i32,
    /// With addresses of IPv4 alone (`struct ip_msfilter`).
    short: bool,
}

impl Form {
    fn of(level: i32, name: i32) -> Form {
        Form { level, short: (level, name) == (libc::IPPROTO_IP, IP_MSFILTER) }
    }

    /// Where the mode is, and the number of sources behind it.
    fn mode_at(self) -> usize {
        if self.short { 8 } else { 8 + STORAGE }
    }

    /// Length before the sources.
    fn head(self) -> usize {
        self.mode_at() + 8
    }

    fn source_len(self) -> usize {
        if self.short { 4 } else { STORAGE }
    }

    fn group(self, value: &[u8]) -> SysResult<IpAddr> {
        let group = if self.short { v4(value, 0)?.into() } else { socket_address(self.level, value, 8)? };
        if group.is_multicast() { Ok(group) } else { Err(Errno::INVAL) }
    }

    fn interface(self, value: &[u8]) -> SysResult<Interface> {
        if self.short { v4(value, 4).map(Interface::Address) } else { word(value, 0).map(Interface::Index) }
    }

    fn source(self, value: &[u8], n: usize) -> SysResult<IpAddr> {
        let at = self.head() + n * self.source_len();
        if self.short {
            return v4(value, at).map(IpAddr::from);
        }
        socket_address(self.level, value, at).map_err(|_| Errno::ADDRNOTAVAIL)
    }

    /// Appends a source as a guest reads it.
    fn put(self, source: IpAddr, out: &mut Value) {
        let start = out.len();
        match source {
            IpAddr::V4(ip) if self.short => out.extend_from_slice(&ip.octets()),
            _ => {
                let family = if source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
                let address = super::super::addr::to_guest(family, scoped(source, 0, 0));
                out.extend_from_slice(address.as_bytes());
            }
        }
        out.resize(start + self.source_len(), 0);
    }
}

impl Groups {
    /// Whether reading an option takes a question: which group, over which interface.
    pub(in crate::net::inet) fn asks(level: i32, name: i32) -> bool {
        matches!((level, name), (libc::IPPROTO_IP, IP_MSFILTER | MCAST_MSFILTER) | (libc::IPPROTO_IPV6, MCAST_MSFILTER))
    }

    /// Replaces from whom a member wants to hear.
    pub(super) fn set_filter(&self, net: &Net, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let form = Form::of(level, name);
        if value.len() < form.head() {
            return Err(Errno::INVAL);
        }
        let (mode, count) = (word(value, form.mode_at())?, word(value, form.mode_at() + 4)? as usize);
        if count > sources_max(net, level == libc::IPPROTO_IP) {
            return Err(Errno::NOBUFS);
        }
        if value.len() < form.head() + count * form.source_len() {
            return Err(Errno::INVAL);
        }
        let group = form.group(value)?;
        let all = (0..count).map(|n| form.source(value, n)).collect::<SysResult<BTreeSet<_>>>()?;
        let sources = match mode {
            EXCLUDE => Sources::Except(all),
            INCLUDE => Sources::Only(all),
            _ => return Err(Errno::INVAL),
        };
        let interface = form.interface(value)?.find(net, group).ok_or(Errno::NODEV)?;
        let leaves = matches!(&sources, Sources::Only(sources) if sources.is_empty());
        let mut state = self.state.lock();
        let at = state.members.iter().position(|member| member.group == group && member.interface == interface);
        match at {
            // To hear nobody is not to be a member.
            Some(at) if leaves => {
                state.members.remove(at);
            }
            None if leaves => return Err(Errno::ADDRNOTAVAIL),
            None => return Err(Errno::INVAL),
            Some(at) => {
                if let Some(member) = state.members.get_mut(at) {
                    member.sources = sources;
                }
            }
        }
        Ok(())
    }

    /// From whom a member wants to hear: as many sources as there is room for.
    pub(in crate::net::inet) fn filter(
        &self,
        net: &Net,
        (level, name): (i32, i32),
        question: Question<'_>,
    ) -> SysResult<Value> {
        let form = Form::of(level, name);
        let value = question(form.head())?;
        let group = form.group(&value)?;
        let interface = match form.interface(&value)? {
            Interface::Index(index) => index,
            address @ Interface::Address(_) => address.find(net, group).ok_or(Errno::NODEV)?,
        };
        let state = self.state.lock();
        let member = state.members.iter().find(|member| member.group == group && member.interface == interface);
        let (mode, sources) = match &member.ok_or(Errno::ADDRNOTAVAIL)?.sources {
            Sources::Except(sources) => (EXCLUDE, sources),
            Sources::Only(sources) => (INCLUDE, sources),
        };
        let room = word(&value, form.mode_at() + 4)? as usize;
        let mut out = Value::from_slice(value.get(..form.mode_at()).unwrap_or_default());
        out.extend_from_slice([mode, sources.len() as u32].as_bytes());
        sources.iter().take(room).for_each(|source| form.put(*source, &mut out));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_set_and_read() {
        let (groups, net) = (Groups::default(), Net::first());
        let mreq = [[239, 1, 2, 3], [127, 0, 0, 1]].concat();
        let filter = |mode: u32, sources: &[[u8; 4]]| {
            let head = [mreq.as_slice(), [mode, sources.len() as u32].as_bytes()].concat();
            [head, sources.concat()].concat()
        };
        let set = |value: &[u8]| groups.set(net, libc::IPPROTO_IP, IP_MSFILTER, value);
        assert_eq!(set(&filter(EXCLUDE, &[])), Err(Errno::INVAL));
        assert_eq!(groups.set(net, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &mreq), Ok(()));
        let asked = filter(INCLUDE, &[[127, 0, 0, 1], [127, 0, 0, 2]]);
        assert_eq!(set(&asked), Ok(()));
        let got = groups.filter(net, (libc::IPPROTO_IP, IP_MSFILTER), &|len| Ok(asked[..len].to_vec()));
        assert_eq!(got.as_deref(), Ok(asked.as_slice()));
        assert_eq!(set(&asked[..20]), Err(Errno::INVAL));
        assert_eq!(set(&filter(7, &[])), Err(Errno::INVAL));
        assert_eq!(set(&filter(EXCLUDE, &[[1; 4]; 11])), Err(Errno::NOBUFS));
        assert_eq!(set(&filter(INCLUDE, &[])), Ok(()));
        assert_eq!(set(&filter(INCLUDE, &[])), Err(Errno::ADDRNOTAVAIL));
    }
}
