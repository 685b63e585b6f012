//! Asynchronous I/O: `io_setup(2)` and kin.

use super::deadline::{Deadline, never_restarted};
use super::iovec::Buffers;
use super::{ioprio, rw, sigmask};
use crate::abi::{AioRing, AioSigset, IoEvent, Iocb, Timespec};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::attr::FileKind;
use crate::fs::eventfd::EventFd;
use crate::fs::file::File;
use crate::kernel::aio::{Context, Place};
use crate::kernel::{Outcome, Task, machine};
use crate::mm::Addr;
use platform::Call;
use std::sync::Arc;

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_CMD_PWRITE: u16 = 1;
const IOCB_CMD_FSYNC: u16 = 2;
const IOCB_CMD_FDSYNC: u16 = 3;
const IOCB_CMD_POLL: u16 = 5;
const IOCB_CMD_PREADV: u16 = 7;
const IOCB_CMD_PWRITEV: u16 = 8;

const IOCB_FLAG_RESFD: u32 = 1;
const IOCB_FLAG_IOPRIO: u32 = 2;

/// What the kernel puts into `aio_key` of what was submitted.
const KIOCB_KEY: u32 = 0;
/// Where that is.
const KEY_AT: usize = std::mem::offset_of!(Iocb, key);

const PAGE: u64 = 4096;

/// `io_setup(2)`. The name of a context is the address of a page: the C library looks there for a ring of events
/// that it may read itself, and must find that there is none.
pub async fn io_setup(t: &Task, events: u32, name: Addr) -> SysResult<()> {
    if t.mem().read::<u64>(name)? != 0 || events == 0 {
        return Err(Errno::INVAL);
    }
    let context = Context::new(events, machine::processors())?;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let page = order(t, Call { nr: libc::SYS_mmap as u32, args: [0, PAGE, prot, flags, u64::MAX, 0] }).await?;
    let page = Addr(page.cast_unsigned());
    let ring = AioRing {
        nr: context.capacity() as u32,
        compat_features: 1,
        header_length: size_of::<AioRing>() as u32,
        ..AioRing::default()
    };
    if t.mem().write(page, &ring).and_then(|()| t.mem().write(name, &page.0)).is_err() {
        order(t, unmap(page.0)).await?;
        return Err(Errno::FAULT);
    }
    t.group.aio.insert(page.0, context);
    Ok(())
}

/// `io_destroy(2)`.
pub async fn io_destroy(t: &Task, name: u64) -> SysResult<()> {
    t.group.aio.remove(name)?;
    order(t, unmap(name)).await.map(|_| ())
}

fn unmap(page: u64) -> Call {
    Call { nr: libc::SYS_munmap as u32, args: [page, PAGE, 0, 0, 0, 0] }
}

/// Has the caller's thread run a call natively.
async fn order(t: &Task, call: Call) -> SysResult<i64> {
    let thread = t.thread();
    thread.enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    match thread.run(&[call]).await?.first().copied().unwrap_or(-i64::from(libc::ENOMEM)) {
        error if (-4095..0).contains(&error) => Err(Errno::from_raw(-error as i32)),
        value => Ok(value),
    }
}

/// `io_submit(2)`: how many were taken; the error of the first only if that is none.
pub async fn io_submit(t: &Task, name: u64, count: i64, iocbs: Addr) -> SysResult<i64> {
    if count < 0 {
        return Err(Errno::INVAL);
    }
    let context = t.group.aio.get(name)?;
    let most = count.min(context.capacity() as i64);
    for done in 0..most {
        let taken = match t.mem().read::<u64>(iocbs.offset(done as usize * size_of::<u64>())) {
            Ok(iocb) => submit(t, &context, Addr(iocb)).await,
            Err(e) => Err(e),
        };
        match taken {
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
            Ok(()) => {}
        }
    }
    Ok(most)
}

