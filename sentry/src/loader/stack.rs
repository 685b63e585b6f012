//! The initial stack: strings, then vectors, then `argc` (System V ABI, figure 3.9).

use crate::errno::{Errno, SysResult};
use crate::kernel::group::StringAreas;

/// A single argument or variable may be this long, with its NUL (`MAX_ARG_STRLEN`).
pub const STRING_MAX: usize = 32 * 4096;

/// Arguments and environment of a program.
#[derive(Debug, Clone, Default)]
pub struct Strings {
    /// `argv`.
    pub args: Vec<Vec<u8>>,
    /// `envp`.
    pub env: Vec<Vec<u8>>,
    /// What was executed (`AT_EXECFN`).
    pub filename: Vec<u8>,
}

impl Strings {
    /// Bytes that count against the limit on arguments: strings and their pointers.
    pub fn size(&self) -> usize {
        let each = |v: &Vec<Vec<u8>>| v.iter().map(|s| s.len() + 1 + 8).sum::<usize>();
        each(&self.args) + each(&self.env) + self.filename.len() + 1
    }
}

/// A stack ready to be copied to `sp`.
#[derive(Debug)]
pub struct Stack {
    /// The bytes from `sp` to the top.
    pub bytes: Vec<u8>,
    /// Initial stack pointer.
    pub sp: u64,
    /// Where the strings lie.
    pub areas: StringAreas,
}

const AT_EXECFN: u64 = 31;
const AT_PLATFORM: u64 = 15;
const AT_RANDOM: u64 = 25;

/// Builds the stack below `top`. `auxv` gets `AT_RANDOM`, `AT_PLATFORM`, `AT_EXECFN` and its end added.
pub fn build(top: u64, strings: &Strings, auxv: &[(u64, u64)], random: [u8; 16], slide: u64) -> SysResult<Stack> {
    let platform = b"x86_64\0";
    let texts: usize = strings.size();
    // From the top down: end marker, file name, environment, arguments, platform, random bytes.
    let strings_len = texts + platform.len() + random.len() + 64;
    let base = top.checked_sub(strings_len as u64).ok_or(Errno::TOOBIG)? & !15;
    let mut text = Vec::with_capacity(strings_len);
    let place = |text: &mut Vec<u8>, s: &[u8]| {
        let at = base + text.len() as u64;
        text.extend_from_slice(s);
        at
    };
    let random_at = place(&mut text, &random);
    let platform_at = place(&mut text, platform);
    let mut place_all = |list: &[Vec<u8>]| -> (Vec<u64>, u64, u64) {
        let start = base + text.len() as u64;
        let at = list
            .iter()
            .map(|s| {
                let at = place(&mut text, s);
                text.push(0);
                at
            })
            .collect();
        (at, start, base + text.len() as u64)
    };
    let (args, arg_start, arg_end) = place_all(&strings.args);
    let (env, env_start, env_end) = place_all(&strings.env);
    let name_at = place(&mut text, &strings.filename);
    text.push(0);
    let mut aux: Vec<(u64, u64)> = auxv.to_vec();
    aux.extend([(AT_RANDOM, random_at), (AT_PLATFORM, platform_at), (AT_EXECFN, name_at), (0, 0)]);
    let words = 1 + args.len() + 1 + env.len() + 1 + 2 * aux.len();
    let sp = (base - slide - 8 * words as u64) & !15;
    let mut bytes = Vec::with_capacity((top - sp) as usize);
    let mut word = |w: u64| bytes.extend_from_slice(&w.to_ne_bytes());
    word(args.len() as u64);
    args.into_iter().chain([0]).for_each(&mut word);
    env.into_iter().chain([0]).for_each(&mut word);
    let mut areas = StringAreas { arg_start, arg_end, env_start, env_end, auxv: [0; 48], auxv_len: 2 * aux.len() };
    for ((kind, value), pair) in aux.into_iter().zip(areas.auxv.chunks_exact_mut(2)) {
        word(kind);
        word(value);
        pair.copy_from_slice(&[kind, value]);
    }
    bytes.resize((base - sp) as usize, 0);
    bytes.extend_from_slice(&text);
    Ok(Stack { bytes, sp, areas })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_their_strings() {
        let strings = Strings {
            args: vec![b"prog".to_vec(), b"".to_vec()],
            env: vec![b"A=1".to_vec()],
            filename: b"/bin/prog".to_vec(),
        };
        let s = build(0x7000_0000, &strings, &[(6, 4096)], [7; 16], 48).unwrap();
        assert_eq!(s.sp % 16, 0);
        let word = |n: usize| u64::from_ne_bytes(s.bytes[8 * n..8 * n + 8].try_into().unwrap());
        let text = |at: u64| {
            let from = &s.bytes[(at - s.sp) as usize..];
            from.split(|b| *b == 0).next().unwrap().to_vec()
        };
        assert_eq!(word(0), 2);
        assert_eq!((text(word(1)), text(word(2)), word(3)), (b"prog".to_vec(), b"".to_vec(), 0));
        assert_eq!((text(word(4)), word(5)), (b"A=1".to_vec(), 0));
        assert_eq!((word(6), word(7), word(8)), (6, 4096, 25));
        assert_eq!(&s.bytes[(word(9) - s.sp) as usize..][..16], &[7; 16]);
        assert_eq!(text(word(13)), b"/bin/prog");
        assert!(s.sp + s.bytes.len() as u64 <= 0x7000_0000);
        assert_eq!(&s.bytes[(s.areas.arg_start - s.sp) as usize..(s.areas.env_end - s.sp) as usize], b"prog\0\0A=1\0");
    }
}
