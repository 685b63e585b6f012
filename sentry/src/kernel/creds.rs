//! Credentials (`credentials(7)`, `capabilities(7)`).

use std::sync::Arc;

/// A set of capabilities, one bit each.
pub type CapSet = u64;

/// Every capability that Linux 6.x knows (`CAP_CHECKPOINT_RESTORE` is the last).
pub const CAP_ALL: CapSet = (1 << 41) - 1;

/// Capabilities, by their numbers (`linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "capabilities(7) documents them")]
pub enum Cap {
    Chown = 0,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    LinuxImmutable,
    NetBindService,
    NetBroadcast,
    NetAdmin,
    NetRaw,
    IpcLock,
    IpcOwner,
    SysModule,
    SysRawio,
    SysChroot,
    SysPtrace,
    SysPacct,
    SysAdmin,
    SysBoot,
    SysNice,
    SysResource,
    SysTime,
    SysTtyConfig,
    Mknod,
    Lease,
    AuditWrite,
    AuditControl,
    Setfcap,
    MacOverride,
    MacAdmin,
    Syslog,
    WakeAlarm,
    BlockSuspend,
    AuditRead,
    Perfmon,
    Bpf,
    CheckpointRestore,
}

/// What a task may do. Replaced whole, never changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "credentials(7) documents them")]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Arc<[u32]>,
    pub permitted: CapSet,
    pub effective: CapSet,
    pub inheritable: CapSet,
    pub bounding: CapSet,
    pub ambient: CapSet,
    pub securebits: u32,
    pub no_new_privs: bool,
}

impl Creds {
    /// The credentials of a process with these ids and, for root, all capabilities.
    pub fn new(uid: u32, gid: u32, groups: &[u32], caps: CapSet) -> Creds {
        let effective = if uid == 0 { caps } else { 0 };
        Creds {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: groups.into(),
            permitted: effective,
            effective,
            inheritable: 0,
            bounding: caps,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Whether `cap` is effective.
    pub fn has(&self, cap: Cap) -> bool {
        self.effective & (1 << cap as u8) != 0
    }

    /// Whether `gid` is the file system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
