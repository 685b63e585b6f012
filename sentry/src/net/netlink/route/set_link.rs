//! Interfaces are added, changed, moved and deleted.

use super::super::message::{Failure, Origin, Request, attributes};
use super::link::{Asked, IFLA_IFALIAS, IFLA_INFO_KIND, IFLA_MASTER, Ifinfomsg, name_of, parse};
use super::{Answer, Asker, nsid, number, text};
use crate::errno::{Errno, SysResult};
use crate::net::layout::{Layout, V6};
use crate::net::namespace::Net;
use crate::net::stack::lifecycle;
use crate::net::stack::link::{Device, Kind, Link, Mac, flag};
use std::sync::Arc;

const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// Longest `IFLA_IFALIAS`.
const ALIAS_MAX: usize = 255;
/// What of an interface's flags guests may change, besides whether it is on.
const CHANGEABLE: u32 = flag::NOARP | flag::MULTICAST | flag::ALLMULTI | flag::PROMISC;

/// The namespace that a request names (`rtnl_link_get_net`): its own, if none.
fn target(asker: &Asker<'_>, of: impl Iterator<Item = (u16, impl AsRef<[u8]>)>) -> Result<Option<Arc<Net>>, Failure> {
    let mut found = None;
    for (kind, content) in of {
        let content = content.as_ref();
        let wrong = |error| match error {
            Errno::SRCH => Errno::SRCH,
            Errno::BADF => Errno::BADF,
            _ => Errno::INVAL,
        };
        match kind {
            IFLA_NET_NS_PID => found = Some(nsid::by_pid(asker.task, number(content)?).map_err(wrong)?),
            IFLA_NET_NS_FD => found = Some(nsid::by_fd(asker.task, number(content)?).map_err(wrong)?),
            _ => {}
        }
    }
    Ok(found)
}

/// `RTM_NEWLINK` and `RTM_SETLINK`: changes an interface, or adds one.
pub(super) fn change(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let net = asker.net;
    let asked = parse(request)?;
    let all = || attributes(request.payload, size_of::<Ifinfomsg>());
    let found = match asked.find(&net.layout()) {
        Err(Errno::NODEV | Errno::INVAL) if request.has(libc::NLM_F_CREATE) => return add(asker, request, &asked),
        Err(Errno::INVAL) if request.header.kind == libc::RTM_NEWLINK => return Err(Errno::NODEV.into()),
        found => found?,
    };
    if request.header.kind == libc::RTM_NEWLINK {
        if request.has(libc::NLM_F_EXCL) {
            return Err(Errno::EXIST.into());
        }
        if request.has(libc::NLM_F_REPLACE) {
            return Err(Errno::OPNOTSUPP.into());
        }
    }
    let renames = asked.info.index > 0;
    let (mut net, mut index) = (net.clone(), found.index);
    if let Some(other) = target(asker, all())?.filter(|other| !Arc::ptr_eq(other, &net)) {
        let name = asked.name.filter(|_| renames);
        index = lifecycle::relocate(&net, index, &other, name)?;
        net = other;
    }
    let v6 = net.v6(&found.name);
    net.change_for(Origin::default(), |layout| {
        for (kind, content) in all() {
            set(layout, index, kind, content, renames)?;
        }
        Ok(set_flags(layout, index, asked.info, v6)?)
    })
}

fn set_flags(layout: &mut Layout, index: u32, info: Ifinfomsg, v6: V6) -> SysResult<()> {
    if info.flags == 0 && info.change == 0 {
        return Ok(());
    }
    let mask = if info.change == 0 { u32::MAX } else { info.change };
    let link = layout.link_mut(index)?;
    let changes = mask & CHANGEABLE;
    link.flags = link.flags & !changes | info.flags & changes;
    let up = if mask & flag::UP != 0 { info.flags & flag::UP != 0 } else { link.up };
    layout.set_up(index, up, v6)
}

/// Sets what an attribute says. `renames`: the interface was found by its index, so a name is a new one.
fn set(layout: &mut Layout, index: u32, kind: u16, content: &[u8], renames: bool) -> Answer {
    match kind {
        libc::IFLA_MTU => set_mtu(layout.link_mut(index)?, number(content)?)?,
        libc::IFLA_TXQLEN => layout.link_mut(index)?.txqlen = number(content)?,
        libc::IFLA_GROUP => layout.link_mut(index)?.group = number(content)?,
        libc::IFLA_ADDRESS => set_mac(layout.link_mut(index)?, content)?,
        libc::IFLA_IFNAME if renames && !text(content)?.is_empty() => {
            layout.rename(index, name_of(content, true)?)?;
        }
        IFLA_IFALIAS => {
            let alias = text(content)?;
            if alias.len() > ALIAS_MAX {
                return Err(Errno::INVAL.into());
            }
            alias.clone_into(&mut layout.link_mut(index)?.alias);
        }
        // There are no interfaces that have others.
        IFLA_MASTER if number(content)? != 0 => {
            layout.link(number(content)?).ok_or(Errno::INVAL)?;
            return Err(Errno::OPNOTSUPP.into());
        }
        _ => {}
    }
    Ok(())
}

/// Sets the longest packet: `EINVAL` if such interfaces do not carry that.
pub(in crate::net) fn set_mtu(link: &mut Link, mtu: u32) -> Result<(), Failure> {
    let (least, most) = link.device.mtu_range();
    let mtu = mtu as usize;
    if mtu < least {
        return Err(Failure::because(Errno::INVAL, "mtu less than device minimum"));
    }
    if mtu > most {
        return Err(Failure::because(Errno::INVAL, "mtu greater than device maximum"));
    }
    link.mtu = mtu;
    Ok(())
}

