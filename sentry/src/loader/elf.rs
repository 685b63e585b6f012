//! ELF programs. Only the header and the program headers are looked at, and every number in them is doubted.

use super::{HEAD, PAGE, page_down, page_up, read_at};
use crate::errno::{Errno, SysResult};
use crate::fs::File;
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC, Header};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR, ProgramHeader};

/// End of the user half of the address space.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Size of a program header.
const PHENT: u64 = 56;
/// Linux reads at most 64 KiB of program headers.
const PHNUM_MAX: u64 = 65536 / PHENT;

/// How a program wants to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfKind {
    /// At the addresses it names.
    Fixed,
    /// Anywhere.
    Relocatable,
}

/// A piece of the file in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First address, not rounded.
    pub vaddr: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// Bytes from the file.
    pub filesz: u64,
    /// Where in the file.
    pub offset: u64,
    /// `PROT_` bits.
    pub prot: u64,
}

/// What matters of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// Placement.
    pub kind: ElfKind,
    /// Entry point, before the bias.
    pub entry: u64,
    /// Address of the program headers, before the bias; 0 if no segment holds them.
    pub phdr: u64,
    /// How many program headers.
    pub phnum: u64,
    /// Loadable segments, by address.
    pub segments: Vec<Segment>,
    /// Dynamic linker.
    pub interp: Option<Vec<u8>>,
    /// Whether the stack is to be executable.
    pub exec_stack: bool,
    /// Largest alignment a segment asks for.
    pub align: u64,
}

impl Elf {
    /// Reads the headers of `file`, whose first bytes are `head`. `ENOEXEC` for what is no ELF program of this
    /// machine.
    pub fn read(file: &File, head: &[u8]) -> SysResult<Elf> {
        let header = goblin::elf::Elf::parse_header(head).map_err(|_| Errno::NOEXEC)?;
        let little_64 = head.get(..6) == Some(&[0x7f, b'E', b'L', b'F', 2, 1]);
        let kind = match header.e_type {
            ET_EXEC => ElfKind::Fixed,
            ET_DYN => ElfKind::Relocatable,
            _ => return Err(Errno::NOEXEC),
        };
        let phnum = u64::from(header.e_phnum);
        if !little_64
            || header.e_machine != EM_X86_64
            || u64::from(header.e_phentsize) != PHENT
            || phnum == 0
            || phnum > PHNUM_MAX
        {
            return Err(Errno::NOEXEC);
        }
        let headers = program_headers(file, head, header.e_phoff, phnum)?;
        Elf::from_headers(kind, &header, &headers, |at, buf| Ok(read_at(file, buf, at)? == buf.len()))
    }

    fn from_headers(
        kind: ElfKind,
        header: &Header,
        headers: &[ProgramHeader],
        read: impl Fn(u64, &mut [u8]) -> SysResult<bool>,
    ) -> SysResult<Elf> {
        let mut elf = Elf {
            kind,
            entry: header.e_entry,
            phdr: 0,
            phnum: headers.len() as u64,
            segments: Vec::new(),
            interp: None,
            exec_stack: false,
            align: PAGE,
        };
        for ph in headers {
            match ph.p_type {
                PT_LOAD => {
                    if let Some(segment) = segment(ph)? {
                        if elf.phdr == 0 && (ph.p_offset..ph.p_offset + ph.p_filesz).contains(&header.e_phoff) {
                            elf.phdr = ph.p_vaddr + (header.e_phoff - ph.p_offset);
                        }
                        elf.segments.push(segment);
                    }
                    if ph.p_align.is_power_of_two() && ph.p_align < 1 << 30 {
                        elf.align = elf.align.max(ph.p_align);
                    }
                }
                PT_PHDR => elf.phdr = ph.p_vaddr,
                PT_INTERP if elf.interp.is_none() => elf.interp = Some(interp(ph, &read)?),
                PT_GNU_STACK => elf.exec_stack = ph.p_flags & PF_X != 0,
                _ => {}
            }
        }
        // Linux maps in the order of the file and fails where it makes no sense; so do we, without overlaps.
        if !elf.segments.is_sorted_by(|a, b| page_up(a.vaddr + a.memsz) <= page_up(b.vaddr + 1)) {
            return Err(Errno::NOEXEC);
        }
        if elf.segments.is_empty() {
            return Err(Errno::NOEXEC);
        }
        Ok(elf)
    }

    /// First and last address, rounded to pages, before the bias.
    pub fn span(&self) -> (u64, u64) {
        let start = self.segments.first().map_or(0, |s| page_down(s.vaddr));
        let end = self.segments.iter().map(|s| page_up(s.vaddr + s.memsz)).max().unwrap_or(start);
        (start, end)
    }
}

fn segment(ph: &ProgramHeader) -> SysResult<Option<Segment>> {
    if ph.p_memsz == 0 {
        return Ok(None);
    }
    let end = ph.p_vaddr.checked_add(ph.p_memsz).ok_or(Errno::NOEXEC)?;
    let in_page = |v: u64| v % PAGE;
    if ph.p_filesz > ph.p_memsz
        || end > TASK_SIZE
        || in_page(ph.p_vaddr) != in_page(ph.p_offset)
        || ph.p_offset.checked_add(ph.p_filesz).is_none_or(|end| end > i64::MAX as u64)
    {
        return Err(Errno::NOEXEC);
    }
    let bit = |flag, prot: i32| if ph.p_flags & flag != 0 { prot as u64 } else { 0 };
    let prot = bit(PF_R, libc::PROT_READ) | bit(PF_W, libc::PROT_WRITE) | bit(PF_X, libc::PROT_EXEC);
    Ok(Some(Segment { vaddr: ph.p_vaddr, memsz: ph.p_memsz, filesz: ph.p_filesz, offset: ph.p_offset, prot }))
}

/// The path of the dynamic linker: NUL-terminated, at most `PATH_MAX`.
fn interp(ph: &ProgramHeader, read: &impl Fn(u64, &mut [u8]) -> SysResult<bool>) -> SysResult<Vec<u8>> {
    if !(2..=libc::PATH_MAX as u64).contains(&ph.p_filesz) {
        return Err(Errno::NOEXEC);
    }
    let mut path = vec![0; ph.p_filesz as usize];
    if !read(ph.p_offset, &mut path)? || path.pop() != Some(0) {
        return Err(Errno::NOEXEC);
    }
    if let Some(end) = path.iter().position(|b| *b == 0) {
        path.truncate(end);
    }
    Ok(path)
}

fn program_headers(file: &File, head: &[u8], offset: u64, count: u64) -> SysResult<Vec<ProgramHeader>> {
    let len = (count * PHENT) as usize;
    let start = usize::try_from(offset).map_err(|_| Errno::NOEXEC)?;
    let inside = start.checked_add(len).and_then(|end| head.get(start..end));
    let bytes = match inside {
        Some(bytes) => bytes.to_vec(),
        None => {
            let mut bytes = vec![0; len];
            if offset > i64::MAX as u64 - HEAD as u64 || read_at(file, &mut bytes, offset)? != len {
                return Err(Errno::NOEXEC);
            }
            bytes
        }
    };
    let ctx = Ctx::new(Container::Big, Endian::Little);
    ProgramHeader::parse(&bytes, 0, count as usize, ctx).map_err(|_| Errno::NOEXEC)
}
