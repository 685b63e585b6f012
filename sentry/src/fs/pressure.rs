//! Gives memory back when the host says that it is short: its pressure stall information wakes a thread that empties
//! the caches of names and listings. The thread starts when there is something worth giving back, and costs nothing
//! until then. Without the host's help (`CONFIG_PSI`) the caches grow no further when memory is short.

use super::proc::host_trigger;
use super::room;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::OwnedFd;
use std::sync::Once;
use std::time::Duration;

/// Tasks that waited 0.1 s for memory within 2 s, the shortest time that one without privileges may ask for. The host
/// takes what is before the NUL.
const TRIGGER: &str = "some 100000 2000000\0";

/// The least time between two times that the caches are emptied: they have to fill before it is worth while.
const PAUSE: Duration = Duration::from_secs(10);

/// Begins to watch, the first time.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(trigger) = host_trigger("pressure/memory", TRIGGER) else { return };
        let _ = std::thread::Builder::new().name("pressure".into()).spawn(move || relieve(&trigger));
    });
}

/// Empties the caches each time that the trigger has an exceptional condition, as long as it can have one.
pub(super) fn relieve(trigger: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(trigger, PollFlags::PRI)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let [fd] = fds;
        if !fd.revents().contains(PollFlags::PRI) {
            return;
        }
        room::shrink();
        platform::host::trim();
        std::thread::sleep(PAUSE);
    }
}
