//! The keyrings that every task has, and what is found from there.

use super::{Key, Kind, Need, POSSESSOR_ALL, find};
use crate::errno::{Errno, SysResult};
use crate::kernel::{Creds, Task};
use crate::sync::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How deep keyrings are searched, and may be nested when they are linked (`KEYRING_SEARCH_MAX_DEPTH`).
const DEPTH: usize = 6;

const USER_ALL: u32 = 0x3f_0000;
const USER_VIEW_READ: u32 = 0x3_0000;
const USER_VIEW: u32 = 0x1_0000;
const USER_LINK: u32 = 0x10_0000;

/// A task's own keyrings.
#[derive(Debug, Default)]
pub struct TaskKeys {
    /// Of the thread alone.
    pub thread: Option<Arc<Key>>,
    /// Handed on to children.
    pub session: Option<Arc<Key>>,
    /// `KEYCTL_SET_REQKEY_KEYRING`.
    pub request_to: i32,
}

impl TaskKeys {
    /// Those of a new task.
    #[must_use]
    pub fn fork(&self) -> TaskKeys {
        TaskKeys { thread: None, session: self.session.clone(), request_to: self.request_to }
    }
}

/// A user's keyring and the session keyring of those that have none.
type UserRings = (Arc<Key>, Arc<Key>);

/// The keyrings of users, once someone has asked for them. Bounded by the quota of each, and by how many users a
/// guest can become that may have keys at all.
static USERS: Mutex<BTreeMap<u32, UserRings>> = Mutex::new(BTreeMap::new());
/// How many users have keyrings at most: a guest that becomes all of them one by one gets no more.
const USERS_MAX: usize = 1024;

fn of_user(uid: u32) -> SysResult<UserRings> {
    let mut users = USERS.lock();
    if let Some(rings) = users.get(&uid) {
        return Ok(rings.clone());
    }
    if users.len() >= USERS_MAX {
        return Err(Errno::DQUOT);
    }
    let perm = POSSESSOR_ALL & !0x2000_0000 | USER_ALL;
    let nobodys_group = u32::MAX;
    let user = Key::ring(&format!("_uid.{uid}"), (uid, nobodys_group), perm)?;
    let session = Key::ring(&format!("_uid_ses.{uid}"), (uid, nobodys_group), perm)?;
    session.link(&user)?;
    users.insert(uid, (user.clone(), session.clone()));
    Ok((user, session))
}

fn new_ring(name: &str, creds: &Creds, perm: u32) -> SysResult<Arc<Key>> {
    Key::ring(name, (creds.uid, creds.gid), POSSESSOR_ALL | perm)
}

/// A new session keyring without a name, for the caller.
pub fn new_session(t: &Task) -> SysResult<Arc<Key>> {
    let ring = new_ring("_ses", &t.creds(), USER_VIEW_READ)?;
    t.keys.lock().session = Some(ring.clone());
    Ok(ring)
}

/// Joins the session keyring of this name, which is made if there is none.
pub fn join_session(t: &Task, name: &[u8]) -> SysResult<Arc<Key>> {
    let creds = t.creds();
    let ring = match super::keyring_named(name, &creds) {
        Some(ring) => ring,
        None => {
            let perm = POSSESSOR_ALL | USER_VIEW_READ | USER_LINK;
            Key::owned(Kind::Keyring, name, Vec::new(), (creds.uid, creds.gid), perm)?
        }
    };
    t.keys.lock().session = Some(ring.clone());
    Ok(ring)
}

/// How a key is looked up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lookup {
    /// A keyring of the task that is not there is made.
    pub create: bool,
    /// One that is revoked or has expired will do.
    pub partial: bool,
}

/// A key, and whether the caller possesses it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key.
    pub key: Arc<Key>,
    /// It can be reached from the caller's own keyrings.
    pub is_possessed: bool,
}

/// The key that `id`, a number or `KEY_SPEC_*`, stands for, if the caller may do with it what is needed.
pub fn lookup(t: &Task, id: i32, how: Lookup, need: Need) -> SysResult<Found> {
    let creds = t.creds();
    let own = |key| Found { key, is_possessed: true };
    let found = match id {
        libc::KEY_SPEC_THREAD_KEYRING => own(thread_ring(t, how.create)?),
        libc::KEY_SPEC_PROCESS_KEYRING => own(process_ring(t, how.create)?),
        libc::KEY_SPEC_SESSION_KEYRING => own(session_ring(t)?),
        libc::KEY_SPEC_USER_KEYRING => own(of_user(creds.uid)?.0),
        libc::KEY_SPEC_USER_SESSION_KEYRING => own(of_user(creds.uid)?.1),
        libc::KEY_SPEC_REQKEY_AUTH_KEY | libc::KEY_SPEC_REQUESTOR_KEYRING => return Err(Errno::NOKEY),
        ..=0 => return Err(Errno::INVAL),
        serial => {
            let key = find(serial)?;
            let is_possessed = is_possessed(t, &key);
            Found { key, is_possessed }
        }
    };
    if !how.partial {
        found.key.validate()?;
    }
    found.key.check(&creds, found.is_possessed, need)?;
    Ok(found)
}