/// Sets the hardware address: `EADDRNOTAVAIL` for one that no single interface can have.
pub(in crate::net) fn set_mac(link: &mut Link, content: &[u8]) -> SysResult<()> {
    if link.is_loopback() {
        return Err(Errno::OPNOTSUPP);
    }
    let mac: Mac = content.get(..6).and_then(|mac| mac.try_into().ok()).ok_or(Errno::INVAL)?;
    let [first, ..] = mac;
    if mac == [0; 6] || first & 1 != 0 {
        return Err(Errno::ADDRNOTAVAIL);
    }
    link.mac = mac;
    Ok(())
}

/// What a message says of an interface to be made.
#[derive(Default)]
struct Plan<'a> {
    name: Option<&'a str>,
    mac: Option<&'a [u8]>,
    mtu: Option<u32>,
    txqlen: Option<u32>,
    group: u32,
    index: u32,
    flags: u32,
    /// Its name is none, which pairs mind.
    is_unnamed: bool,
}

impl<'a> Plan<'a> {
    fn new(info: Ifinfomsg, all: impl Iterator<Item = (u16, &'a [u8])>) -> Result<Plan<'a>, Failure> {
        let mut plan = Plan { index: info.index.max(0).unsigned_abs(), flags: info.flags, ..Plan::default() };
        for (kind, content) in all {
            match kind {
                libc::IFLA_IFNAME => {
                    plan.name = Some(name_of(content, true)?).filter(|name| !name.is_empty());
                    plan.is_unnamed = plan.name.is_none();
                }
                libc::IFLA_ADDRESS => plan.mac = Some(content),
                libc::IFLA_MTU => plan.mtu = Some(number(content)?),
                libc::IFLA_TXQLEN => plan.txqlen = Some(number(content)?),
                libc::IFLA_GROUP => plan.group = number(content)?,
                _ => {}
            }
        }
        Ok(plan)
    }

    fn build(&self, net: &Net, stem: &str, device: Arc<Device>) -> Result<u32, Failure> {
        let v6 = net.v6("default");
        net.change_for(Origin::default(), |layout| {
            // `%d` stands for a number that makes the name new.
            let name = match self.name {
                Some(name) if name.matches('%').count() == 1 && name.ends_with("%d") => {
                    layout.free_name(name.trim_end_matches("%d"))
                }
                Some(name) => name.to_owned(),
                None => layout.free_name(stem),
            };
            let mut link = Link::new(name, Link::random_mac(), device.clone());
            (link.index, link.group) = (self.index, self.group);
            link.txqlen = self.txqlen.unwrap_or(link.txqlen);
            self.mac.map_or(Ok(()), |mac| set_mac(&mut link, mac))?;
            self.mtu.map_or(Ok(()), |mtu| set_mtu(&mut link, mtu))?;
            let is_asked = self.index > 0;
            if is_asked && layout.link(self.index).is_some() {
                return Err(Errno::BUSY.into());
            }
            let index = layout.add_link(link)?;
            layout.set_up(index, self.flags & flag::UP != 0, v6)?;
            Ok(index)
        })
    }
}

fn add(asker: &Asker<'_>, request: &Request<'_>, asked: &Asked<'_>) -> Answer {
    let all = || attributes(request.payload, size_of::<Ifinfomsg>());
    let info = all().find(|(kind, _)| *kind == libc::IFLA_LINKINFO).map_or([].as_slice(), |(_, info)| info);
    let part = |wanted: u16| attributes(info, 0).find(|(kind, _)| *kind == wanted).map(|(_, content)| content);
    let unknown = Failure::because(Errno::OPNOTSUPP, "Unknown device type");
    let Some(kind) = part(IFLA_INFO_KIND) else {
        return Err(if asked.info.index > 0 { Errno::NODEV.into() } else { unknown });
    };
    let net = target(asker, all())?.unwrap_or_else(|| asker.net.clone());
    let plan = Plan::new(asked.info, all())?;
    match text(kind)? {
        "dummy" => plan.build(&net, "dummy", Device::dummy(&net.weak())?).map(|_| ()),
        "veth" if plan.is_unnamed => Err(Errno::INVAL.into()),
        "veth" => add_pair(asker, &net, &plan, part(IFLA_INFO_DATA).unwrap_or_default()),
        _ => Err(unknown),
    }
}

/// A pair: first the other end, as Linux does.
fn add_pair(asker: &Asker<'_>, net: &Arc<Net>, plan: &Plan<'_>, data: &[u8]) -> Answer {
    use zerocopy::FromBytes;
    let told = attributes(data, 0).find(|(kind, _)| *kind == VETH_INFO_PEER).map(|(_, peer)| peer);
    let (others, peer) = match told {
        None => (net.clone(), Plan { name: None, mac: None, index: 0, ..*plan }),
        Some(peer) => {
            let (info, _) = Ifinfomsg::read_from_prefix(peer).map_err(|_| Errno::INVAL)?;
            let all = || attributes(peer, size_of::<Ifinfomsg>());
            // A namespace that the request names for one end is the other's too, unless that has one.
            (target(asker, all())?.unwrap_or_else(|| net.clone()), Plan::new(info, all())?)
        }
    };
    if peer.is_unnamed {
        return Err(Errno::INVAL.into());
    }
    let (device, other) = Device::pair(&net.weak(), &others.weak())?;
    let index = peer.build(&others, "veth", other)?;
    plan.build(net, "veth", device).map(|_| ()).inspect_err(|_| {
        let _ = others.change(|layout| layout.remove_link(index));
    })
}

pub(super) fn delete(net: &Net, request: &Request<'_>) -> Answer {
    let link = parse(request)?.find(&net.layout())?;
    if matches!(link.device.kind, Kind::Loopback | Kind::Host(_)) {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(lifecycle::remove(net, link.index)?)
}
