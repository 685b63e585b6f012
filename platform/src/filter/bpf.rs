//! A small assembler for classic BPF over `struct seccomp_data`, and an interpreter to test what it makes.

use libc::sock_filter;
use std::collections::BTreeMap;

/// Offsets into `struct seccomp_data` (`linux/seccomp.h`).
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP: u32 = 8;
const ARGS: u32 = 16;

const LD_ABS: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JA: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A condition on one 64-bit argument.
#[derive(Debug, Clone)]
pub(super) enum Check {
    /// The low half, without the bits of the mask, is one of the values. The kernel reads these arguments as
    /// 32-bit integers, so the high half means nothing.
    OneOf { arg: u32, ignore: u32, values: Vec<u32> },
    /// All of `set` and nothing outside `allowed` is in the argument, whose high half is 0.
    Bits { arg: u32, set: u32, allowed: u32 },
    /// The instruction pointer is this (below 4 GiB).
    Ip(u32),
    /// The instruction pointer is in the page at this address (below 4 GiB).
    Page(u32),
}

/// What the program does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Jump {
    /// Falls through to the next instruction.
    Next,
    /// Skips to the end of the current rule.
    Out,
}

/// What a call gets if all checks hold.
type Rule = (Vec<Check>, u32);

/// A filter under construction.
///
/// When a filter is installed the kernel runs it for every call number there is, to know which are always allowed:
/// so the number is searched by bisection, and each comes to its rules within a few instructions.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<sock_filter>,
    /// Conditional jumps of the current rule that leave it when false.
    pending: Vec<usize>,
    rules: BTreeMap<u32, Vec<Rule>>,
}

impl Assembler {
    fn push(&mut self, code: u16, k: u32) {
        self.code.push(sock_filter { code, jt: 0, jf: 0, k });
    }

    fn test(&mut self, code: u16, k: u32, on_true: Jump, on_false: Jump) {
        let at = self.code.len();
        // 255 marks "leaves the rule" until the rule's end is known.
        let target = |j| if j == Jump::Out { 255 } else { 0 };
        self.code.push(sock_filter { code, jt: target(on_true), jf: target(on_false), k });
        self.pending.push(at);
    }

    /// Ends a rule: everything that left it lands here.
    fn land(&mut self) {
        let here = self.code.len();
        for at in self.pending.drain(..) {
            let skip = u8::try_from(here - at - 1).unwrap_or(254);
            let insn = &mut self.code[at];
            if insn.jt == 255 {
                insn.jt = skip;
            }
            if insn.jf == 255 {
                insn.jf = skip;
            }
        }
    }

    /// Answers `action` unless the architecture is x86-64.
    pub(super) fn foreign_arch(&mut self, action: u32) {
        self.push(LD_ABS, ARCH);
        self.test(JEQ, super::AUDIT_ARCH_X86_64, Jump::Out, Jump::Next);
        self.push(RET, action);
        self.land();
    }

    /// Answers `action` if the number is `from` or above; leaves the number loaded.
    pub(super) fn numbers_from(&mut self, from: u32, action: u32) {
        self.push(LD_ABS, NR);
        self.test(JGE, from, Jump::Next, Jump::Out);
        self.push(RET, action);
        self.land();
    }

    /// Answers `action` for call `nr` if all checks hold and those of no earlier rule did.
    pub(super) fn rule(&mut self, nr: u32, checks: &[Check], action: u32) {
        self.rules.entry(nr).or_default().push((checks.to_vec(), action));
    }

    /// Answers `action` for all that is left. The number must be loaded.
    pub(super) fn finish(mut self, action: u32) -> Vec<sock_filter> {
        let rules: Vec<_> = std::mem::take(&mut self.rules).into_iter().collect();
        self.search(&rules, action);
        self.code
    }

    /// Bisects by number.
    fn search(&mut self, rules: &[(u32, Vec<Rule>)], action: u32) {
        match rules {
            [] => self.push(RET, action),
            [(nr, rules)] => {
                self.code.push(sock_filter { code: JEQ, jt: 1, jf: 0, k: *nr });
                self.push(RET, action);
                for (checks, action) in rules {
                    self.body(checks, *action);
                }
                self.push(RET, action);
            }
            _ => {
                let (low, high) = rules.split_at(rules.len() / 2);
                self.code.push(sock_filter { code: JGE, jt: 0, jf: 1, k: high[0].0 });
                let far = self.code.len();
                self.push(JA, 0);
                self.search(low, action);
                self.code[far].k = (self.code.len() - far - 1) as u32;
                self.search(high, action);
            }
        }
    }

    fn body(&mut self, checks: &[Check], action: u32) {
        for check in checks {
            match check {
                Check::OneOf { arg, ignore, values } => {
                    self.push(LD_ABS, ARGS + 8 * arg);
                    self.push(AND, !ignore);
                    // A hit jumps over the remaining comparisons of the list.
                    for (n, value) in values.iter().enumerate() {
                        let left = values.len() - 1 - n;
                        if left == 0 {
                            self.test(JEQ, *value, Jump::Next, Jump::Out);
                        } else {
                            let jt = u8::try_from(left).unwrap_or(254);
                            self.code.push(sock_filter { code: JEQ, jt, jf: 0, k: *value });
                        }
                    }
                }
                Check::Bits { arg, set, allowed } => {
                    self.push(LD_ABS, ARGS + 8 * arg + 4);
                    self.test(JEQ, 0, Jump::Next, Jump::Out);
                    self.push(LD_ABS, ARGS + 8 * arg);
                    self.push(AND, !allowed);
                    self.test(JEQ, 0, Jump::Next, Jump::Out);
                    self.push(LD_ABS, ARGS + 8 * arg);
                    self.push(AND, *set);
                    self.test(JEQ, *set, Jump::Next, Jump::Out);
                }
                Check::Ip(ip) => {
                    self.push(LD_ABS, IP + 4);
                    self.test(JEQ, 0, Jump::Next, Jump::Out);
                    self.push(LD_ABS, IP);
                    self.test(JEQ, *ip, Jump::Next, Jump::Out);
                }
                Check::Page(page) => {
                    self.push(LD_ABS, IP + 4);
                    self.test(JEQ, 0, Jump::Next, Jump::Out);
                    self.push(LD_ABS, IP);
                    self.push(AND, !0xfff);
                    self.test(JEQ, *page, Jump::Next, Jump::Out);
                }
            }
        }
        self.push(RET, action);
        self.land();
    }
}

/// Runs a program as the kernel would; for tests.
#[cfg(test)]
pub(super) fn interpret(code: &[sock_filter], nr: u32, arch: u32, ip: u64, args: [u64; 6]) -> u32 {
    let word = |at: u32| -> u32 {
        let half = |v: u64, at: u32| if at.is_multiple_of(8) { v as u32 } else { (v >> 32) as u32 };
        match at {
            NR => nr,
            ARCH => arch,
            8 | 12 => half(ip, at),
            _ => half(args[((at - ARGS) / 8) as usize], at),
        }
    };
    let (mut pc, mut a) = (0usize, 0u32);
    loop {
        let i = code[pc];
        pc += 1;
        match i.code {
            LD_ABS => a = word(i.k),
            AND => a &= i.k,
            JEQ => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
            JGE => pc += usize::from(if a >= i.k { i.jt } else { i.jf }),
            JA => pc += i.k as usize,
            RET => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}
