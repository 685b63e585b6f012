//! `SIOCETHTOOL`: what drivers tell of their hardware. There is none: interfaces stamp packets with the time in software,
//! and are connected; nothing else is to be known of them.

use crate::abi::Ifreq;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use zerocopy::{Immutable, IntoBytes};

/// The request.
pub(in crate::net) const SIOCETHTOOL: u32 = 0x8946;
const ETHTOOL_GLINK: u32 = 0x0a;
const ETHTOOL_GET_TS_INFO: u32 = 0x41;
/// `SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE`.
const SOFTWARE: u32 = 0x18;

/// `struct ethtool_ts_info`.
#[derive(Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct TsInfo {
    cmd: u32,
    so_timestamping: u32,
    phc_index: i32,
    tx_types: u32,
    tx_reserved: [u32; 3],
    rx_filters: u32,
    rx_reserved: [u32; 3],
}

/// `ioctl(2)`: `ENODEV` if `exists` knows no interface of the name, `EOPNOTSUPP` for what is not known of it.
pub(in crate::net) fn ioctl(t: &Task, arg: Addr, exists: impl FnOnce(&[u8]) -> bool) -> SysResult {
    let request: Ifreq = t.mem().read(arg)?;
    let data = Addr(request.value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)));
    let cmd: u32 = t.mem().read(data)?;
    if !exists(request.name.split(|byte| *byte == 0).next().unwrap_or_default()) {
        return Err(Errno::NODEV);
    }
    match cmd {
        ETHTOOL_GLINK => t.mem().write(data, &[cmd, 1])?,
        ETHTOOL_GET_TS_INFO => {
            let info = TsInfo { cmd, so_timestamping: SOFTWARE, phc_index: -1, ..TsInfo::default() };
            t.mem().write_bytes(data, info.as_bytes())?;
        }
        _ => return Err(Errno::OPNOTSUPP),
    }
    Ok(0)
}
