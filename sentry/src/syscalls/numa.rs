//! Memory policies (`set_mempolicy(2)` and its kin) of a machine with one node: they are checked and told again,
//! and have nothing to decide.

use crate::errno::{Errno, SysResult};
use crate::kernel::traits::MemoryPolicy;
use crate::kernel::{Cap, Task};
use crate::loader::{PAGE, page_up};
use crate::mm::Addr;

const MPOL_DEFAULT: i32 = 0;
const MPOL_PREFERRED: i32 = 1;
const MPOL_BIND: i32 = 2;
const MPOL_INTERLEAVE: i32 = 3;
const MPOL_LOCAL: i32 = 4;
/// `MPOL_WEIGHTED_INTERLEAVE`.
const MPOL_LAST: i32 = 6;
const STATIC_NODES: i32 = 1 << 15;
const RELATIVE_NODES: i32 = 1 << 14;
const NUMA_BALANCING: i32 = 1 << 13;
const MODE_FLAGS: i32 = STATIC_NODES | RELATIVE_NODES | NUMA_BALANCING;
/// The nodes there are.
const NODES: u64 = 1;
/// `MAX_NUMNODES` as distributions set it.
const NODES_MAX: u64 = 1024;

/// A set of nodes in guest memory. Bits of nodes that no machine can have are an error.
fn read_nodes(t: &Task, addr: Addr, max: u64) -> SysResult<u64> {
    let bits = max.wrapping_sub(1);
    if bits == 0 || addr.is_null() {
        return Ok(0);
    }
    if bits > PAGE * 8 {
        return Err(Errno::INVAL);
    }
    let mut words: Vec<u64> = t.mem().read_array(addr, bits.div_ceil(64) as usize)?;
    if let (Some(last), true) = (words.last_mut(), !bits.is_multiple_of(64)) {
        *last &= (1 << (bits % 64)) - 1;
    }
    let beyond = words.iter().skip((NODES_MAX / 64) as usize).any(|word| *word != 0);
    if beyond {
        return Err(Errno::INVAL);
    }
    // Nodes that do not exist count only for whether any is named.
    let others = words.iter().skip(1).any(|word| *word != 0);
    Ok(words.first().copied().unwrap_or(0) | if others { 1 << 63 } else { 0 })
}

/// The policy that `mode` and `nodes` make (`mpol_new`).
fn policy(mode: i32, nodes: u64) -> SysResult<MemoryPolicy> {
    let (mode, flags) = (mode & !MODE_FLAGS, mode & MODE_FLAGS);
    let fixes = flags & (STATIC_NODES | RELATIVE_NODES);
    if !(MPOL_DEFAULT..=MPOL_LAST).contains(&mode)
        || fixes == STATIC_NODES | RELATIVE_NODES
        || flags & NUMA_BALANCING != 0 && mode != MPOL_BIND
    {
        return Err(Errno::INVAL);
    }
    let is_empty = nodes == 0;
    match mode {
        MPOL_DEFAULT if is_empty => return Ok(MemoryPolicy::default()),
        MPOL_LOCAL if !is_empty || fixes != 0 => return Err(Errno::INVAL),
        MPOL_PREFERRED if is_empty && fixes != 0 => return Err(Errno::INVAL),
        MPOL_PREFERRED if is_empty => return Ok(MemoryPolicy { mode: MPOL_LOCAL, nodes: 0 }),
        MPOL_LOCAL => return Ok(MemoryPolicy { mode, nodes: 0 }),
        MPOL_DEFAULT => return Err(Errno::INVAL),
        _ => {}
    }
    // Relative numbers wrap around the nodes that there are.
    let usable = if flags & RELATIVE_NODES != 0 && !is_empty { NODES } else { nodes & NODES };
    if usable == 0 { Err(Errno::INVAL) } else { Ok(MemoryPolicy { mode: mode | flags, nodes: usable }) }
}

/// `set_mempolicy(2)`.
pub async fn set_mempolicy(t: &Task, mode: i32, nodes: Addr, max: u64) -> SysResult<()> {
    let nodes = read_nodes(t, nodes, max)?;
    let policy = policy(mode, nodes)?;
    t.traits.lock().memory_policy = policy;
    Ok(())
}

/// `get_mempolicy(2)`.
///
/// # Differences from Linux
/// What `mbind` said of an address is not told.
pub async fn get_mempolicy(t: &Task, mode: Addr, nodes: Addr, max: u64, addr: u64, flags: u64) -> SysResult<()> {
    const NODE: u64 = 1;
    const ADDR: u64 = 2;
    const MEMS_ALLOWED: u64 = 4;
    if !nodes.is_null() && max < NODES || flags & !(NODE | ADDR | MEMS_ALLOWED) != 0 {
        return Err(Errno::INVAL);
    }
    let own = t.traits.lock().memory_policy;
    let (value, set) = match flags {
        MEMS_ALLOWED => (0, NODES),
        _ if flags & MEMS_ALLOWED != 0 => return Err(Errno::INVAL),
        _ if flags & ADDR != 0 => {
            if !super::mm::is_mapped(t, addr, addr.saturating_add(1)) {
                return Err(Errno::FAULT);
            }
            (0, 0)
        }
        _ if addr != 0 => return Err(Errno::INVAL),
        NODE if own.mode & !MODE_FLAGS != MPOL_INTERLEAVE => return Err(Errno::INVAL),
        NODE => (0, own.nodes),
        _ => (own.mode, own.nodes),
    };
    t.mem().write_opt(mode, &value)?;
    write_nodes(t, nodes, max, set)
}

fn write_nodes(t: &Task, addr: Addr, max: u64, set: u64) -> SysResult<()> {
    let words = max.wrapping_sub(1).div_ceil(64);
    if addr.is_null() || words == 0 || max == 0 {
        return Ok(());
    }
    if words > PAGE / 8 {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0u8; words as usize * 8];
    if let Some(first) = bytes.get_mut(..8) {
        first.copy_from_slice(&set.to_ne_bytes());
    }
    t.mem().write_bytes(addr, &bytes)
}

/// `mbind(2)`.
pub async fn mbind(t: &Task, addr: u64, len: u64, mode: i32, nodes: Addr, max: u64, flags: u32) -> SysResult<()> {
    const STRICT: u32 = 1;
    const MOVE: u32 = 2;
    const MOVE_ALL: u32 = 4;
    let set = read_nodes(t, nodes, max)?;
    if flags & !(STRICT | MOVE | MOVE_ALL) != 0 {
        return Err(Errno::INVAL);
    }
    if flags & MOVE_ALL != 0 && !t.creds().has(Cap::SysNice) {
        return Err(Errno::PERM);
    }
    let end = addr.checked_add(page_up(len)).ok_or(Errno::INVAL)?;
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    if end == addr {
        return Ok(());
    }
    policy(mode, set)?;
    if super::mm::is_mapped(t, addr, end) { Ok(()) } else { Err(Errno::FAULT) }
}
