//! The code that a call site is replaced by, and what a stop inside of it means.
//!
//! A call site is some bytes that set something up, then `syscall`. Its first seven bytes become a jump through a table
//! of pointers; the pointer is to one of two pieces of code that end behind the site, with `rcx` as the call leaves it:
//! *fast* loads the answer from memory, or makes the call through the thread's channel; *slow* does what the site did.

use super::calls::{CALLS, TID, has_channel, is_clone, is_robust_list, is_sigaction, is_sigmask, value_of};
use super::window::shape_of;
use std::ops::Range;
use stub::abi::shape;

/// Bytes of a site that become the jump.
pub(super) const JUMP: usize = 7;
/// Bytes of code before the `syscall`, in the slow piece of code always and at most sites.
const HEAD: u64 = 5;
/// What is looked at of a site's text, from the end of its `syscall`.
pub(in super::super) const BEFORE: u64 = HEAD + GAP as u64 + 2;
pub(in super::super) const BEHIND: u64 = 6;

const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `mov $imm32, %eax`.
const MOV_EAX: u8 = 0xb8;
/// `mov 8(%rsp), %r9`: what glibc's `syscall` function has before it, with the number in a register.
const MOV_R9: [u8; HEAD as usize] = [0x4c, 0x8b, 0x4c, 0x24, 0x08];
/// `cmp $-4095, %rax`: what it has behind it. The flags are free then.
const CMP_RAX: [u8; 6] = [0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff];
/// `cmp $-4096, %rax`: what most other sites have behind them.
const CMP_RAX_MORE: [u8; 6] = [0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff];
/// What may be behind a site where the flags are free: instructions that set them all. The others are
/// `cmp $-4096, %eax` (after `mov %eax, %edx` too, which leaves them) and comparisons with 0.
const SETS_FLAGS: [&[u8]; 6] = [
    &CMP_RAX,
    &CMP_RAX_MORE,
    &[0x3d, 0x00, 0xf0, 0xff, 0xff],
    &[0x89, 0xc2, 0x3d, 0x00, 0xf0, 0xff],
    &[0x85, 0xc0],
    &[0x48, 0x85, 0xc0],
];
/// `xor %eax, %eax`: `read` in two bytes. The room for the jump reaches into the comparison behind its site.
const XOR_EAX: [u8; 2] = [0x31, 0xc0];
/// At most so many bytes are between the number and the `syscall`: instructions that load arguments (see [`moved`]).
const GAP: usize = 10;
/// `lea disp32(%rip), %rsi` and `lea disp32(%rbx), %rsi`. And `movabs $imm64, %rsi`, which the first is where it is not
/// relative.
const LEA_RIP: [u8; 3] = [0x48, 0x8d, 0x35];
const LEA_RBX: [u8; 3] = [0x48, 0x8d, 0xb3];
const MOVABS_RSI: [u8; 2] = [0x48, 0xbe];
/// `mov $imm32, %ecx`, `jmp rel32`, a no-operation of three bytes.
const MOV_ECX: u8 = 0xb9;
const JMP: u8 = 0xe9;
const NOP: [u8; 3] = [0x0f, 0x1f, 0x00];
/// Room for each piece of code; both begin in the same 256 bytes, so that their addresses differ in one byte.
const SLOW_OF_ONE: u16 = shape::SLOW as u16;
const SLOW_OF_ALL: u16 = 192;

/// The value of calls about a word of the channel, which is there ([`word_entry`]).
const CHANNEL_VALUE: u8 = 15;

/// Code for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thunk {
    /// Bytes of the site before its `syscall`.
    pub(super) head: u64,
    /// Bytes of what stands for them in the slow code.
    slow_head: u16,
    /// Fast code, and slow code at `slow`.
    pub(super) bytes: Vec<u8>,
    /// Offset of the slow code.
    pub(super) slow: u16,
    /// Offsets of instructions at which the call is over: a stop there is one behind the site, any other before it.
    done: Vec<u16>,
    /// Which values it needs, as bits.
    pub(super) values: u16,
}