fn thread_ring(t: &Task, create: bool) -> SysResult<Arc<Key>> {
    let mut keys = t.keys.lock();
    if keys.thread.is_none() && create {
        keys.thread = Some(new_ring("_tid", &t.creds(), USER_VIEW)?);
    }
    keys.thread.clone().ok_or(Errno::NOKEY)
}

fn process_ring(t: &Task, create: bool) -> SysResult<Arc<Key>> {
    let mut ring = t.group.keyring.lock();
    if ring.is_none() && create {
        *ring = Some(new_ring("_pid", &t.creds(), USER_VIEW)?);
    }
    ring.clone().ok_or(Errno::NOKEY)
}

fn session_ring(t: &Task) -> SysResult<Arc<Key>> {
    match t.keys.lock().session.clone() {
        Some(ring) => Ok(ring),
        None => Ok(of_user(t.creds().uid)?.1),
    }
}

/// The keyrings that a task searches, in order.
fn own_rings(t: &Task) -> Vec<Arc<Key>> {
    let (thread, session) = {
        let keys = t.keys.lock();
        (keys.thread.clone(), keys.session.clone())
    };
    let process = t.group.keyring.lock().clone();
    let session = session.or_else(|| of_user(t.creds().uid).ok().map(|rings| rings.1));
    [thread, process, session].into_iter().flatten().collect()
}

fn is_possessed(t: &Task, key: &Arc<Key>) -> bool {
    let is_it = |other: &Key| other.serial == key.serial;
    own_rings(t).iter().any(|ring| search(ring, &t.creds(), true, &is_it).is_ok())
}

/// A good key of this type and description in the caller's own keyrings. As on Linux, one keyring without such a key makes
/// up for another in which it is not good.
pub fn search_own(t: &Task, kind: Kind, description: &[u8]) -> SysResult<Found> {
    let mut error = None;
    for ring in own_rings(t) {
        match search_good(&Found { key: ring, is_possessed: true }, &t.creds(), kind, description) {
            Err(e) if error != Some(Errno::NOKEY) => error = Some(e),
            Err(_) => {}
            found => return found,
        }
    }
    Err(error.unwrap_or(Errno::NOKEY))
}

/// A good key of this type and description in `ring` and those that it links to.
pub fn search_good(ring: &Found, creds: &Creds, kind: Kind, description: &[u8]) -> SysResult<Found> {
    if ring.key.kind != Kind::Keyring {
        return Err(Errno::NOTDIR);
    }
    let wanted = |key: &Key| key.kind == kind && key.description == description;
    let key = search(&ring.key, creds, ring.is_possessed, &wanted)?;
    key.validate()?;
    Ok(Found { key, is_possessed: ring.is_possessed })
}

/// The first key that is `wanted`, level by level; only keyrings that may be searched are.
fn search(ring: &Arc<Key>, creds: &Creds, is_possessed: bool, wanted: &dyn Fn(&Key) -> bool) -> SysResult<Arc<Key>> {
    ring.check(creds, is_possessed, Need::Search)?;
    let mut seen = HashSet::from([ring.serial]);
    let mut level = vec![ring.clone()];
    let mut error = Errno::NOKEY;
    if wanted(ring) {
        return Ok(ring.clone());
    }
    for _ in 0..=DEPTH {
        let mut next = Vec::new();
        for key in level.iter().flat_map(|ring| ring.links()).filter(|key| seen.insert(key.serial)) {
            let may = key.check(creds, is_possessed, Need::Search).is_ok();
            if wanted(&key) {
                match may {
                    true => return Ok(key),
                    false => error = Errno::ACCES,
                }
            } else if may && key.kind == Kind::Keyring && key.validate().is_ok() {
                next.push(key);
            }
        }
        level = next;
    }
    Err(error)
}

/// Whether `ring` may link to the keyring `key`: `EDEADLK` if that leads back, `ELOOP` if it is too deep.
pub(super) fn check_nesting(ring: &Key, key: &Arc<Key>) -> SysResult<()> {
    let mut seen = HashSet::new();
    let mut level = vec![key.clone()];
    for _ in 0..=DEPTH {
        if level.iter().any(|key| key.serial == ring.serial) {
            return Err(Errno::DEADLK);
        }
        let below = level.iter().flat_map(|ring| ring.links());
        level = below.filter(|key| key.kind == Kind::Keyring && seen.insert(key.serial)).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    Err(Errno::LOOP)
}
