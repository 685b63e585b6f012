//! Call sites that are rewritten, for they make calls often: those that a guest process answers itself, `getpid(2)`
//! and its kin, and those whose calls go through a channel.
//!
//! The platform rewrites such a site (see [`thunk`]) while the thread that called is stopped. Others of its process may
//! run: they meet no instruction then, and are led on. Some pages of the process's own hold values with a table of
//! pointers, and code. A process that changes any of it lies to itself. A value is never changed while it may be read:
//! what is no longer true is *forgotten*, that is the sites that need it go their slow way from then on; only a forked
//! child, before it runs, gets values of its own, and a thread's id becomes 0 before there is a second thread.
//!
//! No debugger, signal handler or unwinder is shown an address in here: [`Local::seen`] says where a thread that was
//! stopped in such code is in terms of its program.

mod calls;
mod thunk;
mod window;

use super::process::HostProcess;
use crate::{Fact, Known};
use calls::is_robust_list;
pub(super) use calls::{has_channel, has_more_args, is_clone, is_for_channel, is_sigaction, is_sigmask};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use thunk::{BEFORE, BEHIND};
use thunk::{JUMP, Thunk};
pub(super) use window::Window;

/// Values and table.
pub(super) const DATA: u64 = 0x6_0000;
/// Code.
pub(super) const CODE: u64 = 0x6_1000;
/// In 0x60600–0x607ff (see [`thunk::jump`]).
const TABLE: u64 = DATA + 0x600;
pub(super) const CODE_SIZE: u64 = 0x4000;
const BLOCK: u16 = 256;
/// As many as the code has room for.
const SITES_MAX: usize = (CODE_SIZE / BLOCK as u64) as usize;

/// A site is rewritten when it has made so many calls: about as many as cost what the rewriting costs.
pub(super) const OFTEN: u32 = 64;
/// How many sites are counted.
const COUNTED_MAX: usize = 256;
/// Sites whose calls go through a channel are rewritten the sooner, for it is known that their thread makes many calls.
const CHANNEL_OFTEN: u32 = 16;
/// Those that change signal actions are rewritten for a thread that has made so many calls: one that has gone through all
/// signals once, as languages do when they start, most often has done with them.
pub(super) const SIGACTION_OFTEN: u32 = 96;
/// And those that make threads, or that each thread makes once: it spares much more.
const CLONE_OFTEN: u32 = 4;
/// In memory that processes share a site is rewritten only when it has made so many, if others may run there: the host
/// waits for all its cores before they can be told of it, milliseconds if these have much to do.
pub(super) const SHARED_OFTEN: u32 = 1024;

/// The rewritten sites of one address space.
#[derive(Debug, Default, Clone)]
pub(super) struct Local {
    counts: HashMap<u64, u32>,
    sites: Vec<Site>,
    /// The pages are there.
    pub(super) is_mapped: bool,
    /// Some thread in this memory, or in what it is a copy of, was given a channel.
    is_open: bool,
    /// Some site changes signal actions.
    has_sigactions: bool,
    /// The host or the guest did not let us; never again.
    pub(super) is_refused: bool,
    /// Values that are no longer true, as bits.
    forgotten: u16,
    /// Counts changes of the table, and which of them has been written.
    generation: u64,
    written: u64,
}

#[derive(Debug, Clone)]
struct Site {
    at: u64,
    thunk: Thunk,
    /// What it looks like, unless it is being rewritten.
    text: Option<[u8; JUMP]>,
}

/// Where someone goes on who went into the middle of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    /// In its code.
    pub(super) to: u64,
    /// Where the site is.
    pub(super) site: u64,
    /// What it looks like, unless it is being rewritten: it may have been replaced.
    pub(super) text: Option<[u8; JUMP]>,
}

/// What is to be written to rewrite a site.
#[derive(Debug)]
pub(super) struct Rewrite {
    /// Address of the site.
    pub(super) at: u64,
    /// Where its code goes.
    pub(super) code_at: u64,
    /// The code.
    pub(super) code: Vec<u8>,
    /// What the site becomes.
    pub(super) jump: [u8; JUMP],
    /// Number of the call.
    nr: u32,
    thunk: Thunk,
}

/// Where the calls of rewritten sites end, for who may not wait: each call through a channel asks.
#[derive(Debug)]
pub(super) struct Ends([AtomicU64; SITES_MAX]);

impl Default for Ends {
    fn default() -> Ends {
        Ends([const { AtomicU64::new(0) }; SITES_MAX])
    }
}

