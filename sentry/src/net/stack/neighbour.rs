//! Who is at which hardware address: the table behind ARP and NDP, and the packets that wait for an answer.

use super::link::{Mac, Offload};
use crate::errno::{Errno, SysResult};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Neighbours of an interface that are remembered (`gc_thresh3`).
const TABLE_MAX: usize = 1024;
/// Packets that wait for one neighbour: as many as a burst of connections has.
const WAITING_MAX: usize = 64;
/// How often a neighbour is asked for before it counts as gone (`mcast_solicit`).
const TRIES: u8 = 3;
/// Time for an answer (`retrans_time_ms`).
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// After how long an address is asked for again, while it goes on being used.
const STALE: Duration = Duration::from_secs(30);

/// A packet with room for the link's headers.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Its bytes, or those of its headers.
    pub frame: Vec<u8>,
    /// What follows on them, where somebody else keeps it.
    pub data: &'a [&'a [u8]],
    /// What is left to do for it.
    pub offload: Offload,
}

impl Outgoing<'_> {
    /// One that is in one piece and complete.
    pub fn whole(frame: Vec<u8>) -> Outgoing<'static> {
        Outgoing { frame, data: &[], offload: Offload::None }
    }

    /// How many bytes it has, with the room.
    pub fn size(&self) -> usize {
        self.frame.len() + self.data.iter().map(|data| data.len()).sum::<usize>()
    }

    /// In one piece, to be kept.
    pub fn into_owned(mut self) -> Outgoing<'static> {
        self.data.iter().for_each(|data| self.frame.extend_from_slice(data));
        Outgoing { frame: self.frame, data: &[], offload: self.offload }
    }
}

#[derive(Debug)]
enum State {
    /// It was asked for.
    Incomplete { tries: u8, waiting: Vec<Outgoing<'static>> },
    /// It answered at the time.
    Known { mac: Mac, confirmed: Instant, asked: Option<Instant> },
    /// The engine or a guest set it.
    Permanent(Mac),
}

/// The neighbours of an interface.
#[derive(Debug, Default)]
pub struct Neighbours {
    table: HashMap<IpAddr, State>,
}

/// What is to be done with a packet.
#[derive(Debug)]
pub enum Resolved<'a> {
    /// Send it there; ask again if the address is old.
    Send { mac: Mac, packet: Outgoing<'a>, ask: bool },
    /// It waits. Ask, if nobody has.
    Wait { ask: bool },
}

/// What is to be done when no answer came in time.
#[derive(Debug)]
pub enum Retry {
    /// Nothing: it came.
    Done,
    /// Ask once more.
    Ask,
    /// These did not reach their neighbour.
    Failed(Vec<Outgoing<'static>>),
}

impl Neighbours {
    /// Adds a neighbour that never changes.
    pub fn set_permanent(&mut self, ip: IpAddr, mac: Mac) {
        self.table.insert(ip, State::Permanent(mac));
    }

    /// Finds the neighbour for a packet.
    pub fn resolve<'a>(&mut self, ip: IpAddr, packet: Outgoing<'a>, now: Instant) -> Resolved<'a> {
        match self.table.get_mut(&ip) {
            Some(State::Permanent(mac)) => Resolved::Send { mac: *mac, packet, ask: false },
            Some(State::Known { mac, confirmed, asked }) => {
                let old = now.duration_since(*confirmed) > STALE;
                let ask = old && asked.is_none_or(|asked| now.duration_since(asked) > RETRY);
                if ask {
                    *asked = Some(now);
                }
                Resolved::Send { mac: *mac, packet, ask }
            }
            Some(State::Incomplete { waiting, .. }) => {
                if waiting.len() < WAITING_MAX {
                    waiting.push(packet.into_owned());
                }
                Resolved::Wait { ask: false }
            }
            None => {
                self.make_room();
                self.table.insert(ip, State::Incomplete { tries: 1, waiting: vec![packet.into_owned()] });
                Resolved::Wait { ask: true }
            }
        }
    }