impl Thunk {
    /// Code for the site of a call `nr` that ends at `end`, with `text` around there ([`BEFORE`], [`BEHIND`]); `code_at`
    /// is where the code will be. `None` if the site is of no known kind.
    pub(super) fn new(nr: u32, end: u64, text: &[u8], code_at: u64, values_at: u64) -> Option<Thunk> {
        let (before, rest) = text.split_at_checked(HEAD as usize + GAP)?;
        let (head, rest) = (before.last_chunk::<{ HEAD as usize }>()?, rest.strip_prefix(&SYSCALL)?);
        let frees_flags = SETS_FLAGS.iter().any(|code| rest.starts_with(code));
        let number = [&[MOV_EAX][..], &nr.to_le_bytes()].concat();
        if let (true, Some((value, is_of_0))) = (*head == number[..], value_of(nr)) {
            return Some(Thunk::of_one(head, value, is_of_0, end, values_at));
        }
        let at_syscall = end.wrapping_sub(SYSCALL.len() as u64);
        let loads = (0..=GAP).find_map(|gap| {
            let (before, between) = before.split_at(before.len() - gap);
            before.ends_with(&number).then(|| moved(between, at_syscall)).flatten()
        });
        if let (Some(loads), Some(entry)) = (&loads, word_entry(nr)) {
            Some(Thunk::of_word(entry, &number, loads, end, code_at))
        } else if let Some(loads) = loads.filter(|_| frees_flags && (has_channel(nr) || is_clone(nr))) {
            let len = HEAD + loads.len as u64;
            Some(Thunk::of_channel(nr, len, &[number, loads.code].concat(), &[], end, code_at))
        } else if head.ends_with(&XOR_EAX) && rest.starts_with(&CMP_RAX_MORE) && i64::from(nr) == libc::SYS_read {
            let [a, b] = XOR_EAX;
            let [c, d, e] = NOP;
            let head = [a, b, c, d, e];
            Some(Thunk::of_channel(nr, XOR_EAX.len() as u64, &head, rest.get(..CMP_RAX.len())?, end, code_at))
        } else if *head == MOV_R9 && rest.starts_with(&CMP_RAX) {
            Some(Thunk::of_all(head, end, values_at))
        } else {
            None
        }
    }

    fn empty(slow: u16) -> Thunk {
        Thunk { head: HEAD, slow_head: HEAD as u16, bytes: Vec::new(), slow, done: Vec::new(), values: 0 }
    }

    fn at(&self) -> u16 {
        self.bytes.len() as u16
    }

    /// A site that makes one call only.
    fn of_one(head: &[u8], value: u8, is_of_0: bool, back: u64, values_at: u64) -> Thunk {
        let mut t = Thunk::empty(SLOW_OF_ONE);
        if is_of_0 {
            // mov %edi, %ecx; jecxz past the next; jmp to the slow code: the flags stay as they are.
            t.bytes.extend([0x89, 0xf9, 0x67, 0xe3, 2, 0xeb, SLOW_OF_ONE as u8 - 7]);
        }
        t.load(value, values_at);
        t.leave(back);
        t.slow(head, back);
        t
    }

    /// A site whose call goes through the channel. `tail`: instructions behind the site that its jump cuts.
    fn of_channel(nr: u32, head_len: u64, head: &[u8], tail: &[u8], end: u64, code_at: u64) -> Thunk {
        let mut t = Thunk { head: head_len, slow_head: head.len() as u16, ..Thunk::empty(SLOW_OF_ONE) };
        t.bytes.extend(head);
        match is_clone(nr) {
            true => t.enter(stub::entry::CLONE, 0, code_at),
            false => t.enter(stub::entry::CHANNEL, shape_of(nr), code_at),
        }
        t.bytes.resize(usize::from(t.slow), 0xcc);
        t.bytes.extend(head);
        t.bytes.extend(SYSCALL);
        t.done.push(t.at());
        t.bytes.extend(tail);
        // The comparison may be done twice.
        t.leave(end + tail.len() as u64);
        t
    }

    /// A site whose call is about a word of the channel, by code that keeps the flags.
    fn of_word(entry: u64, number: &[u8], loads: &Moved, end: u64, code_at: u64) -> Thunk {
        let mut t = Thunk { head: HEAD + loads.len as u64, ..Thunk::empty(SLOW_OF_ONE) };
        let head = [number, &loads.code].concat();
        t.slow_head = head.len() as u16;
        t.values = 1 << CHANNEL_VALUE;
        t.bytes.extend(&loads.code);
        t.enter(entry, 0, code_at);
        t.slow(&head, end);
        t
    }

