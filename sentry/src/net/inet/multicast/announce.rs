//! Who is a member of what in a namespace, and what routers are told of it: when it changes, and when they ask.

use super::Sources;
use super::report::{self, Query, Record};
use crate::executor::{Events, Observer, Timers};
use crate::net::namespace::Net;
use crate::net::stack::link::Link;
use crate::net::stack::packet::Packet;
use crate::net::stack::random;
use crate::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Reports that wait to be sent: repetitions, and answers to queries, of which anybody may send many.
const WAITING_MAX: usize = 64;
/// Records of an answer.
const RECORDS_MAX: usize = 1024;
/// Within which time a change is told again, lest the first report was lost (`igmp_qrv` is 2).
const REPEATED: Duration = Duration::from_secs(1);

/// An interface, and a group.
type Place = (u32, IpAddr);

/// The members of a namespace.
#[derive(Debug, Default)]
pub(in crate::net::inet) struct Table(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By socket: from whom it wants to hear.
    members: BTreeMap<Place, BTreeMap<u64, Sources>>,
    /// What of an interface is to be answered: of which family, which group, and to whom who knows nothing of sources.
    answers: BTreeSet<(u32, bool, Option<IpAddr>)>,
    repetitions: usize,
}

/// From whom all of some members want to hear.
fn merged<'a>(members: impl Iterator<Item = &'a Sources>) -> Sources {
    let (mut except, mut only): (Option<BTreeSet<IpAddr>>, BTreeSet<IpAddr>) = (None, BTreeSet::new());
    for sources in members {
        match sources {
            Sources::Only(sources) => only.extend(sources),
            Sources::Except(sources) => {
                let both =
                    except.map_or_else(|| sources.clone(), |known| known.intersection(sources).copied().collect());
                except = Some(both);
            }
        }
    }
    match except {
        Some(except) => Sources::Except(except.difference(&only).copied().collect()),
        None => Sources::Only(only),
    }
}

/// Whether routers are told of a group: not of those that never leave a link's hosts.
fn is_told(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group != Ipv4Addr::new(224, 0, 0, 1),
        // Of an interface or less, or all of a link.
        IpAddr::V6(group) => {
            let [_, scope, rest @ ..] = group.octets();
            scope & 0xf > 1 && !(scope & 0xf == 2 && rest == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        }
    }
}

impl State {
    fn merged(&self, place: &Place) -> Sources {
        merged(self.members.get(place).into_iter().flatten().map(|(_, sources)| sources))
    }
}

impl Table {
    /// Socket `id` wants to hear from these; from nobody, if it is no member any more.
    pub(super) fn set(&self, net: &Net, place: Place, id: u64, sources: Option<Sources>) {
        let (interface, group) = place;
        let mut state = self.0.lock();
        let before = state.merged(&place);
        let members = state.members.entry(place).or_default();
        match sources {
            Some(sources) => {
                members.insert(id, sources);
            }
            None => {
                members.remove(&id);
            }
        }
        if members.is_empty() {
            state.members.remove(&place);
        }
        let after = state.merged(&place);
        let repeats = before != after && state.repetitions < WAITING_MAX;
        state.repetitions += usize::from(repeats);
        drop(state);
        let records = Record::changes(group, &before, &after);
        let link = net.layout().link(interface).cloned();
        let Some(link) = link.filter(|link| !link.is_loopback() && is_told(group)) else {
            self.0.lock().repetitions -= usize::from(repeats);
            return;
        };
        report::send(net, &link, group.is_ipv4(), &records);
        if repeats {
            let again = Again { net: net.weak(), interface, v4: group.is_ipv4(), records };
            Timers::get().add(Instant::now() + chance(REPEATED), Arc::new(again));
        }
    }

    /// All of an interface that a query asks for.
    fn answer(&self, interface: u32, v4: bool, asked: Option<IpAddr>) -> Vec<Record> {
        let state = self.0.lock();
        let all = state.members.keys().filter(|(index, group)| *index == interface && group.is_ipv4() == v4);
        let wanted = all.filter(|(_, group)| is_told(*group) && asked.is_none_or(|asked| asked == *group));
        wanted.take(RECORDS_MAX).map(|place| Record::state(place.1, &state.merged(place))).collect()
    }
}

/// A time up to `most` that nobody can foresee: many answer.
fn chance(most: Duration) -> Duration {
    most.mul_f64(f64::from(random()) / f64::from(u32::MAX))
}

/// A change is told again.
struct Again {
    net: Weak<Net>,
    interface: u32,
    v4: bool,
    records: Vec<Record>,
}

impl Observer for Again {
    fn notify(&self, _: Events) {
        let Some(net) = self.net.upgrade() else { return };
        net.inet.groups.0.lock().repetitions -= 1;
        let link = net.layout().link(self.interface).cloned();
        if let Some(link) = link {
            report::send(&net, &link, self.v4, &self.records);
        }
    }
}

/// A query is to be answered.
struct Answer {
    net: Weak<Net>,
    interface: u32,
    query: Query,
}

impl Observer for Answer {
    fn notify(&self, _: Events) {
        let Some(net) = self.net.upgrade() else { return };
        let Query { v4, group, old, .. } = self.query;
        net.inet.groups.0.lock().answers.remove(&(self.interface, v4, group));
        let records = net.inet.groups.answer(self.interface, v4, group);
        let link = net.layout().link(self.interface).cloned();
        let Some(link) = link else { return };
        if old {
            records.iter().for_each(|record| report::send_old(&net, &link, record.group));
        } else {
            report::send(&net, &link, v4, &records);
        }
    }
}

/// A packet that may be a query.
pub(in crate::net) fn input(net: &Net, link: &Link, packet: &Packet<'_>) {
    let Some(query) = Query::parse(packet) else { return };
    let mut state = net.inet.groups.0.lock();
    let has_room = state.answers.len() < WAITING_MAX;
    if !has_room || !state.answers.insert((link.index, query.v4, query.group)) {
        return;
    }
    drop(state);
    let answer = Answer { net: net.weak(), interface: link.index, query };
    Timers::get().add(Instant::now() + chance(query.patience), Arc::new(answer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_merged() {
        let set = |all: &[u8]| all.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect::<BTreeSet<_>>();
        let (only, except) = (|all: &[u8]| Sources::Only(set(all)), |all: &[u8]| Sources::Except(set(all)));
        assert_eq!(merged([].iter()), only(&[]));
        assert_eq!(merged([only(&[1]), only(&[2])].iter()), only(&[1, 2]));
        assert_eq!(merged([except(&[1, 2]), except(&[2, 3])].iter()), except(&[2]));
        assert_eq!(merged([except(&[1, 2]), only(&[1])].iter()), except(&[2]));
    }

    #[test]
    fn some_groups_are_nobodys_business() {
        for (group, told) in [("224.0.0.1", false), ("224.0.0.251", true), ("ff02::1", false), ("ff02::fb", true)] {
            assert_eq!(is_told(group.parse().unwrap()), told, "{group}");
        }
        assert!(!is_told("ff01::5".parse().unwrap()));
    }
}
