//! Large pieces of files, copied to and from guests where they lie.
//!
//! What is on the heap is shared for the time of the copy. Memory files of the host, and files that nobody changes,
//! are mapped into the sentry a window at a time, once the same part is gone through again; only the host's kernel
//! touches what is mapped, so a file cut short meanwhile makes a copy short. Files of the host that others may change
//! are not mapped: not every file system keeps mappings in step.

use super::counters::IN_PLACE;
use crate::executor::{Events, Observer, Timers};
use crate::sync::{Mutex, MutexGuard};
use platform::Mapping;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Smallest transfer for which it pays: below, the copies cost less than what is done to avoid one.
pub const LEAST: usize = 16 * 1024;

/// Bytes mapped at once. Larger windows are filled in page by page all the same.
const WINDOW: u64 = 2 << 20;

/// Windows mapped at once, in all: those of the files that a database works on. Each takes an area of the address
/// space and a page of tables.
const WINDOWS_MAX: usize = 64;

/// How long a window stays mapped without a transfer: what the sentry has mapped counts as its own.
const IDLE: Duration = Duration::from_secs(5);

/// Large transfers within a window until it is mapped: one that is gone through once is not worth it.
const VISITS: u32 = 2;

/// Where bytes lie.
#[derive(Debug)]
pub enum Place {
    /// On the heap; they stay as they are for whoever has them.
    Heap(Arc<Vec<u8>>),
    /// In a mapping.
    Mapped(Arc<Mapping>),
}

/// A part of a file's content.
#[derive(Debug)]
pub struct View {
    /// Where.
    pub place: Place,
    /// Where it begins there.
    pub at: usize,
    len: usize,
    /// Kept while it is written to.
    _turn: Option<Turn>,
}

impl View {
    /// The part of `bytes` at `offset`, up to `len` of them; `None` if that is not much.
    pub(super) fn of_heap(bytes: &Arc<Vec<u8>>, offset: u64, len: usize) -> Option<View> {
        let at = usize::try_from(offset).ok()?;
        let len = len.min(bytes.len().checked_sub(at)?);
        (len >= LEAST).then(|| View { place: Place::Heap(bytes.clone()), at, len, _turn: None })
    }

