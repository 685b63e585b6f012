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
    /// What its one byte has to do with urgency.
    pub(super) urgency: Urgency,
    /// What its sender is charged for it.
    pub(super) charge: usize,
    pub(super) creds: Option<Ucred>,
    pub(super) rights: Rights,
    /// The sender's address, for datagrams.
    pub(super) from: Option<Arc<Name>>,
    /// Who is charged. Streams have one sender and leave it out.
    pub(super) sender: Option<Arc<Endpoint>>,
}

/// Whether a byte of a stream is urgent (`MSG_OOB`).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It is not, or another was sent since.
    #[default]
    None,
    /// It is the last urgent one.
    Urgent,
    /// It was, and was received apart: what is left is a mark.
    Spent,
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
    /// An urgent byte is there.
    has_urgent: bool,
    /// How many bytes are marks alone.
    spent: usize,
    pub(super) records: VecDeque<Record>,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes queued.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.spent
    }

    /// Whether there is more than marks.
    pub(super) fn has_unread(&self) -> bool {
        self.records.len() > self.spent
    }

    /// Whether an urgent byte waits to be received.
    pub(super) fn has_urgent(&self) -> bool {
        self.has_urgent
    }

    /// Adds a datagram, or a part of a stream that must stand apart.
    pub(super) fn push(&mut self, data: &[u8], record: Record) {
        self.bytes.push(data);
        self.records.push_back(Record { len: data.len(), ..record });
    }

    /// Adds a part of a stream.
    pub(super) fn push_stream(&mut self, data: &[u8], creds: Option<Ucred>, rights: Rights) {
        match self.records.back_mut() {
            Some(last)
                if last.creds == creds
                    && last.rights.is_empty()
                    && rights.is_empty()
                    && last.urgency == Urgency::None =>
            {
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

    /// Adds an urgent byte; the one before is like others from now on.
    pub(super) fn push_urgent(&mut self, byte: u8, creds: Option<Ucred>, rights: Rights) {
        if let Some(last) = self.urgent().and_then(|at| self.records.get_mut(at)) {
            last.urgency = Urgency::None;
        }
        self.has_urgent = true;
        self.push(&[byte], Record { creds, rights, urgency: Urgency::Urgent, ..Record::default() });
    }

    /// The place of the urgent byte among the records.
    fn urgent(&self) -> Option<usize> {
        self.records.iter().rposition(|record| record.urgency == Urgency::Urgent).filter(|_| self.has_urgent)
    }

    /// Takes the urgent byte; its place stays marked. With it come credentials, and no descriptions.
    pub(super) fn pop_urgent(&mut self, peek: bool) -> Option<(u8, Option<Ucred>)> {
        let at = self.urgent()?;
        let before: usize = self.records.iter().take(at).map(|record| record.len).sum();
        let mut byte = [0];
        self.bytes.peek(before, &mut byte);
        let record = self.records.get_mut(at)?;
        if !peek {
            record.urgency = Urgency::Spent;
            self.has_urgent = false;
            self.spent += 1;
        }
        let [byte] = byte;
        Some((byte, record.creds))
    }

    /// Whether the next byte is urgent, or was (`SIOCATMARK`).
    pub(super) fn is_at_mark(&self) -> bool {
        let mut records = self.records.iter().map(|record| record.urgency);
        match (records.next(), records.next()) {
            (Some(Urgency::Urgent), _) => true,
            (Some(Urgency::Spent), next) => !self.has_urgent || next == Some(Urgency::Urgent),
            _ => false,
        }
    }

    /// Takes bytes of a stream, up to where descriptions end a run; with `by_creds` also where credentials change. It stops
    /// before an urgent byte, which the next time is skipped if it is not `inline`.
    pub(super) fn pop_stream(&mut self, buf: &mut [u8], peek: bool, by_creds: bool, inline: bool) -> Taken {
        let mut taken = Taken::default();
        // Bytes and records that are passed, and bytes among them that nobody gets.
        let (mut offset, mut passed, mut dropped) = (0, 0, 0);
        for record in &mut self.records {
            if taken.ends || taken.count == buf.len() {
                break;
            }
            let stops = match record.urgency {
                Urgency::None => false,
                Urgency::Urgent => true,
                Urgency::Spent => !self.has_urgent,
            };
            if stops && taken.count > 0 {
                taken.ends = true;
                break;
            }
            let skips = record.urgency == Urgency::Spent || (stops && !inline);
            if !peek {
                match std::mem::take(&mut record.urgency) {
                    Urgency::Urgent => self.has_urgent = false,
                    Urgency::Spent => self.spent -= record.len,
                    Urgency::None => {}
                }
            }
            if skips {
                dropped += record.len;
                offset += record.len;
                passed += 1;
                continue;
            }
            if taken.count == 0 {
                taken.creds = record.creds;
            } else if by_creds && record.creds != taken.creds {
                break;
            }
            let room = buf.get_mut(taken.count..).unwrap_or_default();
            let part = record.len.min(room.len());
            taken.count += self.bytes.peek(offset, room.get_mut(..part).unwrap_or_default());
            offset += part;
            taken.ends = !record.rights.is_empty();
            if peek {
                taken.rights.extend_from_slice(record.rights.files());
                continue;
            }
            taken.rights.extend(std::mem::take(&mut record.rights).land());
            record.len -= part;
            passed += usize::from(record.len == 0);
        }
        taken.full = taken.count;
        if !peek {
            self.records.drain(..passed);
            self.bytes.discard(offset);
            taken.uncharge = taken.count + dropped;
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
        assert_eq!(inbox.pop_stream(&mut buf, true, true, false).count, 4);
        assert_eq!(inbox.pop_stream(&mut buf, true, false, false).count, 6);
        assert_eq!(inbox.pop_stream(&mut buf[..3], false, true, false).count, 3);
        let rest = inbox.pop_stream(&mut buf, false, true, false);
        assert_eq!((rest.count, rest.creds, buf[0]), (1, ME, b'd'));
        assert_eq!(inbox.pop_stream(&mut buf, false, true, false).creds, YOU);
        assert!(inbox.is_empty() && inbox.bytes.is_empty());
    }

    #[test]
    fn urgent_bytes_are_marks() {
        let mut inbox = stream(&[(b"ab", ME)]);
        inbox.push_urgent(b'X', ME, Rights::default());
        inbox.push_stream(b"cd", ME, Rights::default());
        let mut buf = [0; 16];
        assert_eq!(inbox.pop_urgent(true), Some((b'X', ME)));
        let taken = inbox.pop_stream(&mut buf, false, false, false);
        assert_eq!((taken.count, taken.ends, inbox.is_at_mark()), (2, true, true));
        assert_eq!(inbox.pop_urgent(false), Some((b'X', ME)));
        assert_eq!((inbox.pop_urgent(false), inbox.is_at_mark(), inbox.len()), (None, true, 2));
        let taken = inbox.pop_stream(&mut buf, false, false, false);
        assert_eq!((taken.count, taken.uncharge), (2, 3));
        assert!(inbox.is_empty() && inbox.bytes.is_empty() && inbox.spent == 0);
        inbox.push_urgent(b'Y', ME, Rights::default());
        inbox.push_urgent(b'Z', ME, Rights::default());
        assert_eq!(inbox.pop_stream(&mut buf, false, false, false).count, 1);
        let taken = inbox.pop_stream(&mut buf, false, false, false);
        assert_eq!((taken.count, taken.uncharge, inbox.is_empty()), (0, 1, true));
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
