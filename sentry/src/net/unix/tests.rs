use super::endpoint::MAX_DGRAM_QLEN;
use super::*;
use crate::executor::Events;
use crate::net::message::Outgoing;
use crate::net::rights::Rights;

const ME: Ucred = Ucred { pid: 7, uid: 1, gid: 2 };

fn joined(kind: Kind) -> (Arc<Endpoint>, Arc<Endpoint>) {
    pair_of(Net::first(), kind, ME, &Identity { creds: ME, groups: Arc::new([]), process: Weak::new() })
}

fn send(end: &Arc<Endpoint>, data: &[u8]) -> SysResult<usize> {
    let mut rights = Rights::default();
    end.send(&mut Outgoing { task: None, data, to: None, rights: &mut rights, creds: None, control: &[], flags: 0 })
}

fn receive(end: &Arc<Endpoint>, max: usize) -> SysResult<Vec<u8>> {
    let mut buf = vec![0; max];
    let incoming = end.receive(&mut buf, 0)?;
    buf.truncate(incoming.count);
    Ok(buf)
}

#[test]
fn a_stream_has_no_bounds_and_an_end() {
    let (a, b) = joined(Kind::Stream);
    assert_eq!(receive(&b, 9), Err(Errno::AGAIN));
    assert_eq!((send(&a, b"one"), send(&a, b"two")), (Ok(3), Ok(3)));
    assert_eq!(receive(&b, 4), Ok(b"onet".to_vec()));
    a.shutdown(libc::SHUT_WR);
    assert_eq!(send(&a, b"x"), Err(Errno::PIPE));
    assert_eq!(receive(&b, 9), Ok(b"wo".to_vec()));
    assert_eq!(receive(&b, 9), Ok(vec![]));
    assert_eq!(send(&b, b"back"), Ok(4));
    a.close();
    assert_eq!(send(&b, b"x"), Err(Errno::PIPE));
    // The other side went without reading "back".
    assert_eq!(receive(&b, 9), Err(Errno::CONNRESET));
    assert_eq!(receive(&b, 9), Ok(vec![]));
}

#[test]
fn what_is_in_flight_is_bounded_and_poll_says_so() {
    let (a, b) = joined(Kind::Stream);
    let all = Events::OUT | Events::WRNORM | Events::WRBAND;
    assert_eq!(a.poll(), all);
    assert_eq!(send(&a, &vec![0; 1 << 20]), Ok(212_992));
    assert_eq!(send(&a, b"x"), Err(Errno::AGAIN));
    assert_eq!(a.poll(), Events::empty());
    assert_eq!(receive(&b, 212_992 * 3 / 4 - 1).map(|data| data.len()), Ok(212_992 * 3 / 4 - 1));
    assert_eq!(a.poll(), Events::empty());
    assert_eq!(receive(&b, 1).map(|data| data.len()), Ok(1));
    assert_eq!(a.poll(), all);
}

#[test]
fn messages_keep_their_bounds() {
    for kind in [Kind::Datagram, Kind::Seqpacket] {
        let (a, b) = joined(kind);
        assert_eq!((send(&a, b"one"), send(&a, b""), send(&a, b"two")), (Ok(3), Ok(0), Ok(3)));
        assert_eq!(receive(&b, 2), Ok(b"on".to_vec()));
        assert_eq!(receive(&b, 9), Ok(vec![]));
        assert_eq!(receive(&b, 9), Ok(b"two".to_vec()));
        assert_eq!(send(&a, &vec![0; 212_961]), Err(Errno::MSGSIZE));
        assert_eq!(send(&a, &vec![0; 212_960]), Ok(212_960));
    }
}

#[test]
fn closing_refuses_datagrams_and_ends_packets() {
    let (a, b) = joined(Kind::Datagram);
    b.close();
    assert_eq!(send(&a, b"x"), Err(Errno::CONNREFUSED));
    assert_eq!(send(&a, b"x"), Err(Errno::NOTCONN));
    let (a, b) = joined(Kind::Seqpacket);
    b.close();
    assert_eq!(receive(&a, 9), Ok(vec![]));
    assert_eq!(send(&a, b"x"), Err(Errno::PIPE));
}

#[test]
fn a_crowded_datagram_socket_makes_strangers_wait() {
    let server = Endpoint::new(Net::first(), Kind::Datagram, ME);
    let client = Endpoint::new(Net::first(), Kind::Datagram, ME);
    client.join(&server, None);
    for _ in 0..=MAX_DGRAM_QLEN {
        assert_eq!(send(&client, b"x"), Ok(1));
    }
    assert_eq!(send(&client, b"x"), Err(Errno::AGAIN));
    assert_eq!(client.poll(), Events::empty());
    assert_eq!(receive(&server, 1), Ok(b"x".to_vec()));
    assert!(client.poll().contains(Events::OUT));
    assert_eq!(send(&client, b"x"), Ok(1));
}

#[test]
fn a_closed_pair_is_freed() {
    let (a, b) = joined(Kind::Stream);
    let (weak_a, weak_b) = (Arc::downgrade(&a), Arc::downgrade(&b));
    send(&a, b"unread").unwrap();
    a.close();
    b.close();
    drop((a, b));
    assert!(weak_a.upgrade().is_none() && weak_b.upgrade().is_none());
}
