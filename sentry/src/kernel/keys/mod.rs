//! Keys and keyrings (`keyrings(7)`): the types `user`, `logon` and `keyring`.
//!
//! A key lives as long as something links to it: a keyring, a task, a process or its user. Lock order: a key's state is
//! held alone, never while another key's is taken.

mod quota;
pub mod rings;

pub use quota::{MAX_BYTES, MAX_KEYS, ROOT_MAX_BYTES, ROOT_MAX_KEYS};

use super::Creds;
use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use quota::Charge;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What may be done with a key, in each of the four bytes of its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "keyctl_setperm(3) documents them")]
pub enum Need {
    Nothing = 0,
    View = 1,
    Read = 2,
    Write = 4,
    Search = 8,
    Link = 0x10,
    SetAttr = 0x20,
}

/// All permissions of all four.
pub const PERM_ALL: u32 = 0x3f3f_3f3f;
/// The possessor's, and what the owner may do with keys of the kernel's making.
pub(super) const POSSESSOR_ALL: u32 = 0x3f00_0000;
const USER_VIEW: u32 = 0x1_0000;

/// Longest payload of a key.
const PAYLOAD_MAX: usize = 32767;
/// What a link counts against the quota.
const LINK_BYTES: usize = 4;

/// A type of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "keyrings(7) documents them")]
pub enum Kind {
    User,
    Logon,
    Keyring,
}