    /// Offset at which the slow code has made its call, and the stub's goes on.
    pub(super) fn behind(&self) -> u16 {
        self.slow + self.slow_head + SYSCALL.len() as u16
    }

    /// Into the stub: `mov $behind, %ecx; jmp`.
    fn enter(&mut self, entry: u64, shape: u32, code_at: u64) {
        self.bytes.push(MOV_ECX);
        let behind = code_at as u32 + u32::from(self.behind());
        self.bytes.extend((behind | shape << shape::SHIFT).to_le_bytes());
        self.bytes.push(JMP);
        let next = code_at + self.bytes.len() as u64 + 4;
        self.bytes.extend((entry.wrapping_sub(next) as u32).to_le_bytes());
    }

    /// A site that makes any call: compares the number first. While nobody knows which thread it is, only a call for that
    /// is made.
    fn of_all(head: &[u8], back: u64, values_at: u64) -> Thunk {
        let mut t = Thunk::empty(SLOW_OF_ALL);
        t.bytes.extend(head);
        // Each case: cmp $nr, %eax; jne to the next; mov value, %eax; jmp to the end, whose distances are known later.
        let (mut ends, mut calls) = (Vec::new(), None);
        for (nr, value) in CALLS {
            t.bytes.push(0x3d);
            t.bytes.extend(nr.to_le_bytes());
            if value == TID {
                // mov value, %ecx; jecxz to the call; mov %ecx, %eax.
                t.bytes.extend([0x75, 14, 0x8b, 0x0c, 0x25]);
                t.bytes.extend((values_at as u32 + 4 * u32::from(value)).to_le_bytes());
                t.bytes.extend([0x67, 0xe3, 0, 0x89, 0xc8]);
                calls = Some(t.bytes.len() - 3);
            } else {
                t.bytes.extend([0x75, 9]);
                t.load(value, values_at);
            }
            t.done.push(t.at());
            t.bytes.extend([0xeb, 0]);
            ends.push(t.bytes.len() - 1);
        }
        let call = t.bytes.len();
        t.bytes.extend(SYSCALL);
        let end = t.bytes.len();
        for (at, to) in ends.into_iter().map(|at| (at, end)).chain(calls.map(|at| (at, call))) {
            if let Some(distance) = t.bytes.get_mut(at) {
                *distance = (to - (at + 1)) as u8;
            }
        }
        t.leave(back);
        t.slow(head, back);
        t
    }

    /// `mov value, %eax`.
    fn load(&mut self, value: u8, values_at: u64) {
        self.values |= 1 << value;
        self.bytes.extend([0x8b, 0x04, 0x25]);
        self.bytes.extend((values_at as u32 + 4 * u32::from(value)).to_le_bytes());
    }

    /// `movabs $back, %rcx; jmp *%rcx`.
    fn leave(&mut self, back: u64) {
        self.done.push(self.at());
        self.bytes.extend([0x48, 0xb9]);
        self.bytes.extend(back.to_le_bytes());
        self.done.push(self.at());
        self.bytes.extend([0xff, 0xe1]);
    }

    fn slow(&mut self, head: &[u8], back: u64) {
        self.bytes.resize(usize::from(self.slow), 0xcc);
        self.bytes.extend(head);
        self.bytes.extend(SYSCALL);
        self.leave(back);
    }

    /// Bytes of the site up to the end of its `syscall`.
    pub(super) fn site_len(&self) -> u64 {
        self.head + SYSCALL.len() as u64
    }

    /// Where a thread that is stopped `offset` bytes into the code is in terms of the program, from its site on.
    pub(super) fn seen_at(&self, offset: u16) -> u64 {
        if self.done.contains(&offset) { self.site_len() } else { 0 }
    }

    /// Where in the code someone goes on who jumps `offset` bytes into the site.
    pub(super) fn entry_at(&self, offset: u64) -> Option<u16> {
        if offset == self.head {
            Some(self.slow + self.slow_head)
        } else if offset == HEAD && self.head > HEAD {
            // Between the number and what is before the `syscall`.
            Some(self.slow + HEAD as u16)
        } else {
            // The bytes behind a longer site are untouched.
            (offset == self.site_len() && self.is_short()).then(|| self.behind())
        }
    }