impl Ends {
    fn slot(&self, code: u64) -> Option<&AtomicU64> {
        self.0.get((code.checked_sub(CODE)? / u64::from(BLOCK)) as usize)
    }

    /// Where the call of the site ends whose code is at `code`.
    pub(super) fn of(&self, code: u64) -> Option<u64> {
        self.slot(code).map(|end| end.load(Ordering::Relaxed)).filter(|end| *end != 0)
    }

    /// A site is about to be rewritten.
    pub(super) fn add(&self, rewrite: &Rewrite) {
        if let Some(end) = self.slot(rewrite.code_at) {
            end.store(rewrite.at + rewrite.thunk.site_len(), Ordering::Relaxed);
        }
    }
}

impl Clone for Ends {
    fn clone(&self) -> Ends {
        Ends(std::array::from_fn(|n| AtomicU64::new(self.0.get(n).map_or(0, |end| end.load(Ordering::Relaxed)))))
    }
}

impl Rewrite {
    /// The bytes of the jump that other threads may be about to run, each with where it goes. They are none.
    pub(super) fn inner(&self) -> impl Iterator<Item = (u64, u8)> {
        self.thunk.inner().filter_map(|at| Some((self.at + at as u64, *self.jump.get(at)?)))
    }
}

impl Local {
    /// Counts a call that returns to `ip`; whether its site should be rewritten now. `is_busy`: its thread makes many
    /// calls, and can have a channel.
    pub(super) fn count(&mut self, nr: u32, ip: u64, is_busy: bool) -> bool {
        let often = match calls::value_of(nr) {
            Some(_) => OFTEN,
            None if is_sigmask(nr) => OFTEN,
            None if is_sigaction(nr) => SIGACTION_OFTEN,
            None if is_clone(nr) || is_robust_list(nr) => CLONE_OFTEN,
            None if is_busy && has_channel(nr) => CHANNEL_OFTEN,
            None => return false,
        };
        if self.is_refused || self.sites.len() >= SITES_MAX {
            return false;
        }
        if self.counts.len() >= COUNTED_MAX {
            self.counts.clear();
        }
        let count = self.counts.entry(ip).or_default();
        *count = count.wrapping_add(1);
        // A site that could not be rewritten is tried again much later; of signal actions the thread's own calls say when.
        *count >= often && (is_sigaction(nr) || count.is_power_of_two())
    }

    /// How many calls have been counted that return to `ip`.
    pub(super) fn counted(&self, ip: u64) -> u32 {
        self.counts.get(&ip).copied().unwrap_or_default()
    }

    /// Plans to rewrite the site of a call `nr` that returns to `ip`, with `text` around there ([`BEFORE`], [`BEHIND`]).
    pub(super) fn plan(&self, nr: u32, ip: u64, text: &[u8]) -> Option<Rewrite> {
        let index = self.sites.len();
        if index >= SITES_MAX {
            return None;
        }
        let code_at = CODE + index as u64 * u64::from(BLOCK);
        let thunk = Thunk::new(nr, ip, text, code_at, DATA)?;
        if thunk.values & self.forgotten != 0 {
            return None;
        }
        let at = ip.checked_sub(thunk.site_len())?;
        let overlaps = |site: &Site| site.at < at + JUMP as u64 && at < site.at + JUMP as u64;
        if self.sites.iter().any(overlaps) {
            return None;
        }
        let jump = thunk::jump(TABLE + 8 * index as u64);
        Some(Rewrite { at, code_at, code: thunk.bytes.clone(), jump, nr, thunk })
    }

    /// The code is in place; the site is not rewritten yet.
    pub(super) fn add(&mut self, rewrite: &Rewrite) {
        self.has_sigactions |= is_sigaction(rewrite.nr);
        self.sites.push(Site { at: rewrite.at, thunk: rewrite.thunk.clone(), text: None });
        self.generation += 1;
    }

    /// The site that was added last looks like this from now on.
    pub(super) fn finish(&mut self, text: [u8; JUMP]) {
        if let Some(site) = self.sites.last_mut() {
            site.text = Some(text);
        }
    }

    /// A thread is given a channel.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// Whether threads have channels, or had them when this memory was copied.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the guest changes signal actions itself, if they are lent to it.
    pub(super) fn has_sigactions(&self) -> bool {
        self.has_sigactions
    }

