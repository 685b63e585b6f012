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
    Hex,
    Fd,
    DirFd,
    Size,
    Offset,
    Pid,
    Uid,
    Mode,
    Signal,
    Clock,
    Ptr,
    Path,
    Str,
    InBuf,
    OutBuf,
    Iovec,
    OpenFlags,
    MmapProt,
    MmapFlags,
    CloneFlags,
    Argv,
    Timespec,
    Sockaddr,
    FutexOp,
    AtFlags,
    Whence,
    IoctlCmd,
    Resource,
    SocketFamily,
    SocketType,
    EpollOp,
    FcntlCmd,
    WaitOptions,
    SigHow,
    MadviseAdvice,
    PrctlOp,
    ArchPrctlOp,
    AccessMode,
    FdPair,
    Sigset,
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