async fn submit(t: &Task, context: &Arc<Context>, addr: Addr) -> SysResult<()> {
    let iocb: Iocb = t.mem().read(addr)?;
    if iocb.reserved2 != 0 || iocb.nbytes > i64::MAX as u64 {
        return Err(Errno::INVAL);
    }
    let place = context.begin()?;
    let file = t.file(iocb.fildes)?;
    let notify = if iocb.flags & IOCB_FLAG_RESFD != 0 { Some(counter(t, iocb.resfd)?) } else { None };
    t.mem().write(addr.offset(KEY_AT), &KIOCB_KEY)?;
    let request = Request { place, notify, event: IoEvent { data: iocb.data, obj: addr.0, res: 0, res2: 0 } };
    match iocb.opcode {
        IOCB_CMD_PREAD | IOCB_CMD_PREADV => read(t, &file, &iocb, request).await,
        IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => write(t, &file, &iocb, request).await,
        IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => sync(&file, &iocb, request),
        IOCB_CMD_POLL => poll(file, &iocb, request),
        _ => Err(Errno::INVAL),
    }
}

/// Something submitted that has a place in its context.
struct Request {
    place: Place,
    notify: Option<Arc<File>>,
    event: IoEvent,
}

impl Request {
    fn complete(self, result: SysResult<usize>) {
        let res = match result.map_err(never_restarted) {
            Ok(count) => count as i64,
            Err(e) => -i64::from(e.raw()),
        };
        self.place.complete(IoEvent { res, ..self.event }, self.notify.as_deref());
    }
}

/// The event counter behind `fd`.
fn counter(t: &Task, fd: i32) -> SysResult<Arc<File>> {
    let file = t.file(fd)?;
    if file.downcast::<EventFd>().is_some() { Ok(file) } else { Err(Errno::INVAL) }
}

/// What reads and writes have in common: the buffers and the offset.
fn prepare(t: &Task, file: &File, iocb: &Iocb, is_vector: bool) -> SysResult<(Buffers, u64)> {
    if iocb.flags & IOCB_FLAG_IOPRIO != 0 {
        ioprio::check(t, iocb.reqprio.into())?;
    }
    if file.path.as_ref().is_some_and(|path| path.inode().is_ok_and(|inode| inode.kind() == FileKind::Directory)) {
        return Err(Errno::INVAL);
    }
    let (addr, count) = (Addr(iocb.buf), iocb.nbytes as usize);
    let buffers = if is_vector { Buffers::vector(t, addr, count)? } else { Buffers::one(addr, count)? };
    let offset = u64::try_from(iocb.offset).map_err(|_| Errno::INVAL)?;
    Ok((buffers, offset))
}

async fn read(t: &Task, file: &Arc<File>, iocb: &Iocb, request: Request) -> SysResult<()> {
    let nowait = rw::read_flags(iocb.rw_flags)?;
    if !file.is_readable() {
        return Err(Errno::BADF);
    }
    let (to, offset) = prepare(t, file, iocb, iocb.opcode == IOCB_CMD_PREADV)?;
    request.complete(rw::read_file(t, file, &to, Some(offset), nowait).await);
    Ok(())
}

async fn write(t: &Task, file: &Arc<File>, iocb: &Iocb, request: Request) -> SysResult<()> {
    rw::write_flags(iocb.rw_flags)?;
    if !file.is_writable() {
        return Err(Errno::BADF);
    }
    let (from, offset) = prepare(t, file, iocb, iocb.opcode == IOCB_CMD_PWRITEV)?;
    request.complete(rw::write_flagged(t, file, &from, Some(offset), iocb.rw_flags).await);
    Ok(())
}

fn sync(file: &File, iocb: &Iocb, request: Request) -> SysResult<()> {
    if iocb.buf != 0 || iocb.offset != 0 || iocb.nbytes != 0 || iocb.rw_flags != 0 {
        return Err(Errno::INVAL);
    }
    match file.ops.sync() {
        // Nothing that can be synced.
        Err(Errno::INVAL) => Err(Errno::INVAL),
        done => {
            request.complete(done.map(|()| 0));
            Ok(())
        }
    }
}