    /// The same, to be written to.
    pub(super) fn in_turn(self, turn: Turn) -> View {
        View { _turn: Some(turn), ..self }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes of a file come one after the other, as on Linux: who writes in place has the turn while it copies.
#[derive(Debug, Default)]
pub(super) struct Turns(Option<Arc<AtomicBool>>);

/// The turn of one who writes in place.
#[derive(Debug)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turns {
    /// Takes the turn, for one who has seen that nobody has it.
    pub(super) fn take(&mut self) -> Turn {
        let taken = self.0.get_or_insert_default();
        taken.store(true, Ordering::Relaxed);
        Turn(taken.clone())
    }

    /// Whether someone writes in place.
    pub(super) fn is_taken(&self) -> bool {
        self.0.as_ref().is_some_and(|taken| taken.load(Ordering::Acquire))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The window of an open file.
#[derive(Debug, Default)]
pub(super) struct Window(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Which part of the file it is about.
    index: u64,
    visits: u32,
    mapping: Option<Arc<Mapping>>,
    /// Visited since idle ones were last looked for.
    is_used: bool,
    /// It is in the queue of those that have a mapping.
    is_noted: bool,
}

/// Those that have a mapping, the oldest first.
static MAPPED: Mutex<VecDeque<Weak<Slot>>> = Mutex::new(VecDeque::new());

impl Window {
    /// Up to `len` bytes at `offset` in `file`, which has `size`. `writable`: the file was opened for writing, and is
    /// mapped so. `None` if they are few, or were not asked for often enough.
    pub(super) fn view(&self, file: &OwnedFd, offset: u64, len: usize, size: u64, writable: bool) -> Option<View> {
        let (index, at) = (offset / WINDOW, offset % WINDOW);
        let most = (WINDOW - at).min(size.checked_sub(offset)?);
        let len = len.min(usize::try_from(most).ok()?);
        if len < LEAST {
            return None;
        }
        let mapping = match self.0.visit(index) {
            Visit::Mapped(mapping) => mapping,
            Visit::Early => return None,
            Visit::Due => self.map(file, index, writable)?,
        };
        Some(View { place: Place::Mapped(mapping), at: usize::try_from(at).ok()?, len, _turn: None })
    }

    fn map(&self, file: &OwnedFd, index: u64, writable: bool) -> Option<Arc<Mapping>> {
        let mapping = Arc::new(Mapping::new(file.as_fd(), index * WINDOW, WINDOW as usize, writable).ok()?);
        let mut state = self.0.0.lock();
        // Another thread may have moved on meanwhile; then it is for this transfer alone.
        if state.index == index {
            let old = state.mapping.replace(mapping.clone());
            let is_new = !std::mem::replace(&mut state.is_noted, true);
            drop(state);
            drop(old);
            if is_new {
                self.note();
            }
        }
        Some(mapping)
    }

    /// Takes its place among those that have a mapping, and that of the oldest if they are too many.
    fn note(&self) {
        let mut mapped = MAPPED.lock();
        mapped.push_back(Arc::downgrade(&self.0));
        let too_many = mapped.len().saturating_sub(WINDOWS_MAX);
        let oldest: Vec<Weak<Slot>> = mapped.drain(..too_many).collect();
        drop(mapped);
        for slot in oldest.iter().filter_map(Weak::upgrade) {
            slot.unmap(slot.0.lock());
        }
        watch();
    }
}

/// Whether idle windows are going to be looked for.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// Has idle windows looked for, until there is none left.
fn watch() {
    if !IS_WATCHED.swap(true, Ordering::AcqRel) {
        Timers::get().add(Instant::now() + IDLE, Arc::new(Sweeper));
    }
}

struct Sweeper;

impl Observer for Sweeper {
    fn notify(&self, _: Events) {
        // Who notes a window from now on begins a watch of its own.
        IS_WATCHED.store(false, Ordering::Release);
        let all = std::mem::take(&mut *MAPPED.lock());
        let used = |slot: &Weak<Slot>| slot.upgrade().is_some_and(|slot| slot.stays());
        let kept: Vec<Weak<Slot>> = all.into_iter().filter(used).collect();
        if kept.is_empty() {
            return;
        }
        let mut mapped = MAPPED.lock();
        kept.into_iter().rev().for_each(|slot| mapped.push_front(slot));
        drop(mapped);
        watch();
    }
}

/// What a transfer finds.
enum Visit {
    Mapped(Arc<Mapping>),
    /// It should not be mapped yet.
    Early,
    /// It should be mapped now.
    Due,
}

impl Slot {
    fn unmap(&self, mut state: MutexGuard<'_, State>) {
        state.is_noted = false;
        let old = state.mapping.take();
        drop(state);
        drop(old);
    }

    /// Whether it was used since this was last asked; else it is unmapped.
    fn stays(&self) -> bool {
        let mut state = self.0.lock();
        let is_used = std::mem::take(&mut state.is_used);
        if !is_used {
            self.unmap(state);
        }
        is_used
    }

    fn visit(&self, index: u64) -> Visit {
        let mut state = self.0.lock();
        let mut old = None;
        if state.index != index {
            old = state.mapping.take();
            (state.index, state.visits) = (index, 0);
        }
        state.visits = state.visits.saturating_add(1);
        state.is_used = true;
        let visit = match &state.mapping {
            Some(mapping) => Visit::Mapped(mapping.clone()),
            None if state.visits < VISITS => Visit::Early,
            None => Visit::Due,
        };
        drop(state);
        drop(old);
        if matches!(visit, Visit::Mapped(_)) {
            IN_PLACE.add();
        }
        visit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    const LEN: usize = 64 * 1024;

    fn file(size: u64) -> OwnedFd {
        let file = memfd_create("view", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, size).unwrap();
        file
    }

    #[test]
    fn a_part_is_mapped_when_it_is_gone_through_again() {
        let (file, window) = (file(2 * WINDOW + 100), Window::default());
        let size = 2 * WINDOW + 100;
        let look = |offset, len| window.view(&file, offset, len, size, false).map(|view| view.len());
        assert_eq!(look(0, LEN), None, "the first time");
        assert_eq!(look(LEN as u64, LEN), Some(LEN));
        assert_eq!(look(0, LEAST - 1), None, "too little");
        assert_eq!(look(WINDOW - LEAST as u64, LEN), Some(LEAST), "to the end of the window");
        assert_eq!(look(WINDOW, LEN), None, "another window");
        assert_eq!(look(WINDOW, LEN), Some(LEN));
        assert_eq!(look(2 * WINDOW, LEN), None, "what the file has there is little");
        assert_eq!(look(u64::MAX - 10, LEN), None, "behind the end");
    }

    #[test]
    fn no_more_windows_than_allowed() {
        let file = file(WINDOW);
        let windows: Vec<Window> = (0..2 * WINDOWS_MAX).map(|_| Window::default()).collect();
        for window in &windows {
            for _ in 0..3 {
                window.view(&file, 0, LEN, WINDOW, true);
            }
        }
        let mapped = windows.iter().filter(|window| window.0.0.lock().mapping.is_some()).count();
        assert!((1..=WINDOWS_MAX).contains(&mapped), "{mapped}");
        assert!(MAPPED.lock().len() <= WINDOWS_MAX);
    }

    #[test]
    fn an_idle_window_is_unmapped() {
        let (file, window) = (file(WINDOW), Window::default());
        let look = || window.view(&file, 0, LEN, WINDOW, false).is_some();
        assert!(!look() && look());
        assert!(window.0.stays(), "used since");
        assert!(window.0.0.lock().mapping.is_some());
        assert!(!window.0.stays());
        assert!(window.0.0.lock().mapping.is_none());
        assert!(look(), "it is mapped again");
    }

    #[test]
    fn one_writes_at_a_time() {
        let mut turns = Turns::default();
        assert!(!turns.is_taken());
        let turn = turns.take();
        assert!(turns.is_taken());
        drop(turn);
        assert!(!turns.is_taken());
    }

    #[test]
    fn the_heap_is_looked_at_within_its_bounds() {
        let bytes = Arc::new(vec![0; LEN]);
        assert_eq!(View::of_heap(&bytes, 0, usize::MAX).map(|view| view.len()), Some(LEN));
        assert_eq!(View::of_heap(&bytes, (LEN - LEAST) as u64, LEN).map(|view| view.len()), Some(LEAST));
        assert!(View::of_heap(&bytes, (LEN - LEAST + 1) as u64, LEN).is_none());
        assert!(View::of_heap(&bytes, LEN as u64 + 1, LEN).is_none());
        assert!(View::of_heap(&bytes, u64::MAX, LEN).is_none());
    }
}
