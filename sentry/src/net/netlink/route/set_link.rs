//! Interfaces are added, changed, moved and deleted.

use super::super::message::{Attributes, Failure, Origin, Request, attributes};
use super::link::{Asked, IFLA_IFALIAS, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_MASTER, Ifinfomsg, br, name_of, parse};
use super::{Answer, Asker, nsid, number, text};
use crate::errno::{Errno, SysResult};
use crate::net::bridge::Bridge;
use crate::net::layout::{Layout, V6};
use crate::net::namespace::Net;
use crate::net::stack::lifecycle;
use crate::net::stack::link::{Device, Kind, Link, Mac, flag};
use std::sync::Arc;
use std::time::Duration;

const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
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
        set_info(layout, index, &all)?;
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
        IFLA_MASTER => layout.set_master(index, number(content)?)?,
        _ => {}
    }
    Ok(())
}

/// What a request says of things that interfaces of a kind alone have.
fn info<'a>(all: &impl Fn() -> Attributes<'a>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let info = all().find(|(kind, _)| *kind == libc::IFLA_LINKINFO).map_or([].as_slice(), |(_, info)| info);
    let part = |wanted: u16| attributes(info, 0).find(|(kind, _)| *kind == wanted).map(|(_, content)| content);
    (part(IFLA_INFO_KIND), part(IFLA_INFO_DATA))
}

fn set_info<'a>(layout: &Layout, index: u32, all: &impl Fn() -> Attributes<'a>) -> Answer {
    let (Some(kind), Some(data)) = info(all) else { return Ok(()) };
    match &layout.link(index).ok_or(Errno::NODEV)?.device.kind {
        Kind::Bridge(bridge) if text(kind)? == "bridge" => set_bridge(bridge, data),
        _ => Err(Errno::OPNOTSUPP.into()),
    }
}

/// What is told of a bridge can be set to what it is; of the rest how long it remembers addresses.
fn set_bridge(bridge: &Bridge, data: &[u8]) -> Answer {
    for (kind, content) in attributes(data, 0) {
        let said = content.iter().rev().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        match kind {
            br::AGEING_TIME => bridge.set_ageing(Duration::from_millis(u64::from(number(content)?) * 10)),
            // Without a spanning tree nothing waits, and nobody is chosen. What is snooped is flooded too.
            br::FORWARD_DELAY | br::HELLO_TIME | br::MAX_AGE | br::PRIORITY | br::MCAST_SNOOPING => {}
            br::VLAN_PROTOCOL | br::VLAN_DEFAULT_PVID => {}
            _ if said == 0 => {}
            _ => return Err(Errno::OPNOTSUPP.into()),
        }
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
    (link.mtu, link.has_set_mtu) = (mtu, true);
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
    (link.mac, link.has_set_mac) = (mac, true);
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
    master: u32,
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
                IFLA_MASTER => plan.master = number(content)?,
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
            layout.set_master(index, self.master)?;
            layout.set_up(index, self.flags & flag::UP != 0, v6)?;
            Ok(index)
        })
    }
}

fn add(asker: &Asker<'_>, request: &Request<'_>, asked: &Asked<'_>) -> Answer {
    let all = || attributes(request.payload, size_of::<Ifinfomsg>());
    let (kind, data) = info(&all);
    let unknown = Failure::because(Errno::OPNOTSUPP, "Unknown device type");
    let Some(kind) = kind else {
        return Err(if asked.info.index > 0 { Errno::NODEV.into() } else { unknown });
    };
    let net = target(asker, all())?.unwrap_or_else(|| asker.net.clone());
    let plan = Plan::new(asked.info, all())?;
    match text(kind)? {
        "dummy" => plan.build(&net, "dummy", Device::dummy(&net.weak())?).map(|_| ()),
        "bridge" => {
            let device = Device::bridge(&net.weak())?;
            if let (Kind::Bridge(bridge), Some(data)) = (&device.kind, data) {
                set_bridge(bridge, data)?;
            }
            plan.build(&net, "bridge", device).map(|_| ())
        }
        "veth" if plan.is_unnamed => Err(Errno::INVAL.into()),
        "veth" => add_pair(asker, &net, &plan, data.unwrap_or_default()),
        _ => Err(unknown),
    }
}

/// A pair: first the other end, as Linux does.
fn add_pair(asker: &Asker<'_>, net: &Arc<Net>, plan: &Plan<'_>, data: &[u8]) -> Answer {
    use zerocopy::FromBytes;
    let told = attributes(data, 0).find(|(kind, _)| *kind == VETH_INFO_PEER).map(|(_, peer)| peer);
    let (others, peer) = match told {
        None => (net.clone(), Plan { name: None, mac: None, index: 0, master: 0, ..*plan }),
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
