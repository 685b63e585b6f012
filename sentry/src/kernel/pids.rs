//! The controller of processes (`kernel/cgroup/pids.c`): how many threads a container has, and may have.
//!
//! What is counted is what a guest knows of: threads, of which the last of each process counts until somebody has
//! waited for that. The host's processes behind them are more, and the host's limit on those is no guest's affair.

use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use std::sync::Arc;

/// The figures of a container's group.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Threads that there are (`pids.current`).
    pub current: u64,
    /// Most that there were at once (`pids.peak`).
    pub peak: u64,
    /// Most there may be (`pids.max`); `None` is no limit.
    pub max: Option<u64>,
    /// How many the limit has refused (`pids.events`).
    pub refused: u64,
}

/// A container's group, as far as this controller goes. Its lock is a leaf.
#[derive(Debug, Default)]
pub struct Pids(Mutex<Figures>);

impl Pids {
    /// Counts a thread that is about to be made; `EAGAIN` at the limit.
    pub fn fork(self: &Arc<Self>) -> SysResult<Charge> {
        let mut figures = self.0.lock();
        if figures.max.is_some_and(|max| figures.current >= max) {
            figures.refused += 1;
            return Err(Errno::AGAIN);
        }
        Ok(self.charge(&mut figures))
    }

    /// Counts one that comes from outside, whom no limit keeps out.
    pub fn attach(self: &Arc<Self>) -> Charge {
        self.charge(&mut self.0.lock())
    }

    fn charge(self: &Arc<Self>, figures: &mut Figures) -> Charge {
        figures.current += 1;
        figures.peak = figures.peak.max(figures.current);
        Charge(self.clone())
    }

    /// Changes the limit; who is there already may stay.
    pub fn set_max(&self, max: Option<u64>) {
        self.0.lock().max = max;
    }

    /// The figures of now.
    pub fn figures(&self) -> Figures {
        *self.0.lock()
    }
}

/// A thread that counts, until this is dropped.
#[derive(Debug)]
pub struct Charge(Arc<Pids>);

impl Drop for Charge {
    fn drop(&mut self) {
        let mut figures = self.0.0.lock();
        figures.current = figures.current.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_binds_forks_alone() {
        let pids = Arc::<Pids>::default();
        pids.set_max(Some(2));
        let first = pids.attach();
        let second = pids.fork().expect("there is room");
        assert_eq!(pids.fork().expect_err("it is full"), Errno::AGAIN);
        let third = pids.attach();
        drop(second);
        assert_eq!(pids.fork().expect_err("it is still full"), Errno::AGAIN);
        drop(third);
        let fourth = pids.fork().expect("there is room again");
        pids.set_max(Some(1));
        let Figures { current, peak, max, refused } = pids.figures();
        assert_eq!((current, peak, max, refused), (2, 3, Some(1), 2));
        pids.set_max(None);
        drop((first, fourth));
        assert_eq!(pids.figures().current, 0);
    }
}