    fn forget(&mut self, fact: Fact) {
        let before = self.forgotten;
        self.forgotten |= match fact {
            Fact::All => 0x1ff,
            Fact::Calls => u16::MAX,
            Fact::Thread => 1 << calls::TID,
            Fact::Parent => 1 << 2,
            Fact::Owner => 0xf << 3,
            Fact::Group => 3 << 7,
        };
        self.generation += u64::from(self.forgotten != before);
    }

    /// Whether nobody knows any more which thread it is that asks.
    fn has_threads(&self) -> bool {
        self.forgotten & 1 << calls::TID != 0
    }

    fn table(&self) -> Vec<u8> {
        let entry = |(n, site): (usize, &Site)| {
            let slow = if site.thunk.values & self.forgotten != 0 { site.thunk.slow } else { 0 };
            CODE + n as u64 * u64::from(BLOCK) + u64::from(slow)
        };
        self.sites.iter().enumerate().map(entry).flat_map(u64::to_le_bytes).collect()
    }

    /// The site whose code `ip` is in, and how far.
    fn site_of_code(&self, ip: u64) -> Option<(&Site, u16)> {
        let offset = ip.checked_sub(CODE).filter(|offset| *offset < CODE_SIZE)? as u16;
        let site = self.sites.get(usize::from(offset / BLOCK))?;
        let offset = offset % BLOCK;
        site.thunk.span().contains(&offset).then_some((site, offset))
    }

    /// Where the program is whose thread is stopped at `ip`.
    pub(super) fn seen(&self, ip: u64) -> u64 {
        self.site_of_code(ip).map_or(ip, |(site, offset)| site.at + site.thunk.seen_at(offset))
    }

    /// The site whose code is at `ip`: where it begins, and where its call ends.
    pub(super) fn site(&self, ip: u64) -> Option<(u64, u64)> {
        self.site_of_code(ip).map(|(site, _)| (site.at, site.at + site.thunk.site_len()))
    }

    /// Where the slow code begins of the site whose code is at `ip`.
    pub(super) fn slow(&self, ip: u64) -> Option<u64> {
        self.site_of_code(ip).map(|(site, offset)| ip - u64::from(offset) + u64::from(site.thunk.slow))
    }

    /// Where someone goes on who goes to `ip`, into the middle of a site.
    pub(super) fn moved(&self, ip: u64) -> Option<Moved> {
        self.find(ip, Thunk::entry_at)
    }

    /// Where someone goes on who met an instruction that is none at `ip`, or with `is_trap` the trap before it.
    pub(super) fn moved_by_fault(&self, ip: u64, is_trap: bool) -> Option<Moved> {
        if is_trap {
            // What was there when it trapped may be the jump already.
            self.find(ip.wrapping_sub(1), |thunk, offset| (offset == 0).then_some(thunk.slow))
        } else {
            self.find(ip, Thunk::entry_of_fault)
        }
    }

    fn find(&self, ip: u64, entry: impl Fn(&Thunk, u64) -> Option<u16>) -> Option<Moved> {
        let mut sites = self.sites.iter().enumerate();
        let entry_of = |site: &Site| ip.checked_sub(site.at).and_then(|offset| entry(&site.thunk, offset));
        let (n, site, entry) = sites.find_map(|(n, site)| Some((n, site, entry_of(site)?)))?;
        let to = CODE + n as u64 * u64::from(BLOCK) + u64::from(entry);
        Some(Moved { to, site: site.at, text: site.text })
    }
}

impl HostProcess {
    /// Writes the table as it is to be. No lock is held over the copy; who changes the table meanwhile writes it again.
    pub(super) fn write_table(&self) -> bool {
        loop {
            let (generation, table) = {
                let local = self.space.local.lock();
                (local.generation, local.table())
            };
            if !table.is_empty() && !self.write_all(TABLE, &table) {
                return false;
            }
            let mut local = self.space.local.lock();
            if local.generation == generation {
                local.written = generation;
                return true;
            }
        }
    }

    /// From now on the guest has to ask about this.
    pub(super) fn forget_fact(&self, fact: Fact) {
        let is_mapped = {
            let mut local = self.space.local.lock();
            local.forget(fact);
            if local.generation == local.written {
                return;
            }
            local.is_mapped
        };
        // If this fails the guest has unmapped its table, and jumps through nothing.
        if is_mapped && fact == Fact::Thread {
            // Sites of many calls need not go the slow way for this: whoever reads the value now is the thread whose it is.
            self.write_all(DATA + 4 * u64::from(calls::TID), &[0; 4]);
        }
        self.write_table();
    }

