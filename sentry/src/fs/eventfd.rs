//! Event counters (`eventfd(2)`).

use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::{File, FileOps, Written};
use crate::sync::Mutex;
use std::any::Any;
use std::sync::Arc;

/// Largest value that writes may bring the counter to.
const MAX: u64 = u64::MAX - 1;

/// A counter that can be waited for.
#[derive(Debug)]
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// An open description of a new counter.
    pub fn open(initial: u32, semaphore: bool, flags: i32) -> Arc<File> {
        let counter = EventFd { count: Mutex::new(initial.into()), semaphore, queue: WaitQueue::new() };
        File::anonymous(counter, flags | libc::O_RDWR)
    }
}

impl FileOps for EventFd {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        let out = buf.first_chunk_mut::<8>().ok_or(Errno::INVAL)?;
        let mut count = self.count.lock();
        let value = match *count {
            0 => return Err(Errno::AGAIN),
            _ if self.semaphore => 1,
            all => all,
        };
        *count -= value;
        drop(count);
        *out = value.to_ne_bytes();
        self.queue.notify(Events::OUT | Events::WRNORM);
        Ok(8)
    }

    fn write(&self, _: &File, buf: &[u8], _: u64) -> SysResult<Written> {
        let value = u64::from_ne_bytes(buf.try_into().map_err(|_| Errno::INVAL)?);
        if value == u64::MAX {
            return Err(Errno::INVAL);
        }
        let mut count = self.count.lock();
        *count = count.checked_add(value).filter(|sum| *sum <= MAX).ok_or(Errno::AGAIN)?;
        drop(count);
        self.queue.notify(Events::IN | Events::RDNORM);
        Ok(Written { count: 8, end: 0 })
    }

    fn poll(&self, _: &File) -> Events {
        let count = *self.count.lock();
        let mut ready = Events::empty();
        ready.set(Events::IN, count > 0);
        ready.set(Events::OUT, count < MAX);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ignores_seek(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "anon_inode:[eventfd]".into()
    }

    fn fdinfo(&self) -> String {
        format!("eventfd-count: {:16x}\neventfd-semaphore: {}\n", *self.count.lock(), u8::from(self.semaphore))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &File) -> SysResult<u64> {
        let mut buf = [0; 8];
        file.ops.read(file, &mut buf, 0).map(|_| u64::from_ne_bytes(buf))
    }

    fn write(file: &File, value: u64) -> SysResult<usize> {
        file.ops.write(file, &value.to_ne_bytes(), 0).map(|w| w.count)
    }

    #[test]
    fn a_read_takes_all_or_one() {
        let all = EventFd::open(3, false, 0);
        assert_eq!((read(&all), read(&all)), (Ok(3), Err(Errno::AGAIN)));
        let one = EventFd::open(2, true, 0);
        assert_eq!((read(&one), read(&one), read(&one)), (Ok(1), Ok(1), Err(Errno::AGAIN)));
    }

    #[test]
    fn the_counter_stops_below_its_maximum() {
        let file = EventFd::open(0, false, 0);
        assert_eq!(write(&file, u64::MAX), Err(Errno::INVAL));
        assert_eq!(write(&file, u64::MAX - 1), Ok(8));
        assert_eq!(file.ops.poll(&file), Events::IN);
        assert_eq!(write(&file, 1), Err(Errno::AGAIN));
        assert_eq!(write(&file, 0), Ok(8));
        assert_eq!(read(&file), Ok(u64::MAX - 1));
        assert_eq!(file.ops.poll(&file), Events::OUT);
    }
}
