use super::*;

#[derive(Default)]
struct Node(WatchSet);

impl Watchable for Node {
    fn watch_set(&self) -> &WatchSet {
        &self.0
    }
}

fn read(file: &File) -> Vec<(i32, u32, Vec<u8>)> {
    let mut buf = vec![0; 1 << 20];
    let Ok(len) = file.ops.read(file, &mut buf, 0) else { return vec![] };
    let mut rest = &buf[..len];
    let mut out = vec![];
    while !rest.is_empty() {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        let name_len = word(12) as usize;
        let name = rest[16..16 + name_len].iter().copied().take_while(|b| *b != 0).collect();
        out.push((word(0) as i32, word(4), name));
        rest = &rest[16 + name_len..];
    }
    out
}

fn instance(uid: u32) -> Arc<File> {
    Inotify::open(uid, 0).unwrap()
}

fn add(file: &File, node: &Arc<Node>, mask: u32) -> SysResult<i32> {
    file.downcast::<Inotify>().unwrap().add(node.clone(), mask)
}

#[test]
fn events_are_masked_named_and_coalesced() {
    let (file, dir) = (instance(1), Arc::new(Node::default()));
    let wd = add(&file, &dir, libc::IN_CREATE | libc::IN_MODIFY).unwrap();
    dir.0.notify(libc::IN_CREATE, 0, Some(b"a"));
    dir.0.notify(libc::IN_DELETE, 0, Some(b"a"));
    dir.0.notify(libc::IN_MODIFY, 0, Some(b"exactly_16_chars"));
    dir.0.notify(libc::IN_MODIFY, 0, Some(b"exactly_16_chars"));
    assert_eq!(file.ops.poll(&file), Events::IN | Events::RDNORM);
    assert_eq!(file.ops.read(&file, &mut [0; 31], 0), Err(Errno::INVAL));
    let expected = [(wd, libc::IN_CREATE, b"a".to_vec()), (wd, libc::IN_MODIFY, b"exactly_16_chars".to_vec())];
    assert_eq!(read(&file), expected);
    assert_eq!(file.ops.read(&file, &mut [0; 99], 0), Err(Errno::AGAIN));
}

#[test]
fn watches_end_with_their_inode_or_by_hand() {
    let (file, node) = (instance(2), Arc::new(Node::default()));
    let wd = add(&file, &node, libc::IN_DELETE_SELF).unwrap();
    assert_eq!(add(&file, &node, libc::IN_DELETE_SELF | libc::IN_MASK_CREATE), Err(Errno::EXIST));
    node.0.deleted();
    assert_eq!(read(&file), [(wd, libc::IN_DELETE_SELF, vec![]), (wd, libc::IN_IGNORED, vec![])]);
    let again = add(&file, &node, libc::IN_OPEN).unwrap();
    assert_ne!(again, wd);
    let inotify = file.downcast::<Inotify>().unwrap();
    assert_eq!((inotify.remove(again), inotify.remove(again)), (Ok(()), Err(Errno::INVAL)));
    assert!(!node.0.is_watched());
}

#[test]
fn one_shot_watches_fire_once() {
    let (file, node) = (instance(3), Arc::new(Node::default()));
    let wd = add(&file, &node, libc::IN_OPEN | libc::IN_ONESHOT).unwrap();
    node.0.notify(libc::IN_OPEN, 0, None);
    node.0.notify(libc::IN_OPEN, 0, None);
    assert_eq!(read(&file), [(wd, libc::IN_OPEN, vec![]), (wd, libc::IN_IGNORED, vec![])]);
}

#[test]
fn a_full_queue_says_so_once() {
    let (file, node) = (instance(4), Arc::new(Node::default()));
    add(&file, &node, libc::IN_ALL_EVENTS).unwrap();
    for n in 0..20_000u32 {
        node.0.notify(libc::IN_OPEN, 0, Some(n.to_string().as_bytes()));
    }
    let events = read(&file);
    assert_eq!(events.len(), 16385);
    assert_eq!(events.last().unwrap().1, libc::IN_Q_OVERFLOW);
}

#[test]
fn instances_are_limited_per_user() {
    let all: Vec<_> = (0..128).map(|_| instance(5)).collect();
    assert!(matches!(Inotify::open(5, 0), Err(Errno::MFILE)));
    drop(all);
    assert!(Inotify::open(5, 0).is_ok());
}
