//! Queues of pending signals.

use super::{SIGRTMAX, SIGRTMIN, SigInfo, SigSet};
use std::collections::VecDeque;

/// Most signals queued for one process or thread; as Linux, real-time signals beyond it are refused and
/// standard ones lose their information. Linux counts per user (`RLIMIT_SIGPENDING`); this bounds each queue.
pub(super) const QUEUE_MAX: usize = 4096;

/// Signals that wait for delivery, to one thread or to a process.
#[derive(Debug, Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// What is pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal. A standard one that is pending already is dropped; false if a real-time one does not fit.
    pub fn push(&mut self, info: SigInfo) -> bool {
        // A number that is none would never be taken again.
        if !(1..=SIGRTMAX).contains(&info.signo) {
            return true;
        }
        if info.signo < SIGRTMIN && self.set.contains(info.signo) {
            return true;
        }
        if self.queue.len() >= QUEUE_MAX && info.signo >= SIGRTMIN {
            return false;
        }
        self.set = self.set.with(info.signo);
        self.queue.push_back(info);
        true
    }

    /// Counts a further expiration of a timer whose signal is still here (`si_overrun`). False if it is not.
    pub fn overrun(&mut self, info: &SigInfo) -> bool {
        let is_same = |other: &&mut SigInfo| other.is_of_timer(info);
        let Some(queued) = self.queue.iter_mut().find(is_same) else { return false };
        queued.add_overrun(info.timer_overrun().saturating_add(1));
        true
    }

    /// Takes the first signal of `wanted`: faults first, then the lowest number, then the oldest.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let mut ready = self.set.and(wanted);
        if !ready.and(SigSet::SYNCHRONOUS).is_empty() {
            ready = ready.and(SigSet::SYNCHRONOUS);
        }
        if ready.is_empty() {
            return None;
        }
        let signo = ready.0.trailing_zeros() as i32 + 1;
        let at = self.queue.iter().position(|i| i.signo == signo)?;
        let info = self.queue.remove(at);
        if !self.queue.iter().any(|i| i.signo == signo) {
            self.set = self.set.without(signo);
        }
        info
    }

    /// Throws away all signals of `which`.
    pub fn discard(&mut self, which: SigSet) {
        if self.set.and(which).is_empty() {
            return;
        }
        self.set = self.set.minus(which);
        self.queue.retain(|i| !which.contains(i.signo));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_signals_coalesce_and_real_time_ones_queue() {
        let mut p = Pending::default();
        for signo in [10, 10, 34, 34] {
            assert!(p.push(SigInfo::kernel(signo)));
        }
        let order: Vec<_> = std::iter::from_fn(|| p.take(SigSet::ALL)).map(|i| i.signo).collect();
        assert_eq!(order, [10, 34, 34]);
        assert!(p.set().is_empty());
    }

    #[test]
    fn faults_come_first_and_real_time_queues_are_bounded() {
        let mut p = Pending::default();
        p.push(SigInfo::kernel(2));
        p.push(SigInfo::kernel(11));
        assert_eq!(p.take(SigSet::ALL).map(|i| i.signo), Some(11));
        while p.push(SigInfo::kernel(40)) {}
        assert_eq!(p.queue.len(), QUEUE_MAX);
        assert!(p.push(SigInfo::kernel(3)));
    }
}
