//! What a socket received and nobody has read: bytes, and records that say where they came from.
//!
//! A record is a datagram, or a run of a stream's bytes that share credentials and carry descriptions at most
//! at their start.

use super::endpoint::Endpoint;
use super::name::Name;
use crate::fs::File;
use crate::fs::ring::ByteRing;
use crate::net::message::Ucred;
use crate::net::rights::Rights;
use std::collections::VecDeque;
use std::sync::Arc;

/// A run of bytes from one sender.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Bytes of it still there.
    pub(super) len: usize,
    /// What its sender is charged for it.
    pub(super) charge: usize,
    pub(super) creds: Option<Ucred>,
    pub(super) rights: Rights,
    /// The sender's address, for datagrams.
    pub(super) from: Option<Arc<Name>>,
    /// Who is charged. Streams have one sender and leave it out.
    pub(super) sender: Option<Arc<Endpoint>>,
}

/// What was taken out.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) count: usize,
    /// Length of the datagram.
    pub(super) full: usize,
    pub(super) creds: Option<Ucred>,
    pub(super) rights: Vec<Arc<File>>,
    pub(super) from: Option<Arc<Name>>,
    /// The end of a run that later bytes must not be joined to.
    pub(super) ends: bool,
    /// To be uncharged by the caller: who (streams: the peer) and how much.
    pub(super) sender: Option<Arc<Endpoint>>,
    pub(super) uncharge: usize,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: ByteRing,
    pub(super) records: VecDeque<Record>,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes queued.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a datagram, or a part of a stream that must stand apart.
    pub(super) fn push(&mut self, data: &[u8], record: Record) {
        self.bytes.push(data);
        self.records.push_back(Record { len: data.len(), ..record });
    }

    /// Adds a part of a stream.
    pub(super) fn push_stream(&mut self, data: &[u8], creds: Option<Ucred>, rights: Rights) {
        match self.records.back_mut() {
            Some(last) if last.creds == creds && last.rights.is_empty() && rights.is_empty() => {
                last.len += data.len();
                self.bytes.push(data);
            }
            _ => self.push(data, Record { creds, rights, ..Record::default() }),
        }
    }

    /// Puts bytes of a stream back that were taken.
    pub(super) fn push_front(&mut self, data: &[u8]) {
        self.bytes.push_front(data);
        let creds = self.records.front().and_then(|record| record.creds);
        self.records.push_front(Record { len: data.len(), creds, ..Record::default() });
    }

    /// Takes a datagram; what does not fit is lost.
    pub(super) fn pop(&mut self, buf: &mut [u8], peek: bool) -> Option<Taken> {
        let record = self.records.front_mut()?;
        let fits = record.len.min(buf.len());
        let mut taken = Taken {
            count: self.bytes.peek(0, buf.get_mut(..fits).unwrap_or_default()),
            full: record.len,
            creds: record.creds,
            from: record.from.clone(),
            ends: true,
            ..Taken::default()
        };
        if peek {
            taken.rights = record.rights.files().to_vec();
            return Some(taken);
        }
        let record = self.records.pop_front()?;
        self.bytes.discard(record.len);
        taken.rights = record.rights.land();
        taken.sender = record.sender;
        taken.uncharge = record.charge;
        Some(taken)
    }

    /// Takes bytes of a stream, up to where descriptions end a run; with `by_creds` also where credentials change.
    pub(super) fn pop_stream(&mut self, buf: &mut [u8], peek: bool, by_creds: bool) -> Taken {
        let creds = self.records.front().and_then(|record| record.creds);
        let mut taken = Taken { creds, ..Taken::default() };
        let mut finished = 0;
        for (at, record) in self.records.iter_mut().enumerate() {
            if taken.ends || taken.count == buf.len() || (at > 0 && by_creds && record.creds != creds) {
                break;
            }
            let part = record.len.min(buf.len() - taken.count);
            taken.count += part;
            taken.ends = !record.rights.is_empty();
            if peek {
                taken.rights.extend_from_slice(record.rights.files());
                continue;
            }
            taken.rights.extend(std::mem::take(&mut record.rights).land());
            record.len -= part;
            finished += usize::from(record.len == 0);
        }
        taken.full = self.bytes.peek(0, buf.get_mut(..taken.count).unwrap_or_default());
        if !peek {
            self.records.drain(..finished);
            self.bytes.discard(taken.count);
            taken.uncharge = taken.count;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Option<Ucred> = Some(Ucred { pid: 1, uid: 0, gid: 0 });
    const YOU: Option<Ucred> = Some(Ucred { pid: 2, uid: 0, gid: 0 });

    fn stream(parts: &[(&[u8], Option<Ucred>)]) -> Inbox {
        let mut inbox = Inbox::default();
        for (data, creds) in parts {
            inbox.push_stream(data, *creds, Rights::default());
        }
        inbox
    }

    #[test]
    fn a_stream_joins_writers_unless_credentials_are_asked_for() {
        let mut inbox = stream(&[(b"ab", ME), (b"cd", ME), (b"ef", YOU)]);
        assert_eq!(inbox.records.len(), 2);
        let mut buf = [0; 16];
        assert_eq!(inbox.pop_stream(&mut buf, true, true).count, 4);
        assert_eq!(inbox.pop_stream(&mut buf, true, false).count, 6);
        assert_eq!(inbox.pop_stream(&mut buf[..3], false, true).count, 3);
        let rest = inbox.pop_stream(&mut buf, false, true);
        assert_eq!((rest.count, rest.creds, buf[0]), (1, ME, b'd'));
        assert_eq!(inbox.pop_stream(&mut buf, false, true).creds, YOU);
        assert!(inbox.is_empty() && inbox.bytes.is_empty());
    }

    #[test]
    fn datagrams_keep_their_bounds() {
        let mut inbox = Inbox::default();
        for data in [b"first".as_slice(), b"", b"third"] {
            inbox.push(data, Record { charge: 7, ..Record::default() });
        }
        let mut buf = [0; 3];
        assert_eq!(inbox.pop(&mut buf, true).map(|t| (t.count, t.full, t.uncharge)), Some((3, 5, 0)));
        assert_eq!(inbox.pop(&mut buf, false).map(|t| (t.count, t.full, t.uncharge)), Some((3, 5, 7)));
        assert_eq!(inbox.pop(&mut buf, false).map(|t| (t.count, t.full)), Some((0, 0)));
        assert_eq!(inbox.pop(&mut buf, false).map(|t| t.count), Some(3));
        assert_eq!(&buf, b"thi");
        assert!(inbox.pop(&mut buf, false).is_none());
    }
}