    /// `ip` is at `mac`: returns what waited for it. `create`: it is worth remembering although nobody asked.
    pub fn confirm(&mut self, ip: IpAddr, mac: Mac, create: bool, now: Instant) -> Vec<Outgoing<'static>> {
        let known = State::Known { mac, confirmed: now, asked: None };
        match self.table.get_mut(&ip) {
            Some(State::Permanent(_)) => {}
            Some(state) => {
                if let State::Incomplete { waiting, .. } = std::mem::replace(state, known) {
                    return waiting;
                }
            }
            None if create => {
                self.make_room();
                self.table.insert(ip, known);
            }
            None => {}
        }
        Vec::new()
    }

    /// The time for an answer is over.
    pub fn retry(&mut self, ip: IpAddr) -> Retry {
        let Some(State::Incomplete { tries, .. }) = self.table.get_mut(&ip) else { return Retry::Done };
        if *tries < TRIES {
            *tries += 1;
            return Retry::Ask;
        }
        match self.table.remove(&ip) {
            Some(State::Incomplete { waiting, .. }) => Retry::Failed(waiting),
            _ => Retry::Done,
        }
    }

    /// All that are known: address, hardware address, permanent.
    pub fn list(&self) -> Vec<(IpAddr, Mac, bool)> {
        let all = self.table.iter().filter_map(|(ip, state)| match state {
            State::Known { mac, .. } => Some((*ip, *mac, false)),
            State::Permanent(mac) => Some((*ip, *mac, true)),
            State::Incomplete { .. } => None,
        });
        all.collect()
    }

    /// Whether `ip` has an address.
    pub fn knows(&self, ip: IpAddr) -> bool {
        self.table.get(&ip).is_some_and(|state| !matches!(state, State::Incomplete { .. }))
    }

    /// A guest says where `ip` is: returns what waited for it.
    pub fn set(&mut self, ip: IpAddr, mac: Mac, permanent: bool) -> SysResult<Vec<Outgoing<'static>>> {
        if self.table.len() >= TABLE_MAX && !self.table.contains_key(&ip) {
            return Err(Errno::NOBUFS);
        }
        let known = State::Known { mac, confirmed: Instant::now(), asked: None };
        let old = self.table.insert(ip, if permanent { State::Permanent(mac) } else { known });
        Ok(if let Some(State::Incomplete { waiting, .. }) = old { waiting } else { Vec::new() })
    }

    /// Forgets a neighbour; whether it was known.
    pub fn forget(&mut self, ip: IpAddr) -> bool {
        self.table.remove(&ip).is_some()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// Makes a full table forget who was heard of longest ago.
    fn make_room(&mut self) {
        if self.table.len() < TABLE_MAX {
            return;
        }
        let oldest = self.table.iter().filter_map(|(ip, state)| match state {
            State::Known { confirmed, .. } => Some((Some(*confirmed), *ip)),
            State::Incomplete { .. } => Some((None, *ip)),
            State::Permanent(_) => None,
        });
        if let Some((_, ip)) = oldest.min() {
            self.table.remove(&ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Outgoing<'static> {
        Outgoing::whole(vec![1])
    }

    #[test]
    fn packets_wait_for_an_answer() {
        let mut table = Neighbours::default();
        let (ip, mac, now) = ("10.0.0.1".parse().unwrap(), [2, 0, 0, 0, 0, 1], Instant::now());
        assert!(matches!(table.resolve(ip, packet(), now), Resolved::Wait { ask: true }));
        for _ in 0..2 * WAITING_MAX {
            assert!(matches!(table.resolve(ip, packet(), now), Resolved::Wait { ask: false }));
        }
        assert_eq!(table.confirm(ip, mac, false, now).len(), WAITING_MAX);
        assert!(matches!(table.resolve(ip, packet(), now), Resolved::Send { ask: false, .. }));
        let later = now + STALE * 2;
        assert!(matches!(table.resolve(ip, packet(), later), Resolved::Send { ask: true, .. }));
        assert!(matches!(table.resolve(ip, packet(), later), Resolved::Send { ask: false, .. }));
    }

    #[test]
    fn silence_fails_what_waits() {
        let mut table = Neighbours::default();
        let ip = "10.0.0.1".parse().unwrap();
        table.resolve(ip, packet(), Instant::now());
        assert!(matches!(table.retry(ip), Retry::Ask));
        assert!(matches!(table.retry(ip), Retry::Ask));
        assert!(matches!(table.retry(ip), Retry::Failed(packets) if packets.len() == 1));
        assert!(matches!(table.retry(ip), Retry::Done));
    }

    #[test]
    fn the_table_is_bounded_and_takes_no_strangers() {
        let mut table = Neighbours::default();
        let now = Instant::now();
        table.confirm("10.9.9.9".parse().unwrap(), [0; 6], false, now);
        assert!(table.list().is_empty());
        for n in 0..2 * TABLE_MAX as u32 {
            table.confirm(std::net::Ipv4Addr::from(n).into(), [0; 6], true, now);
        }
        assert_eq!(table.list().len(), TABLE_MAX);
    }
}
