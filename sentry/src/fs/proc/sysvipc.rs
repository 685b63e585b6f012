//! `/proc/sysvipc`: what there is of System V IPC, in the columns of Linux.

use crate::errno::SysResult;
use crate::fs::pseudo::{Fixed, Reader};
use crate::ipc::{Object, Table, own};
use std::fmt::Write;
use std::sync::Arc;

/// The directory.
pub(super) const ENTRIES: &[(&str, Fixed)] =
    &[("msg", Fixed::File(0o444, queues)), ("sem", Fixed::File(0o444, sets)), ("shm", Fixed::File(0o444, segments))];

/// All objects of a table with their ids.
fn all<T: Object>(table: &Table<T>) -> Vec<(i32, Arc<T>)> {
    let (highest, _) = table.all();
    (0..=highest).filter_map(|index| table.at(index).ok()).collect()
}

fn queues(_: &Reader) -> SysResult<Vec<u8>> {
    let mut text = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
                    stime      rtime      ctime\n"
        .to_owned();
    for (id, queue) in all(&own().queues) {
        let ds = queue.stat();
        let perm = ds.perm;
        let _ = writeln!(
            text,
            "{:10} {id:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
            perm.key,
            perm.mode,
            ds.cbytes,
            ds.qnum,
            ds.lspid,
            ds.lrpid,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            ds.stime,
            ds.rtime,
            ds.ctime
        );
    }
    Ok(text.into_bytes())
}

fn sets(_: &Reader) -> SysResult<Vec<u8>> {
    let mut text = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n".to_owned();
    for (id, set) in all(&own().sets) {
        let ds = set.stat();
        let perm = ds.perm;
        let _ = writeln!(
            text,
            "{:10} {id:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
            perm.key, perm.mode, ds.nsems, perm.uid, perm.gid, perm.cuid, perm.cgid, ds.otime, ds.ctime
        );
    }
    Ok(text.into_bytes())
}

fn segments(_: &Reader) -> SysResult<Vec<u8>> {
    let mut text = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
                    atime      dtime      ctime                   rss                  swap\n"
        .to_owned();
    for (id, segment) in all(&own().segments) {
        let ds = segment.stat();
        let perm = ds.perm;
        let _ = writeln!(
            text,
            "{:10} {id:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            perm.key,
            perm.mode,
            ds.segsz,
            ds.cpid,
            ds.lpid,
            ds.nattch,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            ds.atime,
            ds.dtime,
            ds.ctime,
            segment.resident(),
            0
        );
    }
    Ok(text.into_bytes())
}
