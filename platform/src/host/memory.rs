//! How this process takes memory from the host.

/// Has large allocations mapped each on its own, now and for ever: they are zero without being written, and go back to
/// the host when they are freed. (By itself the C library begins to recycle them.)
pub fn map_large_allocations() {
    /// From which size on.
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: it takes two numbers and changes how the allocator works, not what it has given out.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// Has the threads share few arenas: what a burst of work leaves free in one is of no use to the others.
pub fn share_arenas() {
    /// More than work at once on a small machine.
    const ARENAS: libc::c_int = 4;
    // SAFETY: it takes two numbers and changes how the allocator works, not what it has given out.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Gives the host memory that was freed, if it is much: for a process that is never quiet for long.
pub(crate) fn trim_waste() {
    /// What may stay for what comes next.
    const SPARE: usize = 8 << 20;
    // SAFETY: it returns figures of the allocator's.
    if unsafe { libc::mallinfo2() }.fordblks > SPARE {
        trim();
    }
}

/// Gives the host memory that was freed.
pub fn trim() {
    // SAFETY: it returns unused memory only.
    unsafe { libc::malloc_trim(0) };
}

/// As [`trim`], and forgets the program's text, of which the host keeps one copy for all: for a
/// process that will do nothing for a while, after work that it does not expect again. What is needed after all comes
/// back page by page.
pub fn give_back() {
    trim();
    // SAFETY: `forget_text` has the signature that is asked for and keeps none of what it is handed.
    unsafe { libc::dl_iterate_phdr(Some(forget_text), std::ptr::null_mut()) };
}

/// Forgets the executable segments of the program, which comes first.
unsafe extern "C" fn forget_text(info: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the C library hands a valid description, for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: as it says itself there are so many headers.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    const PAGE: u64 = 4096;
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0) {
        // Nobody can have written to it: only the file's pages are there.
        if header.p_flags & libc::PF_W == 0 {
            let start = (info.dlpi_addr + header.p_vaddr) & !(PAGE - 1);
            let end = info.dlpi_addr + header.p_vaddr + header.p_memsz;
            let start = std::ptr::with_exposed_provenance_mut(start as usize);
            // SAFETY: a private mapping of a file that was never written to reads the same when it is mapped anew.
            unsafe { libc::madvise(start, (end - start.addr() as u64) as usize, libc::MADV_DONTNEED) };
        }
    }
    1
}