    /// Where in the code someone goes on who met an instruction that is none, `offset` bytes into the site.
    pub(super) fn entry_of_fault(&self, offset: u64) -> Option<u16> {
        // At its `syscall` a short site has become `and $imm32, %eax`, which leaves the number 0 alone, and then a part
        // of the comparison that was behind it.
        if self.is_short() && offset == self.head + 5 { self.entry_at(self.head) } else { self.entry_at(offset) }
    }

    /// The jump takes more room than the site has.
    fn is_short(&self) -> bool {
        self.head < HEAD
    }

    /// The bytes of the site at which a thread of several may be when it is rewritten, besides the first: those at
    /// which the jump has no instructions.
    pub(super) fn inner(&self) -> impl Iterator<Item = usize> {
        let begins = [self.head.min(HEAD), self.site_len()];
        begins.into_iter().map(|at| at as usize).filter(|at| *at < JUMP)
    }

    /// The offsets of its code.
    pub(super) fn span(&self) -> Range<u16> {
        0..self.at()
    }
}

/// The stub's code for a call that is about a word of the channel and keeps the flags.
fn word_entry(nr: u32) -> Option<u64> {
    match nr {
        nr if is_sigmask(nr) => Some(stub::entry::SIGMASK),
        nr if is_sigaction(nr) => Some(stub::entry::SIGACTION),
        nr if is_robust_list(nr) => Some(stub::entry::ROBUST),
        _ => None,
    }
}

/// Instructions that can be elsewhere.
#[derive(Debug, Default)]
struct Moved {
    /// Bytes they have where they are.
    len: usize,
    /// What does the same.
    code: Vec<u8>,
}

/// What does the same as `loads`, instructions that end at `end`: those that compilers put between a number and its
/// `syscall`. `None` if one of them is not known.
fn moved(loads: &[u8], end: u64) -> Option<Moved> {
    let (mut rest, mut code) = (loads, Vec::new());
    while !rest.is_empty() {
        let (one, others) = rest.split_at_checked(load_len(rest)?)?;
        rest = others;
        match one.strip_prefix(&LEA_RIP).and_then(|distance| distance.first_chunk()) {
            Some(distance) => {
                let next = end.wrapping_sub(rest.len() as u64);
                code.extend(MOVABS_RSI);
                code.extend(next.wrapping_add_signed(i32::from_le_bytes(*distance).into()).to_le_bytes());
            }
            None => code.extend(one),
        }
    }
    Some(Moved { len: loads.len(), code })
}

/// Length of the instruction that `code` begins with, if it loads an argument and is known. It changes nothing that it
/// or another one reads, for all of them may be done twice.
fn load_len(code: &[u8]) -> Option<usize> {
    // mov disp8(%rsp) to rdx, rsi, rdi or r8 to r10, or their lower halves.
    let (prefix, mov) = match code.first()? {
        prefix @ (0x44 | 0x48 | 0x4c) => (*prefix, code.get(1..)?),
        _ => (0, code),
    };
    let is_high = prefix & 0x44 == 0x44;
    match mov {
        [0x8b, to, 0x24, ..] if to & 0xc7 == 0x44 => {
            let is_argument = matches!((is_high, to >> 3 & 7), (false, 2 | 6 | 7) | (true, 0..=2));
            is_argument.then_some(4 + usize::from(prefix != 0))
        }
        _ => (code.starts_with(&LEA_RIP) || code.starts_with(&LEA_RBX)).then_some(LEA_RBX.len() + 4),
    }
}

