//! Classic BPF, over `struct seccomp_data` and over packets: checked as the kernel checks it, then run.

use crate::errno::{Errno, SysResult};
use libc::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_DIV, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE,
    BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MOD, BPF_MSH, BPF_MUL,
    BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W, BPF_X, BPF_XOR,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `BPF_MAXINSNS`.
pub const INSTRUCTIONS_MAX: usize = 4096;

/// Words of scratch memory.
const WORDS: usize = 16;

/// `sizeof(struct seccomp_data)`.
const DATA_SIZE: u32 = 64;

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// The call's number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address after the instruction.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

impl Data {
    /// The word at an offset that the check has let pass.
    fn word(&self, at: u32) -> u32 {
        let half = |value: u64| if at.is_multiple_of(8) { value as u32 } else { (value >> 32) as u32 };
        match at {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => half(self.ip),
            _ => self.args.get((at as usize - 16) / 8).map_or(0, |arg| half(*arg)),
        }
    }
}

/// What a program looks at.
pub trait Input {
    /// How long it is.
    fn length(&self) -> u32;

    /// The number of so many bytes at a place; `None` ends the program with 0.
    fn load(&self, at: u32, size: u32) -> Option<u32>;
}

impl Input for Data {
    fn length(&self) -> u32 {
        DATA_SIZE
    }

    fn load(&self, at: u32, _: u32) -> Option<u32> {
        Some(self.word(at))
    }
}

/// A call of which only number and architecture are known, which come before all else.
struct NumberOnly(Data);

impl Input for NumberOnly {
    fn length(&self) -> u32 {
        DATA_SIZE
    }

    fn load(&self, at: u32, size: u32) -> Option<u32> {
        self.0.load(at, size).filter(|_| at < 8)
    }
}

/// A program that has been checked.
#[derive(Debug, Clone)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Checks a program by the rules of `net/core/filter.c` and `kernel/seccomp.c`.
    pub fn new(code: Vec<Instruction>) -> SysResult<Program> {
        Program::checked(code, is_fine)
    }

    /// The same for a program over packets.
    pub fn for_packets(code: Vec<Instruction>) -> SysResult<Program> {
        Program::checked(code, |i, left| reads_packets(i) || is_fine(i, left))
    }

    fn checked(code: Vec<Instruction>, is_fine: impl Fn(&Instruction, usize) -> bool) -> SysResult<Program> {
        if code.is_empty() || code.len() > INSTRUCTIONS_MAX {
            return Err(Errno::INVAL);
        }
        for (at, i) in code.iter().enumerate() {
            if !is_fine(i, code.len() - at - 1) {
                return Err(Errno::INVAL);
            }
        }
        let ends = code.last().is_some_and(|i| class(i) == BPF_RET);
        if !ends || !stores_before_loads(&code) {
            return Err(Errno::INVAL);
        }
        Ok(Program(code))
    }

    /// The instructions.
    pub fn code(&self) -> &[Instruction] {
        &self.0
    }

    /// What the program returns for a call, or a packet.
    pub fn run(&self, input: &impl Input) -> u32 {
        self.interpret(input).unwrap_or(0)
    }

    /// What the program returns for a call whatever its arguments and place are; `None` if it asks for these.
    pub fn constant(&self, nr: u32, arch: u32) -> Option<u32> {
        self.interpret(&NumberOnly(Data { nr, arch, ip: 0, args: [0; 6] }))
    }

    /// Jumps lead forward only: it ends.
    fn interpret(&self, input: &impl Input) -> Option<u32> {
        let (mut pc, mut a, mut x, mut memory) = (0usize, 0u32, 0u32, [0u32; WORDS]);
        loop {
            // The check leaves nothing to run past the end.
            let i = self.0.get(pc)?;
            pc += 1;
            let code = u32::from(i.code);
            let word = |k: u32| memory.get(k as usize).copied().unwrap_or(0);
            match class(i) {
                BPF_LD if mode(i) == BPF_ABS => a = input.load(i.k, size(i))?,
                BPF_LD if mode(i) == BPF_IND => a = input.load(x.wrapping_add(i.k), size(i))?,
                BPF_LD if mode(i) == BPF_LEN => a = input.length(),
                BPF_LD if mode(i) == BPF_MEM => a = word(i.k),
                BPF_LD => a = i.k,
                BPF_LDX if mode(i) == BPF_LEN => x = input.length(),
                // The length of an IPv4 header.
                BPF_LDX if mode(i) == BPF_MSH => x = (input.load(i.k, 1)? & 0xf) << 2,
                BPF_LDX if mode(i) == BPF_MEM => x = word(i.k),
                BPF_LDX => x = i.k,
                BPF_ST | BPF_STX => {
                    if let Some(place) = memory.get_mut(i.k as usize) {
                        *place = if class(i) == BPF_ST { a } else { x };
                    }
                }
                BPF_ALU => a = calculate(code, a, if code & BPF_X != 0 { x } else { i.k })?,
                BPF_JMP if operation(i) == BPF_JA => pc += i.k as usize,
                BPF_JMP => {
                    let other = if code & BPF_X != 0 { x } else { i.k };
                    let is_true = match operation(i) {
                        BPF_JEQ => a == other,
                        BPF_JGT => a > other,
                        BPF_JGE => a >= other,
                        _ => a & other != 0,
                    };
                    pc += usize::from(if is_true { i.jt } else { i.jf });
                }
                BPF_RET if code & 0x18 == BPF_A => return Some(a),
                BPF_RET => return Some(i.k),
                _ if code & 0xf8 == BPF_TXA => a = x,
                _ => x = a,
            }
        }
    }
}

