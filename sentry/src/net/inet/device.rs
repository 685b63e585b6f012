//! The `ioctl`s on network devices (`netdevice(7)`): there is `lo`.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct ifreq`: a name and a union.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifreq {
    name: [u8; 16],
    value: [u8; 24],
}

/// `struct ifconf`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifconf {
    len: i32,
    pad: u32,
    buf: u64,
}

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
/// Those that change a device: the even numbers beside the odd ones above, and a few more.
const SETTERS: [u32; 10] = [0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8943];

/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`.
const FLAGS: u16 = 0x49;
const MTU: i32 = 65536;
const INDEX: i32 = 1;
const TXQLEN: i32 = 1000;
/// `ARPHRD_LOOPBACK`.
const ARPHRD_LOOPBACK: u16 = 772;

/// `ioctl(2)` on any socket.
pub fn ioctl(t: &Task, cmd: u32, arg: Addr) -> SysResult {
    if cmd == SIOCGIFCONF {
        return list(t, arg);
    }
    let known = (SIOCGIFNAME..=SIOCGIFTXQLEN + 1).contains(&cmd);
    if !known {
        return Err(Errno::NOTTY);
    }
    let mut request: Ifreq = t.mem().read(arg)?;
    if cmd == SIOCGIFNAME {
        if request.value.first_chunk::<4>() != Some(&INDEX.to_ne_bytes()) {
            return Err(Errno::NODEV);
        }
        request.name = name();
    } else {
        let is_lo = request.name.split(|b| *b == 0).next() == Some(b"lo");
        if SETTERS.contains(&cmd) {
            return Err(if t.creds().has(Cap::NetAdmin) { Errno::OPNOTSUPP } else { Errno::PERM });
        }
        let value = property(cmd).ok_or(Errno::NOTTY)?;
        if !is_lo {
            return Err(Errno::NODEV);
        }
        request.value = value;
    }
    t.mem().write(arg, &request).map(|()| 0)
}

fn name() -> [u8; 16] {
    let [l, o] = *b"lo";
    let mut name = [0; 16];
    if let Some(start) = name.first_chunk_mut() {
        *start = [l, o];
    }
    name
}

/// What `lo` answers to a question.
fn property(cmd: u32) -> Option<[u8; 24]> {
    let mut value = [0; 24];
    let address = |ip: [u8; 4]| [(libc::AF_INET as u32).to_ne_bytes(), ip].concat();
    let bytes = match cmd {
        SIOCGIFFLAGS => FLAGS.to_ne_bytes().to_vec(),
        SIOCGIFADDR | SIOCGIFDSTADDR => address([127, 0, 0, 1]),
        SIOCGIFBRDADDR => address([0, 0, 0, 0]),
        SIOCGIFNETMASK => address([255, 0, 0, 0]),
        SIOCGIFMETRIC => 0i32.to_ne_bytes().to_vec(),
        SIOCGIFMTU => MTU.to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => ARPHRD_LOOPBACK.to_ne_bytes().to_vec(),
        SIOCGIFINDEX => INDEX.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => TXQLEN.to_ne_bytes().to_vec(),
        _ => return None,
    };
    value.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some(value)
}

/// `SIOCGIFCONF`: the interfaces with an IPv4 address.
fn list(t: &Task, arg: Addr) -> SysResult {
    let mut conf: Ifconf = t.mem().read(arg)?;
    let size = size_of::<Ifreq>() as i32;
    if conf.buf != 0 {
        let fits = conf.len >= size;
        if fits {
            let entry = Ifreq { name: name(), value: property(SIOCGIFADDR).ok_or(Errno::INVAL)? };
            t.mem().write(Addr(conf.buf), &entry)?;
        }
        conf.len = if fits { size } else { 0 };
    } else {
        conf.len = size;
    }
    t.mem().write(arg, &conf).map(|()| 0)
}