/// What the site becomes: `jmp *entry`. Someone who jumps to its sixth byte, where the `syscall` was, or to the fifth,
/// behind that of a short site, meets 06 or 07, which are no instructions: `entry` lies in 0x60600–0x607ff for that.
pub(super) fn jump(entry: u64) -> [u8; JUMP] {
    let [a, b, c, d, ..] = entry.to_le_bytes();
    [0xff, 0x24, 0x25, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x7f00_1234_5670;

    fn of_nr(nr: u32, head: [u8; 5], behind: &[u8]) -> Option<Thunk> {
        Thunk::new(nr, AT + 7, &[&[0x90; GAP][..], &head, &SYSCALL, behind].concat(), 0x6_1100, 0x6_0000)
    }

    fn of(head: [u8; 5], behind: &[u8]) -> Option<Thunk> {
        of_nr(u32::from(head[1]), head, behind)
    }

    #[test]
    fn a_site_of_one_call_loads_its_value_and_goes_back() {
        let t = of([MOV_EAX, 110, 0, 0, 0], &[0xc3]).unwrap();
        assert_eq!(t.bytes[..7], [0x8b, 0x04, 0x25, 8, 0, 6, 0]);
        assert_eq!(t.bytes[7..9], [0x48, 0xb9]);
        assert_eq!(t.bytes[9..17], (AT + 7).to_le_bytes());
        assert_eq!(t.bytes[17..19], [0xff, 0xe1]);
        assert_eq!(t.bytes[32..39], [MOV_EAX, 110, 0, 0, 0, 0x0f, 0x05]);
        let seen: Vec<u64> = [0, 7, 17, 32, 37, 39, 49].map(|at| t.seen_at(at)).to_vec();
        assert_eq!(seen, [0, 7, 7, 0, 0, 7, 7]);
        assert_eq!(t.values, 1 << 2);
    }

    #[test]
    fn what_is_asked_of_a_process_is_answered_if_it_is_the_caller() {
        let t = of([MOV_EAX, 124, 0, 0, 0], &[0xc3]).unwrap();
        // At 5 to 32, at 7 from the value.
        assert_eq!(t.bytes[..14], [0x89, 0xf9, 0x67, 0xe3, 2, 0xeb, 25, 0x8b, 0x04, 0x25, 32, 0, 6, 0]);
        assert_eq!([0, 2, 5, 7, 14, 24, 32].map(|at| t.seen_at(at)), [0, 0, 0, 0, 7, 7, 0]);
        assert_eq!((t.values, t.slow), (1 << 8, 32));
    }

    #[test]
    fn the_cases_of_a_general_site_all_end_at_the_same_place() {
        let t = of(MOV_R9, &CMP_RAX).unwrap();
        let end = 5 + 16 * CALLS.len() + 5 + 2;
        assert_eq!(t.bytes[end..end + 2], [0x48, 0xb9]);
        let mut at = 5;
        for (nr, value) in CALLS {
            let len = if value == TID { 21 } else { 16 };
            assert_eq!((t.bytes[at], &t.bytes[at + 1..at + 5]), (0x3d, &nr.to_le_bytes()[..]));
            // Not taken, the comparison leads to the next one, or to the call itself.
            assert_eq!(t.bytes[at + 5..at + 7], [0x75, len - 7]);
            let jmp = at + usize::from(len) - 2;
            assert_eq!(t.bytes[jmp], 0xeb);
            assert_eq!(jmp + 2 + usize::from(t.bytes[jmp + 1]), end);
            assert_eq!(t.seen_at(jmp as u16), 7);
            if value == TID {
                assert_eq!(t.bytes[at + 7..at + 16], [0x8b, 0x0c, 0x25, 4, 0, 6, 0, 0x67, 0xe3]);
                assert_eq!(at + 17 + usize::from(t.bytes[at + 16]), end - 2);
            }
            at += usize::from(len);
        }
        assert_eq!(at, end - 2);
        assert_eq!(t.bytes[end - 2..end], SYSCALL);
        assert_eq!(t.seen_at(end as u16 - 2), 0);
        // All but the thread's id.
        assert_eq!(t.values, 0xff & !(1 << TID));
        assert!(end < usize::from(t.slow) && t.bytes.len() <= 256);
    }

    #[test]
    fn other_sites_are_left_alone() {
        assert_eq!(of([MOV_EAX, 0, 0, 0, 0], &[]), None);
        assert_eq!(of([MOV_EAX, 59, 0, 0, 0], &CMP_RAX), None);
        assert_eq!(of(MOV_R9, &[0xc3]), None);
        assert_eq!(of([0x90; 5], &CMP_RAX), None);
        let text = [&[0x90; GAP][..], &[MOV_EAX, 39, 0, 0, 0, 0x0f, 0x34]].concat();
        assert_eq!(Thunk::new(39, AT + 7, &text, 0x6_1000, 0x6_0000), None);
        // The number comes from elsewhere.
        assert_eq!(of_nr(39, [MOV_EAX, 40, 0, 0, 0], &CMP_RAX), None);
    }

    #[test]
    fn a_site_of_the_channel_leads_into_the_stub_and_behind_itself() {
        let t = of([MOV_EAX, 1, 0, 0, 0], &CMP_RAX_MORE).unwrap();
        assert_eq!(t.bytes[..6], [MOV_EAX, 1, 0, 0, 0, MOV_ECX]);
        assert_eq!(t.bytes[6..10], (0x6_1127u32 | shape_of(1) << 20).to_le_bytes());
        assert_eq!(t.bytes[10], JMP);
        let distance = u32::from_le_bytes(*t.bytes[11..].first_chunk().unwrap());
        assert_eq!(0x6_110f_u32.wrapping_add(distance), stub::entry::CHANNEL as u32);
        assert_eq!(t.bytes[32..41], [MOV_EAX, 1, 0, 0, 0, 0x0f, 0x05, 0x48, 0xb9]);
        assert_eq!(t.bytes[41..49], (AT + 7).to_le_bytes());
        assert_eq!([0, 5, 10, 32, 37, 39, 49].map(|at| t.seen_at(at)), [0, 0, 0, 0, 0, 7, 7]);
        assert_eq!((t.entry_at(5), t.entry_at(7), t.entry_at(2)), (Some(37), None, None));
        assert_eq!((t.entry_of_fault(5), t.entry_of_fault(7)), (Some(37), None));
        assert_eq!(t.inner().collect::<Vec<_>>(), [5]);
        // The flags are looked at, or may be.
        assert_eq!(of([MOV_EAX, 1, 0, 0, 0], &[0xc3]), None);
        assert_eq!(of([MOV_EAX, 1, 0, 0, 0], &[0x89, 0xc2, 0x77, 0x10, 0, 0]), None);
        // glibc's ioctl: mov %eax,%edx; cmp $-4096,%eax.
        assert!(of([MOV_EAX, 16, 0, 0, 0], &[0x89, 0xc2, 0x3d, 0, 0xf0, 0xff]).is_some());
    }

    #[test]
    fn some_sites_lead_to_code_of_their_own() {
        let goes_to = |t: &Thunk, jmp: usize| {
            assert_eq!(t.bytes[jmp], JMP);
            let distance = u32::from_le_bytes(*t.bytes[jmp + 1..].first_chunk().unwrap());
            u64::from((0x6_1100u32 + jmp as u32 + 5).wrapping_add(distance))
        };
        let t = of_nr(435, [MOV_EAX, 0xb3, 1, 0, 0], &[0x48, 0x85, 0xc0]).unwrap();
        assert_eq!((goes_to(&t, 10), t.values), (stub::entry::CLONE, 0));
        assert_eq!(of_nr(435, [MOV_EAX, 0xb3, 1, 0, 0], &[0xc3]), None);
        let t = of_nr(13, [MOV_EAX, 13, 0, 0, 0], &CMP_RAX_MORE).unwrap();
        assert_eq!((goes_to(&t, 5), t.values), (stub::entry::SIGACTION, 1 << CHANNEL_VALUE));
        let t = of_nr(273, [MOV_EAX, 0x11, 1, 0, 0], &[0xc3]).unwrap();
        assert_eq!((goes_to(&t, 5), t.values), (stub::entry::ROBUST, 1 << CHANNEL_VALUE));
    }

    #[test]
    fn a_site_of_the_signal_mask_may_have_an_instruction_between() {
        let t = of([MOV_EAX, 14, 0, 0, 0], &[0x90]).unwrap();
        assert_eq!((t.head, t.values, t.behind()), (5, 1 << CHANNEL_VALUE, 39));
        assert_eq!(t.bytes[..6], [MOV_ECX, 0x27, 0x11, 0x06, 0, JMP]);
        assert_eq!(t.bytes[32..39], [MOV_EAX, 14, 0, 0, 0, 0x0f, 0x05]);
        assert_eq!([0, 5, 32, 37, 39].map(|at| t.seen_at(at)), [0, 0, 0, 0, 7]);

        let text = |lea: [u8; 3]| {
            [&[0x90, 0x90, 0x90, MOV_EAX, 14, 0, 0, 0][..], &lea, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0x05]].concat()
        };
        let t = Thunk::new(14, AT + 14, &text(LEA_RIP), 0x6_1100, 0x6_0000).unwrap();
        let moved = [&MOVABS_RSI[..], &(AT + 12 - 2).to_le_bytes()].concat();
        assert_eq!((t.head, t.site_len(), t.behind()), (12, 14, 49));
        assert_eq!((&t.bytes[..10], t.bytes[10]), (&moved[..], MOV_ECX));
        assert_eq!((&t.bytes[32..37], &t.bytes[37..47]), (&[MOV_EAX, 14, 0, 0, 0][..], &moved[..]));
        assert_eq!(t.bytes[47..49], SYSCALL);
        assert_eq!([37, 47, 49, 59].map(|at| t.seen_at(at)), [0, 0, 14, 14]);
        assert_eq!([0, 5, 7, 12, 14].map(|at| t.entry_at(at)), [None, Some(37), None, Some(47), None]);
        assert_eq!(t.inner().collect::<Vec<_>>(), [5]);
        let t = Thunk::new(14, AT + 14, &text(LEA_RBX), 0x6_1100, 0x6_0000).unwrap();
        assert_eq!(t.bytes[..7], [0x48, 0x8d, 0xb3, 0xfe, 0xff, 0xff, 0xff]);
        assert_eq!(Thunk::new(14, AT + 14, &text([0x48, 0x8d, 0xb5]), 0x6_1100, 0x6_0000), None);
    }

    #[test]
    fn arguments_may_be_loaded_between_number_and_call() {
        // glibc's recvfrom: mov $0x2d,%eax; mov 0x10(%rsp),%rdx; mov 0x8(%rsp),%rsi.
        let loads = [0x48, 0x8b, 0x54, 0x24, 0x10, 0x48, 0x8b, 0x74, 0x24, 0x08];
        let text = [&[MOV_EAX, 45, 0, 0, 0][..], &loads, &SYSCALL, &CMP_RAX_MORE].concat();
        let t = Thunk::new(45, AT + 17, &text, 0x6_1100, 0x6_0000).unwrap();
        assert_eq!((t.head, t.site_len(), t.behind()), (15, 17, 49));
        assert_eq!((&t.bytes[..5], &t.bytes[5..15], t.bytes[15]), (&text[..5], &loads[..], MOV_ECX));
        assert_eq!((&t.bytes[32..47], &t.bytes[47..49]), (&text[..15], &SYSCALL[..]));
        assert_eq!([0, 5, 7, 15].map(|at| t.entry_at(at)), [None, Some(37), None, Some(47)]);
        let len = |code: &[u8]| moved(code, AT).map(|moved| moved.code.len());
        assert_eq!(
            (len(&[0x44, 0x8b, 0x44, 0x24, 8]), len(&[0x44, 0x8b, 0x54, 0x24, 8]), len(&[])),
            (Some(5), Some(5), Some(0))
        );
        // To eax; to rbx; to rsp; from elsewhere; cut off; what destroys an argument that is read.
        let others: [&[u8]; 7] = [
            &[0x8b, 0x44, 0x24, 8],
            &[0x48, 0x8b, 0x44, 0x24, 8],
            &[0x48, 0x8b, 0x5c, 0x24, 8],
            &[0x48, 0x8b, 0x64, 0x24, 8],
            &[0x8b, 0x7d, 0x24, 8],
            &[0x8b, 0x7c, 0x24],
            &[0x48, 0x89, 0xfe],
        ];
        for code in others {
            assert_eq!(len(code), None);
        }
    }

    #[test]
    fn a_short_site_takes_the_comparison_along() {
        let t = of_nr(0, [0x75, 0x10, 0x90, 0x31, 0xc0], &CMP_RAX_MORE).unwrap();
        assert_eq!((t.head, t.site_len(), t.behind()), (2, 4, 39));
        assert_eq!(t.bytes[32..39], [0x31, 0xc0, 0x0f, 0x1f, 0x00, 0x0f, 0x05]);
        assert_eq!(t.bytes[39..45], CMP_RAX_MORE);
        assert_eq!(t.bytes[47..55], (AT + 7 + 6).to_le_bytes());
        assert_eq!([37, 39, 45, 55].map(|at| t.seen_at(at)), [0, 4, 4, 4]);
        assert_eq!((t.entry_at(2), t.entry_at(4), t.entry_at(0)), (Some(37), Some(39), None));
        assert_eq!([2, 4, 7].map(|at| t.entry_of_fault(at)), [Some(37), Some(39), Some(37)]);
        assert_eq!(t.inner().collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn the_sixth_byte_of_a_rewritten_site_is_no_instruction() {
        assert_eq!(jump(0x6_0640), [0xff, 0x24, 0x25, 0x40, 0x06, 0x06, 0]);
    }
}
