//! Rewriting a call site of a stopped thread (see [`super::super::local`]).

use super::super::attendant::Attention;
use super::super::local::{
    BEFORE, BEHIND, CODE, CODE_SIZE, DATA, Rewrite, SHARED_OFTEN, has_channel, is_clone, is_for_channel, is_sigaction,
};
use super::{BUSY, NotifyThread};
use crate::{Call, Gone, Known, Process, Syscall, Thread};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const PAGE: u64 = 4096;
const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
const READ_EXEC: u64 = (libc::PROT_READ | libc::PROT_EXEC) as u64;
/// Others may run what is being written to, or will if this process dies meanwhile. And where nothing may be both
/// (`PR_SET_MDWE`) this is refused, while what was made unexecutable would stay so.
const OPEN: u64 = READ_WRITE | READ_EXEC;

fn protect(start: u64, len: u64, prot: u64) -> Call {
    Call { nr: libc::SYS_mprotect as u32, args: [start, len, prot, 0, 0, 0] }
}

fn map(start: u64, len: u64) -> Call {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    Call { nr: libc::SYS_mmap as u32, args: [start, len, READ_WRITE, flags as u64, u64::MAX, 0] }
}

/// `linux/membarrier.h`.
const MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE: u64 = 1 << 5;
const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u64 = 1 << 6;

/// What has to come before the first barrier. For a process with threads the host waits until all its cores have gone on
/// meanwhile, 10 ms and more, so it is best asked for before there are any.
pub(super) fn register_barriers() -> Call {
    membarrier(MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)
}

fn membarrier(command: u64) -> Call {
    Call { nr: libc::SYS_membarrier as u32, args: [command, 0, 0, 0, 0, 0] }
}

const INT3: u8 = 0xcc;

/// How often it is tried to write to text that another thread of the program makes unwritable.
const TRIES: u32 = 3;

impl NotifyThread {
    /// Where the program is whose thread is at `ip`.
    pub(super) fn seen(&self, ip: u64) -> u64 {
        // Nearly always elsewhere: no lock for that.
        if (CODE..CODE + CODE_SIZE).contains(&ip) { self.host.space.local.lock().seen(ip) } else { ip }
    }

    /// Whether the site of a call should be rewritten now, or its thread should have a channel.
    pub(super) fn wants_rewrite(&self, call: &Syscall) -> bool {
        if !self.shared.local_answers || self.is_in_channel.load(Ordering::Relaxed) {
            return false;
        }
        let (is_busy, wants_channel, changes_signals) = {
            let mut st = self.lock();
            // Most calls of one that is attended do not count.
            let makes_many = st.streak >= BUSY || st.attention == Attention::Full;
            let is_busy = makes_many && self.shared.attendants.is_possible();
            let changes_signals = self.changes_signals_often(&mut st, call.nr);
            let may_have_one = is_busy && has_channel(call.nr) || changes_signals;
            (is_busy, may_have_one && self.wants_channel(&st), changes_signals)
        };
        if is_for_channel(call.nr) && !self.shared.gives_channels {
            return false;
        }
        let is_frequent = self.host.space.local.lock().count(call.nr, call.ip, is_busy)
            && (changes_signals || !is_sigaction(call.nr));
        let wants_channel = wants_channel || is_clone(call.nr) && self.wants_channel(&self.lock());
        wants_channel || is_frequent && !self.host.is_filtered() && self.plan(call).is_some()
    }

    /// Rewrites the site of `call`, if it can be, and gives the thread a channel if it is for one.
    /// `awaited_by`: a process with one thread, which waits for this one to leave its memory.
    pub(super) async fn rewrite_site(
        &self,
        call: &Syscall,
        known: &Known,
        awaited_by: Option<Arc<dyn Process>>,
    ) -> Result<(), Gone> {
        if has_channel(call.nr) || is_for_channel(call.nr) {
            self.open_channel().await?;
        }
        let Some(_changing) = self.host.space.gate.try_enter() else { return Ok(()) };
        // No thread of this process may have to have its calls looked at.
        let Some(rewrite) = self.plan(call).filter(|_| !self.host.is_filtered()) else { return Ok(()) };
        let users = self.host.space.users();
        // If it has died meanwhile, the other one may be whoever it was made by.
        let is_awaited = || awaited_by.as_ref().is_some_and(|process| !process.is_gone());
        let is_alone = self.host.live_threads() == 1 && (users == 1 || users == 2 && is_awaited());
        let text = rewrite.at & !(PAGE - 1);
        let is_mapped = self.host.space.local.lock().is_mapped;
        if !is_alone && users > 1 && self.host.space.local.lock().counted(call.ip) < SHARED_OFTEN {
            return Ok(());
        }
        let mut open = if is_mapped { Vec::new() } else { vec![map(DATA, PAGE), map(CODE, CODE_SIZE)] };
        open.extend([protect(text, PAGE, OPEN), protect(CODE, CODE_SIZE, OPEN)]);
        if !is_alone {
            open.push(register_barriers());
        }
        let close = [protect(text, PAGE, READ_EXEC), protect(CODE, CODE_SIZE, READ_EXEC)];
        let opened = self.run_batch(&open, &[]).await?;
        let is_open = open.iter().zip(&opened).all(|(order, result)| match i64::from(order.nr) {
            libc::SYS_mmap => *result == order.args[0] as i64,
            _ => *result == 0,
        });
        if !is_open {
            self.host.space.local.lock().is_refused = true;
            self.run_batch(&close, &[]).await?;
            return Ok(());
        }
        // In an order in which a site never leads to what is not there yet.
        let has_code = (is_mapped || self.host.write_known(known))
            && self.host.write_all(rewrite.code_at, &rewrite.code)
            && self.add(&rewrite);
        let is_written = has_code && self.write_jump(&rewrite, is_alone).await?;
        let closed = self.run_batch(&close, &[]).await?;
        if !has_code || closed.iter().any(|result| *result != 0) {
            // Half of its code is worse than none.
            self.host.kill();
            return Err(Gone);
        }
        self.finish(&rewrite, is_written);
        // It is stopped behind its call, where the jump may be now.
        let regs = self.raw_registers()?;
        if self.real(regs.rip) == regs.rip { Ok(()) } else { self.set_registers(&regs) }
    }

