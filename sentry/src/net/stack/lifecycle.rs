//! Interfaces that move and go.

use super::link::{Device, Kind, Link};
use crate::errno::{Errno, SysResult};
use crate::net::namespace::Net;
use std::sync::Arc;

/// Takes an interface out of its namespace, wherever that is.
pub fn vanish(device: &Arc<Device>) {
    if let Some((net, link)) = device.place() {
        let _ = remove(&net, link.index);
    }
}

/// Removes an interface, and of a pair the other end as well.
pub fn remove(net: &Net, index: u32) -> SysResult<()> {
    let link = net.change(|layout| {
        let link = layout.link(index).ok_or(Errno::NODEV)?;
        if matches!(link.device.kind, Kind::Loopback | Kind::Host(_)) {
            return Err(Errno::OPNOTSUPP);
        }
        layout.remove_link(index)
    })?;
    if let Some(peer) = link.device.peer() {
        vanish(&peer);
    }
    Ok(())
}

/// Moves an interface to another namespace, under another name or index if need be; it is off there, and has no
/// addresses.
pub fn relocate(from: &Net, index: u32, to: &Arc<Net>, name: Option<&str>) -> SysResult<u32> {
    let link = from.layout().link(index).ok_or(Errno::NODEV)?.clone();
    if link.is_loopback() || matches!(link.device.kind, Kind::Bridge(_)) {
        return Err(Errno::INVAL);
    }
    let moved = Link {
        name: name.map_or_else(|| link.name.clone(), str::to_owned),
        up: false,
        master: 0,
        addresses: Vec::new(),
        ..Link::clone(&link)
    };
    // There first: after an error nothing has changed.
    let index = to.change(|layout| layout.add_link(moved))?;
    if let Err(error) = from.change(|layout| layout.remove_link(link.index)) {
        let _ = to.change(|layout| layout.remove_link(index));
        return Err(error);
    }
    link.device.neighbours.lock().clear();
    link.device.set_home(to);
    Ok(index)
}

/// The namespace of an interface is gone: what the engine gave goes back, and of a pair the other end goes too.
pub fn orphaned(link: &Arc<Link>) {
    match &link.device.kind {
        Kind::Host(_) => return_home(link),
        Kind::Veth(_) => link.device.peer().iter().for_each(vanish),
        Kind::Loopback | Kind::Dummy | Kind::Bridge(_) => {}
    }
}

/// The first namespace gets an interface of the engine's back.
fn return_home(link: &Arc<Link>) {
    let net = Net::first();
    let is_taken = net.layout().link_named(link.name.as_bytes()).is_some();
    let name = if is_taken { net.layout().free_name("dev") } else { link.name.clone() };
    link.device.set_up(false);
    link.device.set_home(net);
    let moved = Link { name, up: false, master: 0, addresses: Vec::new(), ..Link::clone(link) };
    if let Err(error) = net.change(|layout| layout.add_link(moved)) {
        tracing::warn!("interface {} has no place to return to: {error}", link.name);
    }
}
