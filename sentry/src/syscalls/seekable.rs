//! Transfers between guests and files that have positions: where the file has its bytes if it lets them be copied
//! there ([`View`]), else by way of a buffer.

use super::iovec::{Buffers, IoBuffer};
use crate::errno::{Errno, SysResult};
use crate::fs::file::{File, OFFSET_APPEND};
use crate::fs::view::{self, View};
use crate::kernel::Task;

/// Bytes moved at once. Larger pieces would not stay in the caches between the two copies.
const CHUNK: usize = 128 * 1024;

/// Largest offset.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// What a file gave.
enum Piece {
    /// Bytes that are copied where they lie, and the offset behind them.
    There(View, u64),
    /// Bytes that were read, and whether there may be more.
    Here(IoBuffer, usize, bool),
}

impl Piece {
    /// Up to `want` bytes at `pos`.
    fn read(file: &File, want: usize, pos: u64, in_place: bool) -> SysResult<Piece> {
        if in_place
            && want >= view::LEAST
            && let Some(view) = file.ops.view(pos, want, false)
        {
            let end = pos.saturating_add(view.len() as u64);
            return Ok(Piece::There(view, end));
        }
        let mut buf = IoBuffer::new(want.min(CHUNK));
        let count = file.ops.read(file, &mut buf, pos)?;
        let is_full = count == buf.len();
        Ok(Piece::Here(buf, count, is_full))
    }

    fn len(&self) -> usize {
        match self {
            Piece::There(view, _) => view.len(),
            Piece::Here(_, count, _) => *count,
        }
    }

    fn copy_out(&self, t: &Task, file: &File, to: &Buffers, done: usize) -> SysResult<usize> {
        match self {
            Piece::There(view, end) => {
                let copied = to.copy_view_out(t, done, view);
                file.ops.copied(*end);
                copied
            }
            Piece::Here(buf, count, _) => to.copy_out(t, done, buf.get(..*count).unwrap_or_default()),
        }
    }
}

/// Reads from a file that has positions: from `at`, or from its own.
pub(super) fn read_seekable(t: &Task, file: &File, to: &Buffers, at: Option<u64>) -> SysResult<usize> {
    let (mut done, mut in_place) = (0, true);
    loop {
        let want = to.len() - done;
        let piece = match at {
            Some(at) => Piece::read(file, want, at.saturating_add(done as u64), in_place),
            None => {
                let mut pos = file.pos.lock();
                let piece = Piece::read(file, want, *pos, in_place);
                *pos += piece.as_ref().map_or(0, Piece::len) as u64;
                piece
            }
        };
        let piece = match piece {
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
            Ok(piece) if piece.len() == 0 => return Ok(done),
            Ok(piece) => piece,
        };
        let copied = piece.copy_out(t, file, to, done);
        let short = piece.len() - *copied.as_ref().unwrap_or(&0);
        if short > 0 && at.is_none() {
            // What could not be handed over was not read.
            let mut pos = file.pos.lock();
            *pos = pos.saturating_sub(short as u64);
        }
        match (copied, piece) {
            // The file may have become shorter, or the guest's memory ends: a read tells.
            (copied, Piece::There(..)) => {
                done += copied.unwrap_or(0);
                in_place = short == 0;
            }
            (Err(e), _) if done == 0 => return Err(e),
            (Err(_), _) => return Ok(done),
            (Ok(copied), Piece::Here(_, _, is_full)) => {
                done += copied;
                if short > 0 || !is_full {
                    return Ok(done);
                }
            }
        }
        if done == to.len() {
            return Ok(done);
        }
    }
}

/// Where a write goes.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    at: Option<u64>,
    pub(super) appends: bool,
}

impl Place {
    /// At `at` or the file's position, or at its end if it was opened with `O_APPEND`.
    pub fn of(file: &File, at: Option<u64>) -> Place {
        Place { at, appends: file.flags() & libc::O_APPEND != 0 }
    }
}

/// Writes where the file has its bytes, over those that are there. Nothing if that cannot be; short if it came to the
/// end of them, or of the guest's memory.
fn write_in_place(t: &Task, file: &File, from: &Buffers, place: Place, done: usize) -> usize {
    let want = from.len() - done;
    if place.appends || want < view::LEAST {
        return 0;
    }
    let view_at = |pos: u64| {
        let end = pos.checked_add(want as u64)?;
        if end <= t.rlimit(libc::RLIMIT_FSIZE) { file.ops.view(pos, want, true) } else { None }
    };
    let (start, view) = match place.at {
        Some(at) => {
            let start = at.saturating_add(done as u64);
            (start, view_at(start))
        }
        None => {
            let mut pos = file.pos.lock();
            let (start, view) = (*pos, view_at(*pos));
            *pos += view.as_ref().map_or(0, View::len) as u64;
            (start, view)
        }
    };
    let Some(view) = view else { return 0 };
    let copied = from.copy_view_in(t, done, &view).unwrap_or(0);
    if copied < view.len() && place.at.is_none() {
        let mut pos = file.pos.lock();
        *pos = pos.saturating_sub((view.len() - copied) as u64);
    }
    file.ops.copied(start.saturating_add(view.len() as u64));
    copied
}

/// Writes to a file that has positions.
pub(super) fn write_seekable(
    t: &Task,
    file: &File,
    from: &Buffers,
    place: Place,
    is_regular: bool,
) -> SysResult<usize> {
    let mut done = 0;
    loop {
        let placed = write_in_place(t, file, from, place, done);
        done += placed;
        if placed > 0 {
            if done == from.len() {
                return Ok(done);
            }
            continue;
        }
        let mut buf = IoBuffer::new((from.len() - done).min(CHUNK));
        let got = match from.copy_in(t, done, &mut buf) {
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
            Ok(got) => got,
        };
        let chunk = buf.get(..got).unwrap_or_default();
        let written = match place.at {
            Some(at) => {
                write_at(t, file, chunk, at.saturating_add(done as u64), place.appends, is_regular).map(|w| w.0)
            }
            None => {
                let mut pos = file.pos.lock();
                write_at(t, file, chunk, *pos, place.appends, is_regular).map(|(count, end)| {
                    *pos = end;
                    count
                })
            }
        };
        match written {
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
            Ok(count) => done += count,
        }
        if written != Ok(buf.len()) || done == from.len() {
            return Ok(done);
        }
    }
}

/// Writes at one place, within the limits of the process and of offsets; returns count and end.
pub(super) fn write_at(
    t: &Task,
    file: &File,
    chunk: &[u8],
    at: u64,
    appends: bool,
    is_regular: bool,
) -> SysResult<(usize, u64)> {
    let mut chunk = chunk;
    if is_regular && !chunk.is_empty() {
        let start = if appends { file.ops.size()? } else { at };
        let room = room_below_limit(t, start)?;
        chunk = chunk.get(..chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX))).unwrap_or_default();
    }
    let written = file.ops.write(file, chunk, if appends { OFFSET_APPEND } else { at })?;
    Ok((written.count, written.end))
}

/// How far a file may grow from `start`; `EFBIG` and perhaps SIGXFSZ if not at all.
pub fn room_below_limit(t: &Task, start: u64) -> SysResult<u64> {
    let limit = t.rlimit(libc::RLIMIT_FSIZE);
    if start >= limit {
        t.raise(libc::SIGXFSZ);
        return Err(Errno::FBIG);
    }
    if start >= OFFSET_MAX {
        return Err(Errno::FBIG);
    }
    Ok(limit.min(OFFSET_MAX) - start)
}
