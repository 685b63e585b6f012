//! Error numbers as guests see them.

use std::fmt;

/// A Linux error number (positive), or one of the kernel's internal restart codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

/// What a system call answers.
pub type SysResult<T = i64> = Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident = $value:expr,)*) => {
        #[expect(missing_docs, reason = "errno(3) documents them")]
        impl Errno {
            $(pub const $name: Errno = Errno($value);)*
        }

        /// The name of an error number, without its leading `E`.
        fn name(value: i32) -> Option<&'static str> {
            Some(match value {
                $(v if v == $value => stringify!($name),)*
                _ => return None,
            })
        }
    };
}

errnos! {
    PERM = libc::EPERM,
    NOENT = libc::ENOENT,
    SRCH = libc::ESRCH,
    INTR = libc::EINTR,
    IO = libc::EIO,
    NXIO = libc::ENXIO,
    TOOBIG = libc::E2BIG,
    NOEXEC = libc::ENOEXEC,
    BADF = libc::EBADF,
    CHILD = libc::ECHILD,
    AGAIN = libc::EAGAIN,
    NOMEM = libc::ENOMEM,
    ACCES = libc::EACCES,
    FAULT = libc::EFAULT,
    NOTBLK = libc::ENOTBLK,
    BUSY = libc::EBUSY,
    EXIST = libc::EEXIST,
    XDEV = libc::EXDEV,
    NODEV = libc::ENODEV,
    NOTDIR = libc::ENOTDIR,
    ISDIR = libc::EISDIR,
    INVAL = libc::EINVAL,
    NFILE = libc::ENFILE,
    MFILE = libc::EMFILE,
    NOTTY = libc::ENOTTY,
    TXTBSY = libc::ETXTBSY,
    FBIG = libc::EFBIG,
    NOSPC = libc::ENOSPC,
    SPIPE = libc::ESPIPE,
    ROFS = libc::EROFS,
    MLINK = libc::EMLINK,
    PIPE = libc::EPIPE,
    DOM = libc::EDOM,
    RANGE = libc::ERANGE,
    DEADLK = libc::EDEADLK,
    NAMETOOLONG = libc::ENAMETOOLONG,
    NOLCK = libc::ENOLCK,
    NOSYS = libc::ENOSYS,
    NOTEMPTY = libc::ENOTEMPTY,
    LOOP = libc::ELOOP,
    NOMSG = libc::ENOMSG,
    NODATA = libc::ENODATA,
    TIME = libc::ETIME,
    OVERFLOW = libc::EOVERFLOW,
    ILSEQ = libc::EILSEQ,
    USERS = libc::EUSERS,
    NOTSOCK = libc::ENOTSOCK,
    DESTADDRREQ = libc::EDESTADDRREQ,
    MSGSIZE = libc::EMSGSIZE,
    PROTOTYPE = libc::EPROTOTYPE,
    NOPROTOOPT = libc::ENOPROTOOPT,
    PROTONOSUPPORT = libc::EPROTONOSUPPORT,
    SOCKTNOSUPPORT = libc::ESOCKTNOSUPPORT,
    OPNOTSUPP = libc::EOPNOTSUPP,
    PFNOSUPPORT = libc::EPFNOSUPPORT,
    AFNOSUPPORT = libc::EAFNOSUPPORT,
    ADDRINUSE = libc::EADDRINUSE,
    ADDRNOTAVAIL = libc::EADDRNOTAVAIL,
    NETDOWN = libc::ENETDOWN,
    NETUNREACH = libc::ENETUNREACH,
    NETRESET = libc::ENETRESET,
    CONNABORTED = libc::ECONNABORTED,
    CONNRESET = libc::ECONNRESET,
    NOBUFS = libc::ENOBUFS,
    ISCONN = libc::EISCONN,
    NOTCONN = libc::ENOTCONN,
    SHUTDOWN = libc::ESHUTDOWN,
    TIMEDOUT = libc::ETIMEDOUT,
    CONNREFUSED = libc::ECONNREFUSED,
    HOSTDOWN = libc::EHOSTDOWN,
    HOSTUNREACH = libc::EHOSTUNREACH,
    ALREADY = libc::EALREADY,
    INPROGRESS = libc::EINPROGRESS,
    STALE = libc::ESTALE,
    DQUOT = libc::EDQUOT,
    CANCELED = libc::ECANCELED,
    OWNERDEAD = libc::EOWNERDEAD,
    NOTRECOVERABLE = libc::ENOTRECOVERABLE,
    BADMSG = libc::EBADMSG,
    PROTO = libc::EPROTO,
    IDRM = libc::EIDRM,
    NOKEY = libc::ENOKEY,
    KEYEXPIRED = libc::EKEYEXPIRED,
    KEYREVOKED = libc::EKEYREVOKED,
    BADFD = libc::EBADFD,
}

impl Errno {
    /// Restart if the handler that interrupts has `SA_RESTART` or none runs (`include/linux/errno.h`).
    pub const RESTARTSYS: Errno = Errno(512);
    /// Restart always.
    pub const RESTARTNOINTR: Errno = Errno(513);
    /// Restart only if no handler runs.
    pub const RESTARTNOHAND: Errno = Errno(514);
    /// Restart through `restart_syscall` if no handler runs: the call resumes with what time remains.
    pub const RESTART_RESTARTBLOCK: Errno = Errno(516);

    /// Makes one from a positive number.
    pub const fn from_raw(value: i32) -> Errno {
        Errno(value)
    }

    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// Whether this is one of the internal codes that never reach a guest.
    pub const fn is_restart(self) -> bool {
        matches!(self.0, 512..=516)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some("TOOBIG") => f.write_str("E2BIG"),
            Some(name) => write!(f, "E{name}"),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

impl From<rustix::io::Errno> for Errno {
    fn from(e: rustix::io::Errno) -> Errno {
        Errno(e.raw_os_error())
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(e: nix::errno::Errno) -> Errno {
        Errno(e as i32)
    }
}

impl From<std::io::Error> for Errno {
    fn from(e: std::io::Error) -> Errno {
        Errno(e.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<platform::Gone> for Errno {
    /// A call of a thread that is gone has no answer; the restart code keeps it from being given one.
    fn from(_: platform::Gone) -> Errno {
        Errno::RESTARTNOINTR
    }
}
