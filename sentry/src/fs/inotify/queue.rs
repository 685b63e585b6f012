//! Queued events, and how `read(2)` gives them out.

use crate::errno::{Errno, SysResult};
use std::collections::VecDeque;

/// `fs.inotify.max_queued_events`.
const MAX_QUEUED: usize = 16384;
/// `sizeof(struct inotify_event)`; names are padded to a multiple of it.
const HEADER: usize = 16;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Option<Box<[u8]>>,
}

impl Event {
    /// Of watch `wd`.
    pub(super) fn new(wd: i32, mask: u32, cookie: u32, name: Option<&[u8]>) -> Event {
        Event { wd, mask, cookie, name: name.map(Into::into) }
    }

    fn padded_name(&self) -> usize {
        self.name.as_ref().map_or(0, |name| (name.len() + 1).next_multiple_of(HEADER))
    }

    fn size(&self) -> usize {
        HEADER + self.padded_name()
    }

    /// Writes the event to the front of `out`, if it fits.
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        let size = self.size();
        let out = out.get_mut(..size)?;
        out.fill(0);
        let words = [self.wd as u32, self.mask, self.cookie, self.padded_name() as u32];
        let (header, rest) = out.split_at_mut_checked(HEADER)?;
        for (to, word) in header.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        if let Some(name) = &self.name {
            rest.get_mut(..name.len())?.copy_from_slice(name);
        }
        Some(size)
    }
}

/// The events of an instance that nobody has read.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many bytes a read of all would give.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event unless it repeats the last one; false if nothing was added. When the queue is full, one
    /// `IN_Q_OVERFLOW` stands for all that follow.
    pub(super) fn push(&mut self, event: Event) -> bool {
        let event = match self.events.len() {
            ..MAX_QUEUED => event,
            MAX_QUEUED => Event::new(-1, libc::IN_Q_OVERFLOW, 0, None),
            _ => return false,
        };
        if self.events.back() == Some(&event) {
            return false;
        }
        self.bytes += event.size();
        self.events.push_back(event);
        true
    }

    /// Moves whole events into `buf`: `EINVAL` if not even one fits.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> SysResult<usize> {
        let mut done = 0;
        while let Some(event) = self.events.front() {
            let Some(size) = event.write(buf.get_mut(done..).unwrap_or_default()) else {
                return if done == 0 { Err(Errno::INVAL) } else { Ok(done) };
            };
            done += size;
            self.bytes -= size;
            self.events.pop_front();
        }
        if done == 0 { Err(Errno::AGAIN) } else { Ok(done) }
    }
}
