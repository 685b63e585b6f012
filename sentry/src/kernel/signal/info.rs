//! `siginfo_t`.

use crate::kernel::Task;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `siginfo_t` in the layout of x86-64: number, error, code, and a union of 112 bytes from offset 16 on.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigInfo {
    /// Signal number.
    pub signo: i32,
    /// Rarely used.
    pub errno: i32,
    /// Where it comes from: `SI_USER`, `SI_KERNEL`, `CLD_EXITED`…
    pub code: i32,
    pad: i32,
    /// The union.
    pub fields: [u8; 112],
}

impl std::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigInfo({}, code {})", self.signo, self.code)
    }
}

/// `SI_KERNEL`.
pub(super) const SI_KERNEL: i32 = 0x80;

impl SigInfo {
    /// A signal with nothing in the union.
    pub fn new(signo: i32, code: i32) -> SigInfo {
        SigInfo { signo, errno: 0, code, pad: 0, fields: [0; 112] }
    }

    /// From the kernel itself.
    pub fn kernel(signo: i32) -> SigInfo {
        SigInfo::new(signo, SI_KERNEL)
    }

    /// From `kill` (`SI_USER`) or `tgkill` (`SI_TKILL`) by a task.
    pub fn from_task(signo: i32, code: i32, sender: &Task) -> SigInfo {
        let mut info = SigInfo::new(signo, code);
        info.put_i32(0, sender.group.tgid);
        info.put_u32(4, sender.creds().uid);
        info
    }

    /// A fault at `addr`.
    pub fn fault(signo: i32, code: i32, addr: u64) -> SigInfo {
        let mut info = SigInfo::new(signo, code);
        info.put(0, &addr.to_ne_bytes());
        info
    }

    /// A child changed state. Times in clock ticks.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> SigInfo {
        let mut info = SigInfo::new(libc::SIGCHLD, code);
        info.put_i32(0, pid);
        info.put_u32(4, uid);
        info.put_i32(8, status);
        info.put(16, &utime.to_ne_bytes());
        info.put(24, &stime.to_ne_bytes());
        info
    }

    /// A POSIX timer expired (`SI_TIMER`).
    pub fn timer(signo: i32, id: i32, overrun: i32, value: u64) -> SigInfo {
        let mut info = SigInfo::new(signo, libc::SI_TIMER);
        info.put_i32(0, id);
        info.put_i32(4, overrun);
        info.put(8, &value.to_ne_bytes());
        info
    }

    /// The id of the timer that sent it, if one did.
    pub fn timer_id(&self) -> Option<i32> {
        (self.code == libc::SI_TIMER).then(|| self.field_i32(0))
    }

    /// `si_overrun`.
    pub fn timer_overrun(&self) -> i32 {
        self.field_i32(4)
    }

    /// Whether both are of the same timer.
    pub fn is_of_timer(&self, other: &SigInfo) -> bool {
        self.signo == other.signo && self.timer_id().is_some() && self.timer_id() == other.timer_id()
    }

    /// Counts further expirations.
    pub fn add_overrun(&mut self, more: i32) {
        self.put_i32(4, self.timer_overrun().saturating_add(more));
    }

    /// A descriptor became ready (`F_SETSIG`; code is a `POLL_` one).
    pub fn poll(signo: i32, code: i32, band: i64, fd: i32) -> SigInfo {
        let mut info = SigInfo::new(signo, code);
        info.put(0, &band.to_ne_bytes());
        info.put_i32(8, fd);
        info
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.fields.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn put_i32(&mut self, at: usize, value: i32) {
        self.put(at, &value.to_ne_bytes());
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_ne_bytes());
    }

    /// The 32-bit field at this offset of the union.
    pub fn field_i32(&self, at: usize) -> i32 {
        self.fields.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes)
    }

    /// The 64-bit field at this offset of the union.
    pub fn field_u64(&self, at: usize) -> u64 {
        self.fields.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }

    /// Sender's process id, for signals from processes and children.
    pub fn pid(&self) -> i32 {
        self.field_i32(0)
    }

    /// Sender's user id, for signals from processes and children.
    pub fn uid(&self) -> u32 {
        self.field_i32(4) as u32
    }
}
