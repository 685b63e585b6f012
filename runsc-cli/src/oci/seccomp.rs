//! `linux.seccomp` of a configuration as a program of classic BPF, with the meaning that libseccomp gives it.

use anyhow::{Context, Result, bail};
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use sentry::boot::config::SeccompSpec;
use sentry::seccomp::ARCH;
use std::collections::BTreeMap;

/// Offsets into `struct seccomp_data`.
const NR: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGS: u32 = 16;

/// Arguments of a call.
const ARGS_MAX: usize = 6;

type Instruction = (u16, u8, u8, u32);

/// Where a jump of a rule leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The next instruction.
    Next,
    /// The end of this comparison, which holds.
    Holds,
    /// The end of the rule.
    Fails,
}

/// The filter that a configuration describes; none if it forbids nothing.
pub(super) fn compile(seccomp: &LinuxSeccomp) -> Result<Option<SeccompSpec>> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    // By call, in order. Rules with conditions come before those without, as libseccomp has it.
    let mut rules: BTreeMap<u32, Vec<(Vec<LinuxSeccompArg>, u32)>> = BTreeMap::new();
    for syscall in seccomp.syscalls().iter().flatten() {
        add(&mut rules, syscall, default)?;
    }
    if rules.is_empty() && default == libc::SECCOMP_RET_ALLOW {
        return Ok(None);
    }
    let mut program =
        vec![load(ARCHITECTURE), (jump(BPF_JEQ), 1, 0, ARCH), ret(libc::SECCOMP_RET_KILL_THREAD), load(NR)];
    for (nr, mut alternatives) in rules {
        alternatives.sort_by_key(|(args, _)| args.is_empty());
        let block = block(&alternatives, default)?;
        let skip =
            u8::try_from(block.len()).ok().with_context(|| format!("too many rules for the system call {nr}"))?;
        program.push((jump(BPF_JEQ), 0, skip, nr));
        program.extend(block);
    }
    program.push(ret(default));
    if program.len() > sentry::seccomp::bpf::INSTRUCTIONS_MAX {
        bail!("the seccomp filter is too long: {} instructions", program.len());
    }
    Ok(Some(SeccompSpec { program, flags: flags(seccomp) }))
}

fn flags(seccomp: &LinuxSeccomp) -> u64 {
    let is_log = |flag: &LinuxSeccompFilterFlag| *flag == LinuxSeccompFilterFlag::SeccompFilterFlagLog;
    if seccomp.flags().iter().flatten().any(is_log) { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 }
}

fn action(action: Action, errno: Option<u32>) -> Result<u32> {
    let errno = errno.unwrap_or(libc::EPERM as u32) & libc::SECCOMP_RET_DATA;
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        Action::ScmpActErrno => libc::SECCOMP_RET_ERRNO | errno,
        Action::ScmpActTrace => libc::SECCOMP_RET_TRACE | errno,
        Action::ScmpActLog => libc::SECCOMP_RET_LOG,
        Action::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        Action::ScmpActNotify => {
            bail!(
                "seccomp: SCMP_ACT_NOTIFY is not supported: the host's kernel sees no calls of which to tell a listener"
            )
        }
    })
}

