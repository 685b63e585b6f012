//! The rows.

/// Calls `$m!` with one row per system call:
/// `number name [kinds of arguments] Full|Partial|None (handler or nothing) "note";`
///
/// A handler is a path below `sentry::syscalls`; it takes the task and one argument per kind. An empty pair of
/// parentheses stands for "not supported".
#[macro_export]
macro_rules! for_each_syscall {
    ($m:ident) => {
        $m! {
            0 read [Fd OutBuf Size] None () "";
            1 write [Fd InBuf Size] None () "";
        }
    };
}