fn poll(file: Arc<File>, iocb: &Iocb, request: Request) -> SysResult<()> {
    let wanted = u16::try_from(iocb.buf).map_err(|_| Errno::INVAL)?;
    if iocb.offset != 0 || iocb.nbytes != 0 || iocb.rw_flags != 0 {
        return Err(Errno::INVAL);
    }
    let wanted = Events::from_bits_truncate(wanted.into()) | Events::ALWAYS;
    let ready = file.ops.poll(&file) & wanted;
    if !ready.is_empty() {
        request.complete(Ok(ready.bits() as usize));
        return Ok(());
    }
    if file.ops.wait_queue().is_none() {
        return Err(Errno::INVAL);
    }
    request.place.poll(file, wanted, request.event, request.notify);
    Ok(())
}

/// `io_cancel(2)`: only polls can be cancelled; their event comes nevertheless.
pub async fn io_cancel(t: &Task, name: u64, iocb: Addr, _result: Addr) -> SysResult<()> {
    if t.mem().read::<u32>(iocb.offset(KEY_AT))? != KIOCB_KEY {
        return Err(Errno::INVAL);
    }
    t.group.aio.get(name)?.cancel(iocb.0)?;
    Err(Errno::INPROGRESS)
}

/// `io_getevents(2)`.
pub async fn io_getevents(t: &Task, name: u64, min: i64, most: i64, to: Addr, timeout: Addr) -> SysResult<usize> {
    let deadline = deadline(t, timeout)?;
    get_events(t, name, min, most, to, deadline).await.map_err(never_restarted)
}

/// `io_pgetevents(2)`: as `io_getevents`, with another signal mask meanwhile.
pub async fn io_pgetevents(
    t: &Task,
    name: u64,
    min: i64,
    most: i64,
    to: Addr,
    timeout: Addr,
    sigset: Addr,
) -> SysResult<usize> {
    let deadline = deadline(t, timeout)?;
    if !sigset.is_null() {
        let set: AioSigset = t.mem().read(sigset)?;
        sigmask::set_temporary(t, Addr(set.mask), set.size as usize)?;
    }
    let got = get_events(t, name, min, most, to, deadline).await;
    sigmask::restore(t, got.map_err(super::deadline::restarted_without_handler))
}

fn deadline(t: &Task, timeout: Addr) -> SysResult<Deadline> {
    if timeout.is_null() {
        return Ok(Deadline::Never);
    }
    // What is no time at all has passed.
    Ok(t.mem().read::<Timespec>(timeout)?.to_duration().map_or(Deadline::Now, Deadline::after))
}

async fn get_events(t: &Task, name: u64, min: i64, most: i64, to: Addr, deadline: Deadline) -> SysResult<usize> {
    let context = t.group.aio.get(name)?;
    if min < 0 || min > most {
        return Err(Errno::INVAL);
    }
    let (min, most) = (min as usize, most as usize);
    let enough = || if context.ready()? >= min { Ok(()) } else { Err(Errno::AGAIN) };
    let waited = match deadline {
        Deadline::Now => enough(),
        _ => t.block_on(&context.queue, Events::IN, deadline.instant(), enough).await,
    };
    let interrupted = match waited {
        Ok(()) | Err(Errno::AGAIN) => Ok(0),
        Err(Errno::RESTARTSYS) => Err(Errno::RESTARTSYS),
        Err(e) => return Err(e),
    };
    match hand_over(t, &context, most, to)? {
        0 => interrupted,
        count => Ok(count),
    }
}

/// Events copied at once.
const BATCH: usize = 128;

fn hand_over(t: &Task, context: &Context, most: usize, to: Addr) -> SysResult<usize> {
    let mut done = 0;
    while done < most {
        let events = context.take(BATCH.min(most - done));
        if events.is_empty() {
            break;
        }
        let bytes = zerocopy::IntoBytes::as_bytes(events.as_slice());
        if let Err(e) = t.mem().write_bytes(to.offset(done * size_of::<IoEvent>()), bytes) {
            context.put_back(&events);
            return if done > 0 { Ok(done) } else { Err(e) };
        }
        done += events.len();
    }
    Ok(done)
}