fn add(
    rules: &mut BTreeMap<u32, Vec<(Vec<LinuxSeccompArg>, u32)>>,
    syscall: &LinuxSyscall,
    default: u32,
) -> Result<()> {
    let action = action(syscall.action(), syscall.errno_ret())?;
    // What happens anyway needs no rule.
    if action == default {
        return Ok(());
    }
    let args = syscall.args().clone().unwrap_or_default();
    if let Some(arg) = args.iter().find(|arg| arg.index() >= ARGS_MAX) {
        bail!("seccomp: a system call has no argument {}", arg.index());
    }
    // Two conditions on one argument are alternatives, as runc reads them.
    let is_twice =
        args.iter().enumerate().any(|(at, arg)| args.iter().take(at).any(|other| other.index() == arg.index()));
    // Names that there are not are for other kernels.
    for nr in syscall.names().iter().filter_map(|name| number(name)) {
        let of_call = rules.entry(nr).or_default();
        if is_twice {
            of_call.extend(args.iter().map(|arg| (vec![*arg], action)));
        } else {
            of_call.push((args.clone(), action));
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u32> {
    syscalls_table::TABLE.iter().find(|entry| entry.name == name).map(|entry| entry.nr)
}

/// All that is said of one call; its number is loaded and need not be afterwards.
fn block(alternatives: &[(Vec<LinuxSeccompArg>, u32)], default: u32) -> Result<Vec<Instruction>> {
    let mut code = Vec::new();
    for (args, action) in alternatives {
        let mut rule: Vec<(Instruction, Target, Target)> = Vec::new();
        for arg in args {
            let start = rule.len();
            compare(&mut rule, arg);
            // Within one comparison "holds" is where it ends.
            let end = rule.len();
            for (at, (instruction, yes, no)) in rule.iter_mut().enumerate().skip(start) {
                for (target, skip) in [(yes, &mut instruction.1), (no, &mut instruction.2)] {
                    if *target == Target::Holds {
                        (*target, *skip) = (Target::Next, u8::try_from(end - at - 1)?);
                    }
                }
            }
        }
        // Failing leads behind the answer.
        let end = rule.len() + 1;
        for (at, (mut instruction, yes, no)) in rule.into_iter().enumerate() {
            for (target, skip) in [(yes, &mut instruction.1), (no, &mut instruction.2)] {
                if target == Target::Fails {
                    *skip = u8::try_from(end - at - 1)?;
                }
            }
            code.push(instruction);
        }
        code.push(ret(*action));
    }
    if alternatives.last().is_some_and(|(args, _)| !args.is_empty()) {
        code.push(ret(default));
    }
    Ok(code)
}

/// A comparison of 64 bits in halves.
fn compare(rule: &mut Vec<(Instruction, Target, Target)>, arg: &LinuxSeccompArg) {
    use Target::{Fails, Holds, Next};
    let at = ARGS + 8 * arg.index() as u32;
    let (value, other) = (arg.value(), arg.value_two().unwrap_or(0));
    let (high, low) = ((value >> 32) as u32, value as u32);
    let test = |operation, k, yes, no| ((jump(operation), 0, 0, k), yes, no);
    let step = |instruction| (instruction, Next, Next);
    rule.push(step(load(at + 4)));
    match arg.op() {
        Operator::ScmpCmpEq => {
            rule.extend([test(BPF_JEQ, high, Next, Fails), step(load(at)), test(BPF_JEQ, low, Next, Fails)]);
        }
        Operator::ScmpCmpNe => {
            rule.extend([test(BPF_JEQ, high, Next, Holds), step(load(at)), test(BPF_JEQ, low, Fails, Next)]);
        }
        Operator::ScmpCmpGt | Operator::ScmpCmpGe => {
            let last = if arg.op() == Operator::ScmpCmpGt { BPF_JGT } else { BPF_JGE };
            rule.extend([test(BPF_JGT, high, Holds, Next), test(BPF_JEQ, high, Next, Fails)]);
            rule.extend([step(load(at)), test(last, low, Next, Fails)]);
        }
        Operator::ScmpCmpLt | Operator::ScmpCmpLe => {
            let last = if arg.op() == Operator::ScmpCmpLt { BPF_JGE } else { BPF_JGT };
            rule.extend([test(BPF_JGT, high, Fails, Next), test(BPF_JEQ, high, Next, Holds)]);
            rule.extend([step(load(at)), test(last, low, Fails, Next)]);
        }
        // `value` is the mask, `valueTwo` what is to be left.
        Operator::ScmpCmpMaskedEq => {
            let wanted = other & value;
            rule.extend([step(and(high)), test(BPF_JEQ, (wanted >> 32) as u32, Next, Fails)]);
            rule.extend([step(load(at)), step(and(low)), test(BPF_JEQ, wanted as u32, Next, Fails)]);
        }
    }
}

fn load(at: u32) -> Instruction {
    ((BPF_LD | BPF_W | BPF_ABS) as u16, 0, 0, at)
}

fn and(mask: u32) -> Instruction {
    ((BPF_ALU | BPF_AND | BPF_K) as u16, 0, 0, mask)
}

fn ret(action: u32) -> Instruction {
    ((BPF_RET | BPF_K) as u16, 0, 0, action)
}

fn jump(operation: u32) -> u16 {
    (BPF_JMP | operation | BPF_K) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use sentry::seccomp::bpf::{Data, Instruction, Program};

    fn program(json: serde_json::Value) -> Program {
        let seccomp = serde_json::from_value(json).expect("the configuration is valid");
        let spec = compile(&seccomp).expect("it compiles").expect("it forbids something");
        let code = spec.program.into_iter().map(|(code, jt, jf, k)| Instruction { code, jt, jf, k });
        Program::new(code.collect()).expect("the kernel takes it")
    }

    fn run(program: &Program, nr: i64, args: [u64; 6]) -> u32 {
        program.run(&Data { nr: nr as u32, arch: ARCH, ip: 0, args })
    }

    #[test]
    fn calls_by_name_and_default() {
        let p = program(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "syscalls": [{"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                         {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9}],
        }));
        assert_eq!(run(&p, libc::SYS_read, [0; 6]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(run(&p, libc::SYS_write, [0; 6]), libc::SECCOMP_RET_ERRNO | 9);
        assert_eq!(run(&p, libc::SYS_close, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
    }

    #[test]
    fn operators_compare_all_64_bits() {
        let holds = |op: &str, value: u64, two: u64, arg: u64| {
            let p = program(serde_json::json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ERRNO",
                              "args": [{"index": 1, "value": value, "valueTwo": two, "op": op}]}],
            }));
            run(&p, libc::SYS_clone, [0, arg, 0, 0, 0, 0]) != libc::SECCOMP_RET_ALLOW
        };
        let numbers = [0, 1, 5, 0xffff_ffff, 1 << 32, (1 << 32) + 5, (2 << 32) + 1, u64::MAX];
        for value in numbers {
            for arg in numbers {
                assert_eq!(holds("SCMP_CMP_EQ", value, 0, arg), arg == value, "{arg} == {value}");
                assert_eq!(holds("SCMP_CMP_NE", value, 0, arg), arg != value, "{arg} != {value}");
                assert_eq!(holds("SCMP_CMP_LT", value, 0, arg), arg < value, "{arg} < {value}");
                assert_eq!(holds("SCMP_CMP_LE", value, 0, arg), arg <= value, "{arg} <= {value}");
                assert_eq!(holds("SCMP_CMP_GT", value, 0, arg), arg > value, "{arg} > {value}");
                assert_eq!(holds("SCMP_CMP_GE", value, 0, arg), arg >= value, "{arg} >= {value}");
                assert_eq!(
                    holds("SCMP_CMP_MASKED_EQ", 0x1_0000_0005, value, arg),
                    arg & 0x1_0000_0005 == value & 0x1_0000_0005
                );
            }
        }
    }

    #[test]
    fn conditions_come_before_a_rule_for_all() {
        let p = program(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO"},
                         {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}],
        }));
        assert_eq!(run(&p, libc::SYS_socket, [40, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(&p, libc::SYS_socket, [2, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ERRNO | 1);
    }
}
