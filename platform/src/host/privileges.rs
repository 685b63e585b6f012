//! Giving up what the sentry does not need.

use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A set of capabilities.
pub type Caps = CapabilitySet;

/// Whether `cap` is effective.
pub fn has_cap(cap: Caps) -> bool {
    thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(cap))
}

/// Keeps `keep` of the capabilities and no way to get others; becomes `ids` where given, in no group.
///
/// For a process with one thread: the host changes credentials of the calling thread alone.
pub fn drop_privileges(ids: Option<(u32, u32)>, keep: Caps) -> Result<()> {
    drop_bounding_set()?;
    thread::clear_ambient_capability_set()?;
    if let Some((uid, gid)) = ids {
        thread::set_keep_capabilities(true)?;
        set_thread_groups(&[])?;
        let gid = Gid::from_raw(gid);
        set_thread_res_gid(gid, gid, gid)?;
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid)?;
        thread::set_keep_capabilities(false)?;
    }
    let had = thread::capabilities(None)?;
    let keep = keep & had.permitted;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    thread::set_capabilities(None, sets)?;
    thread::set_no_new_privs(true)
}

/// Needs `CAP_SETPCAP`; without it nothing is lost, for `no_new_privs` and the permitted set bound what follows.
fn drop_bounding_set() -> Result<()> {
    for bit in 0..u64::BITS {
        match thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => return Ok(()),
            Err(Errno::PERM) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
