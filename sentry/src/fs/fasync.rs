//! Signal-driven I/O (`O_ASYNC`, `F_SETOWN`, `F_SETSIG` of `fcntl(2)`).

use super::file::File;
use crate::executor::{Events, Observer, WaitKey};
use crate::kernel::signal::SigInfo;
use crate::kernel::{Kernel, Task};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Bit of [`File::tag`]: the description has an entry here.
const IS_ASYNC: u32 = 1 << 30;

/// Registrations with the queues of descriptions that have `O_ASYNC`, by the number of the description.
static KEYS: Mutex<BTreeMap<u64, WaitKey>> = Mutex::new(BTreeMap::new());

/// Tells the owner of a description that it is ready.
struct Notifier {
    kernel: Arc<Kernel>,
    file: Weak<File>,
    /// The descriptor that `O_ASYNC` was set by, for `si_fd`.
    fd: i32,
}

impl Observer for Notifier {
    fn notify(&self, events: Events) {
        let Some(file) = self.file.upgrade() else { return };
        let (code, band) = describe(events);
        signal_owner(&self.kernel, &file, self.fd, code, band);
    }
}

/// Sends the owner of `file` the signal that was asked for.
pub(super) fn signal_owner(kernel: &Arc<Kernel>, file: &File, fd: i32, code: i32, band: Events) {
    let info = match file.signal.load(Ordering::Relaxed) {
        0 => SigInfo::kernel(libc::SIGIO),
        signo => SigInfo::poll(signo, code, i64::from(band.bits()), fd),
    };
    send(kernel, file, info);
}

/// Sends the owner of a socket `SIGURG`, whether or not it wants to hear of anything else.
pub fn signal_urgent(kernel: &Arc<Kernel>, file: &File) {
    send(kernel, file, SigInfo::kernel(libc::SIGURG));
}

fn send(kernel: &Arc<Kernel>, file: &File, info: SigInfo) {
    let owner = file.owner.load(Ordering::Relaxed);
    if owner < 0 {
        kernel.signal_pgrp(-owner, info);
    } else if let Some(group) = kernel.group(owner) {
        group.send_signal(kernel, info);
    } else if let Some(task) = kernel.task(owner) {
        task.send_signal(info);
    }
}

/// `si_code` and `si_band`.
fn describe(events: Events) -> (i32, Events) {
    /// `POLL_IN`, `POLL_OUT`, `POLL_ERR`, `POLL_PRI`, `POLL_HUP` of `asm-generic/siginfo.h`.
    const CODES: [(Events, i32, Events); 5] = [
        (Events::IN, 1, Events::IN.union(Events::RDNORM)),
        (Events::OUT, 2, Events::OUT.union(Events::WRNORM).union(Events::WRBAND)),
        (Events::ERR, 4, Events::ERR),
        (Events::PRI, 5, Events::PRI.union(Events::RDBAND)),
        (Events::HUP, 6, Events::HUP.union(Events::ERR)),
    ];
    let found = CODES.iter().find(|(event, ..)| events.intersects(*event));
    found.map_or((1, Events::IN | Events::RDNORM), |(_, code, band)| (*code, *band))
}

/// Starts or stops to signal the owner of `file`, as `on` says.
pub fn set(t: &Task, fd: i32, file: &Arc<File>, on: bool) {
    release(file);
    let Some(queue) = file.ops.wait_queue().filter(|_| on) else { return };
    let notifier = Notifier { kernel: t.kernel.clone(), file: Arc::downgrade(file), fd };
    let key = queue.add(Events::all(), Arc::new(notifier));
    KEYS.lock().insert(file.id, key);
    file.tag.fetch_or(IS_ASYNC, Ordering::Relaxed);
}

/// Stops to signal, when `file` is closed for the last time.
pub(super) fn release(file: &File) {
    if file.tag.fetch_and(!IS_ASYNC, Ordering::Relaxed) & IS_ASYNC == 0 {
        return;
    }
    let key = KEYS.lock().remove(&file.id);
    if let (Some(queue), Some(key)) = (file.ops.wait_queue(), key) {
        queue.remove(key);
    }
}