    /// Writes the jump. Unless the thread is alone others may be anywhere in the site: they meet a trap at its beginning
    /// and no instructions further on, until they surely see the whole of it (Intel's manual, volume 3, "Cross-Modifying
    /// Code").
    async fn write_jump(&self, rewrite: &Rewrite, is_alone: bool) -> Result<bool, Gone> {
        if is_alone {
            return self.write_text(rewrite.at, &rewrite.jump).await;
        }
        let (first, rest) = rewrite.jump.split_at(1);
        let barrier = [membarrier(MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE)];
        for (at, byte) in std::iter::once((rewrite.at, INT3)).chain(rewrite.inner()) {
            if !self.write_text(at, &[byte]).await? {
                return Ok(false);
            }
        }
        let is_whole = self.run_batch(&barrier, &[]).await? == [0]
            && self.write_text(rewrite.at + 1, rest).await?
            && self.run_batch(&barrier, &[]).await? == [0];
        Ok(is_whole && self.write_text(rewrite.at, first).await?)
    }

    /// Writes all of it or nothing. Another thread may set the page's protection meanwhile, if only to what it was.
    async fn write_text(&self, at: u64, bytes: &[u8]) -> Result<bool, Gone> {
        for _ in 0..TRIES {
            if self.host.write_all(at, bytes) {
                return Ok(true);
            }
            self.run_batch(&[protect(at & !(PAGE - 1), PAGE, OPEN)], &[]).await?;
        }
        Ok(false)
    }

    /// A site that could not be written to the end stays as far as it came: whoever meets what is there is led on as while
    /// it was being rewritten.
    fn finish(&self, rewrite: &Rewrite, is_written: bool) {
        let mut text = rewrite.jump;
        if !is_written {
            self.host.read_exact(rewrite.at, &mut text);
        }
        let mut local = self.host.space.local.lock();
        local.finish(text);
        local.is_refused |= !is_written;
    }

    fn add(&self, rewrite: &Rewrite) -> bool {
        self.host.space.ends.add(rewrite);
        {
            let mut local = self.host.space.local.lock();
            local.add(rewrite);
            local.is_mapped = true;
        }
        self.host.write_table()
    }

    /// What to do to the site of `call`; `None` unless it is in one page of a private mapping of a file's text and of a
    /// known kind.
    fn plan(&self, call: &Syscall) -> Option<Rewrite> {
        let start = call.ip.checked_sub(BEFORE)?;
        let mut text = [0u8; (BEFORE + BEHIND) as usize];
        let got = self.host.read(start, &mut text);
        let rewrite = self.host.space.local.lock().plan(call.nr, call.ip, text.get(..got)?)?;
        let last = rewrite.at + rewrite.jump.len() as u64 - 1;
        let maps = self.host.proc_file("maps").ok()?;
        let in_one_page = rewrite.at / PAGE == last / PAGE;
        (in_one_page && is_text(&String::from_utf8_lossy(&maps), rewrite.at, last + 1)).then_some(rewrite)
    }
}

/// Whether `/proc/PID/maps` has the range in a private, executable, unwritable mapping of a file.
fn is_text(maps: &str, start: u64, end: u64) -> bool {
    maps.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let range = fields.next().and_then(|r| r.split_once('-'));
        let (Some((from, to)), Some("r-xp")) = (range, fields.next()) else { return false };
        let inode = fields.nth(2).unwrap_or("0");
        let hex = |s| u64::from_str_radix(s, 16).ok();
        inode != "0" && hex(from).is_some_and(|from| from <= start) && hex(to).is_some_and(|to| end <= to)
    })
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn only_private_text_of_files_is_rewritten() {
        let maps = "00400000-00401000 r-xp 00000000 08:01 42 /bin/x\n\
                    00401000-00402000 r-xp 00000000 00:00 0 \n\
                    00402000-00403000 r-xs 00000000 08:01 42 /bin/x\n\
                    00403000-00404000 rwxp 00000000 08:01 42 /bin/x\n";
        assert!(is_text(maps, 0x400100, 0x400107));
        assert!(is_text(maps, 0x400ff9, 0x401000));
        for at in [0x400ffa, 0x401100, 0x402100, 0x403100, 0x404100] {
            assert!(!is_text(maps, at, at + 7));
        }
    }
}