    /// The values of a process none of whose code has run since they were last true.
    pub(super) fn write_known(&self, known: &Known) -> bool {
        let tid = if self.space.local.lock().has_threads() { 0 } else { known.tid };
        let values =
            [known.pid, tid, known.parent, known.uid, known.euid, known.gid, known.egid, known.pgid, known.sid];
        let bytes: Vec<u8> = values.into_iter().flat_map(u32::to_le_bytes).collect();
        self.write_all(DATA, &bytes)
    }

    /// Gives a forked child that has not run values of its own.
    pub(super) fn renew_known(&self, known: &Known) -> bool {
        let is_used = !self.space.local.lock().sites.is_empty();
        !is_used || self.write_known(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(nr: u8) -> Local {
        let mut local = Local::default();
        let mut text = [0x90; BEFORE as usize + 1];
        text[BEFORE as usize - 7..].copy_from_slice(&[0xb8, nr, 0, 0, 0, 0x0f, 0x05, 0xc3]);
        let rewrite = local.plan(u32::from(nr), 0x40_1007, &text).unwrap();
        assert_eq!((rewrite.at, rewrite.code_at), (0x40_1000, CODE));
        let ends = Ends::default();
        ends.add(&rewrite);
        assert_eq!(
            [CODE, CODE + 255, CODE + 256, CODE - 1].map(|at| ends.clone().of(at)),
            [Some(0x40_1007), Some(0x40_1007), None, None]
        );
        local.add(&rewrite);
        assert_eq!(local.moved_by_fault(rewrite.at + 1, true).unwrap().text, None);
        local.finish(rewrite.jump);
        assert!(local.plan(u32::from(nr), 0x40_1007, &text).is_none());
        local
    }

    #[test]
    fn a_stop_in_the_code_is_shown_at_the_site() {
        let local = rewritten(39);
        assert_eq!(local.seen(CODE), 0x40_1000);
        assert_eq!(local.seen(CODE + 7), 0x40_1007);
        assert_eq!(local.seen(CODE + 37), 0x40_1000);
        assert_eq!(local.seen(CODE + 39), 0x40_1007);
        assert_eq!(local.seen(CODE + 256), CODE + 256);
        assert_eq!(local.seen(0x40_1234), 0x40_1234);
        let moved = Moved { to: CODE + 37, site: 0x40_1000, text: Some(thunk::jump(TABLE)) };
        assert_eq!(local.moved(0x40_1005), Some(moved));
        assert_eq!(local.moved_by_fault(0x40_1005, false), Some(moved));
        assert_eq!(local.moved_by_fault(0x40_1001, true), Some(Moved { to: CODE + 32, ..moved }));
        assert_eq!((local.moved(0x40_1000), local.moved_by_fault(0x40_1000, false)), (None, None));
    }

    #[test]
    fn what_is_forgotten_is_asked_for() {
        let mut local = rewritten(110);
        assert_eq!(local.table(), CODE.to_le_bytes());
        local.forget(Fact::Owner);
        assert_eq!(local.table(), CODE.to_le_bytes());
        local.forget(Fact::Parent);
        assert_eq!(local.table(), (CODE + 32).to_le_bytes());
        // Nor is a site rewritten that would need it; one that finds all by GS is.
        let text = |nr| [&[0x90; BEFORE as usize - 7][..], &[0xb8, nr, 0, 0, 0, 0x0f, 0x05, 0xc3]].concat();
        let is_planned = |local: &Local, nr| local.plan(u32::from(nr), 0x40_2007, &text(nr)).is_some();
        assert_eq!([39, 110, 13].map(|nr| is_planned(&local, nr)), [true, false, true]);
        local.forget(Fact::All);
        assert_eq!([39, 110, 13].map(|nr| is_planned(&local, nr)), [false, false, true]);
        local.forget(Fact::Calls);
        assert!(!is_planned(&local, 13));
    }

    #[test]
    fn only_frequent_calls_of_the_right_kind_count() {
        let mut local = Local::default();
        let at: Vec<u32> = (1..=300).filter(|_| local.count(39, 1, false)).collect();
        assert_eq!(at, [64, 128, 256]);
        assert!((0..1000).all(|_| !local.count(0, 2, false)));
        assert!((0..1000).all(|_| !local.count(59, 3, true)));
        let at: Vec<u32> = (1..=40).filter(|_| local.count(0, 2, true)).collect();
        assert_eq!(at, [16, 32]);
    }
}
