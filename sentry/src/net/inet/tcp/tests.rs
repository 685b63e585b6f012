use super::*;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::message::Outgoing;
use crate::net::rights::Rights;
use std::net::SocketAddr;
use std::time::Duration;

fn socket() -> Arc<Tcp> {
    let options = Arc::new(Options::new(SNDBUF_DEFAULT, RCVBUF_DEFAULT));
    Tcp::new(libc::AF_INET, 0, options, IntOptions::new(crate::net::namespace::Net::first()))
}

fn listener(backlog: usize) -> (Arc<Tcp>, SocketAddr) {
    let end = socket();
    end.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    end.listen(backlog).unwrap();
    let address = end.state.lock().local.unwrap();
    (end, address)
}

fn joined() -> (Arc<Tcp>, Arc<Tcp>) {
    let (listener, address) = listener(1);
    let client = socket();
    client.connect(address, false).unwrap();
    let server = listener.accept().unwrap();
    listener.close();
    (client, server)
}

fn send(end: &Tcp, data: &[u8]) -> SysResult<usize> {
    let mut rights = Rights::default();
    end.send(&Outgoing { task: None, data, to: None, rights: &mut rights, creds: None, control: &[], flags: 0 })
}

fn receive(end: &Tcp, max: usize) -> SysResult<Vec<u8>> {
    let mut buf = vec![0; max];
    let incoming = end.receive(&mut buf, 0)?;
    buf.truncate(incoming.count);
    Ok(buf)
}

#[test]
fn bytes_go_both_ways_and_halves_end() {
    let (client, server) = joined();
    assert_eq!(send(&client, b"ping"), Ok(4));
    assert_eq!(receive(&server, 9), Ok(b"ping".to_vec()));
    assert_eq!(receive(&server, 9), Err(Errno::AGAIN));
    client.shutdown(libc::SHUT_WR).unwrap();
    assert_eq!(server.poll(), Events::IN | Events::RDNORM | Events::RDHUP | Events::OUT | Events::WRNORM);
    assert_eq!(receive(&server, 9), Ok(vec![]));
    assert_eq!(send(&client, b"x"), Err(Errno::PIPE));
    assert_eq!(send(&server, b"pong"), Ok(4));
    server.close();
    assert_eq!(receive(&client, 9), Ok(b"pong".to_vec()));
    assert_eq!(receive(&client, 9), Ok(vec![]));
}

#[test]
fn closing_with_unread_data_resets() {
    let (client, server) = joined();
    send(&client, b"never read").unwrap();
    server.close();
    assert_eq!(
        client.poll(),
        Events::IN | Events::RDNORM | Events::RDHUP | Events::HUP | Events::ERR | Events::OUT | Events::WRNORM
    );
    assert_eq!(receive(&client, 9), Err(Errno::CONNRESET));
    assert_eq!(receive(&client, 9), Ok(vec![]));
    assert_eq!(send(&client, b"x"), Err(Errno::PIPE));
}

#[test]
fn writing_to_a_closed_socket_fails_the_second_time() {
    let (client, server) = joined();
    server.close();
    assert_eq!(receive(&client, 9), Ok(vec![]));
    assert_eq!(send(&client, b"x"), Ok(1));
    assert_eq!(send(&client, b"x"), Err(Errno::PIPE));
}

#[test]
fn linger_zero_resets() {
    let (client, server) = joined();
    server.options.set_linger_for_test(Duration::ZERO);
    server.close();
    assert_eq!(receive(&client, 9), Err(Errno::CONNRESET));
}

#[test]
fn nobody_listens() {
    let (gone, address) = listener(1);
    gone.close();
    let client = socket();
    assert_eq!(client.connect(address, false), Err(Errno::CONNREFUSED));
    let client = socket();
    assert_eq!(client.connect(address, true), Err(Errno::INPROGRESS));
    assert!(client.poll().contains(Events::ERR | Events::HUP | Events::OUT));
    assert_eq!(client.options.take_error(), Err(Errno::CONNREFUSED));
}

#[test]
fn a_nonblocking_connect_reports_once() {
    let (_listener, address) = listener(5);
    let client = socket();
    assert_eq!(client.connect(address, true), Err(Errno::INPROGRESS));
    assert_eq!(client.poll(), Events::OUT | Events::WRNORM);
    assert_eq!(client.connect(address, true), Ok(()));
    assert_eq!(client.connect(address, true), Err(Errno::ISCONN));
}

#[test]
fn a_full_backlog_makes_wait_until_accept() {
    let (listener, address) = listener(0);
    let (first, second) = (socket(), socket());
    assert_eq!(first.connect(address, false), Ok(()));
    assert_eq!(second.connect(address, false), Err(Errno::AGAIN));
    assert_eq!(second.poll(), Events::empty());
    listener.accept().unwrap();
    assert_eq!(second.resume_connect(), Ok(()));
    let third = socket();
    assert_eq!(third.connect(address, true), Err(Errno::INPROGRESS));
    listener.close();
    assert_eq!(receive(&second, 1), Err(Errno::CONNRESET));
    assert_eq!(third.options.take_error(), Err(Errno::CONNREFUSED));
}

#[test]
fn the_window_is_bounded() {
    let (client, server) = joined();
    let big = vec![0; 4 << 20];
    let sent = send(&client, &big).unwrap();
    assert!(sent < big.len());
    assert_eq!(send(&client, b"x"), Err(Errno::AGAIN));
    assert_eq!(client.poll(), Events::empty());
    receive(&server, sent).unwrap();
    assert_eq!(client.poll(), Events::OUT | Events::WRNORM);
}
