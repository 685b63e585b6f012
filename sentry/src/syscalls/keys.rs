//! Keys: `add_key(2)`, `request_key(2)`, `keyctl(2)`.
//!
//! # Differences from Linux
//! Nobody is called to make a key that is not there, so there are no keys under construction.

use crate::errno::{Errno, SysResult};
use crate::kernel::keys::rings::{self, Found, Lookup};
use crate::kernel::keys::{Key, Kind, Need, PERM_ALL};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest name of a type, with its NUL.
const TYPE_MAX: usize = 32;
/// Longest description, with its NUL (`KEY_MAX_DESC_SIZE`).
const DESCRIPTION_MAX: usize = 4096;
/// Longest payload that is looked at.
const PAYLOAD_MAX: usize = 1024 * 1024 - 1;
/// The same for updates: a page.
const UPDATE_MAX: usize = 4096;

const EXISTING: Lookup = Lookup { create: false, partial: false };
const CREATE: Lookup = Lookup { create: true, partial: false };
const PARTIAL: Lookup = Lookup { create: false, partial: true };
const CREATE_PARTIAL: Lookup = Lookup { create: true, partial: true };

fn type_name(t: &Task, addr: Addr) -> SysResult<Vec<u8>> {
    let name = t.mem().read_cstr(addr, TYPE_MAX, Errno::INVAL)?;
    match name.first() {
        None => Err(Errno::INVAL),
        Some(b'.') => Err(Errno::PERM),
        Some(_) => Ok(name),
    }
}

fn description(t: &Task, addr: Addr) -> SysResult<Vec<u8>> {
    t.mem().read_cstr(addr, DESCRIPTION_MAX, Errno::INVAL)
}

fn payload(t: &Task, addr: Addr, len: usize) -> SysResult<Vec<u8>> {
    let mut bytes = vec![0; len];
    t.mem().read_bytes(addr, &mut bytes)?;
    Ok(bytes)
}

/// `add_key(2)`.
pub async fn add_key(t: &Task, kind: Addr, desc: Addr, data: Addr, len: usize, ring: i32) -> SysResult<i32> {
    if len > PAYLOAD_MAX {
        return Err(Errno::INVAL);
    }
    let kind = type_name(t, kind)?;
    let desc = if desc.is_null() { Vec::new() } else { description(t, desc)? };
    if desc.first() == Some(&b'.') && kind.starts_with(b"keyring") {
        return Err(Errno::PERM);
    }
    let payload = payload(t, data, len)?;
    let ring = rings::lookup(t, ring, CREATE, Need::Write)?;
    let kind = Kind::named(&kind).ok_or(Errno::NODEV)?;
    if ring.key.kind != Kind::Keyring {
        return Err(Errno::NOTDIR);
    }
    kind.check_payload(&payload)?;
    if desc.is_empty() {
        return Err(Errno::INVAL);
    }
    let creds = t.creds();
    if kind != Kind::Keyring
        && let Some(key) = ring.key.linked(kind, &desc)
    {
        key.check(&creds, ring.is_possessed, Need::Write)?;
        key.update(payload)?;
        return Ok(key.serial);
    }
    let key = Key::new(kind, &desc, payload, &creds)?;
    ring.key.link(&key)?;
    Ok(key.serial)
}

/// `request_key(2)`.
pub async fn request_key(t: &Task, kind: Addr, desc: Addr, callout: Addr, ring: i32) -> SysResult<i32> {
    let kind = type_name(t, kind)?;
    let desc = description(t, desc)?;
    if !callout.is_null() {
        t.mem().read_cstr(callout, UPDATE_MAX, Errno::INVAL)?;
    }
    let to = if ring == 0 { None } else { Some(rings::lookup(t, ring, CREATE, Need::Write)?) };
    let kind = Kind::named(&kind).ok_or(Errno::NOKEY)?;
    let found = rings::search_own(t, kind, &desc)?;
    link_to(to.as_ref(), &found.key)?;
    Ok(found.key.serial)
}

