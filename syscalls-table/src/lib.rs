//! Every system call of x86-64 Linux: number, name, kinds of its arguments, and how far the sentry supports it.
//!
//! The table is a macro, [`for_each_syscall`], that hands all rows to another macro: the sentry makes its
//! dispatcher of them, and [`TABLE`] its data for `strace`, `runsc syscalls` and the compatibility page.

mod table;

/// What an argument is, as far as decoding it for a person goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Arg {
    Int,
    Uint,
    Ulong,
    Hex,
    Size,
    Offset,
    Ptr,
    Fd,
    DirFd,
    FdPair,
    FdSet,
    PollFds,
    Pid,
    Uid,
    Mode,
    Signal,
    Sigset,
    Sigaction,
    SigHow,
    Clock,
    Resource,
    Rlimit,
    SchedPolicy,
    Path,
    Str,
    OutStr,
    Argv,
    Envp,
    InBuf,
    OutBuf,
    Iovec,
    Timespec,
    Timeval,
    Itimerspec,
    Itimerval,
    Stat,
    Sockaddr,
    Msghdr,
    SocketFamily,
    SocketType,
    SockLevel,
    MsgFlags,
    ShutHow,
    OpenFlags,
    OpenHow,
    AccessMode,
    AtFlags,
    Whence,
    RenameFlags,
    FallocMode,
    FadviseAdvice,
    RwfFlags,
    SpliceFlags,
    FlockOp,
    XattrFlags,
    CloseRangeFlags,
    MemfdFlags,
    MountFlags,
    UmountFlags,
    MmapProt,
    MmapFlags,
    MremapFlags,
    MsyncFlags,
    MadviseAdvice,
    CloneFlags,
    CloneArgs,
    WaitOptions,
    FutexOp,
    IoctlCmd,
    EpollOp,
    FcntlCmd,
    PrctlOp,
    ArchPrctlOp,
    PtraceOp,
    IpcFlags,
    GrndFlags,
}

/// How far a call is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// As on Linux.
    Full,
    /// As on Linux but for what the note says.
    Partial,
    /// Answered `ENOSYS` (or as the note says), with one line in the log.
    None,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Number on x86-64.
    pub nr: u32,
    /// Name.
    pub name: &'static str,
    /// Kinds of the arguments.
    pub args: &'static [Arg],
    /// How far supported.
    pub support: Support,
    /// What is missing or different.
    pub note: &'static str,
}

macro_rules! entries {
    ($( $nr:literal $name:ident [$($arg:ident)*] $support:ident ($($handler:tt)*) $note:literal; )*) => {
        /// All rows, in the order of their numbers.
        pub const TABLE: &[Entry] = &[
            $( Entry { nr: $nr, name: stringify!($name), args: &[$(Arg::$arg),*], support: Support::$support, note: $note }, )*
        ];
    };
}
for_each_syscall!(entries);

/// The row of a call.
pub fn lookup(nr: u32) -> Option<&'static Entry> {
    TABLE.binary_search_by_key(&nr, |e| e.nr).ok().and_then(|at| TABLE.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_fit_the_registers() {
        assert!(TABLE.is_sorted_by(|a, b| a.nr < b.nr));
        assert!(TABLE.iter().all(|e| e.args.len() <= 6));
        assert_eq!(lookup(257).map(|e| e.name), Some("openat"));
        assert!(lookup(400).is_none());
    }

    macro_rules! handlers {
        ($( $nr:literal $name:ident [$($arg:ident)*] $support:ident ($($handler:path)?) $note:literal; )*) => {
            /// How many handlers each row names, in the order of [`TABLE`].
            const HANDLERS: &[usize] = &[$( 0 $( + { let _ = stringify!($handler); 1 } )? ),*];
        };
    }
    for_each_syscall!(handlers);

    /// Of a call without a handler that works all the same (a test of the platform holds its filter to it).
    const NATIVE: &str = "run by the host kernel";

    #[test]
    fn calls_have_a_handler_just_if_they_are_supported() {
        assert_eq!(TABLE.len(), HANDLERS.len());
        for (entry, &handlers) in TABLE.iter().zip(HANDLERS) {
            let native = entry.note.starts_with(NATIVE);
            let wanted = usize::from(entry.support != Support::None && !native);
            assert_eq!(handlers, wanted, "{}: {:?}, {:?}", entry.name, entry.support, entry.note);
            assert!(entry.support != Support::None || !native, "{}", entry.name);
            assert!(entry.support != Support::Partial || !entry.note.is_empty(), "{}: what is missing?", entry.name);
        }
    }

    /// The numbers are those of the C library's headers, for all calls that these know.
    #[test]
    fn numbers_are_those_of_linux() {
        let Ok(header) = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") else { return };
        for line in header.lines() {
            let mut words = line.strip_prefix("#define __NR_").unwrap_or_default().split_whitespace();
            if let (Some(name), Some(Ok(nr))) = (words.next(), words.next().map(str::parse::<u32>)) {
                assert_eq!(lookup(nr).map(|e| e.name), Some(name), "number {nr}");
            }
        }
    }
}
