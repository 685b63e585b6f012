//! What is behind device files, by their numbers.
//!
//! Whoever implements one registers it here at start; the file systems find it when it is opened.

use super::attr::FileKind;
use super::file::FileOps;
use super::inode::Caller;
use crate::errno::{Errno, SysResult};
use crate::sync::RwLock;
use std::collections::BTreeMap;

/// Opens a device: gets its number and the flags of `open(2)`.
pub type OpenDevice = fn(&Caller<'_>, u64, i32) -> SysResult<Box<dyn FileOps>>;

/// By major number, first minor number; with the last minor number.
type Devices = BTreeMap<(u32, u32), (u32, OpenDevice)>;

static CHAR_DEVICES: RwLock<Devices> = RwLock::new(BTreeMap::new());

/// Registers the character devices `major:first` to `major:last`.
pub fn register_char_devices(major: u32, first: u32, last: u32, open: OpenDevice) {
    CHAR_DEVICES.write().insert((major, first), (last, open));
}

/// Opens a device; `ENXIO` if there is none of that number.
pub fn open_device(caller: &Caller<'_>, kind: FileKind, rdev: u64, flags: i32) -> SysResult<Box<dyn FileOps>> {
    if kind != FileKind::CharDevice {
        return Err(Errno::NXIO);
    }
    let number = (libc::major(rdev), libc::minor(rdev));
    let found = CHAR_DEVICES.read().range(..=number).next_back().map(|(at, device)| (*at, *device));
    match found {
        Some(((major, _), (last, open))) if major == number.0 && number.1 <= last => open(caller, rdev, flags),
        _ => Err(Errno::NXIO),
    }
}