impl Kind {
    /// The type of this name.
    pub fn named(name: &[u8]) -> Option<Kind> {
        [Kind::User, Kind::Logon, Kind::Keyring].into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Logon => "logon",
            Kind::Keyring => "keyring",
        }
    }

    /// Whether a program may read payloads.
    pub fn is_readable(self) -> bool {
        self != Kind::Logon
    }

    /// What a new key's permissions are.
    fn permissions(self) -> u32 {
        let hidden = if self.is_readable() { 0 } else { (Need::Read as u32) << 24 };
        POSSESSOR_ALL & !hidden | USER_VIEW
    }

    /// Whether a payload is one of this type.
    pub fn check_payload(self, payload: &[u8]) -> SysResult<()> {
        let good = match self {
            Kind::Keyring => payload.is_empty(),
            Kind::User | Kind::Logon => (1..=PAYLOAD_MAX).contains(&payload.len()),
        };
        if good { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Whether a description is one of this type: that of a `logon` key says whose it is.
    fn check_description(self, description: &[u8]) -> SysResult<()> {
        let subject = description.iter().position(|b| *b == b':');
        if self == Kind::Logon && subject.is_none_or(|at| at == 0) { Err(Errno::INVAL) } else { Ok(()) }
    }
}

/// A key, or a keyring.
#[derive(Debug)]
pub struct Key {
    /// Its number.
    pub serial: i32,
    /// Its type.
    pub kind: Kind,
    /// What it is found by.
    pub description: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    uid: u32,
    gid: u32,
    perm: u32,
    payload: Vec<u8>,
    links: Vec<Arc<Key>>,
    expiry: Option<Instant>,
    is_revoked: bool,
    is_invalid: bool,
    charge: Charge,
}

/// All keys by number.
static KEYS: Mutex<BTreeMap<i32, Weak<Key>>> = Mutex::new(BTreeMap::new());

impl Drop for Key {
    fn drop(&mut self) {
        KEYS.lock().remove(&self.serial);
    }
}

/// The key of this number.
pub fn find(serial: i32) -> SysResult<Arc<Key>> {
    KEYS.lock().get(&serial).and_then(Weak::upgrade).ok_or(Errno::NOKEY)
}

/// The keyring of this name that the caller may join.
pub fn keyring_named(name: &[u8], creds: &Creds) -> Option<Arc<Key>> {
    let all: Vec<Arc<Key>> = KEYS.lock().values().filter_map(Weak::upgrade).collect();
    all.into_iter().find(|key| {
        key.kind == Kind::Keyring && key.description == name && key.check(creds, false, Need::Search).is_ok()
    })
}

impl Key {
    /// A key of the caller's; `EDQUOT` if it has too many.
    pub fn new(kind: Kind, description: &[u8], payload: Vec<u8>, creds: &Creds) -> SysResult<Arc<Key>> {
        kind.check_description(description)?;
        Key::owned(kind, description, payload, (creds.fsuid, creds.fsgid), kind.permissions())
    }

    /// A keyring with these permissions.
    pub(super) fn ring(description: &str, owner: (u32, u32), perm: u32) -> SysResult<Arc<Key>> {
        Key::owned(Kind::Keyring, description.as_bytes(), Vec::new(), owner, perm)
    }

    fn owned(kind: Kind, description: &[u8], payload: Vec<u8>, owner: (u32, u32), perm: u32) -> SysResult<Arc<Key>> {
        let charge = Charge::new(owner.0, description.len() + 1 + payload.len())?;
        let mut all = KEYS.lock();
        let serial = loop {
            // Numbers tell nothing of how many keys there are.
            let serial = (crate::loader::random()? >> 33) as i32;
            if serial > 2 && !all.contains_key(&serial) {
                break serial;
            }
        };
        let (uid, gid) = owner;
        let state = State {
            uid,
            gid,
            perm,
            payload,
            links: Vec::new(),
            expiry: None,
            is_revoked: false,
            is_invalid: false,
            charge,
        };
        let key = Arc::new(Key { serial, kind, description: description.to_vec(), state: Mutex::new(state) });
        all.insert(serial, Arc::downgrade(&key));
        Ok(key)
    }

    /// Whether the caller may do this; whoever possesses a key may do what possessors may besides.
    pub fn check(&self, creds: &Creds, is_possessed: bool, need: Need) -> SysResult<()> {
        let state = self.state.lock();
        let shift = match () {
            () if state.uid == creds.fsuid => 16,
            () if state.perm & 0x3f00 != 0 && creds.in_group(state.gid) => 8,
            () => 0,
        };
        let perm = state.perm >> shift | if is_possessed { state.perm >> 24 } else { 0 };
        if need as u32 & !perm == 0 { Ok(()) } else { Err(Errno::ACCES) }
    }

    /// Whether it is still good.
    pub fn validate(&self) -> SysResult<()> {
        let state = self.state.lock();
        match state.expiry {
            _ if state.is_invalid => Err(Errno::NOKEY),
            _ if state.is_revoked => Err(Errno::KEYREVOKED),
            Some(expiry) if expiry <= Instant::now() => Err(Errno::KEYEXPIRED),
            _ => Ok(()),
        }
    }

    /// Owner, group and permissions.
    pub fn owner(&self) -> (u32, u32, u32) {
        let state = self.state.lock();
        (state.uid, state.gid, state.perm)
    }

    /// Gives it to another owner or group, at whose quota it then is.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> SysResult<()> {
        let mut state = self.state.lock();
        if let Some(uid) = uid.filter(|uid| *uid != state.uid) {
            state.charge = Charge::new(uid, state.charge.bytes())?;
            state.uid = uid;
        }
        state.gid = gid.unwrap_or(state.gid);
        Ok(())
    }

    /// Changes the permissions.
    pub fn set_perm(&self, perm: u32) {
        self.state.lock().perm = perm;
    }

    /// When it ends; `None` for never.
    pub fn set_expiry(&self, expiry: Option<Instant>) {
        self.state.lock().expiry = expiry;
    }

    /// Makes it useless. A keyring lets go of its links.
    pub fn revoke(&self) {
        let links = {
            let mut state = self.state.lock();
            state.is_revoked = true;
            state.payload = Vec::new();
            std::mem::take(&mut state.links)
        };
        drop(links);
    }

    /// Makes it as good as gone, at once.
    pub fn invalidate(&self) {
        self.revoke();
        self.state.lock().is_invalid = true;
    }

    /// The payload, or the numbers of the keys linked to.
    pub fn read(&self) -> Vec<u8> {
        match self.kind {
            Kind::Keyring => self.links().iter().flat_map(|key| key.serial.to_ne_bytes()).collect(),
            Kind::User | Kind::Logon => self.state.lock().payload.clone(),
        }
    }

    /// Replaces the payload.
    pub fn update(&self, payload: Vec<u8>) -> SysResult<()> {
        let mut state = self.state.lock();
        state.charge.resize(self.description.len() + 1 + payload.len())?;
        state.payload = payload;
        state.expiry = None;
        Ok(())
    }

    /// What a keyring links to; those that were invalidated are gone.
    pub fn links(&self) -> Vec<Arc<Key>> {
        let links = self.state.lock().links.clone();
        links.into_iter().filter(|key| key.validate() != Err(Errno::NOKEY)).collect()
    }

    /// The key of this type and description among the links.
    pub fn linked(&self, kind: Kind, description: &[u8]) -> Option<Arc<Key>> {
        self.links().into_iter().find(|key| key.kind == kind && key.description == description)
    }

    /// Links to `key`, in place of one of the same type and description. `ENOTDIR` if this is no keyring.
    pub fn link(&self, key: &Arc<Key>) -> SysResult<()> {
        if self.kind != Kind::Keyring {
            return Err(Errno::NOTDIR);
        }
        if key.kind == Kind::Keyring {
            rings::check_nesting(self, key)?;
        }
        let mut state = self.state.lock();
        if state.is_revoked {
            return Err(Errno::KEYREVOKED);
        }
        let same = |other: &Arc<Key>| other.kind == key.kind && other.description == key.description;
        let replaced = match state.links.iter().position(same) {
            Some(at) => state.links.get_mut(at).map(|slot| std::mem::replace(slot, key.clone())),
            None => {
                let bytes = state.charge.bytes() + LINK_BYTES;
                state.charge.resize(bytes)?;
                state.links.push(key.clone());
                None
            }
        };
        drop(state);
        drop(replaced);
        Ok(())
    }

    /// Removes the link to `key`; `ENOENT` if there is none.
    pub fn unlink(&self, key: &Key) -> SysResult<()> {
        let removed = {
            let mut state = self.state.lock();
            let at = state.links.iter().position(|other| other.serial == key.serial).ok_or(Errno::NOENT)?;
            let bytes = state.charge.bytes().saturating_sub(LINK_BYTES);
            state.charge.resize(bytes)?;
            state.links.remove(at)
        };
        drop(removed);
        Ok(())
    }

    /// Removes all links.
    pub fn clear(&self) -> SysResult<()> {
        if self.kind != Kind::Keyring {
            return Err(Errno::NOTDIR);
        }
        let removed = {
            let mut state = self.state.lock();
            state.charge.resize(self.description.len() + 1)?;
            std::mem::take(&mut state.links)
        };
        drop(removed);
        Ok(())
    }
}