fn link_to(ring: Option<&Found>, key: &Arc<Key>) -> SysResult<()> {
    ring.map_or(Ok(()), |ring| ring.key.link(key))
}

/// `keyctl(2)`.
pub async fn keyctl(t: &Task, op: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult<i64> {
    let id = a as i32;
    match op.cast_unsigned() {
        libc::KEYCTL_GET_KEYRING_ID => {
            let how = if b as i32 == 0 { EXISTING } else { CREATE };
            Ok(i64::from(rings::lookup(t, id, how, Need::Search)?.key.serial))
        }
        libc::KEYCTL_JOIN_SESSION_KEYRING => join_session(t, Addr(a)),
        libc::KEYCTL_UPDATE => update(t, id, Addr(b), c as usize),
        libc::KEYCTL_REVOKE => revoke(t, id),
        libc::KEYCTL_CHOWN => chown(t, id, b as u32, c as u32),
        libc::KEYCTL_SETPERM => set_perm(t, id, b as u32),
        libc::KEYCTL_DESCRIBE => describe(t, id, Addr(b), c as usize),
        libc::KEYCTL_CLEAR => rings::lookup(t, id, CREATE, Need::Write)?.key.clear().map(|()| 0),
        libc::KEYCTL_LINK => link(t, id, b as i32),
        libc::KEYCTL_UNLINK => unlink(t, id, b as i32),
        libc::KEYCTL_SEARCH => search(t, id, Addr(b), Addr(c), d as i32),
        libc::KEYCTL_READ => read(t, id, Addr(b), c as usize),
        // These need the authority to make a key, which nobody is given.
        libc::KEYCTL_INSTANTIATE | libc::KEYCTL_NEGATE | libc::KEYCTL_REJECT | libc::KEYCTL_INSTANTIATE_IOV => {
            Err(Errno::PERM)
        }
        libc::KEYCTL_ASSUME_AUTHORITY => match id {
            0 => Ok(0),
            ..0 => Err(Errno::INVAL),
            _ => Err(Errno::NOKEY),
        },
        libc::KEYCTL_SET_REQKEY_KEYRING => request_to(t, id),
        libc::KEYCTL_SET_TIMEOUT => set_timeout(t, id, b as u32),
        libc::KEYCTL_GET_SECURITY => {
            // Whoever may not look might be about to make it, but nobody ever is.
            let looked = rings::lookup(t, id, PARTIAL, Need::View);
            looked.map_err(|e| if e == Errno::ACCES { Errno::NOKEY } else { e })?;
            // No label.
            if c > 0 && b != 0 {
                t.mem().write(Addr(b), &0u8)?;
            }
            Ok(1)
        }
        libc::KEYCTL_INVALIDATE => {
            rings::lookup(t, id, EXISTING, Need::Search)?.key.invalidate();
            Ok(0)
        }
        KEYCTL_MOVE => move_key(t, id, b as i32, c as i32, d as u32),
        KEYCTL_CAPABILITIES => capabilities(t, Addr(a), b as usize),
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// As the kernel's header has them; the C library's does not yet.
const KEYCTL_MOVE: u32 = 30;
const KEYCTL_CAPABILITIES: u32 = 31;

fn join_session(t: &Task, name: Addr) -> SysResult<i64> {
    let ring = if name.is_null() {
        rings::new_session(t)?
    } else {
        let name = description(t, name)?;
        if name.first() == Some(&b'.') {
            return Err(Errno::PERM);
        }
        rings::join_session(t, &name)?
    };
    Ok(i64::from(ring.serial))
}

fn update(t: &Task, id: i32, data: Addr, len: usize) -> SysResult<i64> {
    if len > UPDATE_MAX {
        return Err(Errno::INVAL);
    }
    let payload = payload(t, data, len)?;
    let key = rings::lookup(t, id, EXISTING, Need::Write)?.key;
    if key.kind == Kind::Keyring {
        return Err(Errno::OPNOTSUPP);
    }
    key.kind.check_payload(&payload)?;
    key.update(payload).map(|()| 0)
}

fn revoke(t: &Task, id: i32) -> SysResult<i64> {
    let found = match rings::lookup(t, id, EXISTING, Need::Write) {
        Err(Errno::ACCES) => rings::lookup(t, id, EXISTING, Need::SetAttr),
        found => found,
    };
    found?.key.revoke();
    Ok(0)
}

fn chown(t: &Task, id: i32, uid: u32, gid: u32) -> SysResult<i64> {
    let given = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (given(uid), given(gid));
    if uid.is_none() && gid.is_none() {
        return Ok(0);
    }
    let key = rings::lookup(t, id, CREATE_PARTIAL, Need::SetAttr)?.key;
    let (old_uid, old_gid, _) = key.owner();
    let creds = t.creds();
    let free_uid = uid.is_none_or(|uid| uid == old_uid);
    let free_gid = gid.is_none_or(|gid| gid == old_gid || creds.in_group(gid));
    let is_free = creds.has(Cap::SysAdmin) || free_uid && free_gid;
    if !is_free {
        return Err(Errno::ACCES);
    }
    key.set_owner(uid, gid).map(|()| 0)
}

fn set_perm(t: &Task, id: i32, perm: u32) -> SysResult<i64> {
    if perm & !PERM_ALL != 0 {
        return Err(Errno::INVAL);
    }
    let key = rings::lookup(t, id, CREATE_PARTIAL, Need::SetAttr)?.key;
    let creds = t.creds();
    if key.owner().0 != creds.fsuid && !creds.has(Cap::SysAdmin) {
        return Err(Errno::ACCES);
    }
    key.set_perm(perm);
    Ok(0)
}

fn describe(t: &Task, id: i32, to: Addr, len: usize) -> SysResult<i64> {
    let key = rings::lookup(t, id, PARTIAL, Need::View)?.key;
    let (uid, gid, perm) = key.owner();
    let mut text = format!("{};{};{};{perm:08x};", key.kind.name(), uid.cast_signed(), gid.cast_signed()).into_bytes();
    text.extend(&key.description);
    text.push(0);
    if !to.is_null() && len >= text.len() {
        t.mem().write_bytes(to, &text)?;
    }
    Ok(text.len() as i64)
}

fn link(t: &Task, id: i32, ring: i32) -> SysResult<i64> {
    let ring = rings::lookup(t, ring, CREATE, Need::Write)?.key;
    let key = rings::lookup(t, id, CREATE, Need::Link)?.key;
    ring.link(&key).map(|()| 0)
}

fn unlink(t: &Task, id: i32, ring: i32) -> SysResult<i64> {
    let ring = rings::lookup(t, ring, EXISTING, Need::Write)?.key;
    let key = rings::lookup(t, id, PARTIAL, Need::Nothing)?.key;
    if ring.kind != Kind::Keyring {
        return Err(Errno::NOTDIR);
    }
    ring.unlink(&key).map(|()| 0)
}

fn move_key(t: &Task, id: i32, from: i32, to: i32, flags: u32) -> SysResult<i64> {
    /// `KEYCTL_MOVE_EXCL`.
    const EXCL: u32 = 1;
    if flags & !EXCL != 0 {
        return Err(Errno::INVAL);
    }
    let key = rings::lookup(t, id, CREATE, Need::Link)?.key;
    let from = rings::lookup(t, from, EXISTING, Need::Write)?.key;
    let to = rings::lookup(t, to, CREATE, Need::Write)?.key;
    if from.serial == to.serial {
        return Ok(0);
    }
    if from.kind != Kind::Keyring || to.kind != Kind::Keyring {
        return Err(Errno::NOTDIR);
    }
    if !from.links().iter().any(|other| other.serial == key.serial) {
        return Err(Errno::NOENT);
    }
    if flags & EXCL != 0 && to.linked(key.kind, &key.description).is_some() {
        return Err(Errno::EXIST);
    }
    to.link(&key)?;
    from.unlink(&key).map(|()| 0)
}

fn search(t: &Task, ring: i32, kind: Addr, desc: Addr, to: i32) -> SysResult<i64> {
    let kind = type_name(t, kind)?;
    let desc = description(t, desc)?;
    let ring = rings::lookup(t, ring, EXISTING, Need::Search)?;
    let to = if to == 0 { None } else { Some(rings::lookup(t, to, CREATE, Need::Write)?) };
    let kind = Kind::named(&kind).ok_or(Errno::NOKEY)?;
    let creds = t.creds();
    let found = rings::search_good(&ring, &creds, kind, &desc)?;
    if to.is_some() {
        found.key.check(&creds, found.is_possessed, Need::Link)?;
        link_to(to.as_ref(), &found.key)?;
    }
    Ok(i64::from(found.key.serial))
}

fn read(t: &Task, id: i32, to: Addr, len: usize) -> SysResult<i64> {
    let found = rings::lookup(t, id, EXISTING, Need::Nothing)?;
    // Whoever possesses it may read it if he may search for it, which he may.
    if !found.is_possessed {
        found.key.check(&t.creds(), false, Need::Read)?;
    }
    if !found.key.kind.is_readable() {
        return Err(Errno::OPNOTSUPP);
    }
    let bytes = found.key.read();
    if !to.is_null() && len > 0 {
        // A keyring fills what there is room for; of a payload all or nothing is given.
        let whole = found.key.kind == Kind::Keyring || bytes.len() <= len;
        if whole {
            t.mem().write_bytes(to, bytes.get(..len.min(bytes.len())).unwrap_or_default())?;
        }
    }
    Ok(bytes.len() as i64)
}

fn request_to(t: &Task, ring: i32) -> SysResult<i64> {
    /// `KEY_REQKEY_DEFL_NO_CHANGE`, and the last of the keyrings that may be said.
    const NO_CHANGE: i32 = -1;
    const USER_SESSION: i32 = 5;
    if !(NO_CHANGE..=USER_SESSION).contains(&ring) {
        return Err(Errno::INVAL);
    }
    if ring == libc::KEY_REQKEY_DEFL_THREAD_KEYRING {
        rings::lookup(t, libc::KEY_SPEC_THREAD_KEYRING, CREATE, Need::Nothing)?;
    }
    if ring == libc::KEY_REQKEY_DEFL_PROCESS_KEYRING {
        rings::lookup(t, libc::KEY_SPEC_PROCESS_KEYRING, CREATE, Need::Nothing)?;
    }
    let mut keys = t.keys.lock();
    let old = keys.request_to;
    if ring != NO_CHANGE {
        keys.request_to = ring;
    }
    Ok(i64::from(old))
}

fn set_timeout(t: &Task, id: i32, seconds: u32) -> SysResult<i64> {
    let key = rings::lookup(t, id, CREATE_PARTIAL, Need::SetAttr)?.key;
    let expiry = Instant::now().checked_add(Duration::from_secs(seconds.into()));
    key.set_expiry(expiry.filter(|_| seconds > 0));
    Ok(0)
}

fn capabilities(t: &Task, to: Addr, len: usize) -> SysResult<i64> {
    /// `KEYCTL_CAPS0_CAPABILITIES`, `_INVALIDATE` and `_MOVE`.
    const CAPS: [u8; 2] = [0x01 | 0x20 | 0x80, 0];
    if len > 0 {
        let mut caps = CAPS.to_vec();
        caps.resize(len.min(4096), 0);
        t.mem().write_bytes(to, caps.get(..len.min(caps.len())).unwrap_or_default())?;
    }
    Ok(CAPS.len() as i64)
}