fn class(i: &Instruction) -> u32 {
    u32::from(i.code) & 0x07
}

fn mode(i: &Instruction) -> u32 {
    u32::from(i.code) & 0xe0
}

/// How many bytes are loaded.
fn size(i: &Instruction) -> u32 {
    match u32::from(i.code) & 0x18 {
        BPF_B => 1,
        BPF_H => 2,
        _ => 4,
    }
}

fn operation(i: &Instruction) -> u32 {
    u32::from(i.code) & 0xf0
}

/// `None` is a division by 0, which ends a program with 0.
fn calculate(code: u32, a: u32, b: u32) -> Option<u32> {
    Some(match code & 0xf0 {
        BPF_ADD => a.wrapping_add(b),
        BPF_SUB => a.wrapping_sub(b),
        BPF_MUL => a.wrapping_mul(b),
        BPF_DIV => return Some(a.checked_div(b).unwrap_or(0)).filter(|_| b != 0),
        BPF_MOD => return a.checked_rem(b),
        BPF_AND => a & b,
        BPF_OR => a | b,
        BPF_XOR => a ^ b,
        BPF_LSH => a.wrapping_shl(b),
        BPF_RSH => a.wrapping_shr(b),
        _ => a.wrapping_neg(),
    })
}

/// Whether seccomp allows the instruction, with `left` instructions behind it.
fn is_fine(i: &Instruction, left: usize) -> bool {
    let code = u32::from(i.code);
    let is_word = (i.k as usize) < WORDS;
    let alu = |op: u32| BPF_ALU | op;
    match code {
        c if c == BPF_LD | BPF_W | BPF_ABS => i.k < DATA_SIZE && i.k.is_multiple_of(4),
        c if c == BPF_LD | BPF_W | BPF_LEN || c == BPF_LDX | BPF_W | BPF_LEN => true,
        c if c == BPF_LD | BPF_IMM || c == BPF_LDX | BPF_IMM => true,
        c if c == BPF_LD | BPF_MEM || c == BPF_LDX | BPF_MEM || c == BPF_ST || c == BPF_STX => is_word,
        c if c == BPF_RET | BPF_K || c == BPF_RET | BPF_A => true,
        c if c == BPF_MISC | BPF_TAX || c == BPF_MISC | BPF_TXA => true,
        c if c == alu(BPF_NEG) => true,
        c if c == alu(BPF_DIV) | BPF_K => i.k != 0,
        c if c == alu(BPF_LSH) | BPF_K || c == alu(BPF_RSH) | BPF_K => i.k < 32,
        c if [BPF_ADD, BPF_SUB, BPF_MUL, BPF_AND, BPF_OR, BPF_XOR].iter().any(|op| c & !BPF_X == alu(*op)) => true,
        c if [BPF_DIV, BPF_LSH, BPF_RSH].iter().any(|op| c == alu(*op) | BPF_X) => true,
        c if c == BPF_JMP | BPF_JA => (i.k as usize) < left,
        c if [BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET].iter().any(|op| c & !BPF_X == BPF_JMP | op) => {
            usize::from(i.jt) < left && usize::from(i.jf) < left
        }
        _ => false,
    }
}

