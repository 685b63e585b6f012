use super::*;
use crate::fs::eventfd::EventFd;
use crate::fs::pipe::Pipe;
use crate::kernel::Creds;

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;

fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}

fn control(epoll: &File, op: i32, fd: i32, file: &Arc<File>, events: u32) -> SysResult<()> {
    epoll.downcast::<Epoll>().unwrap().control(op, fd, file, event(events, fd as u64))
}

fn add(epoll: &File, fd: i32, file: &Arc<File>, events: u32) -> SysResult<()> {
    control(epoll, libc::EPOLL_CTL_ADD, fd, file, events)
}

fn collect(epoll: &File) -> Vec<(u32, u64)> {
    let events = epoll.downcast::<Epoll>().unwrap().collect(16).unwrap_or_default();
    events.iter().map(|e| (e.events, e.data)).collect()
}

fn pipe() -> (Arc<File>, Arc<File>) {
    Pipe::pair(&Creds::new(0, 0, &[], 0), 0)
}

fn write(file: &File) {
    file.ops.write(file, &1u64.to_ne_bytes(), 0).unwrap();
}

fn read(file: &File) {
    file.ops.read(file, &mut [0; 8], 0).unwrap();
}

#[test]
fn level_triggered_until_read() {
    let (reader, writer) = pipe();
    let epoll = Epoll::open();
    add(&epoll, 3, &reader, IN).unwrap();
    assert_eq!(add(&epoll, 3, &reader, IN), Err(Errno::EXIST));
    assert!(collect(&epoll).is_empty());
    write(&writer);
    assert_eq!(collect(&epoll), [(IN, 3)]);
    assert_eq!(collect(&epoll), [(IN, 3)]);
    read(&reader);
    assert!(collect(&epoll).is_empty());
    drop(writer);
    assert_eq!(collect(&epoll), [(libc::EPOLLHUP as u32, 3)]);
}

#[test]
fn edge_triggered_once_per_write() {
    let (reader, writer) = pipe();
    let epoll = Epoll::open();
    write(&writer);
    add(&epoll, 3, &reader, IN | ET).unwrap();
    assert_eq!(collect(&epoll).len(), 1);
    assert!(collect(&epoll).is_empty());
    write(&writer);
    assert_eq!(collect(&epoll).len(), 1);
    assert!(collect(&epoll).is_empty());
}

#[test]
fn one_shot_until_armed_again() {
    let file = EventFd::open(1, false, 0);
    let epoll = Epoll::open();
    add(&epoll, 3, &file, IN | OUT | ONESHOT).unwrap();
    assert_eq!(collect(&epoll), [(IN | OUT, 3)]);
    write(&file);
    assert!(collect(&epoll).is_empty());
    control(&epoll, libc::EPOLL_CTL_MOD, 3, &file, IN | ONESHOT).unwrap();
    assert_eq!(collect(&epoll), [(IN, 3)]);
}

#[test]
fn the_last_close_ends_the_watch() {
    let (reader, writer) = pipe();
    let epoll = Epoll::open();
    write(&writer);
    add(&epoll, 3, &reader, IN).unwrap();
    drop(reader);
    assert!(collect(&epoll).is_empty());
    let core = &epoll.downcast::<Epoll>().unwrap().core;
    assert!(core.inner.lock().items.is_empty());
    // The writer's queue is the reader's: nothing of the epoll is left on it.
    assert!(writer.ops.wait_queue().unwrap().is_empty());
}

#[test]
fn closing_the_epoll_leaves_nothing_behind() {
    let (reader, _writer) = pipe();
    let epoll = Epoll::open();
    add(&epoll, 3, &reader, IN).unwrap();
    drop(epoll);
    assert!(reader.ops.wait_queue().unwrap().is_empty());
    assert_eq!(reader.links.len(), 0);
}

#[test]
fn nested_epolls_report_and_are_bounded() {
    let (reader, writer) = pipe();
    let chain: Vec<_> = (0..6).map(|_| Epoll::open()).collect();
    add(&chain[0], 3, &reader, IN).unwrap();
    for n in 1..5 {
        add(&chain[n], 3, &chain[n - 1], IN).unwrap();
    }
    assert_eq!(add(&chain[5], 3, &chain[4], IN), Err(Errno::LOOP));
    assert_eq!(add(&chain[0], 4, &chain[4], IN), Err(Errno::LOOP));
    assert!(collect(&chain[4]).is_empty());
    write(&writer);
    assert_eq!(collect(&chain[4]), [(IN, 3)]);
    read(&reader);
    assert!(collect(&chain[4]).is_empty());
}

#[test]
fn many_removed_items_do_not_pile_up() {
    let file = EventFd::open(1, false, 0);
    let epoll = Epoll::open();
    for _ in 0..10_000 {
        add(&epoll, 3, &file, IN).unwrap();
        control(&epoll, libc::EPOLL_CTL_DEL, 3, &file, 0).unwrap();
    }
    let core = &epoll.downcast::<Epoll>().unwrap().core;
    assert!(core.inner.lock().ready.len() <= 2 * STALE_MAX);
}

#[test]
fn exclusive_is_for_plain_watches() {
    let file = EventFd::open(1, false, 0);
    let (epoll, other) = (Epoll::open(), Epoll::open());
    assert_eq!(add(&epoll, 3, &file, IN | EXCLUSIVE | ONESHOT), Err(Errno::INVAL));
    assert_eq!(add(&epoll, 4, &other, IN | EXCLUSIVE), Err(Errno::INVAL));
    add(&epoll, 3, &file, IN | EXCLUSIVE).unwrap();
    assert_eq!(control(&epoll, libc::EPOLL_CTL_MOD, 3, &file, IN), Err(Errno::INVAL));
    assert_eq!(collect(&epoll), [(IN, 3)]);
}
