use super::endpoint::Marks;
use super::way::Way;
use super::*;
use crate::errno::Errno;
use crate::executor::Events;
use std::net::SocketAddr;

const MARKS: Marks = Marks { hops: 64, class: 0 };

fn socket() -> Arc<Udp> {
    Udp::new(Net::first(), libc::AF_INET, 0, Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT)))
}

fn bound() -> (Arc<Udp>, SocketAddr) {
    let end = socket();
    end.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = end.state.lock().local.unwrap();
    (end, address)
}

#[test]
fn datagrams_keep_bounds_and_senders() {
    let (server, address) = bound();
    let client = socket();
    assert_eq!(client.send(b"no address", None, MARKS, Way::default(), false), Err(Errno::DESTADDRREQ));
    assert_eq!(client.send(b"hello", Some(address), MARKS, Way::default(), false), Ok(5));
    assert_eq!(client.send(b"", Some(address), MARKS, Way::default(), false), Ok(0));
    assert!(server.poll().contains(Events::IN));
    let mut buf = [0; 3];
    let (count, envelope) = server.receive(&mut buf, false).unwrap().unwrap();
    assert_eq!((count, envelope.len, &buf), (3, 5, b"hel"));
    assert_eq!(envelope.from.ip(), address.ip());
    assert_eq!(server.receive(&mut buf, false).unwrap().unwrap().0, 0);
    assert_eq!(server.receive(&mut buf, false).err(), Some(Errno::AGAIN));
    assert_eq!(client.send(&[0; 65508], Some(address), MARKS, Way::default(), false), Err(Errno::MSGSIZE));
}

#[test]
fn only_a_connected_socket_hears_that_nobody_listens() {
    let (server, address) = bound();
    server.close();
    let client = socket();
    assert_eq!(client.send(b"x", Some(address), MARKS, Way::default(), false), Ok(1));
    assert!(!client.options.has_error());
    client.connect(address).unwrap();
    assert_eq!(client.send(b"x", None, MARKS, Way::default(), false), Ok(1));
    assert!(client.poll().contains(Events::ERR));
    assert_eq!(client.send(b"x", None, MARKS, Way::default(), false), Err(Errno::CONNREFUSED));
}

#[test]
fn a_connected_socket_hears_only_its_peer() {
    let (server, address) = bound();
    let (friend, friends) = bound();
    let stranger = socket();
    server.connect(friends).unwrap();
    stranger.send(b"lost", Some(address), MARKS, Way::default(), false).unwrap();
    friend.send(b"found", Some(address), MARKS, Way::default(), false).unwrap();
    let mut buf = [0; 9];
    assert_eq!(server.receive(&mut buf, false).unwrap().unwrap().0, 5);
    assert_eq!(server.receive(&mut buf, false).err(), Some(Errno::AGAIN));
}

#[test]
fn what_a_receiver_does_not_read_is_bounded() {
    let (server, address) = bound();
    let client = socket();
    for _ in 0..1000 {
        assert_eq!(client.send(&[0; 1000], Some(address), MARKS, Way::default(), false), Ok(1000));
    }
    let queued = server.state.lock().envelopes.len();
    assert!(queued > 100 && queued < 200, "{queued}");
}
