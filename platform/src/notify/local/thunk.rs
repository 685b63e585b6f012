//! The code that answers a call in the guest itself, and what a stop inside of it means.
//!
//! A call site is five bytes that set something up, then `syscall`. Its seven bytes become a jump through a table of
//! pointers; the pointer is to one of two pieces of code that end behind the site, with `rcx` as the call leaves it:
//! *fast* loads the answer from memory, *slow* does what the site did.

use std::ops::Range;

/// Bytes of a site.
pub(super) const SITE: u64 = 7;
/// Of which this many come before the `syscall`.
pub(super) const HEAD: u64 = 5;

const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `mov $imm32, %eax`.
const MOV_EAX: u8 = 0xb8;
/// `mov 8(%rsp), %r9`: what glibc's `syscall` function has before it, with the number in a register.
const MOV_R9: [u8; HEAD as usize] = [0x4c, 0x8b, 0x4c, 0x24, 0x08];
/// `cmp $-4095, %rax`: what it has behind it. The flags are free then.
const CMP_RAX: [u8; 6] = [0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff];
/// Room for each piece of code; both begin in the same 256 bytes, so that their addresses differ in one byte.
const SLOW_OF_ONE: u16 = 32;
const SLOW_OF_ALL: u16 = 192;

/// The calls that can be answered so: number and index of the value.
pub(super) const CALLS: [(u32, u8); 7] = [
    (libc::SYS_getpid as u32, 0),
    (libc::SYS_gettid as u32, 1),
    (libc::SYS_getppid as u32, 2),
    (libc::SYS_getuid as u32, 3),
    (libc::SYS_geteuid as u32, 4),
    (libc::SYS_getgid as u32, 5),
    (libc::SYS_getegid as u32, 6),
];

/// Which value answers a call.
pub(super) fn value_of(nr: u32) -> Option<u8> {
    CALLS.iter().find(|(call, _)| *call == nr).map(|(_, value)| *value)
}

/// Code for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thunk {
    /// Fast code, and slow code at `slow`.
    pub(super) bytes: Vec<u8>,
    /// Offset of the slow code.
    pub(super) slow: u16,
    /// Offsets of instructions at which the call is over: a stop there is one behind the site, any other before it.
    done: Vec<u16>,
    /// Which values it needs, as bits.
    pub(super) values: u8,
}

impl Thunk {
    /// Code for the site at `at` with the bytes `text` from there on; `None` if it is of no known kind.
    pub(super) fn new(at: u64, text: &[u8], values_at: u64) -> Option<Thunk> {
        let (head, rest) = text.split_first_chunk::<{ HEAD as usize }>()?;
        let rest = rest.strip_prefix(&SYSCALL)?;
        let back = at + SITE;
        if head[0] == MOV_EAX {
            let nr = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
            Some(Thunk::of_one(head, value_of(nr)?, back, values_at))
        } else if *head == MOV_R9 && rest.starts_with(&CMP_RAX) {
            Some(Thunk::of_all(head, back, values_at))
        } else {
            None
        }
    }

    fn empty(slow: u16) -> Thunk {
        Thunk { bytes: Vec::new(), slow, done: Vec::new(), values: 0 }
    }

    fn at(&self) -> u16 {
        self.bytes.len() as u16
    }

    /// A site that makes one call only.
    fn of_one(head: &[u8], value: u8, back: u64, values_at: u64) -> Thunk {
        let mut t = Thunk::empty(SLOW_OF_ONE);
        t.load(value, values_at);
        t.leave(back);
        t.slow(head, back);
        t
    }

    /// A site that makes any call: compares the number first.
    fn of_all(head: &[u8], back: u64, values_at: u64) -> Thunk {
        let mut t = Thunk::empty(SLOW_OF_ALL);
        t.bytes.extend(head);
        // From here each case is 16 bytes: cmp $nr, %eax; jne +9; mov value, %eax; jmp to the end.
        let end = HEAD as usize + 16 * CALLS.len() + SYSCALL.len();
        for (nr, value) in CALLS {
            t.bytes.push(0x3d);
            t.bytes.extend(nr.to_le_bytes());
            t.bytes.extend([0x75, 9]);
            t.load(value, values_at);
            t.done.push(t.at());
            let distance = end - (t.bytes.len() + 2);
            t.bytes.extend([0xeb, distance as u8]);
        }
        t.bytes.extend(SYSCALL);
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

    /// Where a thread that is stopped `offset` bytes into the code is in terms of the program, from its site on.
    pub(super) fn seen_at(&self, offset: u16) -> u64 {
        if self.done.contains(&offset) { SITE } else { 0 }
    }

    /// The offsets of its code.
    pub(super) fn span(&self) -> Range<u16> {
        0..self.at()
    }
}

/// What the site becomes: `jmp *entry`. Someone who jumps to its sixth byte, where the `syscall` was, meets 06, which
/// is no instruction: `entry` lies in 0x60000–0x6ffff for that.
pub(super) fn jump(entry: u64) -> [u8; SITE as usize] {
    let [a, b, c, d, ..] = entry.to_le_bytes();
    [0xff, 0x24, 0x25, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x7f00_1234_5670;

    fn of(head: [u8; 5], behind: &[u8]) -> Option<Thunk> {
        Thunk::new(AT, &[&head[..], &SYSCALL, behind].concat(), 0x6_0000)
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
    fn the_cases_of_a_general_site_all_end_at_the_same_place() {
        let t = of(MOV_R9, &CMP_RAX).unwrap();
        let end = 5 + 16 * CALLS.len() + 2;
        assert_eq!(t.bytes[end..end + 2], [0x48, 0xb9]);
        for n in 0..CALLS.len() {
            let jmp = 5 + 16 * n + 14;
            assert_eq!(t.bytes[jmp], 0xeb);
            assert_eq!(jmp + 2 + usize::from(t.bytes[jmp + 1]), end);
            assert_eq!(t.seen_at(jmp as u16), SITE);
            // Not taken, the comparison leads to the next one, or to the call itself.
            assert_eq!(t.bytes[5 + 16 * n + 5..][..2], [0x75, 9]);
        }
        assert_eq!(t.bytes[end - 2..end], SYSCALL);
        assert_eq!(t.seen_at(end as u16 - 2), 0);
        assert_eq!(t.values, 0x7f);
        assert!(t.bytes.len() <= 256);
    }

    #[test]
    fn other_sites_are_left_alone() {
        assert_eq!(of([MOV_EAX, 0, 0, 0, 0], &[]), None);
        assert_eq!(of(MOV_R9, &[0xc3]), None);
        assert_eq!(of([0x90; 5], &CMP_RAX), None);
        assert_eq!(Thunk::new(AT, &[MOV_EAX, 39, 0, 0, 0, 0x0f, 0x34], 0), None);
    }

    #[test]
    fn the_sixth_byte_of_a_rewritten_site_is_no_instruction() {
        assert_eq!(jump(0x6_0040), [0xff, 0x24, 0x25, 0x40, 0, 0x06, 0]);
    }
}