/// Whether the instruction is one that only programs over packets have.
fn reads_packets(i: &Instruction) -> bool {
    /// `SKF_AD_OFF`, from which on a place means something else than bytes of the packet, and the last such place.
    const ANCILLARY: u32 = 0xffff_f000;
    const ANCILLARY_MAX: u32 = 64;
    let code = u32::from(i.code);
    let loads =
        [BPF_W, BPF_H, BPF_B].iter().any(|size| code == BPF_LD | size | BPF_ABS || code == BPF_LD | size | BPF_IND);
    let modulo = code == BPF_ALU | BPF_MOD | BPF_K && i.k != 0 || code == BPF_ALU | BPF_MOD | BPF_X;
    let is_place = i.k < ANCILLARY || i.k - ANCILLARY < ANCILLARY_MAX || code & 0xe0 != BPF_ABS;
    loads && is_place || modulo || code == BPF_LDX | BPF_B | BPF_MSH
}

/// Whether each word of scratch memory is written, on all ways that lead there, before it is read.
fn stores_before_loads(code: &[Instruction]) -> bool {
    // Words that are written on every way to an instruction that jumps lead to.
    let mut masks = vec![u16::MAX; code.len()];
    let mut valid = 0u16;
    for (at, i) in code.iter().enumerate() {
        valid &= masks.get(at).copied().unwrap_or(0);
        let bit = 1u16.checked_shl(i.k).unwrap_or(0);
        match class(i) {
            BPF_ST | BPF_STX => valid |= bit,
            BPF_LD | BPF_LDX if mode(i) == BPF_MEM && valid & bit == 0 => return false,
            BPF_JMP => {
                let targets = match operation(i) {
                    BPF_JA => [i.k as usize; 2],
                    _ => [usize::from(i.jt), usize::from(i.jf)],
                };
                for target in targets {
                    if let Some(mask) = masks.get_mut(at + 1 + target) {
                        *mask &= valid;
                    }
                }
                valid = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn i(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code: code as u16, jt, jf, k }
    }

    const LOAD_NR: Instruction = i(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0);
    const LOAD_ARG: Instruction = i(BPF_LD | BPF_W | BPF_ABS, 0, 0, 16);

    fn data(nr: u32, arg: u64) -> Data {
        Data { nr, arch: 1, ip: 0, args: [arg; 6] }
    }

    #[test]
    fn decides_by_number_and_argument() {
        let code = vec![
            LOAD_NR,
            i(BPF_JMP | BPF_JEQ, 0, 3, 39),
            LOAD_ARG,
            i(BPF_JMP | BPF_JGT, 1, 0, 5),
            i(BPF_RET, 0, 0, 7),
            i(BPF_RET, 0, 0, 9),
        ];
        let program = Program::new(code).unwrap();
        assert_eq!(program.run(&data(39, 5)), 7);
        assert_eq!(program.run(&data(39, 6)), 9);
        assert_eq!(program.run(&data(38, 0)), 9);
        assert_eq!(program.constant(38, 1), Some(9));
        assert_eq!(program.constant(39, 1), None);
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let ret = i(BPF_RET, 0, 0, 0);
        let refused = [
            vec![],
            vec![LOAD_NR],
            vec![i(BPF_LD | BPF_W | BPF_ABS, 0, 0, 64), ret],
            vec![i(BPF_LD | BPF_W | BPF_ABS, 0, 0, 2), ret],
            vec![i(BPF_JMP | BPF_JA, 0, 0, 1), ret],
            vec![i(BPF_JMP | BPF_JEQ, 0, 1, 1), ret],
            vec![i(BPF_LD | BPF_MEM, 0, 0, 0), ret],
            vec![i(BPF_ST, 0, 0, 16), ret],
            vec![i(BPF_ALU | BPF_DIV, 0, 0, 0), ret],
            vec![i(BPF_ALU | BPF_LSH, 0, 0, 32), ret],
            vec![i(0xffff, 0, 0, 0), ret],
            vec![ret; INSTRUCTIONS_MAX + 1],
        ];
        for code in refused {
            assert_eq!(Program::new(code).err(), Some(Errno::INVAL));
        }
    }

    #[test]
    fn a_word_written_on_one_way_only_is_not_read() {
        let (store, load) = (i(BPF_ST, 0, 0, 3), i(BPF_LD | BPF_MEM, 0, 0, 3));
        let jump = i(BPF_JMP | BPF_JEQ, 1, 0, 1);
        let end = i(BPF_RET | BPF_A, 0, 0, 0);
        assert!(Program::new(vec![jump, store, load, end]).is_err());
        assert!(Program::new(vec![store, jump, store, load, end]).is_ok());
    }

    #[test]
    fn division_by_zero_kills() {
        let code = vec![i(BPF_LD, 0, 0, 8), i(BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0), i(BPF_RET, 0, 0, 5)];
        assert_eq!(Program::new(code).unwrap().run(&data(0, 0)), 0);
    }
}
