//! Requests and their answers.

use super::super::message::{AckStyle, Header, Origin, Reply, attributes, requests};
use super::{Asker, answer};
use crate::net::fuzz;
use crate::net::namespace::Net;
use zerocopy::IntoBytes;

fn ask(kind: u16, flags: i32, payload: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let flags = (flags | libc::NLM_F_REQUEST) as u16;
    let header = Header { len: 16 + payload.len() as u32, kind, flags, seq: 1, pid: 0 };
    let bytes = [header.as_bytes(), payload].concat();
    let request = requests(&bytes).next().unwrap();
    let dump = request.has(libc::NLM_F_DUMP);
    let mut reply = Reply::new(&request.header, 9, dump);
    match answer(
        &request,
        dump,
        &Asker { net: Net::first(), task: None, admin: false, origin: Origin::default(), strict: false },
        &mut reply,
    ) {
        Err(failure) => reply.error(&request, Some(failure), AckStyle::default()),
        Ok(()) if dump => reply.done(None, AckStyle::default()),
        Ok(()) => {}
    }
    requests(&reply.into_bytes()).map(|m| (m.header.kind, m.payload.to_vec())).collect()
}

fn code(payload: &[u8]) -> i32 {
    i32::from_ne_bytes(payload[..4].try_into().unwrap())
}

#[test]
fn dumps_end_and_name_the_loopback() {
    let links = ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; 16]);
    assert_eq!(links.iter().map(|m| m.0).collect::<Vec<_>>(), [libc::RTM_NEWLINK, 3]);
    assert!(attributes(&links[0].1, 16).any(|a| a == (libc::IFLA_IFNAME, b"lo\0".as_slice())));
    let addresses = ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8]);
    assert_eq!(addresses.len(), 3);
    let v6_only = ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[libc::AF_INET6 as u8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(v6_only.len(), 2);
    let neighbours = ask(30, libc::NLM_F_DUMP, &[0; 12]);
    assert_eq!(neighbours.iter().map(|m| m.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn changes_are_refused_and_unknown_things_are_unknown() {
    let change = ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &[0; 16]);
    assert_eq!((change[0].0, code(&change[0].1)), (2, -libc::EPERM));
    let mut other = [0; 16];
    other[4] = 7;
    assert_eq!(code(&ask(libc::RTM_GETLINK, 0, &other)[0].1), -libc::ENODEV);
}

#[test]
fn requests_of_all_kinds_are_survived() {
    let net = Net::create().unwrap();
    let asker = Asker { net: &net, task: None, admin: true, origin: Origin::default(), strict: true };
    fuzz::keep_on("requests", |random| {
        let mut next = || random.next();
        let len = 16 + next() as usize % 120;
        let mut bytes: Vec<u8> = (0..len).map(|_| if next() % 3 == 0 { next() as u8 } else { 0 }).collect();
        // Attributes of plausible lengths and types behind a plausible header.
        for at in (32..len.saturating_sub(4)).step_by(8) {
            bytes[at..at + 4].copy_from_slice(&[(4 + next() % 12) as u8, 0, (next() % 60) as u8, 0]);
        }
        let flags = (libc::NLM_F_REQUEST | (next() as i32 & 0xf00)) as u16;
        let header = Header { len: len as u32, kind: 16 + (next() % 110) as u16, flags, seq: 1, pid: 0 };
        bytes[..16].copy_from_slice(header.as_bytes());
        for request in requests(&bytes) {
            let mut reply = Reply::new(&request.header, 9, next() % 2 == 0);
            let _ = answer(&request, next() % 2 == 0, &asker, &mut reply);
            let _ = crate::net::netlink::diag::answer(&net, &request, true, &mut reply);
            let _ = reply.into_parts();
        }
    });
}
