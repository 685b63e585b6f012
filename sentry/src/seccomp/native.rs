//! Filters on the host: for calls that a guest thread makes without the sentry.
//!
//! The guest's own program is installed in its host threads, behind a few instructions that leave the stub's calls
//! and all that reaches the sentry alone. It comes on top of the sandbox's filter and can only forbid more. A guest
//! that changes it on its way into the host's kernel, from another thread, weakens what it asked for itself.
//!
//! # Differences from Linux
//! `SECCOMP_RET_TRAP` of such a call ends the process with `SIGSYS` even if there is a handler.

use super::bpf::{INSTRUCTIONS_MAX, Instruction};
use super::{Filter, Program};
use crate::errno::{Errno, SysResult};
use crate::kernel::{Outcome, Task};
use crate::mm::Addr;
use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use platform::{Call, native_calls};
use zerocopy::IntoBytes;

/// Where the stub is: calls from there are the sentry's.
const STUB: (u32, u32) = (0x1_0000, 0x20_0000);

const fn i(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code: code as u16, jt, jf, k }
}

const ALLOW: Instruction = i(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);

const fn load(at: u32) -> Instruction {
    i(BPF_LD | BPF_W | BPF_ABS, 0, 0, at)
}

/// Whether a filter forbids any call that is made natively, or may.
pub(super) fn is_needed(filter: &Filter) -> bool {
    native_calls().any(|nr| !filter.always_allows(nr as u32))
}

/// The host's program for a guest's; `ENOMEM` if that leaves no room for what comes before it.
pub(super) fn program(guest: &Program) -> SysResult<Vec<Instruction>> {
    let mut code = prefix();
    // What is to be logged is no business of the host's.
    let log = i(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_LOG);
    code.extend(guest.code().iter().map(|own| if *own == log { ALLOW } else { *own }));
    if code.len() > INSTRUCTIONS_MAX { Err(Errno::NOMEM) } else { Ok(code) }
}

/// `SECCOMP_MODE_STRICT` for native calls, none of which it allows.
pub(super) fn strict() -> Vec<Instruction> {
    let mut code = prefix();
    code.push(i(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS));
    code
}

/// Allows the stub's calls, and those that are not native and so are notified by the sandbox's filter.
fn prefix() -> Vec<Instruction> {
    const IP: u32 = 8;
    let mut code = vec![
        load(IP + 4),
        i(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0),
        load(IP),
        i(BPF_JMP | BPF_JGE | BPF_K, 0, 2, STUB.0),
        i(BPF_JMP | BPF_JGE | BPF_K, 1, 0, STUB.1),
        ALLOW,
        load(0),
    ];
    let native = native_calls();
    let count = native.len();
    for (at, nr) in native.enumerate() {
        // Over the rest of the list and the answer behind it.
        code.push(i(BPF_JMP | BPF_JEQ | BPF_K, (count - at) as u8, 0, nr as u32));
    }
    code.push(ALLOW);
    // The guest's program begins with nothing loaded.
    code.push(i(BPF_LD, 0, 0, 0));
    code
}

/// Has the calling thread install a program.
pub(super) async fn restrict(t: &Task, code: &[Instruction]) -> SysResult<()> {
    restrict_threads(t, code, false).await
}

/// The same for all threads of its process.
pub(super) async fn restrict_threads(t: &Task, code: &[Instruction], all_threads: bool) -> SysResult<()> {
    t.thread().enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    order(t, code, if all_threads { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 }).await
}

/// Has a stopped thread install a program.
pub(super) async fn order(t: &Task, code: &[Instruction], flags: u64) -> SysResult<()> {
    let bytes = code.as_bytes();
    // `struct sock_fprog` and the program behind it.
    let size = 16 + bytes.len() as u64;
    let thread = t.thread();
    let call = |nr: i64, args: [u64; 6]| Call { nr: nr as u32, args };
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let place = call(libc::SYS_mmap, [0, size, 3, anonymous, u64::MAX, 0]);
    let at = thread.run(&[place]).await?.first().copied().unwrap_or(-1);
    let at = u64::try_from(at).map_err(|_| Errno::NOMEM)?;
    let head = [code.len() as u64, at + 16];
    let written =
        t.mem().write_bytes(Addr(at), head.as_bytes()).and_then(|()| t.mem().write_bytes(Addr(at + 16), bytes));
    let install = call(libc::SYS_seccomp, [u64::from(libc::SECCOMP_SET_MODE_FILTER), flags, at, 0, 0, 0]);
    let done = match written {
        Ok(()) => thread.run(&[install]).await?.first().copied().unwrap_or(-1),
        Err(e) => -i64::from(e.raw()),
    };
    thread.run(&[call(libc::SYS_munmap, [at, size, 0, 0, 0, 0])]).await?;
    match done {
        0 => Ok(()),
        e if e < 0 => Err(Errno::from_raw(i32::try_from(-e).unwrap_or(libc::EINVAL))),
        // A host thread that has another filter than its siblings.
        _ => Err(Errno::SRCH),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bpf::Data;
    use super::*;

    #[test]
    fn only_native_calls_from_outside_the_stub_are_judged() {
        let refuse = Program::new(vec![i(BPF_RET, 0, 0, 0x0005_0001)]).unwrap();
        let host = Program::new(program(&refuse).unwrap()).unwrap();
        let run = |nr: i64, ip: u64| host.run(&Data { nr: nr as u32, arch: super::super::ARCH, ip, args: [0; 6] });
        for nr in native_calls() {
            assert_eq!(run(nr, 0x40_0000), 0x0005_0001);
            assert_eq!(run(nr, 0x7fff_0001_0000), 0x0005_0001);
            assert_eq!(run(nr, 0x1_2345), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(run(libc::SYS_read, 0x40_0000), libc::SECCOMP_RET_ALLOW);
    }
}
